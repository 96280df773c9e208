"""`Store`, an opened store, and its groups: finding them, and creating them without ever overwriting one."""

import asyncio
import difflib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Self

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import MemoryStore

from sweetgrad.store.access import (
    Fence,
    GuardedStore,
    Location,
    child_groups,
    ignore_leftovers,
    making_sense,
    open_root,
    with_options,
)
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.errors import FencedError, NotAStoreError
from sweetgrad.store.format.arrays import create_array, write_archs, write_array, write_bounds
from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.blocks import KNOWN_DIMS, VARIABLES, Block, declare_block, profile_block
from sweetgrad.store.format.schema import KINDS, Variable
from sweetgrad.store.format.statistics import STATISTICS

_OF_ROWS = ("status", "digest", "score", "accuracy")
"""Arrays of profiles, estimators and trainings, of which no file is written before the first row."""


@dataclass(frozen=True)
class Store:
    """An opened store: its root group, from which all other groups are found.

    Attributes
    ----------
    location
        Local path or URL, or a `RemoteStore`.
    root
        Root group. Its metadata is that at the time of opening.

    Examples
    --------
    ``store = Store.open("nb201.zarr")`` opens a store, ``Profile(store, name)`` each profile in ``store.profiles()``.
    """

    location: Location
    root: zarr.Group

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        mode: Literal["r", "r+"] = "r",
        storage_options: Mapping[str, Any] | None = None,
        fence: Fence | None = None,
    ) -> Self:
        """Open an existing store.

        Parameters
        ----------
        location, storage_options
            As in `open_store`.
        mode
            ``r`` for reading, ``r+`` for reading and writing.
        fence
            Awaited before every write.

        Raises
        ------
        NotAStoreError, SchemaVersionError
            If there is no store, or its format cannot be read.
        UnreachableStoreError
            If a URL does not respond, or denies access.
        """
        location = with_options(location, storage_options)
        return cls(location, open_root(location, mode=mode, fence=fence))

    @property
    def version(self) -> int:
        """Version of the store's format."""
        return int(self.root.attrs["schema_version"])  # type: ignore[arg-type]  # `open_root` has checked it

    def profiles(self) -> list[str]:
        """Names of the profiles, sorted."""
        with making_sense(self.location):
            return sorted(profile_names(self.root))

    def profile_group(self, name: str) -> zarr.Group:
        """The group of a profile; raises `NotAStoreError` with the nearest names if there is none."""
        group = self.find_group(name)
        if isinstance(group, zarr.Group) and "spec" in group.attrs:
            return group
        names = sorted(profile_names(self.root))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names
        raise NotAStoreError(f"{self.location} has no profile {name!r}; it holds {', '.join(near) or 'none yet'}.")

    def only_profile(self) -> str:
        """Name of the one profile of the store; raises `NotAStoreError` with their names if there is another number."""
        names = self.profiles()
        if len(names) != 1:
            raise NotAStoreError(
                f"{self.location} holds {len(names)} profiles, name one of them: {', '.join(names) or 'there is none yet'}"
            )
        return names[0]

    def find_group(self, name: str) -> Any:
        """The node at the path of a profile, None if there is none; raises `NotAStoreError` if its metadata cannot be read."""
        try:
            return self.root.get(name)
        except (ValueError, TypeError) as error:  # zarr's errors for a zarr.json that it cannot read
            raise NotAStoreError(
                f"{self.location}: the metadata of profile {name} ({name}/zarr.json) cannot be read ({error}). "
                "Copy that file from a backup, or delete the profile's folder and profile again."
            ) from error


def profile_names(group: zarr.Group) -> Iterator[str]:
    """Paths of all profiles in a group, the group itself included."""
    if "spec" in group.attrs:
        yield group.path
        return
    for _, child in child_groups(group):
        yield from profile_names(child)


def archs_by_profile(root: zarr.Group, space: str) -> dict[str, list[str]]:
    """Architectures of each profile of a space, in the order of its rows."""
    group = root.get(space)
    names = profile_names(group) if isinstance(group, zarr.Group) else ()
    return {name: np.asarray(root[f"{name}/arch"][:]).tolist() for name in names}  # type: ignore[index]


def archs_of_space(root: zarr.Group, space: str) -> list[str]:
    """Architectures of all profiles of a space, those of the largest profile first."""
    profiles = sorted(archs_by_profile(root, space).values(), key=len, reverse=True)
    return list(dict.fromkeys(arch for profile in profiles for arch in profile))


BLOCK_FOLDERS = ("estimators", "blocks")
"""Groups of a profile whose groups are its blocks other than the counts."""


def block_groups(group: zarr.Group) -> dict[str, zarr.Group]:
    """Groups of the blocks of a profile other than the counts, by path; one without ``status`` was not created completely."""
    parents = {folder: group.get(folder) for folder in BLOCK_FOLDERS}
    return {
        f"{folder}/{name}": child
        for folder, parent in parents.items()
        if isinstance(parent, zarr.Group)
        for name, child in sorted(child_groups(parent))
        if "status" in child
    }


def read_block(path: str, group: zarr.Group) -> Block:
    """The block that a group holds: as sweetgrad declares it, otherwise as its arrays describe it."""
    folder, _, name = path.partition("/")
    if folder == "estimators":
        return profile_block(name)
    settings = group.attrs.get("settings")
    declared = STATISTICS.get(name) or _described(name, group)
    return declared.measured_with(settings if isinstance(settings, dict) else {})


def _described(name: str, group: zarr.Group) -> Block:
    """A block of another package, from its metadata: the names of its variables, and their arrays."""
    variables = []
    sizes: dict[str, int] = {}
    for key in _variables_of(group):
        array = _readable(group, key)
        if array is None:
            # Whoever reads or checks it says that it is missing.
            variables.append(Variable(key, ("arch",), "float64", "", "", np.nan))
            continue
        dims = tuple(str(dim) for dim in array.metadata.dimension_names or ())  # type: ignore[union-attr]  # zarr: v2 has none
        if dims[:1] == ("arch",):
            dtype = "str" if array.dtype.kind in "OUT" else str(array.dtype)
            units, doc = (str(array.attrs.get(word, "")) for word in ("units", "doc"))
            variables.append(Variable(key, dims, dtype, units, doc, array.fill_value))
            sizes |= {dim: size for dim, size in zip(dims, array.shape, strict=True) if dim not in KNOWN_DIMS}
    doc, cost = (str(group.attrs.get(word, "")) for word in ("doc", "cost"))
    return declare_block(name, doc, *variables, cost=cost, sizes=sizes)


def _variables_of(group: zarr.Group) -> list[str]:
    """Names of a block's own variables, sorted: those that it lists, otherwise its arrays."""
    listed = group.attrs.get("variables")
    if isinstance(listed, list):
        return sorted(map(str, listed))
    every = {variable.name for variable in declare_block("any", "", cost="").variables}
    with ignore_leftovers():
        return sorted(key for key in group.array_keys() if key not in every)


def _readable(group: zarr.Group, key: str) -> zarr.Array[Any] | None:
    """An array of a group; None if its metadata is lost or damaged."""
    try:
        array = group[key]
    except (LookupError, ValueError, TypeError):  # zarr's errors for a zarr.json that it cannot read
        return None
    return array if isinstance(array, zarr.Array) else None


def has_rows(root: zarr.Group, name: str) -> bool:
    """Whether a row was ever written at a path, regardless of its metadata: rows are only written to a finished group.

    False if files cannot be listed, as over https, where nothing can be written either.
    """
    if root.metadata.consolidated_metadata is not None:
        return False

    async def any_chunk() -> bool:
        arrays = {array async for array in root.store.list_dir(name)} & set(_OF_ROWS)
        return any([True for array in arrays async for _ in root.store.list_dir(f"{name}/{array}/c")])

    return sync(any_chunk())


def create_group(
    root: zarr.Group,
    name: str,
    arch: Sequence[str],
    layers: Sequence[str],
    shard_size: int,
    attributes: Mapping[str, Any],
) -> None:
    """Create the group of a profile with all its arrays and coordinates; a finished group is never changed."""
    group = stage_group({"shard_size": shard_size, **attributes})
    sizes = {"arch": len(arch), "layer": len(layers), "kind": len(KINDS), "bin": NUM_BINS}
    for variable in VARIABLES.values():
        create_array(group, variable, sizes=sizes, shard_size=shard_size)
    write_array(group, "layer", slice(None), np.array(layers, dtype=object))
    write_array(group, "kind", slice(None), np.array(KINDS, dtype=object))
    write_bounds(group)
    write_archs(group, arch)
    put_group(root, name, group)


def stage_group(attributes: Mapping[str, Any]) -> zarr.Group:
    """A new group in memory, for `put_group`."""
    return zarr.create_group(MemoryStore(), attributes=dict(attributes))


def put_group(root: zarr.Group, path: str, staged: zarr.Group, *, last: str = "zarr.json") -> None:
    """Write a group that was created in memory to a path without one: all files concurrently, then ``last``.

    On an object store, zarr would request every group above an array before creating it: more than half of the requests.

    Nothing is ever overwritten (on an object store, where each conditional write takes two requests, only the last file is
    conditional). A group is finished when its file ``last`` has the attributes of the staged one. A group without these, and
    without rows, was left by an interrupted creation: it is moved aside, checked, and only then deleted.

    Raises
    ------
    FencedError
        If there is a finished group, which another process has created in the meantime.
    """
    if "/" in path:
        root.require_group(path.rpartition("/")[0])
    files = {key: data.to_bytes() for key, data in sync(_files(staged)).items()}
    if sync(_names(root, path)):
        _discard(root, path, last, files[last])

    store = root.store
    is_disk = isinstance(store, GuardedStore) and store.can_rename

    async def put(key: str) -> None:
        write = store.set_if_not_exists if is_disk or key == last else store.set
        await write(f"{path}/{key}", cpu.Buffer.from_bytes(files[key]))

    async def put_all() -> None:
        await asyncio.gather(*(put(key) for key in files if key != last))
        await put(last)

    sync(put_all())
    if sync(_read(root, f"{path}/{last}")) != files[last]:
        _refuse(root, path)


def _discard(root: zarr.Group, path: str, last: str, staged: bytes) -> None:
    """Delete an interrupted creation. On a disk it is renamed first, so that a delayed process cannot delete a newer group."""

    def is_leftover(place: str) -> bool:
        document = sync(_read(root, f"{place}/{last}"))
        needed = set(json.loads(staged)["attributes"])
        try:
            finished = document is not None and needed <= set(json.loads(document)["attributes"])
        except (ValueError, KeyError, TypeError):
            finished = False
        return not finished and not has_rows(root, place)

    if not is_leftover(path):
        _refuse(root, path)
    store = root.store
    if isinstance(store, GuardedStore) and store.can_rename:
        aside = f"{path}.{uuid.uuid4().hex}"
        sync(store.rename(path, aside))
        if not is_leftover(aside):
            sync(store.rename(aside, path, undo=True))
            _refuse(root, path)
        path = aside
    sync(store.delete_dir(path))


def _refuse(root: zarr.Group, path: str) -> NoReturn:
    raise FencedError(
        f"{path} was created by another process in the meantime; expected no such group. It was not changed: run this again."
    )


async def _files(group: zarr.Group) -> dict[str, Buffer]:
    """All files of a group in memory."""
    keys = [key async for key in group.store.list()]
    found = {key: await group.store.get(key, default_buffer_prototype()) for key in keys}
    return {key: data for key, data in found.items() if data is not None}


async def _names(root: zarr.Group, path: str) -> list[str]:
    return [name async for name in root.store.list_dir(path)]


async def _read(root: zarr.Group, key: str) -> bytes | None:
    data = await root.store.get(key, default_buffer_prototype())
    return None if data is None else data.to_bytes()
