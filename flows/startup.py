"""What a flow needs around it: a Prefect server and Dask workers, which live as long as the flows that they serve."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import distributed
from rich.console import Console

from sweetgrad.flows.environment import run_environment
from sweetgrad.flows.interrupt import interruptible
from sweetgrad.flows.server import prefect_server, wait_until_up

__all__ = ["started"]


@contextmanager
def started(workers: AbstractContextManager[distributed.Client], *, console: Console) -> Iterator[distributed.Client]:
    """Start both at once, and wait until they are up; ``workers`` as from `open_client`, not entered yet.

    They end with the context, which SIGTERM and SIGHUP end as Ctrl-C does.
    """
    with (
        interruptible(),
        run_environment(),
        prefect_server() as url,
        console.status("starting workers and the Prefect server (half a minute the first time)") as wait,
        workers as client,
    ):
        wait_until_up(url)
        wait.stop()
        yield client
