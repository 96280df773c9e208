"""``sweetgrad serve``: offer the Prefect deployment, and run here what is requested of it."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

DEPLOYMENT_NAME = "profile"


def serve(
    *,
    name: str = DEPLOYMENT_NAME,
    limit: int = 1,
    scheduler: str | None = None,
    cluster: str | Path | None = None,
    console: Console | None = None,
) -> None:
    """Offer the deployment to the Prefect server, and run what is requested of it on this machine; returns when interrupted.

    Parameters
    ----------
    name
        Name of the deployment; Prefect shows it as sweetgrad/NAME.
    limit
        Maximum number of runs at a time; others wait.
    scheduler, cluster
        As in `profile`.
    console
        Where to say how runs are started (default: standard error).

    Raises
    ------
    ValueError
        If no Prefect server is configured, the limit is less than 1, or there is no such cluster.
    ServerError
        If the Prefect server does not answer.
    """
    # Imported here, so that reading the options of a command does not load Prefect and Dask.
    from prefect.runner import Runner

    from sweetgrad.flows.cluster import choose_workers
    from sweetgrad.flows.deployment import (
        CLUSTER_VARIABLE,
        OPEN_TO_WEB_PAGES,
        SCHEDULER_VARIABLE,
        is_open_to_web_pages,
        make_deployment,
        run_until,
    )
    from sweetgrad.flows.interrupt import draining

    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    # Read here as well, so that an error in the file is reported now, and not by each run.
    choose_workers(workers=None, scheduler=scheduler, cluster=cluster)
    if cluster is not None:
        cluster = Path(cluster).resolve()
    deployment = make_deployment(name)
    places = {SCHEDULER_VARIABLE: scheduler, CLUSTER_VARIABLE: cluster}
    os.environ.update({variable: str(value) for variable, value in places.items() if value})
    runner = Runner(limit=limit)
    runner.add_deployment(deployment)
    console = console or Console(stderr=True, highlight=False)
    console.print(
        f"Serving the deployment sweetgrad/{name}. Start runs in Prefect's UI, or with\n"
        f"prefect deployment run sweetgrad/{name} -p store=/path/to/store.zarr -p archs=0:100\n"
        "Ctrl-C stops serving, and the current runs after their current networks.",
        markup=False,
    )
    if is_open_to_web_pages():
        console.print(OPEN_TO_WEB_PAGES, markup=False)
    stop = threading.Event()
    # `Runner` kills its runs when a signal finds it in the main thread. In another thread it can be told to stop.
    with (
        draining(stop, console=console, stopping="the current runs finish their current networks and write them"),
        ThreadPoolExecutor(1) as thread,
    ):
        thread.submit(asyncio.run, run_until(runner, stop)).result()


def deploy(work_pool: str, *, name: str = DEPLOYMENT_NAME) -> None:
    """Deploy to a work pool, whose workers have sweetgrad installed, and return.

    Raises
    ------
    ValueError
        If no Prefect server is configured.
    ServerError
        If it does not answer.
    """
    from sweetgrad.flows.deployment import make_deployment

    make_deployment(name, work_pool_name=work_pool).apply()
