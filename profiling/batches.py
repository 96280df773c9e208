"""Examples in memory: data sets, their splits, and the one mini-batch that every architecture of a profile sees."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION, TASKS


@dataclass(frozen=True)
class Examples:
    """A data set as its loader returns it: images with labels, sequences of tokens, or utterances.

    Attributes
    ----------
    name
        Name of the data set.
    x
        Inputs, shape (N, ...), as the task has them (`sweetgrad.profiling.tasks`); normalised images are float32, shape
        (N, C, H, W). An array, or, where they do not fit in memory, an object with ``shape`` that returns an array when it is
        indexed with an array of positions. Its method ``digest(positions)``, if it has one, identifies examples without reading
        all of them.
    y
        Targets, int64, shape (N, ...); labels of images are in 0..num_classes-1, shape (N,).
    num_classes
        Number of classes of the data set, whether or not all of them occur in ``y``; size of a vocabulary.
    source
        One line for the provenance: which files, how many examples.
    crop_padding
        Pixels of padding on each side for random crops of images.
    splits
        Positions of the examples of each split (``train``, ``valid``, ``test``), for `sweetgrad.profiling.training`; None if the
        data set does not define any.
    task
        Name in `TASKS`.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[np.int64]
    num_classes: int
    source: str = ""
    crop_padding: int = 4
    splits: Mapping[str, NDArray[np.int64]] | None = None
    task: str = IMAGE_CLASSIFICATION.name


@dataclass(frozen=True)
class Batch:
    """One mini-batch as NumPy arrays, which can be sent to any worker.

    Images float32 (N, C, H, W) and labels int64 (N,), or what another task has in their place. ``second`` is another batch of the
    same size, for statistics over two batches; None if there is none.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    num_classes: int
    dataset: str = "custom"
    source: str = ""
    augment: bool = False
    second: "Batch | None" = None
    task: str = IMAGE_CLASSIFICATION.name

    def __post_init__(self) -> None:
        """Validate inputs and targets."""
        TASKS[self.task].check(self.x, self.y, self.num_classes)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the inputs (little-endian float32, of images NCHW; token ids int64) and then the targets (int64)."""
        digest = hashlib.sha256(np.ascontiguousarray(self.x, "<f4" if self.x.dtype.kind == "f" else "<i8").tobytes())
        digest.update(np.ascontiguousarray(self.y, "<i8").tobytes())
        return digest.hexdigest()


def draw_batch(examples: Examples, *, batch_size: int, seed: int, augment: bool = False, second: bool = False) -> Batch:
    """Draw a batch uniformly without replacement.

    Parameters
    ----------
    examples
        The data set.
    batch_size
        Number of examples to draw.
    seed
        Seed of the draw (and of the augmentation); the same seed gives the same batch on every platform.
    augment
        Random crop (zero padding ``crop_padding``) and horizontal flip of every image; only images have it.
    second
        Whether to draw a second batch as well, of the examples that come next (the last ones, of which some are in both, if there
        are fewer than twice as many).

    Returns
    -------
    Examples in the order drawn.

    Raises
    ------
    ValueError
        If the batch is larger than the data set, the drawn examples are invalid, or are no images and to be augmented.

    Examples
    --------
    >>> examples = Examples("tiny", np.zeros((5, 3, 2, 2), "float32"), np.arange(5), num_classes=5)
    >>> draw_batch(examples, batch_size=3, seed=0).y
    array([2, 0, 1])
    """
    if not 1 <= batch_size <= len(examples.x):
        raise ValueError(f"batch_size must be in 1..{len(examples.x)} (the size of {examples.name}), got {batch_size}")
    if augment and examples.task != IMAGE_CLASSIFICATION.name:
        raise ValueError(
            f"only images are augmented by crops and flips, and {examples.name} has none: leave out --augment"
        )
    # RandomState, because NumPy promises never to change its stream; Generator's may change with a release.
    random = np.random.RandomState(seed)
    order = random.permutation(len(examples.x))

    def take(chosen: NDArray[np.intp]) -> Batch:
        x = np.ascontiguousarray(examples.x[chosen])
        if augment:
            x = crop_and_flip(x, random, padding=examples.crop_padding)
        y = examples.y[chosen]
        return Batch(x, y, examples.num_classes, examples.name, examples.source, augment, task=examples.task)

    first = take(order[:batch_size])
    if not second:
        return first
    start = min(batch_size, len(order) - batch_size)
    return replace(first, second=take(order[start : start + batch_size]))


def random_batch(shape: tuple[int, int, int], *, num_classes: int, batch_size: int = 64, seed: int = 42) -> Batch:
    """Draw a batch of standard normal images of any shape with uniform labels.

    Parameters
    ----------
    shape
        Channels, height and width of an image.
    num_classes, batch_size
        Number of classes; number of images to draw.
    seed
        Seed of the draw; the same seed gives the same batch on every platform.

    Raises
    ------
    ValueError
        If an argument is less than 1.

    Examples
    --------
    >>> random_batch((1, 2, 2), num_classes=5, batch_size=3, seed=0).y
    array([4, 0, 3])
    """
    if min(*shape, num_classes, batch_size) < 1:
        raise ValueError(
            f"shape, num_classes and batch_size must be at least 1, got {shape}, {num_classes} and {batch_size}"
        )
    # RandomState, because NumPy promises never to change its stream.
    random = np.random.RandomState(seed)

    def draw() -> Batch:
        y = random.randint(0, num_classes, size=batch_size, dtype=np.int64)
        x = random.standard_normal((batch_size, *shape)).astype(np.float32)
        return Batch(x, y, num_classes, dataset="random")

    first = draw()
    return replace(first, second=draw())


def crop_and_flip(x: NDArray[np.float32], random: np.random.RandomState, *, padding: int) -> NDArray[np.float32]:
    """Crop images at random after padding them with zeros, and flip each with probability 1/2; shape (N, C, H, W) is kept."""
    num, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    top, left = random.randint(0, 2 * padding + 1, size=(2, num))
    flip = random.random_sample(num) < 0.5
    crops = np.stack(
        [padded[i, :, t : t + height, u : u + width] for i, (t, u) in enumerate(zip(top, left, strict=True))]
    )
    crops[flip] = crops[flip, :, :, ::-1]
    return crops


def stratified_split(y: NDArray[np.int64], sizes: Mapping[str, int], *, seed: int) -> dict[str, NDArray[np.int64]]:
    """Split images so that each class has the same share in every split, up to one image.

    Parameters
    ----------
    y
        Labels.
    sizes
        Number of images of each split by name; together at most as many as there are.
    seed
        Seed of the split; the same seed gives the same splits on every platform.

    Returns
    -------
    Positions of the images of each split, ascending; the splits are disjoint.

    Raises
    ------
    ValueError
        If a split is empty, or the splits need more images than there are.

    Examples
    --------
    >>> splits = stratified_split(np.arange(12) % 3, {"train": 6, "test": 3}, seed=0)
    >>> {name: np.bincount(np.arange(12)[split] % 3).tolist() for name, split in splits.items()}
    {'train': [2, 2, 2], 'test': [1, 1, 1]}
    """
    if min(sizes.values(), default=0) < 1 or sum(sizes.values()) > len(y):
        raise ValueError(f"splits must have at least 1 image each and {len(y)} together at most, got {dict(sizes)}")
    # RandomState, because NumPy promises never to change its stream.
    order = np.random.RandomState(seed).permutation(len(y))
    quantile = np.empty(len(y))  # position of each image within its class, in (0, 1)
    for label in np.unique(y):
        members = order[y[order] == label]
        quantile[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(quantile[order], kind="stable")]
    ends = np.cumsum(list(sizes.values()))
    return {name: np.sort(order[end - size : end]) for (name, size), end in zip(sizes.items(), ends, strict=True)}
