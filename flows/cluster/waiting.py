"""How long a run waits for workers: a day if jobs may be queued, two minutes if nothing starts others."""

import time
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, SpecCluster
from rich.console import Console

FIRST_WORKER_S = 24 * 3600.0
_QUEUE_S = 24 * 3600.0
_OTHERS_S = 600.0
_OURS_S = 120.0
_SAY_AFTER_S = 10.0
_STOP_AFTER_S = 5.0

_SETTING = "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT"


class NoWorkerError(RuntimeError):
    """No worker is left to run shards, and none joins."""


class WorkerWatch:
    """Checks periodically whether a cluster has workers that can run the shards.

    Parameters
    ----------
    client
        Connection to the cluster.
    device
        ``cpu`` or ``cuda``.
    console
        Where a loss of all workers is reported.
    """

    def __init__(self, client: Client, device: str, console: Console) -> None:
        self._client, self._device, self._console = client, device, console
        self._last = time.monotonic()
        self._said = False

    def count(self) -> int:
        """Number of workers that can run the shards; 0 if the scheduler is gone, which the shards in flight report."""
        info = self._client.scheduler_info(n_workers=-1).get("workers", {})
        return sum(can_run(worker, self._device) for worker in info.values())

    def look(self, *, is_stopping: bool) -> bool:
        """Check once; returns whether the run is stopping and no worker is left that could have a current network.

        Raises
        ------
        NoWorkerError
            If there has been none for longer than the limit.
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
                f"No worker is left: {why}. Waiting up to {duration(limit)} for one. Ctrl-C exits.", markup=False
            )
        return False

    def error(self) -> NoWorkerError:
        """The error for a run that has had no worker for too long."""
        limit, why, advice = _expectation(self._client)
        return NoWorkerError(
            f"no worker is left, and none has joined for {duration(limit)}: {why}. What was written is safe: {advice}, then run "
            f"the same command again. {_SETTING}=1h would wait for an hour."
        )


def can_run(worker: Any, device: str) -> bool:
    """Whether a worker, as the scheduler describes it, is one that shards for a device are given to."""
    return device != "cuda" or bool(worker.get("resources", {}).get("GPU"))


def configured_wait() -> float | None:
    """The user's setting of how many seconds Dask waits for workers; None if it is not set."""
    timeout = dask.config.get("distributed.scheduler.no-workers-timeout", None)
    return None if timeout is None else float(parse_timedelta(timeout))


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
    """Whether a cluster replaces workers that have ended: those that adapt, and those that manage themselves."""
    adaptive = getattr(cluster, "_adaptive", None)
    return adaptive.state == "running" if adaptive is not None else not isinstance(cluster, SpecCluster)


def duration(seconds: float) -> str:
    """Seconds in words.

    Examples
    --------
    >>> duration(12.34), duration(75), duration(7260)
    ('12.3 s', '1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
