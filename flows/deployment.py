"""Runs that are started from Prefect's UI, its API or a schedule: one flow with plain parameters, served or deployed."""

import asyncio
import inspect
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any, Literal

from prefect import flow
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed
from prefect.types.entrypoint import EntrypointType
from pydantic import Field
from rich.console import Console

from sweetgrad.flows.run import profile

__all__ = ["DEPLOYMENT_NAME", "deploy", "profile_deployment", "serve"]

DEPLOYMENT_NAME = "profile"

_DESCRIPTION = """Measure the gradients of the architectures of a NAS benchmark, and keep them as histograms in a zarr store.

What the store holds is not measured again: the same parameters continue a run that was interrupted. Paths are those of the
machine where the run goes on; absolute ones are best."""


@flow(
    name="sweetgrad",
    description=_DESCRIPTION,
    version=version("sweetgrad"),
    flow_run_name="{space}/{dataset}/bs{batch_size}-seed{seed}",
)
def profile_deployment(
    store: str = Field(description="Folder or URL of the store; made if it is not there."),
    space: str = Field(
        "nas-bench-201", description="nas-bench-201, nas-bench-101, darts, ... or a search space of your own."
    ),
    dataset: str = Field("digits", description="digits, synthetic, cifar10, cifar100, imagenet16-120, or your own."),
    data_dir: str | None = Field(None, description="Folder with the files of the data set."),
    space_file: str | None = Field(None, description="Table that lists or orders the architectures."),
    space_options: dict[str, Any] = Field({}, description="Parameters of the search space, e.g. channels."),  # noqa: B008
    archs: str = Field("all", description="all, START:STOP, sample:N (uniform, always the same), or an index."),
    batch_size: int = Field(64, description="Images in the one batch that all architectures see."),
    seed: int = Field(42, description="Seed of the batch and the initialisation."),
    augment: bool = Field(False, description="Random crop and flip of the batch, seeded."),
    shard_size: int | None = Field(None, description="Architectures in a shard of a new profile; default 625."),
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one."),
    workers: int | None = Field(None, description="Worker processes; default one for each core or GPU."),
    scheduler: str | None = Field(None, description="Address of a running Dask scheduler, tcp://HOST:PORT."),
    cluster: str | None = Field(None, description="TOML file with a [cluster] table that builds a Dask cluster."),
    # Prefect takes a parameter with a default factory for one that must be given.
    estimators: list[str] = Field([], description="Estimators to store as well: snip, synflow, naswot, ..."),  # noqa: B008
    moments: bool = Field(False, description="Store the sums of gradients in every bin as well."),
    activations: bool = Field(False, description="Store histograms of what every cell puts out as well."),
    retry_failed: bool = Field(False, description="Run architectures that failed again."),
    download: bool = Field(False, description="Fetch CIFAR from its official address into data_dir."),
) -> Any:
    """Profile architectures, with the parameters of `sweetgrad.flows.profile`, as a flow that Prefect can start by itself.

    Returns
    -------
    State of the run: completed; *Interrupted* (of the type ``CANCELLED``) if architectures were left when it was told to stop. It
    fails with the message that `profile` gives.
    """
    asked = {name: value for name, value in locals().items() if name in inspect.signature(profile).parameters}
    # Prefect has set up logging before this module was loaded, so that Dask would log every step of its workers.
    logging.getLogger("distributed").setLevel(logging.ERROR)
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
    # A runner that has not started yet cannot be stopped.
    while not (asked.is_set() and runner.started) and not serving.done():
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
