"""``sweetgrad serve``."""

import shlex
from typing import Annotated

import typer

from sweetgrad.flows.cli.options import MOST, ClusterOption, SchedulerOption

__all__ = ["serve"]


def serve(
    name: Annotated[str, typer.Option(help="Name of the deployment; Prefect shows it as sweetgrad/NAME.")] = "profile",
    limit: Annotated[int, typer.Option(max=MOST, help="Runs at a time; others wait.")] = 1,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    work_pool: Annotated[
        str | None,
        typer.Option(
            help="Deploy to this work pool and leave, instead of running what is asked for here.", show_default=False
        ),
    ] = None,
) -> None:
    """Let runs be started from Prefect's UI, its API or a schedule, on the server of PREFECT_API_URL.

    Serves until Ctrl-C or SIGTERM, which also stops the runs that it started. Whoever reaches that server can start runs as you:
    give it a password (see the how-to page on Prefect). Where runs are done only you can say, with --scheduler or --cluster.
    """
    from sweetgrad.flows import deployment

    if work_pool is None:
        deployment.serve(name=name, limit=limit, scheduler=scheduler, cluster=cluster)
    elif scheduler is not None or cluster is not None:
        raise ValueError(
            "--scheduler and --cluster are for the runs of this machine; those of a work pool take SWEETGRAD_SCHEDULER or "
            "SWEETGRAD_CLUSTER from the environment of their worker"
        )
    else:
        deployment.deploy(work_pool, name=name)
        typer.echo(
            f"Deployed sweetgrad/{name} to the work pool {work_pool}. "
            f"Next: prefect worker start --pool {shlex.quote(work_pool)}"
        )
