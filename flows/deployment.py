"""Runs that are started from Prefect's UI, its API or a schedule: one flow with plain parameters, served or deployed."""

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed
from pydantic import Field
from rich.console import Console

from sweetgrad.flows.run import profile

__all__ = ["DEPLOYMENT_NAME", "deploy", "profile_deployment", "serve"]

DEPLOYMENT_NAME = "profile"

_DESCRIPTION = """Measure the gradients of the architectures of a NAS benchmark, and keep them as histograms in a zarr store.

What the store holds is not measured again: the same parameters continue a run that was interrupted. Paths are those of the
machine where the run goes on; absolute ones are best."""


def _described(text: str) -> Any:
    return Field(description=text)


@flow(
    name="sweetgrad",
    description=_DESCRIPTION,
    version=version("sweetgrad"),
    flow_run_name="{space}/{dataset}/bs{batch_size}-seed{seed}",
)
def profile_deployment(
    store: Annotated[str, _described("Folder or URL of the store; made if it is not there.")],
    space: Annotated[
        str, _described("Search space: nas-bench-201, nas-bench-101, or one of your own.")
    ] = "nas-bench-201",
    dataset: Annotated[
        str, _described("digits, synthetic, cifar10, cifar100, imagenet16-120, or your own.")
    ] = "digits",
    data_dir: Annotated[str | None, _described("Folder with the files of the data set.")] = None,
    space_file: Annotated[str | None, _described("Table that lists or orders the architectures.")] = None,
    archs: Annotated[str, _described("all, START:STOP, sample:N (seeded), or an index.")] = "all",
    batch_size: Annotated[int, _described("Images in the one batch that all architectures see.")] = 64,
    seed: Annotated[int, _described("Seed of the batch, the initialisation and the sample.")] = 42,
    augment: Annotated[bool, _described("Random crop and flip of the batch, seeded.")] = False,
    shard_size: Annotated[int | None, _described("Architectures in a shard of a new profile; default 625.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], _described("auto: CUDA where there is one.")] = "auto",
    workers: Annotated[int | None, _described("Worker processes; default one for each core or GPU.")] = None,
    scheduler: Annotated[str | None, _described("Address of a running Dask scheduler, tcp://HOST:PORT.")] = None,
    cluster: Annotated[str | None, _described("TOML file with a [cluster] table that builds a Dask cluster.")] = None,
    estimators: Annotated[list[str], _described("Estimators to store as well, e.g. grad_norm, snip.")] = [],  # noqa: B006
    retry_failed: Annotated[bool, _described("Run architectures that failed again.")] = False,
    download: Annotated[bool, _described("Fetch CIFAR from its official address into data_dir.")] = False,
) -> Any:
    """Profile architectures, with the parameters of `sweetgrad.flows.profile`, as a flow that Prefect can start by itself.

    Returns
    -------
    State of the run: completed; *Interrupted* (of the type ``CANCELLED``) if architectures were left when it was told to stop. It
    fails with the message that `profile` gives.
    """
    asked = {name: value for name, value in locals().items() if name in inspect.signature(profile).parameters}
    summary = profile(asked.pop("store"), **asked)
    if summary.num_left:
        text = f"{summary.num_done} architectures done, {summary.num_left} left: the same parameters continue."
        return Cancelled(name="Interrupted", message=text)
    return Completed(
        message=f"{summary.num_done} architectures profiled in {summary.seconds:.0f} s; "
        f"{summary.num_failed} failed in the whole profile {summary.name}."
    )


def serve(*, name: str = DEPLOYMENT_NAME, limit: int = 1, console: Console | None = None) -> None:
    """Offer the deployment to the Prefect server, and run what is asked of it on this machine; returns when interrupted.

    Parameters
    ----------
    name
        Name of the deployment, after ``sweetgrad/``.
    limit
        Runs at a time; others wait.
    console
        Where to say how runs are started (default: standard error).

    Raises
    ------
    ValueError
        If no Prefect server is configured, or the limit is less than 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    runner = Runner(limit=limit)
    runner.add_deployment(_deployment(name))
    console = console or Console(stderr=True, highlight=False)
    console.print(
        f"Serving the deployment sweetgrad/{name}. Start runs in Prefect's UI, or with\n"
        f"prefect deployment run sweetgrad/{name} -p store=/path/to/store.zarr -p archs=0:100\n"
        "Ctrl-C ends serving, and the runs in hand after the networks in hand."
    )
    # `Runner` kills its runs when a signal finds it in the main thread. In another thread it can be asked to stop.
    with _stop_asked() as asked, ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _serve(runner, asked)).result()


async def _serve(runner: Runner, asked: threading.Event) -> None:
    serving = asyncio.create_task(runner.start())
    while not asked.is_set() and not serving.done():
        await asyncio.sleep(0.2)
    if not serving.done():
        await runner.astop()
    await serving


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; when the same signal comes again, the process ends at once."""
    asked, seen = threading.Event(), set[int]()

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum in seen:
            os._exit(128 + signum)
        seen.add(signum)
        asked.set()

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def deploy(work_pool: str, *, name: str = DEPLOYMENT_NAME) -> None:
    """Deploy to a work pool, whose workers have sweetgrad installed, and leave.

    Raises
    ------
    ValueError
        If no Prefect server is configured.
    """
    _deployment(name, work_pool_name=work_pool).apply()


def _deployment(name: str, **options: Any) -> RunnerDeployment:
    if PREFECT_API_URL.value() is None:
        raise ValueError(
            "no Prefect server is configured: start one with `prefect server start`, and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    deployment = profile_deployment.to_deployment(
        name, description=_DESCRIPTION, entrypoint_type=EntrypointType.MODULE_PATH, **options
    )
    assert isinstance(deployment, RunnerDeployment)
    return deployment
