"""The flow of profiles and of trainings, a Prefect task for each shard, and the processes around it: workers and a server."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from typing import Any

import distributed
import httpx
from distributed import Client
from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console

from sweetgrad.flows.cluster import WorkerSource, open_client
from sweetgrad.flows.cluster.client import num_cores, visible_gpus
from sweetgrad.flows.cluster.gpus import choose_processes
from sweetgrad.flows.interrupt import draining, interruptible
from sweetgrad.flows.runs.artifacts import Ending, shown_in_prefect, summary_markdown
from sweetgrad.flows.runs.dispatcher import MAX_SHARDS_IN_FLIGHT, Dispatcher, OtherRuns
from sweetgrad.flows.runs.progress import progress_bar
from sweetgrad.flows.runs.work import ProfileWork, Work, num_rows
from sweetgrad.flows.server import prefect_server, wait_until_up
from sweetgrad.flows.server.ephemeral import run_environment
from sweetgrad.flows.server.prefect_private import raise_error_of, untagged_tasks
from sweetgrad.store import Location, Shard
from sweetgrad.store.redaction import redacted

_LOOK_EVERY_S = 2.0


def shard_flow(
    run: Work, shards: Sequence[Shard], *, client: distributed.Client, console: Console, watched: bool
) -> tuple[int, int]:
    """Run shards on a Dask cluster, as a Prefect flow, and finish up (a profile is finalised).

    Shards that another run holds are left to it. The flow ends when they are written, too; if that run dies it takes them over.
    An error of one shard stops the others after their current networks, so that everything measured is written. A run that was
    interrupted ends in a state of type ``CANCELLED`` named *Interrupted*.

    Parameters
    ----------
    run, shards
        What to do: the shards are those of the run that have rows to run.
    client
        Connection to the cluster.
    console
        Where progress is shown.
    watched
        Whether Prefect's UI may be watched: then artifacts show the progress, and a summary at the end.

    Returns
    -------
    How many architectures were done here, and how many are left.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=MAX_SHARDS_IN_FLIGHT)
    num_archs = num_rows(shards)
    outcome: list[tuple[int, int]] = []

    # Prefect stores and shows the parameters, so they only describe the work, which may hold a million numbers.
    @flow(
        name=f"sweetgrad-{run.verb}",
        description=f"{run.verb.capitalize()} architectures into a store, a task for each shard.",
        version=version("sweetgrad"),
        flow_run_name="{profile}",
        task_runner=runner,
        validate_parameters=False,
    )
    def measure(profile: str, store: str, num_archs: int, command: str) -> State[None]:
        with untagged_tasks():
            outcome.append(_measure(run, shards, client=client, console=console, watched=watched))
        num_done, num_left = outcome[0]
        if num_left:
            return Cancelled(
                name="Interrupted",
                message=f"{num_done} architectures done, {num_left} left. To resume: {command}",
            )
        return Completed(message=f"{num_done} architectures done")

    try:
        with tags(*run.tags):
            state: Any = measure(
                run.table.name, redacted(run.table.location), num_archs, run.command, return_state=True
            )
    except httpx.HTTPError as error:
        if not outcome:
            raise
        console.print(
            f"The Prefect server does not answer, and was not told that this run has ended ({error!r}).", markup=False
        )
    else:
        if not outcome:
            raise_error_of(state)
    return outcome[0]


def _measure(
    run: Work, shards: Sequence[Shard], *, client: distributed.Client, console: Console, watched: bool
) -> tuple[int, int]:
    stop = threading.Event()
    dispatcher, other_runs = Dispatcher(run, client, stop, console), OtherRuns(run, console)
    total, start = num_rows(shards), time.monotonic()
    ending = Ending(num_left=total)

    def summary() -> str:
        ending.num_done, ending.num_workers = dispatcher.num_done, dispatcher.count()
        ending.seconds = time.monotonic() - start
        return summary_markdown(run.table.location, run.table.name, ending, command=run.command)

    with (
        progress_bar(total, console=console, doing=run.doing) as count,
        shown_in_prefect(run.table.name, count, summary=summary, on_cancel=stop.set, console=console)
        if watched
        else nullcontext(),
    ):
        try:
            with (
                _subscribed(client, run.id, count),
                draining(stop, console=console, on_stop=dispatcher.ask_to_stop, stopping=run.stopping),
            ):
                while shards and not stop.is_set():
                    free, expired = other_runs.leave_out(shards)
                    dispatcher.run(free, expired)
                    if not free:
                        stop.wait(_LOOK_EVERY_S)
                    shards = run.shards_to_do()
                    if not stop.is_set():
                        # Rows that failed again when they were run again are no work any more.
                        shards = [shard for shard in shards if shard.index not in dispatcher.finished]
                        count.catch_up(total - num_rows(shards))
                    ending.num_left = num_rows(shards)
        except Exception as error:
            ending.error = redacted(str(error) or repr(error))
            raise
        finally:
            run.finish()
    return dispatcher.num_done, ending.num_left


@contextmanager
def _subscribed(client: distributed.Client, channel: str, count: Callable[[int], None]) -> Iterator[None]:
    client.subscribe_topic(channel, lambda event: count(event[1]))
    try:
        yield
    finally:
        client.unsubscribe_topic(channel)


@contextmanager
def open_session(
    source: WorkerSource, *, store: Location, device: str, num_shards: int, console: Console
) -> Iterator[Client]:
    """Start workers and a Prefect server at the same time, and wait until both are up; parameters as in `open_client`.

    Both end with the context, which SIGTERM and SIGHUP end as Ctrl-C does.
    """
    with (
        interruptible(),
        run_environment(),
        prefect_server() as url,
        console.status("starting workers and the Prefect server (half a minute the first time)") as wait,
        open_client(source, store=store, device=device, num_shards=num_shards, console=console) as client,
    ):
        wait_until_up(url)
        wait.stop()
        yield client


def run_profile(
    work: ProfileWork, shards: Sequence[Shard], *, source: WorkerSource, console: Console
) -> tuple[int, int]:
    """Run shards of a profile on workers that are started for them; returns as `shard_flow`."""
    console.print(
        f"{work.table.name}: {num_rows(shards)} of {len(work.rows)} architectures to profile, in {len(shards)} shards.",
        markup=False,
    )
    is_watched = PREFECT_API_URL.value() is not None  # nobody looks at a server that is started for this run
    device = work.spec.device
    if device == "cuda" and source == WorkerSource():
        gpus = visible_gpus()
        with console.status("trying a few networks, to see how many processes share a GPU"):
            number = choose_processes(work.try_out, num_gpus=len(gpus), num_cores=num_cores())
        source = WorkerSource(per_gpu=number)
    with open_session(
        source, store=work.table.location, device=device, num_shards=len(shards), console=console
    ) as client:
        return shard_flow(work, shards, client=client, console=console, watched=is_watched)
