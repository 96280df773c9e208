"""What a flow needs around it: a Prefect server and Dask workers, which live as long as the flows that they serve."""

from collections.abc import Iterator
from contextlib import contextmanager

import distributed
from rich.console import Console

from sweetgrad.flows.cluster import open_client
from sweetgrad.flows.cluster_config import ClusterConfig
from sweetgrad.flows.server import prefect_server, wait_until_up
from sweetgrad.store import Location

__all__ = ["started"]


@contextmanager
def started(
    *,
    scheduler: str | None,
    cluster: ClusterConfig | None,
    store: Location,
    device: str,
    num_workers: int | None,
    num_shards: int,
    console: Console,
) -> Iterator[distributed.Client]:
    """Start both at once, and wait until they are up; arguments as in `open_client`."""
    with (
        prefect_server() as url,
        console.status("starting workers and the Prefect server (half a minute the first time)") as wait,
        open_client(
            scheduler=scheduler,
            cluster=cluster,
            store=store,
            device=device,
            num_workers=num_workers,
            num_shards=num_shards,
            console=console,
        ) as client,
    ):
        wait_until_up(url)
        wait.stop()
        yield client
