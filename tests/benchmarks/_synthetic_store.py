"""A store as large as a whole space, with counts as a network's gradients have them: log-normal, scaled by layer.

Run as a program: ``python _synthetic_store.py FOLDER SCALE`` makes ``FOLDER/store.zarr`` and ``FOLDER/accuracy.npz``.
"""

import sys
from pathlib import Path

import numpy as np
import zarr
from scipy.special import ndtr

from sweetgrad.store import LAYER_TYPES, ProfileSpec, create_profile, edges_f32, finalise_profile

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
    arch_sha256="0" * 64,
)


def make_store(folder: Path, *, scale: int = 1) -> None:
    """Write the store shard by shard, straight into its arrays, then the accuracy that belongs to it."""
    arch = [f"|architecture~{i:07d}|" for i in range(NUM_ARCHS * scale)]
    name = create_profile(folder / "store.zarr", SPEC, arch=arch, layers=LAYERS, shard_size=SHARD)
    group = zarr.open_group(folder / "store.zarr", mode="r+", use_consolidated=False)[name]
    random = np.random.RandomState(0)
    quality = random.normal(size=len(arch))
    for start in range(0, len(arch), SHARD):
        rows = slice(start, start + SHARD)
        write_rows(group, rows, quality[rows], random)
    accuracy = 90 + 3 * quality + random.normal(size=len(arch))
    np.savez(folder / "accuracy.npz", arch=np.array(arch), accuracy=accuracy)
    finalise_profile(folder / "store.zarr", name)


def write_rows(group: zarr.Group, rows: slice, quality: np.ndarray, random: np.random.RandomState) -> None:
    """Draw and write the counts of one shard."""
    num = len(quality)
    types = [LAYER_TYPES[layer.rstrip("0123456789")] for layer in LAYERS]
    # Widths of NAS-Bench-201: 16, 32 and 64 channels; up to six 3x3 convolutions a cell, some of them dead.
    width = np.array([16] * 6 + [32] * 6 + [64] * 7)
    params = np.stack(
        [9 * width**2 * random.randint(0, 7, (num, len(LAYERS))), np.broadcast_to(64 * width, (num, 19))], -1
    )
    params[random.random_sample((num, len(LAYERS))) < 0.1, 0] = 0
    dead = (params * random.choice([0, 0.2, 1], (num, 1, 1), p=[0.7, 0.25, 0.05])).astype(np.int64)
    centre = -8.5 + quality[:, None] + 0.05 * np.arange(len(LAYERS)) + random.normal(size=(num, len(LAYERS))) * 0.3
    z = (np.log(edges_f32().astype(np.float64)) - centre[..., None]) / 1.4
    below = np.concatenate([np.zeros((*centre.shape, 1)), ndtr(z), np.ones((*centre.shape, 1))], axis=-1)
    ends = np.rint(below[:, :, None, :] * (params - dead)[..., None]).astype(np.int64)
    noisy = np.sort(ends[..., 1:-1] + random.randint(-2, 3, ends[..., 1:-1].shape), axis=-1)
    ends[..., 1:-1] = np.clip(noisy, 0, ends[..., -1:])
    counts = np.concatenate([dead[..., None], np.diff(ends, axis=-1), np.zeros_like(dead)[..., None]], axis=-1)
    values = {
        "grad_count": counts,
        "grad_count_network": counts.sum(axis=1),
        "num_params": params,
        "layer_type": np.broadcast_to(types, centre.shape),
        "loss": random.normal(2.34, 0.04, num),
        "status": np.ones(num),
    }
    for key, value in values.items():
        group[key][rows] = value.astype(group[key].dtype)


if __name__ == "__main__":
    make_store(Path(sys.argv[1]), scale=int(sys.argv[2]))
