"""Many architectures of a search space: the plain functions that a worker runs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import overload

import numpy as np
import torch
import xarray as xr

from sweetgrad.profiling import registry
from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.estimators import Estimator
from sweetgrad.profiling.measure import fill_row, measure_network, to_device
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.store import (
    STATUS,
    Claim,
    Location,
    ProfileSpec,
    Shard,
    empty_rows,
    read_shard,
    recover_shard,
    write_estimators,
    write_shard,
)

__all__ = ["ArchIds", "make_spec", "profile_architectures", "profile_shard"]


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
    )


def profile_architectures(
    space: SearchSpace,
    indices: Sequence[int],
    batch: Batch,
    spec: ProfileSpec,
    *,
    estimators: Sequence[str] = (),
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
        Names of registered estimators to compute as well. One that raises or whose score is not finite has
        ``estimator_status`` 2 for that architecture; the counts stand.
    on_done
        Called with each index when it is done.
    should_stop
        Asked before each architecture; True ends the loop, and what is done is returned.

    Returns
    -------
    Dataset with the row variables of a profile, one row for each architecture done, and with ``score``, ``seconds`` and
    ``estimator_status``, dims (arch, estimator). An architecture that raised (or ran out of memory) has ``status`` 2 and its
    ``message``; the others go on.

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
    outside = [index for index in indices if not 0 <= index < len(space)]
    if outside:
        raise ValueError(f"{space.name} has architectures 0 to {len(space) - 1}, got {outside[0]}")
    functions = {name: registry.load("estimators", name) for name in estimators}
    archs = [space.arch_id(index) for index in indices]
    rows = empty_rows(archs, indices, layers=space.layer_names).assign(_empty_scores(len(archs), estimators))
    num_done = 0
    with _deterministic(spec.threads):
        x, y = to_device(batch, spec.device)
        for row, arch in enumerate(archs):
            if should_stop():
                break
            start = time.perf_counter()
            try:
                torch.manual_seed(spec.seed)
                network = space.build(arch, in_channels=batch.x.shape[1], num_classes=batch.num_classes)
                network.module.to(spec.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                fill_row(rows, row, network, measure_network(network, x, y))
            except Exception as error:  # one network must not end the others; what it raised is kept
                rows["status"].values[row] = STATUS["failed"]
                rows["message"].values[row] = f"{type(error).__name__}: {error}"
            else:
                _fill_scores(rows, row, network, functions)
            rows["profile_seconds"].values[row] = time.perf_counter() - start
            num_done += 1
            on_done(indices[row])
    return rows.isel(arch=slice(num_done))


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
    claim: Claim | None = None,
) -> int:
    """Profile the rows that a shard still needs and write the shard: the one function that a worker is given.

    A shard on disk that cannot be decoded is made again, with all the rows that it held.

    Parameters
    ----------
    location, name, shard
        Store, profile and shard (`plan_shards`).
    space, batch, spec, estimators, on_done, should_stop
        As in `profile_architectures`.
    claim
        As in `write_shard`.

    Returns
    -------
    Number of architectures done; fewer than asked only if ``should_stop`` said so.

    Raises
    ------
    FencedError
        If the claim was taken over by another attempt; the shard is left to it.
    """
    shard = recover_shard(location, name, shard)
    status = read_shard(location, name, shard, variables=["status"])["status"].values
    status = status[np.array(shard.rows, dtype=np.int64) - shard.start]
    rows = profile_architectures(
        space, shard.rows, batch, spec, estimators=estimators, on_done=on_done, should_stop=should_stop
    )
    num_done = rows.sizes["arch"]
    # A measured row never changes: where only estimators were missing, the counts stay as they were written.
    write_shard(location, name, shard, rows.isel(arch=status[:num_done] != STATUS["ok"]), claim=claim)
    if estimators:
        scores = rows[["score", "seconds"]].assign(status=rows["estimator_status"])
        write_estimators(location, name, shard, scores, claim=claim)
    return num_done


def _empty_scores(num_archs: int, estimators: Sequence[str]) -> xr.Dataset:
    shape, dims = (num_archs, len(estimators)), ("arch", "estimator")
    scores = {
        "score": (dims, np.full(shape, np.nan)),
        "seconds": (dims, np.full(shape, np.nan, dtype=np.float32)),
        "estimator_status": (dims, np.zeros(shape, dtype=np.uint8)),
    }
    return xr.Dataset(scores, coords={"estimator": list(estimators)})


def _fill_scores(rows: xr.Dataset, row: int, network: Network, functions: dict[str, Estimator]) -> None:
    for column, function in enumerate(functions.values()):
        start = time.perf_counter()
        try:
            score = float(function(network))
        except Exception:  # an estimator that fails on one network has no score there; the counts stand
            score = math.nan
        rows["score"].values[row, column] = score
        rows["seconds"].values[row, column] = time.perf_counter() - start
        rows["estimator_status"].values[row, column] = STATUS["ok" if math.isfinite(score) else "failed"]


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Set what moves last bits, and put it back: threads of one network; cuDNN's choice of algorithm, and its TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
