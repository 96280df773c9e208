"""What flows make of their options before anything is started: the table of a space, the device, who does the work."""

from pathlib import Path
from typing import Any

import torch

from sweetgrad.profiling import load_space, registry
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.store.spaces import Grammar, grammar_of

__all__ = ["check_label", "check_workers", "find_table", "listed_archs", "package_grammar", "resolve_device"]


def find_table(space: str, data_dir: str | Path | None, *, download: bool = False) -> Path | None:
    """The table of a search space under ``data_dir``, fetched if it is not there and the space can; None if there is none."""
    if data_dir is None:
        return None
    make = registry.load("spaces", space)
    places = [Path(data_dir) / place for place in getattr(make, "tables", (f"benchmarks/{space}.csv.gz",))]
    found = next((place for place in places if place.exists()), None)
    fetch = getattr(make, "fetch_table", None)
    if found is None and download and fetch is not None:
        return fetch(Path(data_dir))  # type: ignore[no-any-return]
    return found


def listed_archs(space: str, table: str | Path) -> list[str]:
    """Architecture strings of a registered space in the order of a table."""
    return list(ArchIds(load_space(space, table=table)))


def package_grammar(space: str) -> Grammar | None:
    """What a third party's space says of its strings, its function ``canonical_arch``; None if it has none, or none is there."""
    if grammar_of(space) is not None or space not in registry.names("spaces"):
        return None
    return getattr(registry.load("spaces", space), "canonical_arch", None)


def resolve_device(device: str, *, remote: bool) -> str:
    """``cpu`` or ``cuda`` for ``auto``; raises ``ValueError`` for one that is no device, or not here, unless it is ``remote``."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not remote and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no CUDA device here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def check_workers(*, workers: int | None, scheduler: str | None, cluster: Any) -> None:
    """Raise ``ValueError`` for fewer than one worker, or a running cluster and one to be built."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if scheduler is not None and cluster is not None:
        raise ValueError(
            f"either a scheduler or a cluster, not both: got {scheduler}, a cluster that runs, and {cluster}, which builds one"
        )


def check_label(label: str) -> None:
    """Raise ``ValueError`` for a label that cannot name a data set in the accuracy table, of which LABEL/SPLIT is asked for."""
    if not label or "/" in label or label.startswith("."):
        raise ValueError(f"a label is a name without '/' that does not begin with '.', such as digits; got {label!r}")
