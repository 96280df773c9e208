"""How long a run waits for workers: where jobs may stand in a queue a day, where nobody can come any more a moment."""

import time
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, SpecCluster
from rich.console import Console

from sweetgrad.flows.runs.summary import duration

FIRST_WORKER_S = 24 * 3600.0
_QUEUE_S = 24 * 3600.0
_OTHERS_S = 600.0
_OURS_S = 120.0
_SAY_AFTER_S = 10.0
_STOP_AFTER_S = 5.0

_SETTING = "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT"


class NoWorkerError(RuntimeError):
    """No worker is left to do what a run has to do, and none comes."""


class WorkerWatch:
    """Looks now and then whether a cluster has workers that can do the work.

    Parameters
    ----------
    client
        Connection to the cluster.
    device
        ``cpu`` or ``cuda``.
    console
        Where to say that none is left.
    """

    def __init__(self, client: Client, device: str, console: Console) -> None:
        self._client, self._device, self._console = client, device, console
        self._last = time.monotonic()
        self._said = False

    def count(self) -> int:
        """Workers that can do the work; none if the scheduler is gone, as the shards in flight will say."""
        info = self._client.scheduler_info(n_workers=-1).get("workers", {})
        return sum(can_run(worker, self._device) for worker in info.values())

    def look(self, *, is_stopping: bool) -> bool:
        """Look once; whether the run is stopping and nobody is there who could have a network in hand.

        Raises
        ------
        NoWorkerError
            If none has been there for longer than one can be expected.
        """
        if self.count():
            self._last, self._said = time.monotonic(), False
            return False
        seconds = time.monotonic() - self._last
        if is_stopping:
            return seconds > _STOP_AFTER_S
        limit, why, _ = _expectation(self._client)
        if seconds > limit:
            raise self.error()
        if seconds > _SAY_AFTER_S and not self._said:
            self._said = True
            self._console.print(
                f"No worker is left: {why}. Waiting up to {duration(limit)} for one. Ctrl-C leaves.", markup=False
            )
        return False

    def error(self) -> NoWorkerError:
        """What is wrong if there has been no worker for too long."""
        limit, why, advice = _expectation(self._client)
        return NoWorkerError(
            f"no worker is left, and none has come for {duration(limit)}: {why}. What was written is safe: {advice}, then run "
            f"the same command again. {_SETTING}=1h would wait for an hour."
        )


def can_run(worker: Any, device: str) -> bool:
    """Whether a worker, as the scheduler describes it, is one that shards for a device are given to."""
    return device != "cuda" or bool(worker.get("resources", {}).get("GPU"))


def configured_wait() -> float | None:
    """Seconds that the user has Dask wait for workers; None if nothing is set."""
    found = dask.config.get("distributed.scheduler.no-workers-timeout", None)
    return None if found is None else float(parse_timedelta(found))


def _expectation(client: Client) -> tuple[float, str, str]:
    """How long to wait for workers, why there are none, and what to do."""
    cluster, configured = client.cluster, configured_wait()
    if cluster is None:
        seconds, why = (
            _OTHERS_S,
            "all workers of the Dask scheduler have left (Dask's worker.lifetime, the end of their jobs)",
        )
        advice = "start workers"
    elif _gives_more(cluster):
        seconds, why = _QUEUE_S, "the jobs of the cluster have ended, and new ones have not started yet"
        advice = "look at the queue and the logs of the jobs"
    else:
        seconds, why = _OURS_S, "all workers that this program started have ended, and nothing starts others"
        advice = "look for Dask's worker.lifetime in ~/.config/dask and DASK_…, and for what ends processes here"
    return configured or seconds, why, advice


def _gives_more(cluster: Any) -> bool:
    """Whether a cluster starts other workers when some have ended: those that adapt, and those that look after themselves."""
    adaptive = getattr(cluster, "_adaptive", None)
    return adaptive.state == "running" if adaptive is not None else not isinstance(cluster, SpecCluster)
