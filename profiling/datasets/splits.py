"""Which images train a network, and which judge it: a fixed, seeded, stratified cut of a data set."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified_split"]


def stratified_split(y: NDArray[np.int64], sizes: Mapping[str, int], *, seed: int) -> dict[str, NDArray[np.int64]]:
    """Cut images into parts in which classes have the same shares, up to one image.

    Parameters
    ----------
    y
        Labels.
    sizes
        Images of each part by its name; together at most as many as there are.
    seed
        Seed of the draw; the same seed gives the same parts on every platform.

    Returns
    -------
    Positions of the images of each part, ascending; no image is in two.

    Raises
    ------
    ValueError
        If a part is empty, or they ask for more images than there are.

    Examples
    --------
    >>> parts = stratified_split(np.arange(12) % 3, {"train": 6, "test": 3}, seed=0)
    >>> {name: np.bincount(np.arange(12)[part] % 3).tolist() for name, part in parts.items()}
    {'train': [2, 2, 2], 'test': [1, 1, 1]}
    """
    if min(sizes.values(), default=0) < 1 or sum(sizes.values()) > len(y):
        raise ValueError(f"parts must have at least 1 image and together at most {len(y)}, got {dict(sizes)}")
    # RandomState, because NumPy promises never to change its stream.
    order = np.random.RandomState(seed).permutation(len(y))
    place = np.empty(len(y))  # how far through its class each image stands
    for label in np.unique(y):
        members = order[y[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(place[order], kind="stable")]
    ends = np.cumsum(list(sizes.values()))
    return {name: np.sort(order[end - size : end]) for (name, size), end in zip(sizes.items(), ends, strict=True)}
