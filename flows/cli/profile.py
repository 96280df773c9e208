"""``sweetgrad profile``, ``estimate`` and ``serve``."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from sweetgrad import flows
from sweetgrad.flows.cli.arguments import correlate_command
from sweetgrad.flows.cli.options import options_of
from sweetgrad.flows.cli.terminal import Terminal
from sweetgrad.flows.serve import deploy
from sweetgrad.flows.serve import serve as serve_deployment

if TYPE_CHECKING:
    from sweetgrad.store import Location


@options_of(flows.profile)
def profile(store: "Location", **options: Any) -> None:
    """Profile architectures into a store. Rows that it already holds are not measured again, so the same command resumes.

    Ctrl-C finishes the current networks and writes them; a second Ctrl-C exits at once.
    """
    from sweetgrad.store.access import command_line

    console = Terminal(stderr=True)
    summary = flows.profile(store, console=console, **options)
    _report(summary, "profiled", "are already in the store", console)
    failed = f", {summary.num_failed} failed (see `{command_line('status', store)}`)" if summary.num_failed else ""
    console.print(
        Text.assemble(
            *("Profile ", (summary.name, "bold"), f" in {store}{failed}. Next: "),
            (command_line("intervals", store, summary.name), "bold"),
        )
    )


@options_of(flows.estimate)
def estimate(store: "Location", profile: str, **options: Any) -> None:
    """Compute training-free estimators for the measured architectures of a profile; its counts stay as they are.

    Scores that the store already holds are not recomputed, so the same command resumes.
    """
    console = Terminal(stderr=True)
    summary = flows.estimate(store, profile, console=console, **options)
    _report(summary, "scored", "already have these scores", console)
    failed = f" For {summary.num_failed} an estimator failed; the store holds the reason." if summary.num_failed else ""
    console.print(
        Text.assemble(
            *("Scores of ", (summary.name, "bold"), f" in {store}.{failed} Next: "),
            (correlate_command(store, summary.name), "bold"),
        )
    )


def _report(summary: flows.ProfileSummary, done: str, nothing_to_do: str, console: Console) -> None:
    """Print what a run did; exits with status 130 if it was interrupted."""
    if summary.num_left:
        console.print(
            f"{summary.num_done} architectures {done} and written, {summary.num_left} left. Run the same command to resume."
        )
        raise typer.Exit(130)
    if summary.num_done:
        console.print(f"{summary.num_done} architectures {done} in {summary.seconds:.0f} s.")
    else:
        console.print(f"All {summary.num_asked} architectures {nothing_to_do}.")


@options_of(serve_deployment)
def serve(
    work_pool: Annotated[
        str | None,
        typer.Option(help="Deploy to this work pool and exit, instead of running here.", show_default=False),
    ] = None,
    **options: Any,
) -> None:
    """Let runs be started from Prefect's UI, its API or a schedule, on the server of PREFECT_API_URL.

    Serves until Ctrl-C or SIGTERM, which also stops the runs that it started. Anyone who reaches that server can start runs as
    you: protect it with a password (see the how-to page on Prefect). Only you decide where runs execute, with --scheduler or
    --cluster.
    """
    if work_pool is None:
        serve_deployment(**options)
    elif options["scheduler"] is not None or options["cluster"] is not None:
        raise ValueError(
            "--scheduler and --cluster apply to runs on this machine; those of a work pool take SWEETGRAD_SCHEDULER or "
            "SWEETGRAD_CLUSTER from the environment of their worker"
        )
    else:
        name = options["name"]
        deploy(work_pool, name=name)
        typer.echo(
            f"Deployed sweetgrad/{name} to the work pool {work_pool}. "
            f"Next: prefect worker start --pool {shlex.quote(work_pool)}"
        )
