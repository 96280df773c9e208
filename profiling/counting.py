"""Count gradients or activations in bins, exactly: one table look-up and one comparison per value, whatever the number of bins.

Shape legend: P = gradients, S = segments (layer x kind), B = bins.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweetgrad.store import NUM_BINS, edges_f32


def count_gradients(magnitude_P: Tensor, segments_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count magnitudes in every bin, segment by segment.

    Parameters
    ----------
    magnitude_P
        ``abs(dJ/dtheta)``, float32, shape (P,), on any device. NaN and infinity are allowed; a sign bit is not (`torch.abs` also
        clears that of -0.0 and of NaN).
    segments_S
        Length of each consecutive segment, shape (S,); they sum to P.

    Returns
    -------
    Counts, shape (S, B), int64; each row sums to the segment's length.

    Raises
    ------
    ValueError
        If the magnitudes are not a float32 vector, have a sign bit, or do not match the lengths of the segments.

    Examples
    --------
    >>> counts = count_gradients(torch.tensor([0.0, 0.5, 20.0]), np.array([1, 2]))
    >>> counts.shape, np.argwhere(counts).tolist()
    ((2, 345), [[0, 0], [1, 296], [1, 343]])
    """
    magnitude_P = magnitude_P.detach()
    if magnitude_P.dtype != torch.float32 or magnitude_P.ndim != 1 or magnitude_P.signbit().any():
        raise ValueError(
            f"magnitudes must be a float32 vector without sign bits, got {magnitude_P.dtype} {tuple(magnitude_P.shape)}; "
            "pass grad.abs().float().flatten()"
        )
    if segments_S.sum() != magnitude_P.numel():
        raise ValueError(f"the segments have {segments_S.sum()} gradients in total, got {magnitude_P.numel()}")
    if magnitude_P.device.type == "cpu":
        return _count_by_table(magnitude_P.numpy(), segments_S)
    return _in_one_fetch(magnitude_P, segments_S, magnitude_P.new_zeros(()))[0]


def count_and_sum(
    magnitude_P: Tensor, segments_S: NDArray[np.int64], loss: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Counts, and sums of the magnitudes and of their squares, of every segment; a GPU is waited for once.

    Parameters
    ----------
    magnitude_P, segments_S
        As in `count_gradients`.
    loss
        A number on the same device, which is fetched with the rest.

    Returns
    -------
    Counts, shape (S, B), int64; sums, shape (S, 2), float64; the loss.
    """
    if magnitude_P.device.type == "cpu":
        sums = [_sums(part) for part in torch.split(magnitude_P, segments_S.tolist())]
        return count_gradients(magnitude_P, segments_S), np.array(sums).reshape(-1, 2), loss.item()
    return _in_one_fetch(magnitude_P, segments_S, loss)


def _in_one_fetch(
    magnitude_P: Tensor, segments_S: NDArray[np.int64], loss: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    lengths = torch.from_numpy(segments_S).to(magnitude_P.device, non_blocking=True)
    double = magnitude_P.double()
    columns = [
        _count_by_bucketize(magnitude_P, lengths).double(),  # exact: fewer than 2**53
        *(torch.segment_reduce(x, "sum", lengths=lengths, unsafe=True)[:, None] for x in (double, double.square())),
    ]
    packed = torch.cat([torch.cat(columns, dim=1).flatten(), loss.detach().double().reshape(1)]).cpu().numpy()
    found = packed[:-1].reshape(len(segments_S), NUM_BINS + 2)
    return found[:, :NUM_BINS].astype(np.int64), found[:, NUM_BINS:], float(packed[-1])


def _sums(magnitude: Tensor) -> tuple[float, float]:
    double = magnitude.double()
    return double.sum().item(), double.square_().sum().item()


def _count_by_table(magnitude_P: NDArray[np.float32], segments_S: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.zeros((len(segments_S), NUM_BINS), dtype=np.int64)
    ends = np.cumsum(segments_S)
    for segment, (start, end) in enumerate(zip(ends - segments_S, ends, strict=True)):
        counts[segment] = np.bincount(find_bins(magnitude_P[start:end]), minlength=NUM_BINS)
    return counts


def find_bins(magnitude_P: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Index of the bin of every magnitude, shape (P,); magnitudes as in `count_gradients`, in one contiguous array."""
    first_bin, threshold = _tables()
    # mode="clip" skips the bounds check; the keys are in range because a magnitude has no sign bit.
    key = (magnitude_P.view(np.uint32) >> 16).astype(np.uint16)
    bins = np.take(first_bin, key, mode="clip")
    bins += magnitude_P >= np.take(threshold, key, mode="clip")
    return bins


def in_memory_order(values: Tensor) -> Tensor:
    """All values of a tensor, shape (P,), in memory order: a histogram does not depend on the order, and a view saves a copy."""
    if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).reshape(-1)
    return values.reshape(-1)


def _count_by_bucketize(magnitude_P: Tensor, lengths_S: Tensor) -> Tensor:
    """Counts, shape (S, B), int64, on the device of the magnitudes, which is not waited for."""
    # right=True: a value equal to a threshold belongs to the bin above it, the paper's [t1, t2).
    bins = torch.bucketize(magnitude_P, _thresholds_on(magnitude_P.device), right=True)
    # No comparison with NaN is true, and bucketize does not document where it puts NaN.
    bins = torch.where(magnitude_P.isnan(), NUM_BINS - 1, bins)
    # output_size, and no bincount: both would have to wait for the GPU, to learn how large their results are.
    segment = torch.repeat_interleave(lengths_S, output_size=magnitude_P.numel())
    counts = bins.new_zeros(len(lengths_S) * NUM_BINS)
    counts.scatter_add_(0, segment * NUM_BINS + bins, bins.new_ones(1).expand_as(bins))
    return counts.reshape(len(lengths_S), NUM_BINS)


@cache
def _thresholds_on(device: torch.device) -> Tensor:
    return torch.from_numpy(_thresholds()).to(device)


def _thresholds() -> NDArray[np.float32]:
    """Lower edge of every bin except the first, shape (B - 1,): the smallest denormal, the edges, infinity."""
    smallest = np.nextafter(np.float32(0), np.float32(1))
    return np.concatenate([[smallest], edges_f32(), [np.float32(np.inf)]], dtype=np.float32)


@cache
def _tables() -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """For each value of the upper 16 bits of a magnitude: the bin of the smallest such float, and the lower edge of the next bin.

    Magnitudes order as their bits do, and no two edges share their upper 16 bits (sign, exponent, 7 bits of mantissa: steps of at
    most 0.8 %; neighbouring edges are at least 1.1 % apart), so one comparison determines the bin.
    """
    thresholds = _thresholds()
    upper = np.arange(1 << 15, dtype=np.uint32) << 16
    first = np.searchsorted(thresholds, upper.view(np.float32), side="right")
    last = np.searchsorted(thresholds, (upper | 0xFFFF).view(np.float32), side="right")
    finite = upper.view(np.float32) < np.inf
    assert (last - first)[finite].max() == 1
    # No comparison with NaN is true: keys whose floats all lie in one bin, such as those of infinity and NaN, keep it.
    threshold = np.where(finite & (last > first), thresholds[np.minimum(first, len(thresholds) - 1)], np.nan)
    return first.astype(np.uint16), threshold.astype(np.float32)
