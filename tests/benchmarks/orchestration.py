"""What a run costs beside its networks, and how much memory its processes take, from 10^3 to 10^6 architectures.

Prints one JSON line. The networks are stubs of about 2 ms (`_stub_space`), profiled by all of ``sweetgrad.flows.profile``: start
of workers and Prefect server, planning, locks, digests, compression, writing, stamping, closing. "The stub's own" is what a
plain loop takes in this process: build a network, `measure_network`, nothing else. The overhead of an architecture is

    (wall seconds x workers - architectures x the stub's own) / architectures

and the same with CPU seconds of all processes in place of wall x workers, which other users of the machine do not bend as much.
Goal: under 3 ms, 1 % of an architecture that takes 0.3 s.

    python tests/benchmarks/orchestration.py [--archs 10000] [--workers 2] [--shard-size 625]
        [--stop-after SHARDS]     Ctrl-C after so many shards: all architectures are planned, not all are run
        [--separate]              scheduler and workers as processes of their own, so that their memory can be told apart
"""

import argparse
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from _stub_space import StubSpace, registered

if TYPE_CHECKING:
    from sweetgrad.flows import ProfileSummary

NAME = "stub/digits/bs4-seed42"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=625)
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--separate", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, registered(options.archs):
        before = stub_seconds()
        watch = Watch(Path(folder) / "stub.zarr", stop_after=options.stop_after)
        cluster = separate_cluster(options.workers) if options.separate else nullcontext(None)
        cpu = cpu_seconds()
        with cluster as scheduler, watch:
            summary = profile_stub(watch.store, options, scheduler=scheduler)
        cpu = cpu_seconds() - cpu
        after = stub_seconds()
    own_wall, own_cpu = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    num = summary.num_done
    assert num + summary.num_left == options.archs
    fixed = watch.startup_s + watch.shutdown_s
    print(
        json.dumps(
            {
                "benchmark": "orchestration",
                "archs": options.archs,
                "archs_run": num,
                "shards": -(-options.archs // options.shard_size),
                "workers": options.workers,
                "stub_own_ms": round(own_wall * 1000, 2),
                "overhead_ms_per_arch": round((summary.seconds * options.workers / num - own_wall) * 1000, 2),
                "of_it_start_and_end_ms": round(fixed * options.workers / num * 1000, 2),
                "cpu_overhead_ms_per_arch": round((cpu / num - own_cpu) * 1000, 2),
                "wall_seconds": round(summary.seconds, 1),
                "start_seconds": round(watch.startup_s, 1),
                "end_seconds": round(watch.shutdown_s, 1),
                "cpu_seconds": round(cpu, 1),
                "peak_mb": watch.peak_mb,
                "load": [round(x, 1) for x in (load[0], os.getloadavg()[0])],
            }
        )
    )


def stub_seconds(num: int = 400) -> tuple[float, float]:
    """Wall and CPU seconds of one stub: built and measured in a plain loop, one thread."""
    import torch

    from sweetgrad.profiling import load_batch, measure_network
    from sweetgrad.profiling.measure import to_device

    torch.set_num_threads(1)
    space, batch = StubSpace(num), load_batch("digits", batch_size=4)
    x, y = to_device(batch, "cpu")

    def loop(count: int) -> None:
        for index in range(count):
            torch.manual_seed(42)
            network = space.build(space.arch_id(index), in_channels=x.shape[1], num_classes=batch.num_classes)
            network.module.to("cpu", memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
            measure_network(network, x, y)

    loop(50)  # the first networks pay for lazy initialisation
    wall, cpu = time.perf_counter(), time.process_time()
    loop(num)
    return (time.perf_counter() - wall) / num, (time.process_time() - cpu) / num


def profile_stub(store: Path, options: argparse.Namespace, *, scheduler: str | None) -> "ProfileSummary":
    """The run itself."""
    from rich.console import Console

    from sweetgrad.flows import profile

    return profile(
        store,
        space="stub",
        dataset="digits",
        batch_size=4,
        shard_size=options.shard_size,
        device="cpu",
        workers=None if scheduler else options.workers,
        scheduler=scheduler,
        console=Console(file=io.StringIO()),
    )


@contextmanager
def separate_cluster(num_workers: int) -> Iterator[str]:
    """A scheduler and workers in processes of their own."""
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        common = ["--scheduler-file", str(file), "--no-dashboard"]
        commands = [["scheduler", "--host", "127.0.0.1", "--port", "0", *common]]
        commands += [["worker", "--nthreads", "1", "--memory-limit", "0", "--host", "127.0.0.1", *common]] * num_workers
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{command}", *rest],
                env=environment,
                cwd=folder,
                stderr=subprocess.DEVNULL,
            )
            for command, *rest in commands
        ]
        try:
            while not file.exists():
                assert processes[0].poll() is None, "the scheduler did not start"
                time.sleep(0.1)
            yield json.loads(file.read_text())["address"]
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


class Watch(threading.Thread):
    """Looks at the processes and at the store while a run goes on.

    Attributes
    ----------
    startup_s, shutdown_s
        Seconds before the first shard is claimed, and after the last is written.
    peak_mb
        Largest peak memory of a process of each kind.
    """

    def __init__(self, store: Path, *, stop_after: int | None) -> None:
        super().__init__(daemon=True)
        self.store = store
        self.startup_s = self.shutdown_s = 0.0
        self.peak_mb: dict[str, int] = defaultdict(int)
        self._stop_after, self._over = stop_after, threading.Event()

    def __enter__(self) -> None:
        self._start = time.time()
        self.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()
        written = [path.stat().st_mtime for path in (self.store / NAME / "status/c").iterdir()]
        self.shutdown_s = time.time() - max(written)

    def run(self) -> None:
        """Look, ten times a second, at what is cheap to look at."""
        status = self.store / NAME / "status"
        while not self._over.wait(0.1):
            if not self.startup_s and any((status / "claims").glob("*.json")):
                self.startup_s = time.time() - self._start
            if self._stop_after and len(list((status / "c").glob("*"))) >= self._stop_after:
                self._stop_after = None
                os.kill(os.getpid(), signal.SIGINT)
            me = psutil.Process()
            for process in (me, *me.children(recursive=True)):
                kind = "flow" if process == me else kind_of(process)
                if kind:
                    self.peak_mb[kind] = max(self.peak_mb[kind], peak_mb(process.pid))


def kind_of(process: psutil.Process) -> str | None:
    """Which of our processes it is."""
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return None
    for sign, kind in {"flows.server": "server", "dask_scheduler": "scheduler", "spawn_main": "worker"}.items():
        if sign in command:
            return kind
    return None


def peak_mb(pid: int) -> int:
    """Peak resident memory of a process so far."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1000
    except (OSError, IndexError):
        return 0


def cpu_seconds() -> float:
    """CPU seconds of this process and of all its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
