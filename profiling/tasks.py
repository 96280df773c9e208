"""Tasks: what a network is given, what it must return, and the loss whose gradients are counted.

Shape legend: N = examples, C = channels or classes, V = size of a vocabulary, T = time steps, L = labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""From the output of a network, its input x and the targets y to the mean loss, a scalar."""


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes
    ----------
    name
        Name in the spec of a profile.
    title, loss_name
        The name in words; that of the loss in the spec of a profile.
    check
        From inputs x, targets y (both as NumPy arrays) and the number of classes: raises ``ValueError`` if they are no batch of
        this task.
    loss
        The loss; raises ``ValueError`` if the output is not what the task needs.
    """

    name: str
    title: str
    loss_name: str
    check: Callable[[NDArray[Any], NDArray[Any], int], None]
    loss: Loss


def check_images(x: NDArray[Any], y: NDArray[Any], num_classes: int) -> None:
    """Images float32 (N, C, H, W), finite; labels int64 (N,) in 0..num_classes-1."""
    if x.ndim != 4 or x.dtype != np.float32:
        raise ValueError(f"images must be float32 of shape (N, C, H, W), got {x.dtype} {x.shape}")
    if y.shape != x.shape[:1] or y.dtype != np.int64:
        raise ValueError(f"labels must be int64 of shape ({x.shape[0]},), got {y.dtype} {y.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3)))
    if bad.size:
        raise ValueError(
            f"{bad.size} of {len(x)} images contain NaN or infinite values (first: image {bad[0]}); clean the data"
        )
    wrong = np.flatnonzero((y < 0) | (y >= num_classes))
    if wrong.size:
        raise ValueError(
            f"labels must be in 0..{num_classes - 1}, but {wrong.size} are not "
            f"(first: image {wrong[0]} has {y[wrong[0]]}); check that labels start at 0"
        )


def classification_loss(logits: Any, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, C), or (N, C, ...) with labels (N, ...)."""
    label_range = _label_range(y)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the network must return one tensor of logits (N, classes), got {type(logits).__name__}: wrap it in a module that "
            "returns only the logits"
        )
    if logits.ndim < 2 or logits.shape[:1] + logits.shape[2:] != y.shape:
        raise ValueError(
            f"labels of shape {tuple(y.shape)} need logits of shape (N, classes, ...) with the same N and ..., "
            f"but the network returned {tuple(logits.shape)}"
        )
    # cross_entropy silently ignores the label -100, and on a GPU a label that is too large aborts the process.
    if label_range[0] < 0 or label_range[1] >= logits.shape[1]:
        raise ValueError(
            f"labels must be in 0..{logits.shape[1] - 1}, because the network has {logits.shape[1]} outputs; "
            f"got {label_range[0]}..{label_range[1]}: the network needs one output for each class of the images; for random "
            f"labels, use {logits.shape[1]} classes"
        )
    return F.cross_entropy(logits, y)


_ranges = WeakTensorKeyDictionary()


def _label_range(y: Tensor) -> tuple[int, int]:
    """Smallest and largest label. Remembered for a tensor until it is changed, since to ask a GPU is to wait for it."""
    known: tuple[int | None, tuple[int, int]] = _ranges.get(y, (None, (0, 0)))
    version, found = known
    if version != y._version and y.numel():
        found = int(y.min()), int(y.max())
        _ranges[y] = (y._version, found)
    return found


def check_tokens(x: NDArray[Any], y: NDArray[Any], num_classes: int) -> None:
    """Token ids int64 (N, T), and the token that follows each, both in 0..num_classes-1."""
    if x.ndim != 2 or x.dtype != np.int64 or y.shape != x.shape or y.dtype != np.int64:
        raise ValueError(
            "token ids and the tokens that follow them must be int64 of one shape (N, T), "
            f"got {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    if not x.size:
        raise ValueError(f"the text is empty: expected at least one sequence of one token, got the shape {x.shape}")
    for ids in (x, y):
        wrong = np.argwhere((ids < 0) | (ids >= num_classes))
        if len(wrong):
            n, t = wrong[0]
            raise ValueError(
                f"token ids must be in 0..{num_classes - 1}, the vocabulary, but {len(wrong)} are not (first: number {t} of "
                f"sequence {n} is {ids[n, t]})"
            )


def next_token_loss(logits: Any, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, T, V) with the token that follows each, over all tokens."""
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != y.shape:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the network must return logits (N, T, V) for tokens {tuple(y.shape)}, got {got}")
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


BLANK = 0
"""Class of CTC that stands for no label."""
PADDING = -1
"""Fills the labels of an utterance that has fewer than others."""


def check_speech(x: NDArray[Any], y: NDArray[Any], num_classes: int) -> None:
    """Features float32 (N, bands, T), 0 after the end of an utterance; labels int64 (N, L) in 1..num_classes-1, then -1."""
    if x.ndim != 3 or x.dtype != np.float32:
        raise ValueError(f"speech must be float32 features of shape (N, bands, frames), got {x.dtype} {x.shape}")
    if y.ndim != 2 or len(y) != len(x) or y.dtype != np.int64:
        raise ValueError(f"labels must be int64 of shape ({len(x)}, L), got {y.dtype} {y.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))
    if bad.size:
        raise ValueError(
            f"{bad.size} of {len(x)} utterances contain NaN or infinite values (first: {bad[0]}); clean the data"
        )
    is_label = (y > BLANK) & (y < num_classes)
    num_labels = is_label.sum(axis=1)
    # All labels first, then nothing but padding.
    is_ordered = (is_label == (np.arange(y.shape[1]) < num_labels[:, None])).all(axis=1)
    wrong = np.flatnonzero(~is_ordered | (num_labels < 1) | (~is_label & (y != PADDING)).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"labels must be in 1..{num_classes - 1} ({BLANK} is the blank), at least one an utterance, then {PADDING}; "
            f"utterance {wrong[0]} has {y[wrong[0]].tolist()}"
        )


def ctc_loss(logits: Any, x: Tensor, y: Tensor) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006) of logits (N, T', V), a fixed number of frames for each step.

    The loss of an utterance is divided by its number of steps + 1, as NAS-Bench-ASR does, and averaged over utterances.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 3 or len(logits) != len(y):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the network must return logits (N, steps, classes) for {len(y)} utterances, got {got}")
    num_frames = frames_of(x)
    stride = max(1, round(x.shape[2] / max(1, logits.shape[1])))
    num_steps = (num_frames + stride - 1).div(stride, rounding_mode="floor").clamp(max=logits.shape[1])
    num_labels = (y > BLANK).sum(1)
    # Between two equal labels in a row there must be a blank.
    num_repeats = ((y[:, 1:] == y[:, :-1]) & (y[:, 1:] > BLANK)).sum(1)
    short = (num_steps < num_labels + num_repeats).nonzero().flatten().tolist()
    if short:
        n = short[0]
        raise ValueError(
            f"utterance {n} has {int(num_frames[n])} frames, from which the network makes {int(num_steps[n])} steps, too few for "
            f"its {int(num_labels[n])} labels: take longer utterances, or a network with a smaller stride"
        )
    log_probabilities = logits.log_softmax(-1).transpose(0, 1)
    losses = F.ctc_loss(log_probabilities, y.clamp(min=BLANK), num_steps, num_labels, blank=BLANK, reduction="none")
    return (losses / (num_steps + 1)).mean()


def frames_of(x: Tensor) -> Tensor:
    """Number of frames of each utterance, int64 (N,): up to the last one that is not all zeros."""
    present = (x != 0).any(1)
    steps = present.shape[1] - present.flip(1).int().argmax(1)
    return steps * present.any(1)


IMAGE_CLASSIFICATION = Task(
    "image-classification", "image classification", "cross-entropy", check_images, classification_loss
)
LANGUAGE_MODELLING = Task(
    "language-modelling", "language modelling", "next-token-cross-entropy", check_tokens, next_token_loss
)
SPEECH_RECOGNITION = Task("speech-recognition", "speech recognition", "ctc", check_speech, ctc_loss)

TASKS: Mapping[str, Task] = MappingProxyType(
    {task.name: task for task in (IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, SPEECH_RECOGNITION)}
)
"""Tasks by name."""
