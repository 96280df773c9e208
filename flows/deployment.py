"""Runs that are started from Prefect's UI, its API or a schedule: one flow with plain parameters, served or deployed."""

import asyncio
import inspect
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import httpx
from prefect import flow
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL
from prefect.states import Cancelled, Completed
from prefect.types.entrypoint import EntrypointType
from pydantic import Field
from rich.console import Console

from sweetgrad.flows.cluster_config import read_cluster_config
from sweetgrad.flows.inputs import check_workers
from sweetgrad.flows.interrupt import draining
from sweetgrad.flows.run import profile
from sweetgrad.flows.server import require_server

__all__ = ["DEPLOYMENT_NAME", "deploy", "profile_deployment", "serve"]

DEPLOYMENT_NAME = "profile"

OPEN_TO_WEB_PAGES = (
    "Warning: the Prefect server has no password, and answers pages of any site: each that a browser opens can start runs here. "
    "Start it with PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:4200 and PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, "
    "and set PREFECT_API_AUTH_STRING to the same here."
)

_DESCRIPTION = """Measure the gradients of the architectures of a NAS benchmark, and keep them as histograms in a zarr store.

What the store holds is not measured again: the same parameters continue a run that was interrupted. Paths are those of the
machine where the run goes on; absolute ones are best."""


_PLACES = {"scheduler": "SWEETGRAD_SCHEDULER", "cluster": "SWEETGRAD_CLUSTER"}


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
    # Prefect takes a parameter with a default factory for one that must be given.
    estimators: list[str] = Field([], description="Estimators to store as well: snip, synflow, naswot, ..."),  # noqa: B008
    moments: bool = Field(False, description="Store the sums of gradients in every bin as well."),
    activations: bool = Field(False, description="Store histograms of what every cell puts out as well."),
    retry_failed: bool = Field(False, description="Run architectures that failed again."),
    download: bool = Field(False, description="Fetch CIFAR from its official address into data_dir."),
) -> Any:
    """Profile architectures, with the parameters of `sweetgrad.flows.profile`, as a flow that Prefect can start by itself.

    Where the work is done is no parameter: who connects to a Dask scheduler can run code, and a cluster names a class to import.
    The environment variables ``SWEETGRAD_SCHEDULER`` and ``SWEETGRAD_CLUSTER`` of the process say it, which `serve` can set.

    Returns
    -------
    State of the run: completed; *Interrupted* (of the type ``CANCELLED``) if architectures were left when it was told to stop. It
    fails with the message that `profile` gives.
    """
    asked = {name: value for name, value in locals().items() if name in inspect.signature(profile).parameters}
    asked |= {name: os.environ.get(variable) for name, variable in _PLACES.items()}
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


def serve(
    *,
    name: str = DEPLOYMENT_NAME,
    limit: int = 1,
    scheduler: str | None = None,
    cluster: str | Path | None = None,
    console: Console | None = None,
) -> None:
    """Offer the deployment to the Prefect server, and run what is asked of it on this machine; returns when interrupted.

    Parameters
    ----------
    name
        Name of the deployment, after ``sweetgrad/``.
    limit
        Runs at a time; others wait.
    scheduler, cluster
        Where all runs are to be done, as in `sweetgrad.flows.profile`; nobody who starts one can say another place.
    console
        Where to say how runs are started (default: standard error).

    Raises
    ------
    ValueError
        If no Prefect server is configured, the limit is less than 1, or there is no such cluster.
    ServerError
        If the Prefect server does not answer.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    check_workers(workers=None, scheduler=scheduler, cluster=cluster)
    if cluster is not None:
        read_cluster_config(cluster)  # what is wrong with it is said now, and not by each run
        cluster = Path(cluster).resolve()
    deployment = _deployment(name)
    os.environ.update(
        {_PLACES[key]: str(value) for key, value in (("scheduler", scheduler), ("cluster", cluster)) if value}
    )
    runner = Runner(limit=limit)
    runner.add_deployment(deployment)
    console = console or Console(stderr=True, highlight=False)
    console.print(
        f"Serving the deployment sweetgrad/{name}. Start runs in Prefect's UI, or with\n"
        f"prefect deployment run sweetgrad/{name} -p store=/path/to/store.zarr -p archs=0:100\n"
        "Ctrl-C ends serving, and the runs in hand after the networks in hand.",
        markup=False,
    )
    if is_open_to_web_pages():
        console.print(OPEN_TO_WEB_PAGES, markup=False)
    asked = threading.Event()
    # `Runner` kills its runs when a signal finds it in the main thread. In another thread it can be asked to stop.
    with (
        draining(asked, console=console, stopping="the runs in hand finish the networks in hand, and write them"),
        ThreadPoolExecutor(1) as thread,
    ):
        thread.submit(asyncio.run, _serve(runner, asked)).result()


def is_open_to_web_pages() -> bool:
    """Whether the configured server takes what a page of any site asks of it, in a browser that reaches the server."""
    if PREFECT_API_AUTH_STRING.value() or PREFECT_API_KEY.value():
        return False
    elsewhere = "https://elsewhere.invalid"
    try:
        answer = httpx.get(f"{PREFECT_API_URL.value()}/health", headers={"Origin": elsewhere}, timeout=5)
    except httpx.HTTPError:
        return False
    return answer.headers.get("access-control-allow-origin") in ("*", elsewhere)


async def _serve(runner: Runner, asked: threading.Event) -> None:
    serving = asyncio.create_task(runner.start())
    # A runner that has not started yet cannot be stopped.
    while not (asked.is_set() and runner.started) and not serving.done():
        await asyncio.sleep(0.2)
    if not serving.done():
        await runner.astop()
    await serving


def deploy(work_pool: str, *, name: str = DEPLOYMENT_NAME) -> None:
    """Deploy to a work pool, whose workers have sweetgrad installed, and leave.

    Raises
    ------
    ValueError
        If no Prefect server is configured.
    ServerError
        If it does not answer.
    """
    _deployment(name, work_pool_name=work_pool).apply()


def _deployment(name: str, **options: Any) -> RunnerDeployment:
    if PREFECT_API_URL.value() is None:
        raise ValueError(
            "no Prefect server is configured: start one with `prefect server start`, and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    require_server(PREFECT_API_URL.value())
    deployment = profile_deployment.to_deployment(
        name, description=_DESCRIPTION, entrypoint_type=EntrypointType.MODULE_PATH, **options
    )
    assert isinstance(deployment, RunnerDeployment)
    return deployment
