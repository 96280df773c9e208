"""Random numbers of many runs at once, of which each run has a stream of its own."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]


class Draws:
    """Uniform random numbers for runs that advance in step.

    The stream of a run depends on the seed and on the number of the run alone: run 7 of 500 is run 7 of 10, and its numbers are
    the same for every algorithm.

    Parameters
    ----------
    seed
        In 0 to 2**32 - 1.
    num_runs
        At least 1.

    Attributes
    ----------
    streams
        The generator of each run.

    Examples
    --------
    >>> many, few = Draws(0, 5), Draws(0, 2)
    >>> bool((many.uniform(3)[:2] == few.uniform(3)).all())
    True
    """

    def __init__(self, seed: int, num_runs: int) -> None:
        if num_runs < 1:
            raise ValueError(f"expected at least one run, got {num_runs}")
        # RandomState, since NumPy promises that its stream never changes.
        self.streams = [np.random.RandomState([seed, run]) for run in range(num_runs)]

    def uniform(self, num: int) -> NDArray[np.float64]:
        """The next numbers of every run in [0, 1); shape (run, num)."""
        return np.stack([stream.random_sample(num) for stream in self.streams])

    def integers(self, num: int, below: int) -> NDArray[np.int64]:
        """The next whole numbers of every run in 0 to ``below`` - 1; shape (run, num)."""
        return (self.uniform(num) * below).astype(np.int64)
