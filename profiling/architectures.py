"""Profile many architectures of a search space: the plain functions that a worker runs."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sweetgrad.profiling import registry
from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.devices import deterministic, memory_format_on
from sweetgrad.profiling.estimators import Estimator
from sweetgrad.profiling.estimators.protocol import Measurer, Statistics, is_defined_for
from sweetgrad.profiling.estimators.running import Score, measure_with_estimators
from sweetgrad.profiling.measure import Builder, fill_row, to_device
from sweetgrad.profiling.own_code import is_reference, own_name
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.profiling.tasks import IMAGE_CLASSIFICATION, TASKS
from sweetgrad.store import (
    ACTIVATIONS,
    COUNTS,
    MOMENTS,
    STATISTICS,
    STATUS,
    Block,
    Lock,
    Profile,
    ProfileSpec,
    Shard,
    empty_rows,
    profile_block,
)
from sweetgrad.store.format.blocks import is_block
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


def task_of(space: object) -> str:
    """Name of the task of a search space, or of the callable that makes it: classification of images if it names none."""
    return str(getattr(space, "task", IMAGE_CLASSIFICATION.name))


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

    Raises
    ------
    ValueError
        If the networks of the space have another task than the batch.
    """
    wanted = task_of(space)
    if wanted != batch.task:
        raise ValueError(
            f"space {space.name} is for {TASKS[wanted].title}, but data set {batch.dataset} is of {TASKS[batch.task].title}: "
            "choose a data set of that task"
        )
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
        task=batch.task,
        loss=TASKS[batch.task].loss_name,
        memory_format=memory_format_on(device) if batch.x.ndim == 4 else "contiguous",
        batch_size=len(batch.x),
        seed=seed,
        augment=batch.augment,
        batch_sha256=batch.sha256,
        arch_sha256=archs.hexdigest(),
        device=device,
        space_options=getattr(space, "options", {}),
        space_version=getattr(space, "version", 1),
    )


OWN_BLOCKS = {block.name: block for block in (COUNTS, MOMENTS, ACTIVATIONS, *STATISTICS.values())}
"""Blocks that sweetgrad declares, by name."""

Functions = Mapping[Block, Estimator]
"""Estimators and functions that measure a block, by the block in which their results are stored."""


def load_functions(
    estimators: Sequence[str], blocks: Sequence[str | Measurer], *, spec: ProfileSpec, batch: Batch
) -> dict[Block, Estimator]:
    """Registered estimators and blocks, each block with its settings.

    Parameters
    ----------
    estimators
        Their names.
    blocks
        Their names, or functions that measure one.
    spec, batch
        Settings and batch of the profile.

    Raises
    ------
    ValueError
        If one is not registered, has the name of one of sweetgrad's own, cannot be measured with this batch, or is not defined
        for the task of the networks.
    """
    functions: dict[Block, Estimator] = {
        profile_block(own_name(name)): registry.load("estimators", name) for name in estimators
    }
    for given in blocks:
        measurer: Any = registry.load("blocks", given) if isinstance(given, str) else given
        block = getattr(measurer, "block", None)
        is_own = not isinstance(given, str) or is_reference(given)
        name = getattr(block, "name", None) if is_own else given
        if not isinstance(block, Block) or block.name != name:
            raise ValueError(
                f"block {name or given!r} is measured by {measurer!r}, which must be decorated with measures(block) of that name"
            )
        if name in OWN_BLOCKS and block != OWN_BLOCKS[name]:
            raise ValueError(
                f"block {name!r} is one of sweetgrad's own, but another package registers {block.doc!r}: rename that"
            )
        functions[block.measured_with(measurer.settings(spec, batch))] = measurer
    for block, function in functions.items():
        if not is_defined_for(function, spec.task):
            titles = [task.title for name, task in TASKS.items() if is_defined_for(function, name)]
            raise ValueError(
                f"{block.name} is defined for {' and '.join(titles)}, and the networks of "
                f"{spec.space} are for {TASKS[spec.task].title}: leave it out"
            )
    return functions


def parameter_axes(space: SearchSpace, blocks: Iterable[Block]) -> dict[str, dict[str, str]]:
    """Names of the parameters of all networks of a space along the axes of `AXES`, each with the name of its layer.

    Parameters
    ----------
    space
        The search space.
    blocks
        Blocks that are to be measured.

    Returns
    -------
    The axes that the space names; none if no block has any.

    Raises
    ------
    ValueError
        If a block has such an axis, and the space does not name the parameters.
    """
    with_axes = [block.name for block in blocks if block.axes]
    if not with_axes:
        return {}
    axes = getattr(space, "parameter_axes", None)
    if axes is None:
        raise ValueError(
            f"blocks along the parameters of a network ({', '.join(with_axes)}) need the names of all parameters, but the search "
            f"space {space.name!r} has no parameter_axes(): leave these blocks out, or add that method to the space; it returns "
            "unite_names([network, ...]) of networks that together have every parameter"
        )
    found: dict[str, dict[str, str]] = axes()
    return found


@dataclass(frozen=True)
class _Row:
    """What is missing in one row: whether its counts, and which blocks."""

    index: int
    counts: bool
    blocks: tuple[Block, ...]


def profile_architectures(
    space: SearchSpace,
    indices: Sequence[int],
    batch: Batch,
    spec: ProfileSpec,
    *,
    estimators: Sequence[str] | Mapping[str, Estimator] = (),
    blocks: Sequence[str | Measurer] = (),
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
    blocks
        Names of registered blocks to measure as well, or functions that measure one (`measures`).
    on_done
        Called with the index of each architecture that is done.
    should_stop
        Called before each architecture; if it returns True, the rows so far are returned.

    Returns
    -------
    Dataset with the row variables of a profile, one row for each architecture that is done, and with ``score``, ``seconds``,
    ``estimator_status`` and ``estimator_message``, dims (arch, estimator); of each block its own variables, and for example
    ``tensor_sums_seconds``, ``tensor_sums_message`` and ``tensor_sums_status``. An architecture that raised (or ran out of
    memory) has ``status`` 2 and its ``message``; the others continue.

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
    names: Sequence[str] = () if isinstance(estimators, Mapping) else estimators
    functions = load_functions(names, blocks, spec=spec, batch=batch)
    if isinstance(estimators, Mapping):
        functions |= {profile_block(name): function for name, function in estimators.items()}
    rows = measure_blocks(space, indices, batch, spec, functions, on_done=on_done, should_stop=should_stop)
    scored = [block for block in functions if not is_block(block)]
    scores = {
        key: (("arch", "estimator"), _columns([rows[block][variable] for block in scored], rows[COUNTS], dtype))
        for key, variable, dtype in (
            ("score", "score", np.float64),
            ("seconds", "seconds", np.float32),
            ("estimator_status", "status", np.uint8),
            ("estimator_message", "message", object),
        )
    }
    together = rows[COUNTS].assign(xr.Dataset(scores, coords={"estimator": [block.name for block in scored]}))
    for block in functions:
        together = together.assign(rows[block][[variable.name for variable in block.contents]])
        if is_block(block):
            about = {f"{block.name}_{name}": rows[block][name] for name in ("seconds", "message", "status")}
            together = together.assign(about)
    return together


def _columns(columns: Sequence[xr.DataArray], counts: xr.Dataset, dtype: Any) -> NDArray[Any]:
    """Columns side by side, shape (arch, columns)."""
    empty = np.zeros((counts.sizes["arch"], 0), dtype)
    return np.stack([column.values for column in columns], axis=1) if columns else empty


def measure_blocks(
    space: SearchSpace,
    indices: Sequence[int],
    batch: Batch,
    spec: ProfileSpec,
    functions: Functions,
    *,
    on_done: Callable[[int], None] = lambda index: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[Block, xr.Dataset]:
    """Measure the counts and blocks of architectures; arguments and errors as in `profile_architectures`.

    Parameters
    ----------
    space, indices, batch, spec, on_done, should_stop
        As in `profile_architectures`.
    functions
        What measures each block (`load_functions`).

    Returns
    -------
    Rows of `COUNTS` and of each block, with all its variables but the digest, one for each architecture that is done.
    """
    work = [_Row(index, counts=True, blocks=tuple(functions)) for index in indices]
    axes = parameter_axes(space, functions)
    return _profile_rows(work, space, batch, spec, functions, axes, on_done=on_done, should_stop=should_stop)


def profile_shard(
    profile: Profile,
    shard: Shard,
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    *,
    estimators: Sequence[str] = (),
    blocks: Sequence[str] = (),
    on_done: Callable[[int], None] = lambda index: None,
    should_stop: Callable[[], bool] = lambda: False,
    lock: Lock | None = None,
) -> int:
    """Profile the missing rows of a shard and write the shard: the one function that a worker runs.

    What a row already has is not measured again. A shard on disk that cannot be decoded is recomputed, with all rows that it had.

    Parameters
    ----------
    profile, shard
        Where to write, and what is left to run of it (`Table.plan`).
    space, batch, spec, estimators, on_done, should_stop
        As in `profile_architectures`.
    blocks
        Names of registered blocks to measure as well.
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
    functions = load_functions(estimators, blocks, spec=spec, batch=batch)
    shard = profile.recover(shard, lock=lock)
    status = profile.status(shard=shard)
    measured = {block: profile.status(block, shard) for block in functions}
    work = [
        _Row(row, status[place] != STATUS["ok"], tuple(b for b in functions if measured[b][place] != STATUS["ok"]))
        for row, place in zip(shard.rows, np.array(shard.rows, dtype=np.int64) - shard.start, strict=True)
    ]
    # As stored: a space builds networks to name the parameters.
    axes = {axis: names for block in functions if block.axes for axis, names in profile.axes_of(block).items()}
    rows = _profile_rows(work, space, batch, spec, functions, axes, on_done=on_done, should_stop=should_stop)
    num_done = rows[COUNTS].sizes["arch"]
    # A measured row never changes: where only blocks were missing, the stored counts are kept.
    with_counts = np.flatnonzero([row.counts for row in work[:num_done]])
    if with_counts.size:
        profile.write(shard, {COUNTS: rows[COUNTS].isel(arch=with_counts)}, lock=lock)
    if functions:
        profile.write(shard, {block: rows[block] for block in functions}, lock=lock)
    return num_done


def _profile_rows(
    work: Sequence[_Row],
    space: SearchSpace,
    batch: Batch,
    spec: ProfileSpec,
    functions: Functions,
    axes: Mapping[str, Mapping[str, str]],
    *,
    on_done: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> dict[Block, xr.Dataset]:
    indices = [row.index for row in work]
    outside = [index for index in indices if not 0 <= index < len(space)]
    if outside:
        raise ValueError(f"{space.name} has architectures 0 to {len(space) - 1}, got {outside[0]}")
    archs = [space.arch_id(index) for index in indices]
    counts = empty_rows(archs, indices, layers=space.layer_names)
    rows = {block: _empty(block, counts, axes, batch) for block in functions}
    num_done = 0
    with deterministic(spec.threads):
        x, y = to_device(batch, spec.device, spec.memory_format)
        second = None if batch.second is None else to_device(batch.second, spec.device, spec.memory_format)
        for row, missing in enumerate(work):
            if should_stop():
                break
            builder = Builder(space, archs[row], spec)
            chosen = {block: functions[block] for block in missing.blocks}
            network, scores = _profile_one(counts, row, missing, builder, x, y, chosen, second)
            for block, score in scores.items():
                _fill(rows[block], block, row, score, network)
            num_done += 1
            on_done(missing.index)
    return {block: each.isel(arch=slice(num_done)) for block, each in {COUNTS: counts, **rows}.items()}


def _profile_one(
    rows: xr.Dataset,
    row: int,
    missing: _Row,
    builder: Builder,
    x: Tensor,
    y: Tensor,
    functions: Functions,
    second: tuple[Tensor, Tensor] | None,
) -> tuple[Network | None, dict[Block, Score]]:
    """Measure one network; returns it, unless it failed, and the results of the functions."""
    start = time.perf_counter()
    try:
        measured, scores = measure_with_estimators(
            builder, x, y, functions, seed=builder.spec.seed, count=missing.counts, second=second
        )
        if measured.counts is not None:
            fill_row(rows, row, measured.network, measured.counts)
            rows["profile_seconds"].values[row] = measured.seconds
        return measured.network, scores
    except Exception as error:  # one network must not stop the others; its error is stored
        message = f"{type(error).__name__}: {error}"
        _logger.info("%s failed: %s", builder.arch, message)
        if missing.counts:
            rows["profile_seconds"].values[row] = time.perf_counter() - start
            rows["status"].values[row] = STATUS["failed"]
            rows["message"].values[row] = message
            return None, {}
        # The counts are stored already; only the blocks failed.
        return None, {block: Score(math.nan, math.nan, STATUS["failed"], message) for block in functions}


def _empty(block: Block, counts: xr.Dataset, axes: Mapping[str, Mapping[str, str]], batch: Batch) -> xr.Dataset:
    """Rows of a block, not run, for the architectures of ``counts``."""
    sizes = {str(dim): size for dim, size in counts.sizes.items()} | dict(block.sizes)
    sizes |= {"eigenvalue": len(batch.x), "class": batch.num_classes} | {
        axis: len(names) for axis, names in axes.items()
    }
    data = {v.name: (v.dims, full(v, sizes)) for v in block.variables if v.name != "digest"}
    coords = {"arch": counts["arch"], "arch_index": counts["arch_index"]}
    return xr.Dataset(data, coords=coords | {axis: list(axes[axis]) for axis in block.axes})


def _fill(rows: xr.Dataset, block: Block, row: int, score: Score, network: Network | None) -> None:
    """Write the result of an estimator or a block to row ``row`` of ``rows``, in place; status failed if it does not fit."""
    status, message, values = score.status, score.message, {}
    if status == STATUS["ok"]:
        assert network is not None
        try:
            values = _fitted(rows, block, score.arrays, network)
        except Exception as error:  # a block of another package may return anything, and the other networks must go on
            status, message = STATUS["failed"], f"{block.name}: {error}"
    if "score" in rows:
        rows["score"].values[row] = score.value
    for name, value in (("seconds", score.seconds), ("status", status), ("message", message), *values.items()):
        rows[name].values[row] = value


def _fitted(rows: xr.Dataset, block: Block, arrays: Statistics, network: Network) -> dict[str, NDArray[Any]]:
    """Values of a network in the shape of a row, with fill values where the network has no such layer or parameter.

    Raises
    ------
    ValueError
        If a variable is missing or does not have the shape of the network, or the network has a parameter without a name.
    """
    places = {axis: _places(rows, axis, network) for axis in block.axes}
    fitted = {}
    for variable in block.contents:
        if variable.name not in arrays:
            raise ValueError(f"its result lacks {variable.name}")
        values = variable.rounded(np.asarray(arrays[variable.name]))
        dims, shape = variable.dims[1:], rows[variable.name].shape[1:]
        index = [places.get(dim, np.arange(size)) for dim, size in zip(dims, shape, strict=True)]
        if dims[:1] == ("layer",) and values.ndim:
            index[0] = index[0][: len(network.layers)]
        expected = tuple(map(len, index))
        if values.shape != expected:
            of = f" for the dims {', '.join(dims)}" if dims else ", a single number"
            raise ValueError(f"{variable.name} has the shape {values.shape}, expected {expected}{of}")
        # Padding has neither parameters nor activations.
        fill = 0 if "score" in rows and "layer" in dims else variable.fill
        whole = np.full(shape, fill, values.dtype)
        whole[np.ix_(*index)] = values
        fitted[variable.name] = whole
    return fitted


def _places(rows: xr.Dataset, axis: str, network: Network) -> NDArray[np.int64]:
    """Positions along an axis of the parameters of a network."""
    known = {name: place for place, name in enumerate(rows[axis].values)}
    names = network.named_parameters()[axis]
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"the network has the parameter {missing[0]!r}, which parameter_axes() of its space does not name"
        )
    return np.array([known[name] for name in names], dtype=np.int64)
