"""What a run says when the scheduler of its cluster dies, whatever its client says then."""

import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

from sweetgrad.flows.runs.dispatcher import Dispatcher
from sweetgrad.store import Shard


class Client:
    """A client after its scheduler died: it knows of no workers, and refuses work or cancels it."""

    def __init__(self, error, status):
        self.error, self.status = error, status

    def scheduler_info(self, n_workers):
        return {}

    def submit(self, *arguments, **keywords):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(CancelledError(), "running"), (RuntimeError("cannot schedule new futures"), "closed")]
)
def test_workers__say_that_the_scheduler_is_gone(error, status):
    run = SimpleNamespace(
        id=None, table=SimpleNamespace(location=None, name=None), device="cpu", call=lambda shard: (print, (shard,))
    )
    workers = Dispatcher(run, Client(error, status), threading.Event(), None)
    assert workers._room() == 2
    with pytest.raises(
        RuntimeError, match="the Dask scheduler is gone, and with it the current work on architectures 4 to 7"
    ):
        workers._run_shard(Shard(1, 4, 8, (4, 5)), frozenset())
    with pytest.raises(KeyError):  # any other error is left as it is
        Dispatcher(run, Client(KeyError("x"), "running"), threading.Event(), None)._run_shard(
            Shard(1, 4, 8, ()), frozenset()
        )
