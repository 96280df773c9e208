"""The processes that a run needs around its flow: Dask workers and a Prefect server, started together and ended together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from distributed import Client
from prefect.settings import PREFECT_API_URL
from rich.console import Console

from sweetgrad.flows.cluster import WorkerSource, open_client
from sweetgrad.flows.interrupt import interruptible
from sweetgrad.flows.runs.shard_flow import shard_flow
from sweetgrad.flows.runs.work import ProfileWork, num_rows
from sweetgrad.flows.server import prefect_server, wait_until_up
from sweetgrad.flows.server.environment import run_environment
from sweetgrad.store import Location, Shard


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
    with open_session(
        source, store=work.table.location, device=device, num_shards=len(shards), console=console
    ) as client:
        return shard_flow(work, shards, client=client, console=console, watched=is_watched)
