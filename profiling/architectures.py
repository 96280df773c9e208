"""Many architectures of a search space: the plain functions that a worker runs."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sweetgrad.profiling import registry
from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.estimators import Estimator
from sweetgrad.profiling.estimators.running import Score, measure_with_estimators
from sweetgrad.profiling.measure import Builder, fill_row, to_device
from sweetgrad.profiling.spaces.protocol import SearchSpace
from sweetgrad.store import (
    STATUS,
    Location,
    Lock,
    ProfileSpec,
    Shard,
    Variable,
    empty_rows,
    read_estimator_status,
    read_shard,
    recover_shard,
    write_estimators,
    write_shard,
)
from sweetgrad.store.estimators import DETAILS
from sweetgrad.store.format.schema import full


@dataclass(frozen=True)
class ArchIds(Sequence[str]):
    """Architecture strings of a space, in index order; each is made when it is asked for, so that millions take no memory."""

    space: SearchSpace

    def __len__(self) -> int:
        """Architectures in the space."""
        return len(self.space)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One string, or those of a slice."""
        if isinstance(index, slice):
            return [self.space.arch_id(i) for i in range(*index.indices(len(self)))]
        return self.space.arch_id(range(len(self))[index])


def make_spec(space: SearchSpace, batch: Batch, *, seed: int = 42, device: str = "cpu") -> ProfileSpec:
    """Spec of the profile of a space on a batch.

    Parameters
    ----------
    space, batch
        What is profiled, and on which images.
    seed
        Seed of every network's initialisation.
    device
        ``cpu`` or ``cuda``.
    """
    archs = sha256()
    for arch in ArchIds(space):
        archs.update(f"{arch}\n".encode())
    return ProfileSpec(
        space=space.name,
        variant=space.variant,
        init=space.init,
        dataset=batch.dataset,
        num_classes=batch.num_classes,
        input_shape=batch.x.shape[1:],
        batch_size=len(batch.x),
        seed=seed,
        augment=batch.augment,
        batch_sha256=batch.sha256,
        arch_sha256=archs.hexdigest(),
        device=device,
        space_options=getattr(space, "options", {}),
        space_version=getattr(space, "version", 1),
    )


@dataclass(frozen=True)
class _Work:
    """What one architecture still needs: its counts, and which estimators."""

    index: int
    counts: bool
    estimators: tuple[str, ...]


def profile_architectures(
    space: SearchSpace,
    indices: Sequence[int],
    batch: Batch,
    spec: ProfileSpec,
    *,
    estimators: Sequence[str] | Mapping[str, Estimator] = (),
    on_done: Callable[[int], None] = lambda index: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> xr.Dataset:
    """Profile architectures one after another; each depends on its string and the spec alone, not on its neighbours.

    Parameters
    ----------
    space, batch, spec
        The space, the batch that all architectures share, and the settings (`make_spec`).
    indices
        Positions of the architectures in the space.
    estimators
        Names of registered estimators to compute as well, or a mapping from names to functions. One that raises or whose score is
        not finite has ``estimator_status`` 2 for that architecture, and ``estimator_message`` says why; the counts stand.
    on_done
        Called with each index when it is done.
    should_stop
        Asked before each architecture; True ends the loop, and what is done is returned.

    Returns
    -------
    Dataset with the row variables of a profile, one row for each architecture done, and with ``score``, ``seconds``,
    ``estimator_status`` and ``estimator_message``, dims (arch, estimator); and, if ``moments`` or ``activations`` are among the
    estimators, `MOMENT_VARIABLES` or ``activation_count``. An architecture that raised (or ran out of memory) has
    ``status`` 2 and its ``message``; the others go on.

    Raises
    ------
    ValueError
        If an estimator is not registered, or an index is not in the space.

    Examples
    --------
    >>> from sweetgrad.profiling import load_batch, load_space
    >>> space, batch = load_space("nas-bench-201"), load_batch("synthetic", batch_size=4)
    >>> rows = profile_architectures(space, [0, 1], batch, make_spec(space, batch))
    >>> rows.status.values.tolist(), rows.grad_count.dims
    ([1, 1], ('arch', 'layer', 'kind', 'bin'))
    """
    work = [_Work(index, counts=True, estimators=tuple(estimators)) for index in indices]
    return _do(work, space, batch, spec, _functions(estimators), on_done=on_done, should_stop=should_stop)


def profile_shard(
    location: Location,
    name: str,
    shard: Shard,
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    *,
    estimators: Sequence[str] = (),
    on_done: Callable[[int], None] = lambda index: None,
    should_stop: Callable[[], bool] = lambda: False,
    lock: Lock | None = None,
) -> int:
    """Profile the rows that a shard still needs and write the shard: the one function that a worker is given.

    What a row holds already is not computed again: neither its counts nor an estimator's score. A shard on disk that cannot be
    decoded is made again, with all the rows that it held.

    Parameters
    ----------
    location, name, shard
        Store, profile and shard (`plan_shards`).
    space, batch, spec, estimators, on_done, should_stop
        As in `profile_architectures`.
    lock
        As in `write_shard`.

    Returns
    -------
    Number of architectures done; fewer than asked only if ``should_stop`` said so.

    Raises
    ------
    FencedError
        If the lock was taken over by another attempt; the shard is left to it.
    """
    shard = recover_shard(location, name, shard, lock=lock)
    status = read_shard(location, name, shard, variables=["status"])["status"].values
    scored = read_estimator_status(location, name, shard, estimators)
    work = [
        _Work(row, status[place] != STATUS["ok"], tuple(e for e in estimators if scored[e][place] != STATUS["ok"]))
        for row, place in zip(shard.rows, np.array(shard.rows, dtype=np.int64) - shard.start, strict=True)
    ]
    rows = _do(work, space, batch, spec, _functions(estimators), on_done=on_done, should_stop=should_stop)
    num_done = rows.sizes["arch"]
    # A measured row never changes: where only estimators were missing, the counts stay as they were written.
    measured = np.flatnonzero([each.counts for each in work[:num_done]])
    if measured.size:
        write_shard(location, name, shard, rows.isel(arch=measured), lock=lock)
    if estimators:
        arrays = [key for name in estimators for key in _details(name) if key in rows]
        scores = rows[["score", "seconds", *arrays]]
        scores = scores.assign(status=rows["estimator_status"], message=rows["estimator_message"])
        write_estimators(location, name, shard, scores, lock=lock)
    return num_done


def _do(
    work: Sequence[_Work],
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    functions: Mapping[str, Estimator],
    *,
    on_done: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> xr.Dataset:
    indices = [each.index for each in work]
    outside = [index for index in indices if not 0 <= index < len(space)]
    if outside:
        raise ValueError(f"{space.name} has architectures 0 to {len(space) - 1}, got {outside[0]}")
    archs = [space.arch_id(index) for index in indices]
    rows = empty_rows(archs, indices, layers=space.layer_names).assign(_empty_scores(len(work), list(functions)))
    details = [variable for name in functions for variable in _details(name).values()]
    sizes = {str(dim): size for dim, size in rows.sizes.items()}
    rows = rows.assign({variable.name: (variable.dims, full(variable, sizes)) for variable in details})
    num_done = 0
    with deterministic(spec.threads):
        x, y = to_device(batch, spec.device)
        for row, each in enumerate(work):
            if should_stop():
                break
            builder = Builder(space, archs[row], spec)
            scores = _profile_one(rows, row, each, builder, x, y, functions)
            _fill_scores(rows, row, scores)
            num_done += 1
            on_done(each.index)
    return rows.isel(arch=slice(num_done))


def _profile_one(
    rows: xr.Dataset, row: int, work: _Work, builder: Builder, x: Tensor, y: Tensor, functions: Mapping[str, Estimator]
) -> dict[str, Score]:
    start = time.perf_counter()
    try:
        chosen = {name: functions[name] for name in work.estimators}
        measured, scores = measure_with_estimators(builder, x, y, chosen, seed=builder.spec.seed, count=work.counts)
        if measured is not None and measured.counts is not None:
            fill_row(rows, row, measured.network, measured.counts)
            rows["profile_seconds"].values[row] = measured.seconds
        return scores
    except Exception as error:  # one network must not end the others; what it raised is kept
        message = f"{type(error).__name__}: {error}"
        if work.counts:
            rows["profile_seconds"].values[row] = time.perf_counter() - start
            rows["status"].values[row] = STATUS["failed"]
            rows["message"].values[row] = message
            return {}
        # The counts stand, and only the estimators have failed.
        return {name: Score(math.nan, math.nan, STATUS["failed"], message) for name in work.estimators}


def _functions(estimators: Sequence[str] | Mapping[str, Estimator]) -> Mapping[str, Estimator]:
    if isinstance(estimators, Mapping):
        return estimators
    return {name: registry.load("estimators", name) for name in estimators}


def _details(estimator: str) -> dict[str, Variable]:
    """Arrays that an estimator fills beside its score; its digests are filled in where they are written."""
    return {key: variable for key, variable in DETAILS.get(estimator, {}).items() if key != "digest"}


def _empty_scores(num_archs: int, estimators: Sequence[str]) -> xr.Dataset:
    shape, dims = (num_archs, len(estimators)), ("arch", "estimator")
    scores = {
        "score": (dims, np.full(shape, np.nan)),
        "seconds": (dims, np.full(shape, np.nan, dtype=np.float32)),
        "estimator_status": (dims, np.zeros(shape, dtype=np.uint8)),
        "estimator_message": (dims, np.full(shape, "", dtype=object)),
    }
    return xr.Dataset(scores, coords={"estimator": list(estimators)})


def _fill_scores(rows: xr.Dataset, row: int, scores: Mapping[str, Score]) -> None:
    names = rows["estimator"].values.tolist()
    for name, score in scores.items():
        column = names.index(name)
        rows["score"].values[row, column] = score.value
        rows["seconds"].values[row, column] = score.seconds
        rows["estimator_status"].values[row, column] = score.status
        rows["estimator_message"].values[row, column] = score.message
        for key, array in score.arrays.items():
            rows[key].values[row] = 0  # padding has no parameters and puts nothing out
            rows[key].values[row, : len(array)] = array


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Set what moves last bits, and put it back: threads of one network; cuDNN's choice of algorithm, and its TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
