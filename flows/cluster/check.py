"""Checks of a cluster that this program did not start: whether its workers can run shards."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from distributed import Client

from sweetgrad.flows.cluster.worker import threads_problem
from sweetgrad.store import Location
from sweetgrad.store.access import local_path
from sweetgrad.store.errors import how_to_install


def check_cluster(client: Client, *, store: Location, device: str) -> list[str]:
    """Ask every worker, and the scheduler, for their versions, devices and access to the store.

    Parameters
    ----------
    client
        Client of a cluster with at least one worker.
    store
        Store of the run. A folder must be the same folder for the workers; a URL (``s3://…``) is not checked.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    Differences between machines that may change last bits of gradients: the CPU capability, by host.

    Raises
    ------
    ValueError
        If sweetgrad or torch is missing or of another version somewhere, or if a worker has several threads, no GPU where one is
        needed, or no access to the store. The message names the host of each, and what to do.
    """
    is_folder = isinstance(store, str | Path) and "://" not in str(store)
    marker = local_path(store) / f"{uuid.uuid4().hex}.partial" if is_folder else None
    try:
        if marker is not None:
            marker.touch()  # a new name: a network file system cannot answer for it from a cache
        answers = client.run(_asker(str(marker or "")), on_error="return")
    finally:
        if marker is not None:
            marker.unlink(missing_ok=True)
    info = client.scheduler_info(n_workers=-1)["workers"]
    problems = [
        f"  worker {address} on {_host(facts)}: {problem}"
        for address, facts in answers.items()
        if (problem := _problem(facts, info.get(address, {}), store=store, device=device))
    ]
    scheduler_facts = client.run_on_scheduler(_asker(""))
    if problem := _software_problem(scheduler_facts):
        problems.append(f"  scheduler on {_host(scheduler_facts)}: {problem}")
    if problems:
        raise ValueError("not every part of the cluster can run this:\n" + "\n".join(problems))
    return _differences(answers.values()) if device == "cpu" else []


def _asker(marker: str) -> Callable[[], dict[str, Any]]:
    def ask() -> dict[str, Any]:
        # A local function is pickled by value, so that a worker without sweetgrad can run it, too.
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


def _problem(facts: Any, info: Mapping[str, Any], *, store: Location, device: str) -> str:
    """Why a worker cannot run shards; empty if it can."""
    if software := _software_problem(facts):
        return software
    if threads := threads_problem(info.get("nthreads", 1)):
        return threads
    if device == "cuda" and not facts["cuda"]:
        return "torch finds no CUDA device there: use --device cpu, or start workers where there is a GPU"
    if device == "cuda" and not info.get("resources", {}).get("GPU"):
        return "it has no resource GPU, which every shard requires: start it with --resources GPU=1"
    if not facts["sees_store"]:
        return (
            f"it does not see the folder {store}, or sees a different one of that name: use a path on a disk that all machines "
            "share, or a URL such as s3://…"
        )
    if not facts["writes_store"]:
        return f"it has no write access to {store}: grant it to its user"
    return ""


def _software_problem(facts: Any) -> str:
    if isinstance(facts, BaseException):
        return f"it did not answer: {type(facts).__name__}: {facts}"
    if "missing" in facts:
        return f"{facts['missing']}: {how_to_install('profile')}, and install sweetgrad {version('sweetgrad')} there"
    if facts["sweetgrad"] != version("sweetgrad"):
        return (
            f"it has sweetgrad {facts['sweetgrad']}, this machine has {version('sweetgrad')}: install the same version"
        )
    # "2.6.0+cpu" here and "2.6.0+cu124" there are the same release.
    theirs, ours = (text.partition("+")[0] for text in (facts["torch"], str(torch.__version__)))
    if theirs != ours:
        return f"it has torch {theirs}, this machine has {ours}, which the profile's provenance names: install the same version"
    return ""


def _differences(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    ours = torch.backends.cpu.get_cpu_capability()
    others = sorted(
        {(worker["cpu_capability"], worker["host"]) for worker in facts if worker["cpu_capability"] != ours}
    )
    return [
        f"cpu_capability is {theirs} on {host}, and {ours} here, which the provenance names" for theirs, host in others
    ]


def _host(facts: Any) -> str:
    return str(facts["host"]) if isinstance(facts, dict) else "an unknown host"
