"""Data sets by name: the built-in ones and a third party's.

A loader is registered in the entry-point group ``sweetgrad.datasets`` and called as
``loader(data_dir, *, seed, download) -> Images``: the folder that holds the files (None if none was given), the seed of a data
set that is drawn and not read, and whether files that are missing may be fetched. All loaders take all three, so that the flow
can call any of them; one that has no use for an argument ignores it. A loader raises FileNotFoundError, naming every place where
it looked, for files that are not there, and ValueError for files that are not what they should be.
"""

from pathlib import Path

from sweetgrad.profiling.batches import Batch, Images, draw_batch
from sweetgrad.profiling.registry import load

__all__ = ["load_batch", "load_images"]


def load_images(name: str, *, data_dir: Path | str | None = None, seed: int = 42, download: bool = False) -> Images:
    """Load a data set.

    Parameters
    ----------
    name
        Registered name, e.g. ``cifar10``.
    data_dir
        Folder that holds the files of the data set, or the folder above it.
    seed
        Seed of a data set that is drawn (``synthetic``); others ignore it.
    download
        Whether to fetch missing files into ``data_dir``, where the data set has an address.

    Raises
    ------
    ValueError
        If no such data set is registered (the nearest names are given), or a file is damaged.
    FileNotFoundError
        If its files are not there.

    Examples
    --------
    >>> load_images("digits").x.shape
    (1797, 3, 8, 8)
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()
    images: Images = load("datasets", name)(folder, seed=seed, download=download)
    return images


def load_batch(
    name: str,
    *,
    batch_size: int = 64,
    seed: int = 42,
    augment: bool = False,
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Batch:
    """Load a data set and draw the one batch of a profile: `load_images`, then `sweetgrad.profiling.batches.draw_batch`.

    Raises
    ------
    ValueError, FileNotFoundError
        As `load_images`; and if the batch is larger than the data set.

    Examples
    --------
    >>> load_batch("digits", batch_size=4).y
    array([6, 9, 3, 7])
    """
    images = load_images(name, data_dir=data_dir, seed=seed, download=download)
    return draw_batch(images, batch_size=batch_size, seed=seed, augment=augment)
