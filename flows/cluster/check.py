"""Whether the workers of a cluster that we did not start can do the work: asked before the first shard is."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from distributed import Client

from sweetgrad.flows.runs.worker import threads_problem
from sweetgrad.store import Location
from sweetgrad.store.access import local_path
from sweetgrad.store.packages import how_to_install


def check_cluster(client: Client, *, store: Location, device: str) -> list[str]:
    """Ask every worker, and the scheduler, what it has.

    Parameters
    ----------
    client
        Client of a cluster with at least one worker.
    store
        Store of the run. A folder must be the same folder for the workers; an address (``s3://…``) is not looked at.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    What may move last bits of gradients, and is not the same on all machines: the CPU capability, by host.

    Raises
    ------
    ValueError
        If sweetgrad or torch is missing or of another version somewhere, or if a worker has several threads, no GPU where one is
        needed, or does not see the store. The message names the host of each, and what to do.
    """
    is_folder = isinstance(store, str | Path) and "://" not in str(store)
    marker = local_path(store) / f"{uuid.uuid4().hex}.partial" if is_folder else None
    try:
        if marker is not None:
            marker.touch()  # a new name: a network file system cannot answer for it from a cache
        facts = client.run(_asker(str(marker or "")), on_error="return")
    finally:
        if marker is not None:
            marker.unlink(missing_ok=True)
    info = client.scheduler_info(n_workers=-1)["workers"]
    problems = [
        f"  worker {address} on {_host(found)}: {problem}"
        for address, found in facts.items()
        if (problem := _problem(found, info.get(address, {}), store=store, device=device))
    ]
    found = client.run_on_scheduler(_asker(""))
    if problem := _software_problem(found):
        problems.append(f"  scheduler on {_host(found)}: {problem}")
    if problems:
        raise ValueError("not every part of the cluster can do this work:\n" + "\n".join(problems))
    return _differences(facts.values()) if device == "cpu" else []


def _asker(marker: str) -> Callable[[], dict[str, Any]]:
    def ask() -> dict[str, Any]:
        # A local function travels by value, so that a worker without sweetgrad can be asked, too.
        import importlib.metadata
        import os
        import socket

        facts: dict[str, Any] = {"host": socket.gethostname(), "cuda": False}
        try:
            facts["sweetgrad"] = importlib.metadata.version("sweetgrad")
            import torch

            import sweetgrad.profiling  # noqa: F401

            facts["torch"], facts["cuda"] = str(torch.__version__), torch.cuda.is_available()
            facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        except ImportError as error:
            facts["missing"] = str(error)
        folder = os.path.dirname(marker)  # noqa: PTH120 - os alone is imported everywhere
        facts["sees_store"] = not marker or os.path.exists(marker)  # noqa: PTH110
        facts["writes_store"] = not marker or os.access(folder, os.W_OK)
        return facts

    return ask


def _problem(found: Any, info: Mapping[str, Any], *, store: Location, device: str) -> str:
    """What is wrong with a worker; empty if nothing is."""
    if software := _software_problem(found):
        return software
    if threads := threads_problem(info.get("nthreads", 1)):
        return threads
    if device == "cuda" and not found["cuda"]:
        return "torch finds no CUDA device there: use --device cpu, or start workers where there is a GPU"
    if device == "cuda" and not info.get("resources", {}).get("GPU"):
        return "it offers no resource GPU, which every shard asks for: start it with --resources GPU=1"
    if not found["sees_store"]:
        return (
            f"it does not see the folder {store}, or sees another one of that name: give the store a path on a disk that all "
            "machines share, or an address such as s3://…"
        )
    if not found["writes_store"]:
        return f"it must not write to {store}: give its user write access"
    return ""


def _software_problem(found: Any) -> str:
    if isinstance(found, BaseException):
        return f"it did not answer: {type(found).__name__}: {found}"
    if "missing" in found:
        return f"{found['missing']}: {how_to_install('profile')}, and install sweetgrad {version('sweetgrad')} there"
    if found["sweetgrad"] != version("sweetgrad"):
        return (
            f"it has sweetgrad {found['sweetgrad']}, this machine has {version('sweetgrad')}: install the same version"
        )
    # "2.6.0+cpu" here and "2.6.0+cu124" there are the same release.
    theirs, ours = (text.partition("+")[0] for text in (found["torch"], str(torch.__version__)))
    if theirs != ours:
        return f"it has torch {theirs}, this machine has {ours}, which the profile's provenance names: install the same version"
    return ""


def _differences(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    ours = torch.backends.cpu.get_cpu_capability()
    others = sorted({(found["cpu_capability"], found["host"]) for found in facts if found["cpu_capability"] != ours})
    return [
        f"cpu_capability is {theirs} on {host}, and {ours} here, which the provenance names" for theirs, host in others
    ]


def _host(found: Any) -> str:
    return str(found["host"]) if isinstance(found, dict) else "an unknown host"
