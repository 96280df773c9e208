"""Profile many architectures of a search space: the plain functions that a worker runs."""

import logging
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
    COUNTS,
    STATUS,
    Lock,
    Profile,
    ProfileSpec,
    Shard,
    Variable,
    empty_rows,
    profile_block,
    split_scores,
)
from sweetgrad.store.format.schema import full

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchIds(Sequence[str]):
    """Architecture strings of a space, in index order; created on access, so that millions take no memory."""

    space: SearchSpace

    def __len__(self) -> int:
        """Number of architectures in the space."""
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
        The search space, and the batch that all architectures share.
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
class _Row:
    """What is missing in one row: whether its counts, and which estimators."""

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
    """Profile architectures one after another; each result depends only on the architecture and the spec, not on the others.

    Parameters
    ----------
    space, batch, spec
        The search space, the batch that all architectures share, and the settings (`make_spec`).
    indices
        Positions of the architectures in the space.
    estimators
        Names of registered estimators to compute as well, or a mapping of names to functions. If an estimator raises or its score
        is not finite, ``estimator_status`` is 2 for that architecture and ``estimator_message`` says why; the counts are kept.
    on_done
        Called with the index of each architecture that is done.
    should_stop
        Called before each architecture; if it returns True, the rows so far are returned.

    Returns
    -------
    Dataset with the row variables of a profile, one row for each architecture that is done, and with ``score``, ``seconds``,
    ``estimator_status`` and ``estimator_message``, dims (arch, estimator); and, if ``moments`` or ``activations`` are among the
    estimators, their arrays (`MOMENTS`, `ACTIVATIONS`). An architecture that raised (or ran out of memory) has
    ``status`` 2 and its ``message``; the others continue.

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
    work = [_Row(index, counts=True, estimators=tuple(estimators)) for index in indices]
    return _profile_rows(work, space, batch, spec, _functions(estimators), on_done=on_done, should_stop=should_stop)


def profile_shard(
    profile: Profile,
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
    """Profile the missing rows of a shard and write the shard: the one function that a worker runs.

    Counts and scores that a row already has are not computed again. A shard on disk that cannot be decoded is recomputed, with
    all rows that it had.

    Parameters
    ----------
    profile, shard
        Where to write, and what is left to run of it (`Table.plan`).
    space, batch, spec, estimators, on_done, should_stop
        As in `profile_architectures`.
    lock
        As in `Table.write`.

    Returns
    -------
    Number of architectures that are done; fewer than requested only if ``should_stop`` returned True.

    Raises
    ------
    FencedError
        If the lock was taken over by another attempt; the shard is left to it.
    """
    shard = profile.recover(shard, lock=lock)
    status = profile.status(shard=shard)
    scored = {name: profile.status(profile_block(name), shard) for name in estimators}
    work = [
        _Row(row, status[place] != STATUS["ok"], tuple(e for e in estimators if scored[e][place] != STATUS["ok"]))
        for row, place in zip(shard.rows, np.array(shard.rows, dtype=np.int64) - shard.start, strict=True)
    ]
    rows = _profile_rows(work, space, batch, spec, _functions(estimators), on_done=on_done, should_stop=should_stop)
    num_done = rows.sizes["arch"]
    # A measured row never changes: where only estimators were missing, the stored counts are kept.
    measured = np.flatnonzero([row.counts for row in work[:num_done]])
    if measured.size:
        profile.write(shard, {COUNTS: rows.isel(arch=measured)}, lock=lock)
    if estimators:
        arrays = [key for name in estimators for key in _details(name) if key in rows]
        scores = rows[["score", "seconds", *arrays]]
        scores = scores.assign(status=rows["estimator_status"], message=rows["estimator_message"])
        profile.write(shard, split_scores(scores), lock=lock)
    return num_done


def _profile_rows(
    work: Sequence[_Row],
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    functions: Mapping[str, Estimator],
    *,
    on_done: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> xr.Dataset:
    indices = [row.index for row in work]
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
        for row, missing in enumerate(work):
            if should_stop():
                break
            builder = Builder(space, archs[row], spec)
            scores = _profile_one(rows, row, missing, builder, x, y, functions)
            _fill_scores(rows, row, scores)
            num_done += 1
            on_done(missing.index)
    return rows.isel(arch=slice(num_done))


def _profile_one(
    rows: xr.Dataset,
    row: int,
    missing: _Row,
    builder: Builder,
    x: Tensor,
    y: Tensor,
    functions: Mapping[str, Estimator],
) -> dict[str, Score]:
    start = time.perf_counter()
    try:
        chosen = {name: functions[name] for name in missing.estimators}
        measured, scores = measure_with_estimators(builder, x, y, chosen, seed=builder.spec.seed, count=missing.counts)
        if measured is not None and measured.counts is not None:
            fill_row(rows, row, measured.network, measured.counts)
            rows["profile_seconds"].values[row] = measured.seconds
        return scores
    except Exception as error:  # one network must not stop the others; its error is stored
        message = f"{type(error).__name__}: {error}"
        _logger.info("%s failed: %s", builder.arch, message)
        if missing.counts:
            rows["profile_seconds"].values[row] = time.perf_counter() - start
            rows["status"].values[row] = STATUS["failed"]
            rows["message"].values[row] = message
            return {}
        # The counts are stored already; only the estimators failed.
        return {name: Score(math.nan, math.nan, STATUS["failed"], message) for name in missing.estimators}


def _functions(estimators: Sequence[str] | Mapping[str, Estimator]) -> Mapping[str, Estimator]:
    if isinstance(estimators, Mapping):
        return estimators
    return {name: registry.load("estimators", name) for name in estimators}


def _details(estimator: str) -> dict[str, Variable]:
    """Arrays that an estimator fills beside its score."""
    return {variable.name: variable for variable in profile_block(estimator).arrays}


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
            rows[key].values[row] = 0  # padding has neither parameters nor activations
            rows[key].values[row, : len(array)] = array


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Fix the settings that change last bits, and restore them: number of threads; cuDNN's choice of algorithm, and TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
