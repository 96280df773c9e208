"""Zen-score: change of the features before pooling for a small change of the input, with random weights."""

import math

import torch
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import BatchNorm, forward_hooks, without_batch_norm
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, estimator, require_real

_BATCH, _REPEATS, _STEP = 16, 32, 0.01


@estimator(needs="network", tasks=IMAGES)
def zen_score(probe: Probe) -> float:
    r"""Change of the feature maps for a small change of the input, with random weights; the mean over 32 draws.

    .. math:: \log \mathrm{mean} |f(x) - f(x + 0.01 e)| + \sum_b \log \sqrt{\mathrm{mean}\, \sigma_b^2}

    with 16 images x and e of standard normal noise, weights drawn from N(0, 1), f the feature maps before the global pooling, and
    :math:`\sigma_b^2` the running variance of BatchNorm b: Lin et al., "Zen-NAS", ICCV 2021.
    """
    module = probe.build().module
    require_real(module, "zen_score")
    norms = [m for m in module.modules() if isinstance(m, BatchNorm) and m.running_var is not None]
    if not norms:
        raise EstimatorError("zen_score: the network has no BatchNorm with a running variance; use zen_score_nobn")
    scores = []
    for _ in range(_REPEATS):
        _draw_weights(module)
        distance = _distance(module, probe.x)
        variances = [float(norm.running_var.double().mean()) for norm in norms if norm.running_var is not None]
        scores.append(_log(distance, "zen_score") + sum(math.log(variance) / 2 for variance in variances))
    return sum(scores) / len(scores)


@estimator(needs="network", tasks=IMAGES)
def zen_score_nobn(probe: Probe) -> float:
    """`zen_score` without BatchNorm and with one draw, as in the paper's table, but in double precision, as f is not normalised.

    The code released with that paper computes it in single precision, in which f overflows for large networks, and replaces
    infinity by 1 and NaN by 0.
    """
    module = probe.build().module
    require_real(module, "zen_score_nobn")
    module.double()
    _draw_weights(module)
    with without_batch_norm(module):
        distance = _distance(module, probe.x.double())
    return _log(distance, "zen_score_nobn")


def _draw_weights(module: nn.Module) -> None:
    """Weights from N(0, 1), drawn on the CPU, so that a GPU gets the same; weights of norms are 1 and biases 0."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim >= 2:
                parameter.copy_(torch.randn(parameter.shape))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def _distance(module: nn.Module, like: Tensor) -> float:
    """Mean absolute difference between the feature maps of images and of the same images with a little noise."""
    shape = (_BATCH, *like.shape[1:])
    x = torch.randn(shape).to(like)
    e = torch.randn(shape).to(like)
    return float((_features(module, x) - _features(module, x + _STEP * e)).abs().double().mean())


def _features(module: nn.Module, x: Tensor) -> Tensor:
    """Output of the last module that returns feature maps (N, C, H, W), preferably of more than one position."""
    maps: dict[bool, Tensor] = {}

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            maps[output.shape[2:].numel() > 1] = output

    with torch.no_grad(), forward_hooks(module.modules(), keep):
        module(x)
    if not maps:
        raise EstimatorError("zen_score: no module of the network returns feature maps (N, C, H, W)")
    return maps.get(True, maps.get(False, x))


def _log(distance: float, name: str) -> float:
    if distance == 0:
        raise EstimatorError(
            f"{name}: a change of the input does not change the features, and log(0) is -inf", score=-math.inf
        )
    return math.log(distance)
