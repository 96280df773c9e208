"""All 423,624 graphs of NAS-Bench-101 and their accuracies, packed in one ``.npz`` file of a few megabytes.

Row by row, in the order of the benchmark, which is that of its graph hashes::

    n_vertices  u1       vertices, input and output included
    adj_bits    u4       an edge x -> y is bit x + y (y - 1) / 2
    ops         u1 (5)   operations of the inner vertices: 0 conv3x3, 1 conv1x1, 2 maxpool3x3, 9 none
    test_acc_mean3       accuracy after 108 epochs on the test images, mean of three runs, as a fraction
    valid_acc_1run_e4_first20001, …    of one run after 4, 12, 36 and 108 epochs on the validation images, of the first rows only
"""

import itertools
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweetgrad.store.access import read_arrays
from sweetgrad.store.spaces.graphs import MAX_VERTICES, read_edges

_GRAPHS = ("n_vertices", "adj_bits", "ops")
_TEST = "test_acc_mean3"
_TEST_EPOCHS = 108
_VALID = re.compile(r"valid_acc_1run_e(\d+)_first\d+")
_OPS = ("conv3x3", "conv1x1", "maxpool3x3")
_NO_OP = 9


def is_whole(path: Path) -> bool:
    """Whether a file is a zip archive with the arrays of the graphs."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in _GRAPHS} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_graphs(path: Path) -> list[str]:
    """Architecture strings of all graphs, in the order of the file.

    Raises
    ------
    ValueError
        If the file is damaged, or a row is not a graph of the space or occurs twice; the message has its number.
    """
    arrays = read_arrays(path, _GRAPHS)
    num_vertices, bits, ops = (arrays[name] for name in _GRAPHS)
    if num_vertices.ndim != 1 or bits.shape != num_vertices.shape or ops.shape != (len(num_vertices), MAX_VERTICES - 2):
        raise ValueError(
            f"{path}: expected n_vertices and adj_bits of one length, and ops of that many rows and {MAX_VERTICES - 2} columns, "
            f"got the shapes {num_vertices.shape}, {bits.shape} and {ops.shape}"
        )
    if any(array.dtype.kind not in "iu" for array in (num_vertices, bits, ops)):
        raise ValueError(f"{path}: expected whole numbers, got {num_vertices.dtype}, {bits.dtype} and {ops.dtype}")
    archs = np.empty(len(num_vertices), dtype=object)
    for size in range(2, MAX_VERTICES + 1):
        rows = np.flatnonzero(num_vertices == size)
        archs[rows] = _adjacencies(bits[rows], size, rows, path) + _operations(ops[rows], size, rows, path)
    outside = np.flatnonzero((num_vertices < 2) | (num_vertices > MAX_VERTICES))
    if outside.size:
        raise ValueError(
            f"{path}, row {outside[0]}: n_vertices must be 2 to {MAX_VERTICES}, got {num_vertices[outside[0]]}"
        )
    found = archs.tolist()
    if len(set(found)) < len(found):
        first: dict[str, int] = {}
        row = next(row for row, arch in enumerate(found) if first.setdefault(arch, row) != row)
        raise ValueError(f"{path}: rows {first[found[row]]} and {row} have the same graph, {found[row]}")
    return found


def read_accuracies(path: Path) -> pd.DataFrame:
    """Tidy table of the accuracies of all graphs in %: ``test`` is the mean of three runs, ``valid-1run`` is of a single one.

    Raises
    ------
    ValueError
        As in `read_graphs`, or if an accuracy is missing or is not of as many rows.
    """
    archs = np.array(read_graphs(path), dtype=object)
    with zipfile.ZipFile(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist()]
    single = {name: int(match[1]) for name in names if (match := _VALID.fullmatch(name))}
    arrays = read_arrays(path, (_TEST, *single))
    columns = [(_TEST, "test", _TEST_EPOCHS), *((name, "valid-1run", epochs) for name, epochs in single.items())]
    parts = []
    for name, split, epochs in columns:
        values = arrays[name]
        # Single runs are of the first rows alone.
        least = len(archs) if name == _TEST else 0
        if values.ndim != 1 or values.dtype.kind != "f" or not least <= len(values) <= len(archs):
            raise ValueError(
                f"{path}: {name} must have a fraction for each graph, got {values.dtype} of shape {values.shape}"
            )
        # Single precision has seven digits; the published numbers have fewer.
        accuracy = np.round(values.astype(np.float64) * 100, 4)
        part = {
            "arch": archs[: len(values)],
            "dataset": "cifar10",
            "split": split,
            "epochs": epochs,
            "accuracy": accuracy,
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _adjacencies(bits: NDArray[np.integer], size: int, rows: NDArray[np.intp], path: Path) -> NDArray[np.object_]:
    """Upper triangles, row by row, each checked to be a graph of the space."""
    pairs = list(itertools.combinations(range(size), 2))
    different, which = np.unique(bits.astype(np.int64), return_inverse=True)
    texts = np.empty(len(different), dtype=object)
    for place, number in enumerate(different.tolist()):
        text = "".join("01"[number >> (x + y * (y - 1) // 2) & 1] for x, y in pairs)
        try:
            if number >> len(pairs):
                raise ValueError(f"{size} vertices have {len(pairs)} pairs, got the bits {number:#x}")
            read_edges(text)
        except ValueError as error:
            row = rows[np.flatnonzero(which == place)[0]]
            raise ValueError(f"{path}, row {row}, adj_bits: {error}") from None
        texts[place] = text + ":"
    return texts[which]


def _operations(ops: NDArray[np.integer], size: int, rows: NDArray[np.intp], path: Path) -> NDArray[np.object_]:
    """Operations of the inner vertices, joined."""
    inner, rest = ops[:, : size - 2].astype(np.int64), ops[:, size - 2 :]
    wrong = np.flatnonzero((inner < 0).any(1) | (inner >= len(_OPS)).any(1) | (rest != _NO_OP).any(1))
    if wrong.size:
        raise ValueError(
            f"{path}, row {rows[wrong[0]]}, ops: expected 0 to {len(_OPS) - 1} for {size - 2} inner vertices and {_NO_OP} after "
            f"them, got {ops[wrong[0]].tolist()}"
        )
    texts = np.array([";".join(names) for names in itertools.product(_OPS, repeat=size - 2)], dtype=object)
    weights = len(_OPS) ** np.arange(size - 3, -1, -1)
    return texts[inner @ weights.astype(np.int64)]
