"""Checked access to paths, URLs and zip archives: network requests are retried, and the size of every read is bounded.

Everything else in `sweetgrad.store` reads and writes through this package, which knows nothing about profiles.
"""

from sweetgrad.store.access._arrays import read_arrays
from sweetgrad.store.access._chunks import RefusedChunkError
from sweetgrad.store.access._command_line import command_line
from sweetgrad.store.access._copy import Progress, copy_groups, map_in_threads, new_folder
from sweetgrad.store.access._documents import check_num_shards, check_profile
from sweetgrad.store.access._files import (
    PARTIAL,
    atomic_write,
    files_in,
    force_folder,
    force_tree,
    is_litter,
    rename_folder,
)
from sweetgrad.store.access._guard import Fence, GuardedStore
from sweetgrad.store.access._limits import MAX_SHARDS
from sweetgrad.store.access._location import (
    Location,
    absolute,
    child_groups,
    ignore_leftovers,
    is_remote,
    is_zip,
    local_path,
    making_sense,
    open_root,
    require_readable,
    url_of,
    with_options,
    zarr_store,
)
from sweetgrad.store.access._remote import AtMost, RemoteStore, RetryingStore, open_remote
from sweetgrad.store.access._zip import check_members

__all__ = [
    "MAX_SHARDS",
    "PARTIAL",
    "AtMost",
    "Fence",
    "GuardedStore",
    "Location",
    "Progress",
    "RefusedChunkError",
    "RemoteStore",
    "RetryingStore",
    "absolute",
    "atomic_write",
    "check_members",
    "check_num_shards",
    "check_profile",
    "child_groups",
    "command_line",
    "copy_groups",
    "files_in",
    "force_folder",
    "force_tree",
    "ignore_leftovers",
    "is_litter",
    "is_remote",
    "is_zip",
    "local_path",
    "making_sense",
    "map_in_threads",
    "new_folder",
    "open_remote",
    "open_root",
    "read_arrays",
    "rename_folder",
    "require_readable",
    "url_of",
    "with_options",
    "zarr_store",
]
