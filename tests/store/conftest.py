"""A small store with seeded, consistent content, and the steps by which tests make and damage it."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sweetgrad.store import (
    ACTIVATIONS,
    COUNTS,
    LAYER_TYPES,
    MOMENTS,
    NUM_BINS,
    STATISTICS,
    Block,
    Profile,
    ProfileSpec,
    Shard,
    Trainings,
    Variable,
    collect_trainings,
    create_profile,
    declare_block,
    empty_rows,
    profile_block,
)
from sweetgrad.store.training import create_training
from tests._scores import split_scores

ARCHS = [f"|op{i}~0|" for i in range(10)]
LAYERS = ["stem", "cell1", "head"]
_MADE: dict[str, dict[str, bytes]] = {}
AXES = {
    "tensor": {"stem.0": "stem", "cell1.0": "cell1", "head": "head"},
    "vector": {"cell1.1.weight": "cell1", "head.bias": "head"},
}
SHAPES = declare_block(
    "shapes",
    "A block of a package that is not installed.",
    Variable(
        "vector_moment", ("arch", "vector", "moment"), "float32", "1", "Moments of a scale, shift or bias.", np.nan
    ),
    Variable("num_odd", ("arch",), "uint16", "units", "Units that are odd."),
    cost="0",
    sizes={"moment": 2},
).measured_with({"order": 4, "mode": "train"})
BLOCKS = [STATISTICS["synflow"], SHAPES]
SHARD_SIZE = 4  # shards of 4, 4 and 2: the last one is cut by the edge


def make_spec(**changes: Any) -> ProfileSpec:
    archs = changes.pop("arch", ARCHS)
    settings: dict[str, Any] = {
        "space": "toy",
        "dataset": "synthetic",
        "batch_size": 2,
        "seed": 0,
        "num_classes": 10,
        "input_shape": (3, 8, 8),
        "batch_sha256": "0" * 64,
        "arch_sha256": hashlib.sha256("".join(f"{arch}\n" for arch in archs).encode()).hexdigest(),
    }
    return ProfileSpec(**{**settings, **changes})


def make_rows(rows: Sequence[int], *, failed: Sequence[int] = (), archs: Sequence[str] = ARCHS) -> xr.Dataset:
    """Rows whose content depends on the architecture alone, as a real measurement's does."""
    data = empty_rows([archs[i] for i in rows], rows, layers=LAYERS)
    for i, row in enumerate(rows):
        if row in failed:
            data["status"][i] = 2
            data["message"][i] = f"RuntimeError: out of memory in row {row}"
            continue
        rng = np.random.default_rng(row)
        data["grad_count"][i] = rng.poisson(2.0, size=(len(LAYERS), 2, NUM_BINS))
        data["grad_abs_sum"][i] = rng.random((len(LAYERS), 2))
        data["grad_sq_sum"][i] = rng.random((len(LAYERS), 2))
        data["layer_type"][i] = [LAYER_TYPES[name] for name in ("stem", "cell", "head")]
        data["loss"][i] = 2.3 + rng.random()
        data["profile_seconds"][i] = 0.5
        data["status"][i] = 1
    data["grad_count_network"][:] = data["grad_count"].sum("layer").transpose("arch", "kind", "bin")
    data["num_params"][:] = data["grad_count"].sum("bin")
    return data


def run_rows(store: Path, name: str, rows: Sequence[int], *, retry_failed: bool = False, **options: Any) -> list[Shard]:
    """What a flow does: plan, measure, write."""
    shards = Profile.open(store, name).plan(rows, retry_failed=retry_failed)
    for shard in shards:
        Profile.open(store, name).write(shard, {COUNTS: make_rows(shard.rows, **options)})
    return shards


def make_store(store: Path, rows: Sequence[int] = range(10), **options: Any) -> str:
    """A store with one profile, the given rows measured, stamped. Equal stores are made once and copied."""
    key = repr((list(rows), options))
    if key in _MADE:
        for relative, content in _MADE[key].items():
            (store / relative).parent.mkdir(parents=True, exist_ok=True)
            (store / relative).write_bytes(content)
        return make_spec().profile_name
    name = create_profile(store, make_spec(), arch=ARCHS, layers=LAYERS, shard_size=SHARD_SIZE).name
    run_rows(store, name, rows, **options)
    Profile.open(store, name).finalise()
    _MADE[key] = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return name


def make_full_store(store: Path) -> str:
    """`make_store` with every kind of column: estimators, moments, activations, blocks, an accuracy table and trainings."""
    key = "full"
    name = make_store(store)
    if key in _MADE:
        for relative, content in _MADE[key].items():
            (store / relative).parent.mkdir(parents=True, exist_ok=True)
            (store / relative).write_bytes(content)
        return name
    blocks = [profile_block("snip"), MOMENTS, ACTIVATIONS]
    Profile.open(store, name).add_blocks(blocks)
    for shard in Profile.open(store, name).plan(range(10), blocks):
        Profile.open(store, name).write(
            shard, split_scores(make_scores(list(shard.rows), ["snip", "moments", "activations"]))
        )
    add_blocks(store, name, BLOCKS, range(10))
    training = create_training(
        store, space="toy", label="digits", seed=0, arch=ARCHS, splits=("test",), settings={"recipe": {"epochs": 3}}
    ).name
    for row in range(10):
        values = {"accuracy": [50 + row], "train_seconds": 2.0, "loss": 0.5 + row, "message": "", "status": 1}
        Trainings.open(store, training).write_row(row, values)
    collect_trainings(store, space="toy", label="digits")
    _MADE[key] = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return name


def make_scores(rows: Sequence[int], estimators: Sequence[str]) -> xr.Dataset:
    """Scores of estimators, all ok, with the arrays of moments and activations; they depend on the row alone."""
    sizes = {"arch": len(rows), "layer": len(LAYERS), "kind": 2, "bin": NUM_BINS}
    each = (len(rows), len(estimators))
    data: dict[str, Any] = {
        "score": (("arch", "estimator"), np.outer(1.0 + np.array(rows), np.ones(len(estimators)))),
        "seconds": (("arch", "estimator"), np.full(each, 0.5, "float32")),
        "message": (("arch", "estimator"), np.full(each, "", dtype=object)),
        "status": (("arch", "estimator"), np.ones(each, "uint8")),
    }
    for block in (MOMENTS, ACTIVATIONS):
        for variable in block.contents if block.name in estimators else ():
            shape = [sizes[dim] for dim in variable.dims]
            values = [np.random.default_rng(row).poisson(3.0, shape[1:]) + 1 for row in rows]
            data[variable.name] = variable.dims, np.array(values).astype(variable.dtype)
    coords = {"arch": [ARCHS[i] for i in rows], "arch_index": ("arch", list(rows)), "estimator": list(estimators)}
    return xr.Dataset(data, coords=coords)


def add_blocks(store: Path, name: str, blocks: Sequence[Block], rows: Sequence[int], **options: Any) -> None:
    """What a flow does with blocks: create, plan, measure, write, stamp."""
    axes = options.pop("axes", AXES)
    Profile.open(store, name).add_blocks(blocks, axes=axes)
    profile = Profile.open(store, name)
    for shard in profile.plan(rows, blocks):
        profile.write(shard, {block: make_block_rows(block, shard.rows, axes=axes, **options) for block in blocks})
    Profile.open(store, name).finalise()


def make_block_rows(block: Block, rows: Sequence[int], *, failed: Sequence[int] = (), axes: Any = AXES) -> xr.Dataset:
    """Rows of a block; they depend on block and row alone."""
    sizes = {"layer": len(LAYERS), "eigenvalue": make_spec().batch_size, "class": make_spec().num_classes}
    sizes |= {axis: len(names) for axis, names in axes.items()} | dict(block.sizes)
    data: dict[str, Any] = {
        "seconds": ("arch", np.full(len(rows), 0.25, "float32")),
        "message": ("arch", np.array([f"ValueError: row {row}" if row in failed else "" for row in rows], object)),
        "status": ("arch", np.array([2 if row in failed else 1 for row in rows], "uint8")),
    }
    for variable in block.contents:
        shape = [sizes[dim] for dim in variable.dims[1:]]
        values = [np.random.default_rng(row).poisson(3.0, shape) + len(variable.name) for row in rows]
        data[variable.name] = variable.dims, np.array(values).astype(variable.dtype)
    return xr.Dataset(data, coords={"arch": [ARCHS[i] for i in rows], "arch_index": ("arch", list(rows))})


def contents(store: Path) -> dict[str, bytes]:
    """Every data file of a store (not the metadata, which holds dates), by relative path."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != "zarr.json"
    }


class Toy:
    """The functions above: tests run with --import-mode=importlib and cannot import this file."""

    archs, layers, shard_size = ARCHS, LAYERS, SHARD_SIZE
    axes, blocks, shapes = AXES, BLOCKS, SHAPES
    spec = staticmethod(make_spec)
    rows = staticmethod(make_rows)
    run = staticmethod(run_rows)
    store = staticmethod(make_store)
    full_store = staticmethod(make_full_store)
    scores = staticmethod(make_scores)
    add_blocks = staticmethod(add_blocks)
    block_rows = staticmethod(make_block_rows)
    contents = staticmethod(contents)


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy


def genotype(*, op: str = "skip_connect", reduce: str = "max_pool_3x3") -> str:
    """Text of a genotype in which every node has its first two earlier nodes as inputs."""
    normal = [
        (op, 0),
        (op, 1),
        ("skip_connect", 0),
        ("skip_connect", 2),
        *[("sep_conv_3x3", 1), ("sep_conv_5x5", 3)] * 2,
    ]
    return (
        f"Genotype(normal={normal}, normal_concat=[2, 3, 4, 5], "
        f"reduce={[(reduce, i) for i in (0, 1, 0, 1, 0, 1, 0, 1)]}, reduce_concat=[2, 3, 4, 5])"
    )


@pytest.fixture(name="genotype")
def _genotype() -> Callable[..., str]:
    return genotype
