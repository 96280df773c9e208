"""A store of any size that `verify` finds in order, with counts as a network's gradients have them: log-normal, scaled by layer.

Rows are drawn for some shards only. The chunk files of all other shards are copies of theirs; names and digests are every row's
own. Run as a program, it makes ``FOLDER/store.zarr`` and ``FOLDER/accuracy.npz``:

    python tests/benchmarks/_synthetic_store.py FOLDER [--archs 15625] [--distinct-shards 25]
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from scipy.special import ndtr

from sweetgrad.store import (
    COUNTS,
    LAYER_TYPES,
    NUM_BINS,
    Profile,
    ProfileSpec,
    bin_bounds,
    create_profile,
    edges_f32,
    empty_rows,
)

NUM_ARCHS = 15_625
SHARD = 625
LAYERS = ["stem", *(f"cell{i}" for i in range(5)), "reduction0", *(f"cell{i}" for i in range(5, 10)), "reduction1"]
LAYERS += [*(f"cell{i}" for i in range(10, 15)), "head"]
SPEC = ProfileSpec(
    space="synthetic-space",
    dataset="synthetic",
    batch_size=64,
    seed=42,
    num_classes=10,
    input_shape=(3, 32, 32),
    batch_sha256="0" * 64,
    arch_sha256="",
)


def make_store(folder: Path, *, num_archs: int = NUM_ARCHS, distinct_shards: int = 25) -> None:
    """Write the store shard by shard, then the accuracy that belongs to it."""
    arch = [f"|synthetic~0|+|architecture~{i:07d}|" for i in range(num_archs)]
    spec = replace(SPEC, arch_sha256=sha256("".join(f"{name}\n" for name in arch).encode()).hexdigest())
    name = create_profile(folder / "store.zarr", spec, arch=arch, layers=LAYERS, shard_size=SHARD).name
    arrays = dict(zarr.open_group(folder / "store.zarr" / name, mode="r+", use_consolidated=False).arrays())
    random = np.random.RandomState(0)
    shards = Profile.open(folder / "store.zarr", name).plan(range(num_archs))
    # A last shard that is not whole cannot be a copy of another.
    whole = [shard for shard in shards if len(shard.rows) == SHARD]
    drawn = [*whole[:distinct_shards], *(shard for shard in shards if len(shard.rows) < SHARD)]
    quality, rows = np.empty(num_archs), []
    for shard in drawn:
        quality[shard.start : shard.stop] = random.normal(size=len(shard.rows))
        new = draw_rows(arch[shard.start : shard.stop], shard.rows, quality[shard.start : shard.stop], random)
        Profile.open(folder / "store.zarr", name).write(shard, {COUNTS: new})
        rows.append(new)
    copied = [v.name for v in COUNTS.variables if v.name != "digest"]
    for shard in whole[distinct_shards:]:
        original = shard.index % distinct_shards
        for variable in copied:
            copy_chunk(folder / "store.zarr" / name / variable, arrays[variable].ndim, original, shard.index)
        here = rows[original].assign_coords(arch=arch[shard.start : shard.stop])
        arrays["digest"][shard.start : shard.stop] = COUNTS.digests(here["arch"].values, here)
        quality[shard.start : shard.stop] = quality[original * SHARD : (original + 1) * SHARD]
    accuracy = 90 + 3 * quality + random.normal(size=num_archs)
    Profile.open(folder / "store.zarr", name).finalise()
    np.savez(folder / "accuracy.npz", arch=np.array(arch), accuracy=accuracy)


def copy_chunk(array: Path, ndim: int, original: int, index: int) -> None:
    """Copy the file of one shard; there is none where all is fill values."""
    source, target = (array / "c" / "/".join([str(i), *["0"] * (ndim - 1)]) for i in (original, index))
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def draw_rows(
    arch: Sequence[str], index: Sequence[int], quality: np.ndarray, random: np.random.RandomState
) -> xr.Dataset:
    """Draw the rows of some architectures."""
    num = len(arch)
    types = [LAYER_TYPES[layer.rstrip("0123456789")] for layer in LAYERS]
    # Widths of NAS-Bench-201, 16, 32 and 64 channels. One cell all over a network; of its six edges, some are convolutions.
    width = np.array([16] * 6 + [32] * 6 + [64] * 7)
    edges = random.multinomial(6, [0.2, 0.2, 0.6], size=num)[:, :2]  # of 3x3, of 1x1
    weights = (edges @ [9, 1])[:, None] * width**2
    others = edges.sum(axis=1)[:, None] * 2 * width
    weights[:, [0, 6, 12, 18]], others[:, [0, 6, 12, 18]] = [432, 14_336, 57_344, 640], [32, 128, 256, 138]
    params = np.stack([weights, others], axis=-1)
    dead = (params * random.choice([0, 0.2, 1], (num, 1, 1), p=[0.7, 0.25, 0.05])).astype(np.int64)
    centre = -8.5 + quality[:, None] + 0.05 * np.arange(len(LAYERS)) + random.normal(size=(num, len(LAYERS))) * 0.3
    z = (np.log(edges_f32().astype(np.float64)) - centre[..., None]) / 1.4
    below = np.concatenate([np.zeros((*centre.shape, 1)), ndtr(z), np.ones((*centre.shape, 1))], axis=-1)
    counts = np.zeros((*params.shape, NUM_BINS), dtype=np.int64)
    counts[..., 0] = dead
    counts[..., 1:-1] = random.poisson(np.diff(below)[:, :, None, :] * (params - dead)[..., None])
    lower, upper = bin_bounds()
    middle = np.nan_to_num(np.where(np.isfinite(upper), (lower + upper) / 2, 0)).astype(np.float32).astype(np.float64)
    rows = empty_rows(arch, index, layers=LAYERS)
    for name, values in {
        "grad_count": counts,
        "grad_count_network": counts.sum(axis=1),
        "grad_abs_sum": (counts @ middle).astype(np.float32),
        "grad_sq_sum": (counts @ middle**2).astype(np.float32),
        "num_params": counts.sum(axis=-1),
        "layer_type": np.broadcast_to(types, centre.shape),
        "loss": random.normal(2.34, 0.04, num),
        "profile_seconds": random.normal(0.3, 0.05, num),
        "status": np.ones(num),
    }.items():
        rows[name].values[...] = values
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--archs", type=int, default=NUM_ARCHS)
    parser.add_argument("--distinct-shards", type=int, default=25)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    make_store(options.folder, num_archs=options.archs, distinct_shards=options.distinct_shards)
