"""Jacobian covariance: how differently the images of a batch move the output."""

import torch

from sweetgrad.profiling.estimators.protocol import EstimatorError, Probe, estimator

__all__ = ["jacob_cov"]

_K = 1e-5


@estimator(needs="graph")
def jacob_cov(probe: Probe) -> float:
    r"""Kullback-Leibler distance of the correlations between the images' Jacobians from those of uncorrelated ones.

    .. math:: - \sum_i \log(v_i + k) + 1 / (v_i + k), \quad k = 10^{-5}

    with the eigenvalues v of the correlation matrix, over images, of the gradient of the sum of the logits with respect to each
    image: Mellor et al., "Neural Architecture Search without Training", first version, arXiv 2006.04647v1.
    """
    if len(probe.x) < 2:
        raise EstimatorError("jacob_cov: a correlation needs at least 2 images, got a batch of 1")
    if not probe.x.is_floating_point():
        raise EstimatorError(f"jacob_cov: the input must be floating-point to have a gradient, got {probe.x.dtype}")
    assert probe.logits is not None
    (jacobian,) = torch.autograd.grad(probe.logits.sum(), probe.x, retain_graph=True, allow_unused=True)
    if jacobian is None:
        raise EstimatorError("jacob_cov: the output does not depend on the images")
    correlation = torch.corrcoef(jacobian.reshape(len(jacobian), -1).double())
    if not correlation.isfinite().all():
        raise EstimatorError("jacob_cov: the output has a constant or no finite gradient with respect to some image")
    eigenvalues = torch.linalg.eigvalsh(correlation)
    return -float((torch.log(eigenvalues + _K) + 1 / (eigenvalues + _K)).sum())
