"""Training images: those that are read when a batch needs them, and what is random about all: crop, flip, cutout."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Augmentation", "ReadInBatches"]


class ReadInBatches:
    """Images of a part of a data set that memory would not hold; indexed as the tensor of all of them would be.

    Parameters
    ----------
    x
        Gives images, float32, at an array of positions (`sweetgrad.profiling.Images`).
    places
        Positions of the part.
    device
        Where the images of a batch are put.
    """

    def __init__(self, x: Any, places: NDArray[np.int64], device: str) -> None:
        self._x, self._places = x, places
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        places = self._places[index if isinstance(index, slice) else index.numpy(force=True)]
        return torch.from_numpy(self._x[places]).to(self.device)


class Augmentation:
    """Crop at random out of the image padded with zeros, flip every other image, cut a square out.

    Parameters
    ----------
    padding
        Pixels on each side that a crop may reach beyond the image; 0: no crop.
    flip
        Whether images are flipped, left to right, with probability 1/2.
    cutout
        Side of the square of zeros, whose centre is anywhere in the image; 0: none.
    """

    def __init__(self, *, padding: int = 0, flip: bool = False, cutout: int = 0) -> None:
        self.padding, self.flip, self.cutout = padding, flip, cutout

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Images (N, C, H, W) to images of the same shape; ``random`` is a generator of the CPU, whatever device they are on."""
        num, _, height, width = x.shape
        rows, columns = torch.arange(height).expand(num, -1), torch.arange(width).expand(num, -1)
        if self.padding:
            top, left = torch.randint(0, 2 * self.padding + 1, (2, num, 1), generator=random)
            rows, columns = rows + top, columns + left
            x = F.pad(x, (self.padding,) * 4)
        if self.flip:
            flipped = torch.rand(num, 1, generator=random) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        if self.padding or self.flip:
            image = torch.arange(num)[:, None, None]
            rows, columns = rows[:, :, None].to(x.device), columns[:, None, :].to(x.device)
            x = x.permute(0, 2, 3, 1)[image.to(x.device), rows, columns].permute(0, 3, 1, 2)
        if self.cutout:
            x = x * (~self._holes(num, height, width, random)).to(x.device, x.dtype)
        return x

    def _holes(self, num: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Where the squares are; those at the border are cut by it. Shape (N, 1, H, W)."""
        inside = []
        for size in (height, width):
            start = torch.randint(0, size, (num, 1), generator=random) - self.cutout // 2
            place = torch.arange(size)
            inside.append((place >= start) & (place < start + self.cutout))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
