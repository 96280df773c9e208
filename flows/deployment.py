"""Runs that are started from Prefect's UI, its API or a schedule: the flow that is served or deployed."""

import asyncio
import inspect
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_origin

import httpx
from prefect import flow
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL
from prefect.states import Cancelled, Completed
from prefect.types.entrypoint import EntrypointType
from pydantic import Field

from sweetgrad.flows.parameters import Parameter, parameters_of
from sweetgrad.flows.profile import profile
from sweetgrad.flows.server import require_server
from sweetgrad.profiling.own_code import is_reference

OPEN_TO_WEB_PAGES = (
    "Warning: the Prefect server has no password, and answers web pages of any site: any page in a browser can start runs here. "
    "Start it with PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:4200 and PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, "
    "and set PREFECT_API_AUTH_STRING to the same here."
)

_DESCRIPTION = """Measure the gradients of the architectures of a NAS benchmark, and keep them as histograms in a zarr store.

Rows that the store already holds are not measured again: the same parameters resume a run that was interrupted. Paths are those
of the machine where the run executes; use absolute ones."""


SCHEDULER_VARIABLE = "SWEETGRAD_SCHEDULER"
CLUSTER_VARIABLE = "SWEETGRAD_CLUSTER"


def _with_parameters_of(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a flow the parameters of a function, in types that JSON has, where Prefect reads them."""

    def decorate(run: Callable[..., Any]) -> Callable[..., Any]:
        fields = [
            _field(name, parameter)
            for name, parameter in parameters_of(function).items()
            if name not in ("scheduler", "cluster")
        ]
        described: Any = run  # a type checker knows no signature of a function
        described.__signature__ = inspect.Signature(fields)
        return run

    return decorate


def _field(name: str, parameter: Parameter) -> inspect.Parameter:
    annotation, default = parameter.annotation, parameter.default
    if name == "store" or isinstance(annotation, str):
        annotation = str
    elif Path in get_args(annotation):
        annotation = str | None
    elif get_origin(annotation) is Sequence:
        annotation, default = list[str], list(default)
    elif any(get_origin(member) is Mapping for member in get_args(annotation)):
        annotation, default = dict[str, Any], {}
    given = {} if default is inspect.Parameter.empty else {"default": default}
    field = Field(description=parameter.description, **given)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=field)


@flow(
    name="sweetgrad",
    description=_DESCRIPTION,
    version=version("sweetgrad"),
    flow_run_name="{space}/{dataset}/bs{batch_size}-seed{seed}",
)
@_with_parameters_of(profile)
def profile_deployment(**parameters: Any) -> Any:
    """Profile architectures, as a flow that Prefect can start by itself; parameters as in `sweetgrad.flows.profile`.

    Where a run executes is no parameter: anyone who connects to a Dask scheduler can run code, and a cluster names a class to
    import. The environment variables ``SWEETGRAD_SCHEDULER`` and ``SWEETGRAD_CLUSTER`` of the process say it; `serve` sets them.

    Returns
    -------
    State of the run: completed; *Interrupted* (of the type ``CANCELLED``) if architectures were left when it was told to stop. It
    fails with the message that `profile` gives.
    """
    # Prefect has set up logging before this module was loaded, so that Dask would log every step of its workers.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    for given in (parameters["space"], parameters["dataset"], *parameters["estimators"], *parameters["blocks"]):
        if is_reference(given):  # whoever reaches the server could run any file of this machine
            raise ValueError(f"a deployment runs registered code only, no file: got {given!r}")
    if parameters["archs"].startswith("@"):
        raise ValueError("a deployment reads no file of architectures: name them, or a range")
    scheduler, cluster = os.environ.get(SCHEDULER_VARIABLE), os.environ.get(CLUSTER_VARIABLE)
    summary = profile(**parameters, scheduler=scheduler, cluster=cluster)
    if summary.num_left:
        message = f"{summary.num_done} architectures done, {summary.num_left} left: the same parameters resume."
        return Cancelled(name="Interrupted", message=message)
    return Completed(
        message=f"{summary.num_done} architectures profiled in {summary.seconds:.0f} s; "
        f"{summary.num_failed} failed in the whole profile {summary.name}."
    )


def is_open_to_web_pages() -> bool:
    """Whether the configured server accepts requests of web pages of any site, in a browser that reaches the server."""
    if PREFECT_API_AUTH_STRING.value() or PREFECT_API_KEY.value():
        return False
    elsewhere = "https://elsewhere.invalid"
    try:
        answer = httpx.get(f"{PREFECT_API_URL.value()}/health", headers={"Origin": elsewhere}, timeout=5)
    except httpx.HTTPError:
        return False
    return answer.headers.get("access-control-allow-origin") in ("*", elsewhere)


async def run_until(runner: Runner, stop: threading.Event) -> None:
    """Run what is requested of a runner until ``stop`` is set, then stop it and what it runs."""
    serving = asyncio.create_task(runner.start())
    # A runner that has not started yet cannot be stopped.
    while not (stop.is_set() and runner.started) and not serving.done():
        await asyncio.sleep(0.2)
    if not serving.done():
        await runner.astop()
    await serving


def make_deployment(name: str, **options: Any) -> RunnerDeployment:
    """The deployment under this name, with further options of Prefect's `to_deployment`; parameters and errors as in `deploy`."""
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
