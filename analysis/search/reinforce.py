"""REINFORCE (Williams 1992): a softmax policy per edge, updated by Adam, optionally with an estimator that selects candidates."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.evolution import mutate
from sweetgrad.analysis.search.simulation import Draws, OperationGrid, Runs, SearchSettings, best_scored

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # Adam's defaults

# Shape legend: R = runs, E = edges of a cell, O = operations.


def reinforce(
    benchmark: SearchBenchmark,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    *,
    scores: Scores | None = None,
    pool: int = 10,
    learning_rate: float = 0.5,
    baseline_decay: float = 0.9,
) -> xr.Dataset:
    """REINFORCE, or its assisted form S-REINFORCE: sample an architecture from the policy, train it, and update the policy.

    Parameters
    ----------
    benchmark, settings
        Search space and budget; every combination of operations must be in the benchmark.
    scores
        None: the sampled architecture is trained. Otherwise: the best-scored of ``pool`` mutants of it (with one edge changed) is
        trained, and its accuracy is the reward for the gradient of the sampled architecture.
    pool
        Number of mutants from which one is selected.
    learning_rate
        Learning rate of Adam.
    baseline_decay
        Decay of the baseline, the bias-corrected exponential moving average of the accuracies including the latest one.

    Returns
    -------
    As `Runs.history`. The initial policy is uniform. Errors are those of `Runs` and `OperationGrid`.
    """
    grid, draws = OperationGrid(benchmark.arch), Draws(settings.seed, settings.num_runs)
    runs, shape = Runs(benchmark, settings, scores), (settings.num_runs, grid.num_edges, grid.num_ops)
    logits, first, second = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    total, step = np.zeros(settings.num_runs), 0
    while runs.active.any():
        step += 1
        policy = softmax(logits)
        drawn = draws.uniform(grid.num_edges + (0 if scores is None else 2 * pool))
        sampled = sample(policy, drawn[:, : grid.num_edges])
        trained, scoring = grid.rows(sampled), np.zeros(settings.num_runs)
        if scores is not None:
            from_ = np.broadcast_to(trained[:, None], (settings.num_runs, pool))
            trained, scoring = best_scored(mutate(grid, from_, drawn[:, grid.num_edges :]), scores)
        reward = runs.train(trained, scoring=scoring)
        total = baseline_decay * total + (1 - baseline_decay) * reward
        advantage = reward - total / (1 - baseline_decay**step)
        gradient = policy_gradient(policy, sampled, advantage)
        first = _BETAS[0] * first + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * second + (1 - _BETAS[1]) * gradient**2
        mean, spread = first / (1 - _BETAS[0] ** step), np.sqrt(second / (1 - _BETAS[1] ** step))
        logits = logits - learning_rate * mean / (spread + _EPSILON)
    return runs.history()


def policy_gradient(
    policy: NDArray[np.float64], sampled: NDArray[np.int64], advantage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Gradient, with respect to the logits, of the loss -advantage * sum over edges of the log probability of the sample.

    Parameters
    ----------
    policy
        Probabilities, shape (R, E, O).
    sampled
        Operation of each edge, shape (R, E).
    advantage
        Reward minus baseline, shape (R,).

    Returns
    -------
    Shape (R, E, O). Gradient descent makes the sampled operations more likely if the advantage is positive.

    Examples
    --------
    >>> policy_gradient(np.array([[[0.75, 0.25]]]), np.array([[1]]), np.array([2.0])).tolist()
    [[[1.5, -1.5]]]
    """
    one_hot = np.arange(policy.shape[2]) == sampled[:, :, None]
    gradient: NDArray[np.float64] = -advantage[:, None, None] * (one_hot - policy)
    return gradient


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities over the last axis, same shape."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def sample(policy: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sample operations from uniform numbers of shape (R, E): the first whose cumulative probability exceeds the number."""
    # The last operation gets the remainder due to rounding.
    sampled: NDArray[np.int64] = (drawn[:, :, None] >= policy.cumsum(axis=-1)[:, :, :-1]).sum(axis=-1)
    return sampled
