"""NDS (Radosavovic et al. 2019): trained networks of the DARTS, ENAS, PNAS, NASNet and Amoeba spaces, in JSON.

A file (which may be compressed, ``.json.gz``) is a list of entries, or a dictionary of two lists, ``top`` and ``mid``. Two parts
of an entry are read: ``net``, with ``genotype`` (normal, normal_concat, reduce, reduce_concat), ``width`` and ``depth``; and
``test_ep_top1``, the test error after each epoch in %. The label is 100 minus the last error.

Entries have no names. `nds_id` makes one from what determines the network: genotype, width and depth. (The auxiliary head is
used only in training, and is not included.)
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sweetgrad.store.benchmarks.opening import DAMAGED, Progress, open_table, read_json
from sweetgrad.store.benchmarks.tidy import COLUMNS, mean_of_known
from sweetgrad.store.spaces.genotypes import parse_genotype

_LISTS = ("top", "mid")


def is_json(path: Path) -> bool:
    """Whether a file, compressed or not, begins like JSON."""
    try:
        with open_table(path) as file:
            return file.read(64).lstrip()[:1] in (b"[", b"{")
    except (ValueError, OSError, *DAMAGED):
        return False


def nds_id(net: Mapping[str, Any]) -> str:
    """Architecture string of the ``net`` of an entry.

    Raises
    ------
    ValueError
        If its genotype, width or depth is missing or invalid.

    Examples
    --------
    >>> cell = {name: [["skip_connect", 0], ["skip_connect", 1]] for name in ("normal", "reduce")}
    >>> nds_id({"genotype": {**cell, "normal_concat": [2], "reduce_concat": [2]}, "width": 16, "depth": 8})[-21:]
    '[2]);width=16;depth=8'
    """
    genotype = net.get("genotype")
    if not isinstance(genotype, dict):
        raise ValueError(
            f"its net has no genotype, but {', '.join(map(str, list(net)[:5])) or 'nothing'}. "
            "Networks of blocks (ResNet) are not read"
        )
    for name in ("width", "depth"):
        if type(net.get(name)) is not int or not 0 < net[name] < 1 << 16:
            raise ValueError(f"its {name} must be a positive integer, got {net.get(name)!r}")
    return f"{parse_genotype(genotype)};width={net['width']};depth={net['depth']}"


def entry_id(entry: Any) -> str:
    """Architecture string of an entry.

    Raises
    ------
    ValueError
        If it has no ``net``, or as for `nds_id`.
    """
    net = entry.get("net") if isinstance(entry, dict) else None
    if not isinstance(net, dict):
        raise ValueError("it has no net")
    return nds_id(net)


def load_entries(path: Path) -> list[Any]:
    """Entries of a file as stored, ``top`` before ``mid``.

    Raises
    ------
    ValueError
        If there is no such file, or it is not a list of entries.
    """
    expected = (
        f"expected a list of entries, or a dictionary of the lists {' and '.join(_LISTS)}, as in the files of NDS"
    )
    content = read_json(path, expected)
    described = _described(content)
    if isinstance(content, dict) and all(isinstance(content.get(name), list) for name in _LISTS):
        content = [entry for name in _LISTS for entry in content[name]]
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path} is {described}: {expected}")
    return content


def require_entries(path: Path) -> None:
    """Raise ValueError, which describes the content of a JSON file, unless its first entry is a network of NDS."""
    others = "a result of NAS-Bench-301, with optimized_hyperparamater_config, or a table as csv or parquet"
    try:
        first = load_entries(path)[0]
    except ValueError as error:
        raise ValueError(f"{error}; or {others}") from error
    if not isinstance(first, dict) or not {"net", "test_ep_top1"} & set(first):
        raise ValueError(
            f"{path} is JSON, {_described([first])}, but not a known table: expected the networks of NDS, with net and "
            f"test_ep_top1, {others}"
        )


def _described(content: Any) -> str:
    """Short description of the content of a JSON file."""
    if isinstance(content, dict):
        keys = ", ".join(repr(key)[:40] for key in list(content)[:5])
        return f"a dictionary with {keys or 'nothing'}{', …' if len(content) > 5 else ''}"
    if isinstance(content, list) and content:
        return f"a list whose first entry is {_described(content[0]) if isinstance(content[0], dict) else _kind(content[0])}"
    return "an empty list" if content == [] else _kind(content)


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")


def read_entries(path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Read the accuracies on the test set after the last epoch; entries of one network are averaged.

    Returns
    -------
    Tidy table in the order of the file; NaN for entries without a label. The data set is imagenet if the name of the file ends in
    ``_in``, as the publishers name theirs, and cifar10 otherwise.

    Raises
    ------
    ValueError
        If the file is not such JSON, or an entry is invalid; the message has its number.
    """
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    entries = load_entries(path)
    for number, entry in enumerate(entries):
        try:
            found[entry_id(entry), _num_epochs(entry)].append(_label(entry))
        except ValueError as error:
            raise ValueError(f"{path}, entry {number} (counted from 0): {error}") from error
        if progress is not None and (number % 256 == 0 or number + 1 == len(entries)):
            progress(number + 1, len(entries))
    dataset = "imagenet" if path.name.split(".")[0].endswith("_in") else "cifar10"
    rows = [
        (arch, dataset, "test", epochs, mean_of_known(values), math.nan) for (arch, epochs), values in found.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _num_epochs(entry: dict[str, Any]) -> int:
    """Epochs of the schedule: those that were run or, for an entry without a label, those that were planned."""
    errors = entry.get("test_ep_top1")
    if isinstance(errors, list) and errors:
        return len(errors)
    optim = entry.get("optim")
    planned = optim.get("max_ep") if isinstance(optim, dict) else None
    return planned if type(planned) is int and planned >= 0 else 0


def _label(entry: dict[str, Any]) -> float:
    errors = entry.get("test_ep_top1")
    if errors is None or errors == []:
        return math.nan
    last = errors[-1] if isinstance(errors, list) else errors
    if type(last) not in (int, float) or not (math.isnan(last) or 0 <= last <= 100):
        raise ValueError(f"its last test error must be a percentage from 0 to 100, got {last!r}")
    return 100.0 - float(last)
