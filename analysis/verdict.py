"""Whether to believe a chosen interval: what speaks against it, in a sentence each."""

from collections.abc import Mapping

import xarray as xr

from sweetgrad.analysis.best_interval import BestInterval
from sweetgrad.analysis.correlation import rank_correlation

BASELINES = ("params", "params_weights", "params_live", "flops")
"""What costs no backward pass, and every score has to beat; live parameters cost the same pass as the score."""


def verdict(
    best: BestInterval | None = None, *, correlation: float | None = None, baselines: Mapping[str, float] | None = None
) -> list[str]:
    """What speaks against choosing architectures by an interval.

    Parameters
    ----------
    best
        The chosen interval; None for one that was given.
    correlation
        Rank correlation of its score with accuracy, in [-1, 1]; None where there are no accuracies.
    baselines
        The same of parameters, live parameters and multiply-adds, by name (`BASELINES`), over the same architectures.

    Returns
    -------
    Sentences; none if nothing speaks against it.

    Examples
    --------
    >>> verdict(correlation=0.22, baselines={"params": 0.30, "flops": 0.70})
    ['flops (.70) and params (.30) rank these architectures better than the interval (.22): do not choose by it.']
    >>> verdict(correlation=0.89, baselines={"params": 0.75})
    []
    """
    sentences = []
    better = {
        name: value for name, value in (baselines or {}).items() if correlation is not None and value > correlation
    }
    if better and correlation is not None:
        named = [f"{name} ({_short(better[name])})" for name in sorted(better, key=lambda name: -better[name])]
        listed = " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
        verb = "rank" if len(named) > 1 else "ranks"
        sentences.append(
            f"{listed} {verb} these architectures better than the interval ({_short(correlation)}): do not choose by it."
        )
    if best is not None and best.win_rate < 0.5:
        sentences.append(
            f"The choice of the interval is uncertain: it wins in {best.win_rate:.0%} of the resamples of the architectures, "
            f"less than half. The runner-up is {best.runner_up}."
        )
    if best is not None and best.weightless == "zero" and best.weightless_share > 0:
        sentences.append(
            f"{best.weightless_share:.0%} of the layers that were compared have no weights, and count as proportion 0, as in the "
            "released method; --weightless skip leaves them out."
        )
    return sentences


def verdict_on(scores: xr.Dataset, accuracy: xr.DataArray | None, best: BestInterval | None = None) -> list[str]:
    """`verdict` on ``sweetimator`` among the scores that `estimator_scores` returns, by Spearman's correlation."""
    names = [str(name) for name in scores["estimator"].values]
    if accuracy is None:
        return verdict(best)
    found = {}
    for name in ("sweetimator", *BASELINES):
        if name in names:
            values = scores["score"].sel(estimator=name, drop=True)
            shared = values.dropna("arch").indexes["arch"].intersection(accuracy.dropna("arch").indexes["arch"])
            if len(shared) > 1:
                found[name] = rank_correlation(values, accuracy, bootstrap=0).correlation
    correlation = found.pop("sweetimator", None)
    return verdict(best, correlation=correlation, baselines=found)


def _short(correlation: float) -> str:
    return f"{correlation:.2f}".replace("0.", ".", 1)
