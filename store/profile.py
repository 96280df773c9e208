"""An opened profile: a table of gradient statistics, to which blocks and runs are added, and which is read as xarray."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr
from xarray.backends import ZarrStore

from sweetgrad.store.access import (
    Location,
    check_profile,
    command_line,
    ignore_leftovers,
    making_sense,
)
from sweetgrad.store.errors import NotAStoreError, SpecMismatchError, StoreError
from sweetgrad.store.format.arrays import create_array, write_array
from sweetgrad.store.format.bins import NUM_BINS, bin_bounds
from sweetgrad.store.format.blocks import (
    ACTIVATIONS,
    MOMENTS,
    SCORES,
    VARIABLES,
    Axis,
    Block,
    axis_variables,
    is_block,
    profile_block,
)
from sweetgrad.store.format.schema import KINDS, count_status
from sweetgrad.store.format.spec import ProfileSpec, facts_that_differ
from sweetgrad.store.groups import Store, block_groups, put_group, read_block, stage_group
from sweetgrad.store.redaction import redacted_facts
from sweetgrad.store.root import append_run, consolidate, editing
from sweetgrad.store.shards import Table, read_array


class Profile(Table):
    """An opened profile of a store: a table with a row for every architecture of a search space.

    Examples
    --------
    ``Profile.open("nb201.zarr", "nas-bench-201/cifar10/bs64-seed42")`` opens one; `sweetgrad.store.create_profile` creates one.
    """

    @classmethod
    def open(
        cls, location: Location, name: str | None = None, *, storage_options: Mapping[str, Any] | None = None
    ) -> Self:
        """Open a profile of a store, by default the only one; raises `NotAStoreError` if there is none, or no only one."""
        store = Store.open(location, storage_options=storage_options)
        return cls(store, store.only_profile() if name is None else name)

    @staticmethod
    def _find(store: Store, name: str) -> zarr.Group:
        return store.profile_group(name)

    @property
    def spec(self) -> ProfileSpec:
        """Settings with which it was measured."""
        return ProfileSpec.from_attrs(self.attributes["spec"])

    def estimators(self) -> list[str]:
        """Names of its estimators with one score, and ``moments`` and ``activations`` if it has them; sorted."""
        return [path.partition("/")[2] for path in block_groups(self.group) if path.startswith("estimators/")]

    def count_rows(self) -> dict[str, int]:
        """Number of architectures with each status, by its name in `STATUS`."""
        return count_status(self.status())

    def add_blocks(self, blocks: Iterable[Block], *, axes: Mapping[str, Axis] = MappingProxyType({})) -> None:
        """Create the empty arrays of blocks that the profile does not have yet; existing ones are compared, and not changed.

        Parameters
        ----------
        blocks
            Blocks with their settings.
        axes
            The axes of `AXES` that the blocks have: the names along each, in forward order, with the name of the layer of each.

        Raises
        ------
        SpecMismatchError
            If the profile has such a block with other settings or axes.
        ValueError
            If an axis of a block is missing.
        """
        blocks = list(blocks)
        if not blocks:
            return
        with editing(self.location) as store:
            profile = Profile(store, self.name)
            for block in blocks:
                missing = [axis for axis in block.axes if axis not in axes]
                if missing:
                    raise ValueError(f"block {block.name} needs the names along {', '.join(missing)}")
                # `status` is created last: a group without it is incomplete.
                if f"{block.path}/status" in profile.group:
                    profile._require_same(block, axes)
                else:
                    staged = self._stage(block, axes)
                    put_group(store.root, f"{self.name}/{block.path}", staged, last="status/zarr.json")

    def _stage(self, block: Block, axes: Mapping[str, Axis]) -> zarr.Group:
        """The empty group of a block, in memory."""
        about = {
            "doc": block.doc,
            "cost": block.cost,
            "settings": dict(block.settings),
            "variables": [variable.name for variable in block.contents],
        }
        staged = stage_group(about if is_block(block) else {})
        sizes = self._sizes() | {axis: len(names) for axis, names in axes.items()} | dict(block.sizes)
        for variable in block.variables:
            create_array(staged, variable, sizes=sizes, shard_size=self.shard_size)
        for axis in block.axes:
            columns = [*axes[axis].keys()], [*axes[axis].values()]
            for variable, values in zip(axis_variables(axis), columns, strict=True):
                create_array(staged, variable, sizes=sizes, shard_size=self.shard_size)
                write_array(staged, variable.name, slice(None), np.array(values, dtype=object))
        return staged

    def axes_of(self, block: Block) -> dict[str, Axis]:
        """The axes of `AXES` of a block that the profile has."""
        group = self.block_group(block)
        named = {axis: [read_array(group, v.name, self.location) for v in axis_variables(axis)] for axis in block.axes}
        return {
            axis: dict(zip(names.tolist(), layers.tolist(), strict=True)) for axis, (names, layers) in named.items()
        }

    def _require_same(self, block: Block, axes: Mapping[str, Axis]) -> None:
        stored = read_block(block.path, self.block_group(block))
        differing = stored.differences(block, axes=self.axes_of(stored), other_axes=axes)
        if differing:
            lines = "\n".join(
                f"  {name}: stored {here}, requested {there}" for name, (here, there) in differing.items()
            )
            raise SpecMismatchError(
                f"block {block.name} of profile {self.name} in {self.location} was measured with other settings:\n{lines}\n"
                "Use the version of the package that measured it, or write to another store."
            )

    def _sizes(self) -> dict[str, int]:
        num_layers = self.group["grad_count"].shape[1]  # type: ignore[union-attr]  # zarr: an array or a group
        of_batch = {"eigenvalue": self.spec.batch_size, "class": self.spec.num_classes}
        return {"arch": self.num_archs, "layer": int(num_layers), "kind": len(KINDS), "bin": NUM_BINS, **of_batch}

    def record_run(self, facts: Mapping[str, Any]) -> tuple[str, ...]:
        """Append facts (JSON-ready) about a run that is about to write, and the time, to the attribute ``runs``.

        Returns
        -------
        Facts that may change the last bit of a gradient and differ from an earlier run (such as the version of torch or the CPU
        capability), each as a sentence: counts of the two runs may differ slightly.
        """
        with editing(self.location) as store:
            group = store.profile_group(self.name)
            before: list[dict[str, Any]] = list(group.attrs["runs"])  # type: ignore[arg-type]  # zarr: any JSON
            append_run(group, facts)
        return facts_that_differ(before, facts)

    def record_training(self, estimator: str, training: Mapping[str, Any]) -> None:
        """Record the training from which the scores of an estimator come.

        Parameters
        ----------
        estimator
            Name; created if it does not exist. An estimator without a training is training-free.
        training
            What was trained, how, and for how long; JSON-ready.
        """
        block = profile_block(estimator)
        self.add_blocks([block])
        with editing(self.location) as store:
            store.profile_group(self.name)[block.path].attrs["training"] = redacted_facts(dict(training))

    def trained_estimators(self) -> dict[str, dict[str, Any]]:
        """Trainings that `record_training` recorded, by estimator; training-free estimators are not included."""
        groups = block_groups(self.group).items()
        return {
            path.partition("/")[2]: dict(group.attrs["training"])  # type: ignore[arg-type]  # zarr: any JSON
            for path, group in groups
            if "training" in group.attrs
        }

    def finalise(self) -> None:
        """Stamp every block with its content digest and its completeness; consolidate the metadata of the store.

        Call it once at the end of a run, from one process. A profile is complete when all its rows were run.
        """
        with editing(self.location) as store:
            Profile(store, self.name).stamp()
            consolidate(store.root)

    def dataset(self, chunks: Mapping[str, int] | str | None = "shard") -> xr.Dataset:
        """The counts, lazily; see `open_profile`."""
        try:
            with ignore_leftovers():
                data = xr.open_dataset(ZarrStore(self.group, mode="r"), chunks=None, mask_and_scale=False)
        except StoreError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Errors of xarray for inconsistent arrays, and of codecs for damaged coordinates.
            raise NotAStoreError(
                f"{self.location}: the arrays of profile {self.name} cannot be opened ({error}). "
                f"`{command_line('verify', self.location)}` says which ones are damaged."
            ) from error
        shard_size = self.attributes.get("shard_size")
        check_profile(data, shard_size, where=f"{self.location}: {self.name}")
        data = _with_bounds(data[[name for name in VARIABLES if name in data.data_vars]])  # zarr lists them in no order
        if chunks is None:
            return data
        coords = {key: coord.load() for key, coord in data.coords.items()}
        sizes = {"arch": int(shard_size), "kind": 1} if chunks == "shard" else chunks  # type: ignore[arg-type]  # checked above
        return data.chunk(sizes).assign_coords(coords)

    def scores(self) -> xr.Dataset:
        """Scores of all estimators, in memory; see `open_estimators`."""
        names = self.estimators()
        arch = self.arch()
        data = {}
        for variable in SCORES:
            if variable.name == "digest":
                continue
            values = np.full(
                (len(arch), len(names)), variable.fill, object if variable.dtype == "str" else variable.dtype
            )
            for column, estimator in enumerate(names):
                values[:, column] = self.column(profile_block(estimator), variable.name)
            data[variable.name] = (("arch", "estimator"), values)
        return xr.Dataset(data, coords={"arch": arch, "estimator": np.array(names, dtype=object)})

    def block(self, name: str) -> xr.Dataset:
        """Statistics of a block, lazily; see `open_block`."""
        data = self.dataset(chunks=None)
        found = {path.partition("/")[2]: path for path in block_groups(self.group)}
        if name not in found:
            raise NotAStoreError(
                f"profile {self.name} in {self.location} has no block {name}: "
                f"`{command_line('estimate', self.location, self.name, '--blocks', name)}` adds it."
            )
        block = read_block(found[name], self.group[found[name]])  # type: ignore[arg-type]  # zarr: an array or a group
        with ignore_leftovers():
            stored = xr.open_dataset(ZarrStore(self.block_group(block), mode="r"), chunks=None, mask_and_scale=False)
        axes = {key: coord.load() for key, coord in stored.coords.items()}
        named = [*(variable.name for variable in block.contents), "seconds", "message", "status"]
        stored = stored.set_coords([v.name for axis in block.axes for v in axis_variables(axis)])
        return stored.assign_coords({**data.coords, **axes})[named].assign_attrs(dict(block.settings))


def open_store(location: Location, *, storage_options: dict[str, Any] | None = None) -> xr.DataTree:
    """Open everything in a store, lazily.

    Parameters
    ----------
    location
        Local path, ``.zip`` file (also as ``zip://PATH``), URL that fsspec understands (``s3://``, ``https://``,
        ``zip::https://``), or `RemoteStore`.
    storage_options
        Options for the file system at a URL, as in `RemoteStore`.

    Returns
    -------
    Tree with one node for every profile and accuracy table; only metadata is read.

    Raises
    ------
    NotAStoreError, SchemaVersionError
        If there is no store, or its format cannot be read.
    UnreachableStoreError
        If a URL does not respond, or denies access; also raised when data is read later.
    """
    root = Store.open(location, storage_options=storage_options).root
    # If the root has consolidated metadata, there is no other way to list the groups.
    consolidated = root.metadata.consolidated_metadata is not None
    with ignore_leftovers(), making_sense(location):
        tree = xr.open_datatree(root.store, engine="zarr", chunks={}, consolidated=consolidated)  # type: ignore[arg-type]
    return tree.map_over_datasets(_with_bounds)


def open_profile(
    location: Location,
    name: str | None = None,
    *,
    chunks: Mapping[str, int] | str | None = "shard",
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Open one profile, lazily.

    Parameters
    ----------
    location
        As in `open_store`.
    name
        Path of the profile in the store, e.g. ``nas-bench-201/cifar10/bs64-seed42``; may be omitted if there is only one.
    chunks
        ``"shard"``: dask arrays with one shard per chunk. None: xarray's own lazy arrays, which are loaded on first use without
        dask. Or sizes by dimension.
    storage_options
        As in `open_store`.

    Returns
    -------
    Variables as in `VARIABLES`; one row for every architecture of the space, of which those with ``status == 1`` were measured.

    Raises
    ------
    NotAStoreError
        If there is no such store, or no such profile in it; the message has the nearest names. If ``name`` is omitted and there
        is not exactly one.
    UnreachableStoreError
        As for `open_store`.
    """
    return Profile.open(location, name, storage_options=storage_options).dataset(chunks)


def open_estimators(
    location: Location, name: str | None = None, *, storage_options: dict[str, Any] | None = None
) -> xr.Dataset:
    """Scores of all estimators of a profile, in memory.

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    ``score``, ``seconds``, ``message`` and ``status``, dims (arch, estimator); NaN where an estimator was not run.

    Raises
    ------
    NotAStoreError
        If there is no such store or profile.
    CorruptShardError
        If a file of an estimator is missing or cannot be decoded.
    """
    return Profile.open(location, name, storage_options=storage_options).scores()


def open_moments(
    location: Location, name: str | None = None, *, storage_options: dict[str, Any] | None = None
) -> xr.Dataset:
    """Sums of gradients in every bin, lazily (xarray's own lazy arrays).

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    ``grad_abs_bin_sum``, ``grad_sq_bin_sum`` and ``weight_grad_bin_sum``, dims (arch, layer, kind, bin); NaN
    where ``moments`` was not run.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it was measured without moments.
    """
    return Profile.open(location, name, storage_options=storage_options).block(MOMENTS.name)[
        [variable.name for variable in MOMENTS.contents]
    ]


def open_activations(
    location: Location, name: str | None = None, *, storage_options: dict[str, Any] | None = None
) -> xr.Dataset:
    """Histograms of the outputs of the cells of every network, lazily (xarray's own lazy arrays).

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.

    Returns
    -------
    ``activation_count``, dims (arch, layer, bin), and ``status``, dims (arch,): 1 where they were counted. The bins are those of
    the gradients. The counts of a layer of type cell or reduction add up to the number of values that it outputs for the batch;
    those of other layers are 0.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it was measured without activations.
    """
    return (
        Profile.open(location, name, storage_options=storage_options)
        .block(ACTIVATIONS.name)
        .drop_vars(["seconds", "message"])
    )


def open_block(
    location: Location, name: str, block: str, *, storage_options: dict[str, Any] | None = None
) -> xr.Dataset:
    """Statistics of a block, lazily (xarray's own lazy arrays).

    Parameters
    ----------
    location, name, storage_options
        As in `open_profile`.
    block
        Name of the block, such as ``tensor_sums``.

    Returns
    -------
    The block's own variables, ``seconds``, ``message`` and ``status``, dims ``arch`` and those that the block declares
    (`STATISTICS`); with the names along ``tensor`` and ``vector`` and their layers as coordinates, and the block's settings as
    attributes.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it was measured without the block.
    """
    return Profile.open(location, name, storage_options=storage_options).block(block)


def list_estimators(
    location: Location, name: str | None = None, *, storage_options: dict[str, Any] | None = None
) -> list[str]:
    """Names of the estimators of a profile, sorted; arguments as in `open_profile`."""
    return Profile.open(location, name, storage_options=storage_options).estimators()


def _with_bounds(profile: xr.Dataset) -> xr.Dataset:
    """The profile with the bounds of bins as stored since format 2; format 1 has them rounded to float32."""
    named = {name: (("bin",), bounds) for name, bounds in zip(("bin_lower", "bin_upper"), bin_bounds(), strict=True)}
    there = {name: profile[name] for name in named if name in profile.coords and profile.sizes["bin"] == NUM_BINS}
    return profile.assign_coords({name: (*named[name], bound.attrs) for name, bound in there.items()})


def list_profiles(location: Location, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Names of all profiles in a store, sorted."""
    return Store.open(location, storage_options=storage_options).profiles()
