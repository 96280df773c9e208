"""BOHB (Falkner et al. 2018): Hyperband brackets filled from kernel density models of good and bad architectures."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.simulation import Draws, OperationGrid, Runs, SearchSettings, best_scored

_GOOD_PERCENT = 15

# Shape legend: R = runs, N = observations, S = samples, E = edges of a cell. Codes are numbers of operations.


def bohb(
    benchmark: SearchBenchmark,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    *,
    scores: Scores | None = None,
    propose: Literal["random", "model"] = "random",
    pool: int = 10,
    eta: int = 3,
    rungs: int = 3,
    num_samples: int = 4,
    min_bandwidth: float = 0.3,
) -> xr.Dataset:
    """BOHB, or its assisted form S-BOHB: fill the brackets of Hyperband with proposals of a density model.

    A table with one short training has one fidelity, so the training on every rung takes equally long, and an architecture that
    is promoted is trained and charged again, as in the searches on NAS-Bench-201.

    Parameters
    ----------
    benchmark, settings
        Search space and budget; every combination of operations must be in the benchmark.
    scores
        None: architectures are proposed by the model once a rung has enough observations (see `_Model`), and uniform before.
        Otherwise: the best-scored of ``pool`` candidates is trained.
    propose
        Candidates if ``scores`` are given: ``random``, uniform architectures without the model (as in the released code), or
        ``model``, proposals of the model.
    pool
        Number of candidates.
    eta, rungs
        One in ``eta`` is promoted; number of rungs of the tallest bracket.
    num_samples
        Number of samples from the good density of which a proposal is the best.
    min_bandwidth
        Smallest bandwidth of a kernel, in [0, 1).

    Returns
    -------
    As `Runs.history`. Errors are those of `Runs` and `OperationGrid`.
    """
    if propose not in ("random", "model"):
        raise ValueError(f"propose must be 'random' or 'model', got {propose!r}")
    grid, draws = OperationGrid(benchmark.arch), Draws(settings.seed, settings.num_runs)
    runs = Runs(benchmark, settings, scores)
    model = _Model(grid, num_samples=num_samples, min_bandwidth=min_bandwidth)
    num = 1 if scores is None else pool
    use_model = scores is None or propose == "model"
    for sizes in brackets(eta, rungs):
        seen: list[NDArray[np.int64]] = []
        losses: list[NDArray[np.float64]] = []
        for rung, size in enumerate(sizes):
            promoted = _best(seen, losses, size) if rung else None
            seen, losses = [], []
            for place in range(size):
                scoring: NDArray[np.float64] | float = 0.0
                if promoted is not None:
                    rows = promoted[:, place]
                else:
                    candidates = model.propose(draws, num) if use_model else None
                    candidates = draws.integers(num, len(benchmark)) if candidates is None else candidates
                    rows = candidates[:, 0]
                    if scores is not None:
                        rows, scoring = best_scored(candidates, scores)
                loss = 100 - runs.train(rows, scoring=scoring)
                if not runs.active.any():
                    return runs.history()
                seen.append(rows)
                losses.append(loss)
                model.observe(rungs - len(sizes) + rung, rows, loss)
    raise AssertionError("brackets never end")


def brackets(eta: int, rungs: int) -> Iterator[list[int]]:
    """Number of architectures on each rung of the successive brackets of Hyperband; an endless iterator.

    Examples
    --------
    >>> from itertools import islice
    >>> list(islice(brackets(3, 3), 4))
    [[9, 3, 1], [3, 1], [3], [9, 3, 1]]
    """
    while True:
        for above in range(rungs - 1, -1, -1):
            first = rungs // (above + 1) * eta**above
            yield [max(first // eta**i, 1) for i in range(above + 1)]


def _best(rows: list[NDArray[np.int64]], losses: list[NDArray[np.float64]], num: int) -> NDArray[np.int64]:
    """The rows with the smallest losses, in the order in which they were trained; shape (run, num)."""
    order = np.sort(np.stack(losses, axis=1).argsort(axis=1, kind="stable")[:, :num], axis=1)
    return np.take_along_axis(np.stack(rows, axis=1), order, axis=1)


class _Model:
    """Densities of good and bad architectures on the highest rung with at least E + 1 of each."""

    def __init__(self, grid: OperationGrid, *, num_samples: int, min_bandwidth: float) -> None:
        self._grid, self._num_samples, self._min_bandwidth = grid, num_samples, min_bandwidth
        self._enough = grid.num_edges + 1
        self._rows: dict[int, list[NDArray[np.int64]]] = {}
        self._losses: dict[int, list[NDArray[np.float64]]] = {}

    def observe(self, rung: int, rows: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Record one training of every run."""
        self._rows.setdefault(rung, []).append(rows)
        self._losses.setdefault(rung, []).append(losses)

    def propose(self, draws: Draws, num: int) -> NDArray[np.int64] | None:
        """Proposals, shape (run, num): each is the sample from the good density with the largest ratio of good to bad density."""
        split = self._split()
        if split is None:
            return None
        good, bad = split
        levels, num_edges = self._grid.num_ops, self._grid.num_edges
        good_width, bad_width = (bandwidths(codes, levels=levels, least=self._min_bandwidth) for codes in (good, bad))
        drawn = draws.uniform(num * self._num_samples * (1 + 2 * num_edges))
        samples = kernel_sample(good, good_width, drawn.reshape(len(drawn), -1, 1 + 2 * num_edges), levels=levels)
        likely_good = density(samples, good, good_width, levels=levels)
        likely_bad = density(samples, bad, bad_width, levels=levels)
        ratio = likely_bad / np.maximum(likely_good, 1e-32)
        chosen = ratio.reshape(len(drawn), num, self._num_samples).argmin(axis=2)
        best = chosen + np.arange(num) * self._num_samples
        return self._grid.rows(np.take_along_axis(samples, best[:, :, None], axis=1))

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Codes of the good and the bad architectures, shapes (R, N, E)."""
        for rung in sorted(self._rows, reverse=True):
            seen = len(self._rows[rung])
            num_good = max(self._enough, _GOOD_PERCENT * seen // 100)
            num_bad = max(self._enough, (100 - _GOOD_PERCENT) * seen // 100)
            if seen - num_good >= self._enough:
                order = np.stack(self._losses[rung], axis=1).argsort(axis=1, kind="stable")
                rows = np.take_along_axis(np.stack(self._rows[rung], axis=1), order, axis=1)
                codes = self._grid.codes[rows]
                return codes[:, :num_good], codes[:, num_good : num_good + num_bad]
        return None


def bandwidths(codes: NDArray[np.int64], *, levels: int, least: float) -> NDArray[np.float64]:
    """Bandwidth of each edge by the normal-reference rule, as in BOHB, limited to the range that the kernel allows.

    Parameters
    ----------
    codes
        Observations, shape (R, N, E). The rule uses the standard deviation of the codes, although operations have no order.
    levels
        Number of operations.
    least
        Smallest bandwidth. The largest is (levels - 1) / levels, at which the kernel is uniform.

    Returns
    -------
    Bandwidths, shape (R, E).
    """
    num, edges = codes.shape[1:]
    width: NDArray[np.float64] = 1.06 * codes.std(axis=1) * num ** (-1 / (4 + edges))
    most = (levels - 1) / levels
    return width.clip(min(least, most), most)


def density(
    codes: NDArray[np.int64], data: NDArray[np.int64], width: NDArray[np.float64], *, levels: int
) -> NDArray[np.float64]:
    """Kernel density of architectures: the mean over the data of the product of Aitchison and Aitken's kernels.

    Parameters
    ----------
    codes
        Architectures at which to evaluate, shape (R, S, E).
    data
        Observations, shape (R, N, E).
    width
        As returned by `bandwidths`, shape (R, E): the weight that is spread over the other operations.
    levels
        Number of operations.

    Returns
    -------
    Densities, shape (R, S); over all architectures they sum to 1.
    """
    product = np.ones((len(codes), codes.shape[1], data.shape[1]))
    for edge in range(codes.shape[2]):  # an edge at a time: (R, S, N) fits, (R, S, N, E) is slow
        same, other = 1 - width[:, edge], width[:, edge] / (levels - 1)
        equal = codes[:, :, None, edge] == data[:, None, :, edge]
        product *= np.where(equal, same[:, None, None], other[:, None, None])
    mean: NDArray[np.float64] = product.mean(axis=2)
    return mean


def kernel_sample(
    data: NDArray[np.int64], width: NDArray[np.float64], drawn: NDArray[np.float64], *, levels: int
) -> NDArray[np.int64]:
    """Draw from the density: select an observation, in which each edge keeps its operation or gets one of the others.

    Parameters
    ----------
    data, width, levels
        As in `density`.
    drawn
        Uniform numbers, shape (R, S, 1 + 2 E): which observation, whether an edge changes, to what.

    Returns
    -------
    Codes, shape (R, S, E).
    """
    edges = data.shape[2]
    which = (drawn[:, :, 0] * data.shape[1]).astype(np.int64)
    start = np.take_along_axis(data, which[:, :, None], axis=1)
    changes = drawn[:, :, 1 : 1 + edges] < width[:, None, :]
    shift = (drawn[:, :, 1 + edges :] * (levels - 1)).astype(np.int64)
    return np.where(changes, (start + 1 + shift) % levels, start)
