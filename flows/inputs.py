"""Options of a run, checked and resolved before anything is started: architectures, table of the space, device, blocks."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sweetgrad.profiling import SearchSpace, load_space, registry
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.profiling.estimators.histograms import cells_of
from sweetgrad.profiling.estimators.protocol import is_defined_for
from sweetgrad.profiling.own_code import is_reference
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION
from sweetgrad.store import ACTIVATIONS, COUNTS, STATISTICS, ProfileSpec
from sweetgrad.store.spaces import Grammar, grammar_of


def find_table(space: str, data_dir: str | Path | None, *, download: bool = False) -> Path | None:
    """The table of a search space under ``data_dir``, downloaded if it is missing and the space can; None if there is none."""
    if data_dir is None or is_reference(space):
        return None
    make = registry.load("spaces", space)
    places = [Path(data_dir) / place for place in getattr(make, "tables", (f"benchmarks/{space}.csv.gz",))]
    table = next((place for place in places if place.exists()), None)
    fetch = getattr(make, "fetch_table", None)
    if table is None and download and fetch is not None:
        table = fetch(Path(data_dir))
    return table


def listed_archs(space: str, table: str | Path) -> list[str]:
    """Architecture strings of a registered space in the order of a table."""
    return list(ArchIds(load_space(space, table=table)))


def package_grammar(space: str) -> Grammar | None:
    """The function ``canonical_arch`` of a third party's space; None if it has none, or there is no such space."""
    if grammar_of(space) is not None or space not in registry.names("spaces"):
        return None
    return getattr(registry.load("spaces", space), "canonical_arch", None)


def resolve_device(device: str, *, remote: bool) -> str:
    """``cpu`` or ``cuda`` for ``auto``; raises ``ValueError`` for an unknown device, or one missing here unless ``remote``."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not remote and not torch.cuda.is_available():
        raise ValueError("device cuda was requested, but torch finds no CUDA device here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


_NOT_IN_ALL = ("vkdnw", "sweet_bins")
"""Blocks of `STATISTICS` that ``all`` does not include: one costs as much time as all others together, one more space."""


def select_blocks(names: Sequence[str], *, task: str = IMAGE_CLASSIFICATION.name) -> tuple[str, ...]:
    """Blocks to measure beside the counts, each once.

    Parameters
    ----------
    names
        Names of blocks, in which ``all`` stands for those of sweetgrad that are sums and spectra and are defined for the task,
        without `_NOT_IN_ALL`; ``counts`` are measured anyway.
    task
        What the networks are to do.

    Examples
    --------
    >>> select_blocks(["counts", "moments", "synflow", "synflow"])
    ('moments', 'synflow')
    """
    own = [name for name in STATISTICS if name not in _NOT_IN_ALL] if "all" in names else []
    everything = [name for name in own if _is_for(task, "blocks", name)]
    chosen = [each for name in names for each in (everything if name == "all" else [name])]
    return tuple(name for name in dict.fromkeys(chosen) if name != COUNTS.name)


def select_estimators(names: Sequence[str], *, task: str) -> list[str]:
    """Estimators to compute, each once; ``all`` alone stands for all that are registered and are defined for the task."""
    if list(names) == ["all"]:
        return [name for name in registry.names("estimators") if _is_for(task, "estimators", name)]
    return list(dict.fromkeys(names))


def _is_for(task: str, group: registry.Group, name: str) -> bool:
    return is_defined_for(registry.load(group, name), task)


def require_cells(space: SearchSpace, rows: Sequence[int], spec: ProfileSpec, blocks: Sequence[str]) -> None:
    """Raise ``ValueError`` if activations are requested of a space whose networks do not name their cells."""
    if ACTIVATIONS.name in blocks and len(rows):
        shape = {"in_channels": spec.input_shape[0], "num_classes": spec.num_classes}
        cells_of(space.build(space.arch_id(rows[0]), **shape))


def check_label(label: str) -> None:
    """Raise ``ValueError`` for a label that cannot name a data set in the accuracy table, which is read as LABEL/SPLIT."""
    if not label or "/" in label or label.startswith("."):
        raise ValueError(f"expected a label without '/' that does not start with '.', such as digits; got {label!r}")
