"""TE-NAS: condition number of the neural tangent kernel, and number of linear regions."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import forward_hooks, without_batch_norm
from sweetgrad.profiling.estimators.jacobian import relu_modules
from sweetgrad.profiling.estimators.per_sample import UnsupportedLayerError, per_sample_gradients
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, estimator, require_real, weights_of

_MAX_VALUES = 1 << 27
"""Gradients of all images in memory at a time: 512 MiB in single precision."""

_COLUMNS = 1 << 16
_SIZE, _BATCH, _NUM_BATCHES = 3, 1000, 3


@estimator(needs="graph", tasks=IMAGES)
def te_nas_condition(probe: Probe) -> float:
    """Largest over smallest eigenvalue of the neural tangent kernel: the Gram matrix of the gradients of the images.

    Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021. The gradient of an image is that of the
    sum of its logits, with the BatchNorm statistics of the batch, with respect to every parameter named ``weight``, including
    those of norms. Through the statistics each image depends on all, so every image needs a backward pass.
    """
    _require_images(probe, "te_nas_condition")
    require_real(probe.network.module, "te_nas_condition")
    named = probe.network.module.named_parameters()
    weights = [p for name, p in named if "weight" in name.rpartition(".")[2] and p.requires_grad]
    assert probe.logits is not None
    return _condition(_gram_by_backward(probe.logits, weights), "te_nas_condition")


@estimator(needs="network", tasks=IMAGES)
def te_nas_condition_nobn(probe: Probe) -> float:
    """`te_nas_condition` without BatchNorm, as in the paper's table: the gradient of an image then depends on no other image."""
    _require_images(probe, "te_nas_condition_nobn")
    module = probe.network.module
    require_real(module, "te_nas_condition_nobn")
    num = len(probe.x)
    gram = torch.zeros(num, num, dtype=torch.float64, device=probe.x.device)
    try:
        per_sample_gradients(
            module,
            lambda: module(probe.x).sum(),
            lambda _weight, _entries, grads_NP: _add_products(gram, grads_NP),
            batch_norm="removed",
        )
    except UnsupportedLayerError:
        with without_batch_norm(module):
            gram = _gram_by_backward(module(probe.x), [w for w in weights_of(module) if w.requires_grad])
    return _condition(gram, "te_nas_condition_nobn")


@estimator(needs="network", tasks=IMAGES)
def te_nas_regions(probe: Probe) -> float:
    """Number of linear regions of a thin network, as different ReLU patterns, over 3 x 1000 crops of 3x3 pixels.

    Chen et al., ICLR 2021. The thin network is the search space's (`build_thin`), with weights from a normal distribution scaled
    by fan-in (He et al. 2015), in train mode. The crops are drawn from the images of the batch.
    """
    return _count_regions(probe, "te_nas_regions", batch_norm=True)


@estimator(needs="network", tasks=IMAGES)
def te_nas_regions_nobn(probe: Probe) -> float:
    """`te_nas_regions` without BatchNorm, as in the paper's table."""
    return _count_regions(probe, "te_nas_regions_nobn", batch_norm=False)


def _require_images(probe: Probe, name: str) -> None:
    if len(probe.x) < 2:
        raise EstimatorError(f"{name}: a condition number needs at least 2 images, got a batch of 1")


def _gram_by_backward(logits: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Gram matrix of the gradients of the sum of each row, for as many weights at a time as fit in memory."""
    num = len(logits)
    gram = torch.zeros(num, num, dtype=torch.float64, device=logits.device)
    for group in _groups(weights, max_values=_MAX_VALUES // num):
        rows = logits.new_zeros(num, sum(weight.numel() for weight in group))
        for row, output in zip(rows, logits, strict=True):
            start = 0
            grads = torch.autograd.grad(output.sum(), group, retain_graph=True, allow_unused=True)
            for grad, weight in zip(grads, group, strict=True):
                end = start + weight.numel()
                if grad is not None:
                    row[start:end] = grad.to_dense().reshape(-1)
                start = end
        _add_products(gram, rows)
    return gram


def _groups(weights: Sequence[Tensor], *, max_values: int) -> Iterator[list[Tensor]]:
    group: list[Tensor] = []
    for weight in weights:
        if group and sum(w.numel() for w in group) + weight.numel() > max_values:
            yield group
            group = []
        group.append(weight)
    if group:
        yield group


def _add_products(gram: Tensor, rows_NP: Tensor) -> None:
    """Add the products of all pairs of rows, in double precision, because rounding would affect the smallest eigenvalue."""
    for columns in torch.split(rows_NP, _COLUMNS, dim=1):
        double = columns.double()
        gram.addmm_(double, double.T)


def _condition(gram: Tensor, name: str) -> float:
    if not gram.isfinite().all():
        raise EstimatorError(f"{name}: a gradient is not finite")
    eigenvalues = torch.linalg.eigvalsh(gram)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    # An eigenvalue as small as the rounding error of the largest counts as 0.
    if smallest <= largest * len(gram) * torch.finfo(gram.dtype).eps:
        raise EstimatorError(
            f"{name}: the kernel is singular (the gradients of some images are linearly dependent)", score=math.inf
        )
    return largest / smallest


def _count_regions(probe: Probe, name: str, *, batch_norm: bool) -> float:
    module = probe.build_thin()
    with torch.no_grad():
        for weight in weights_of(module):
            weight.copy_(nn.init.kaiming_normal_(torch.empty(weight.shape)))  # on the CPU: a GPU gets the same
    patterns: list[Tensor] = []
    norms: AbstractContextManager[None] = nullcontext() if batch_norm else without_batch_norm(module)
    with torch.no_grad(), norms:
        for _ in range(_NUM_BATCHES):
            on: list[Tensor] = []
            with forward_hooks(
                relu_modules(module), lambda relu, inputs, output, on=on: on.append((output > 0).flatten(1))
            ):
                module(_crops(probe.x))
            if not on:
                raise EstimatorError(f"{name}: the network has no nn.ReLU module")
            patterns.append(torch.cat(on, dim=1))
    return float(len(torch.unique(torch.cat(patterns), dim=0)))


def _crops(x: Tensor) -> Tensor:
    """Square crops of images of the batch, images and positions drawn uniformly with replacement."""
    image = torch.randint(len(x), (_BATCH,))
    top = torch.randint(x.shape[2] - _SIZE + 1, (_BATCH,))
    left = torch.randint(x.shape[3] - _SIZE + 1, (_BATCH,))
    steps = torch.arange(_SIZE)
    rows, columns = (top[:, None] + steps)[:, :, None], (left[:, None] + steps)[:, None, :]
    # The indexed dimensions come first: (crop, row, column, channel).
    return x[image[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
