"""From a location to bytes that may be trusted: paths, URLs and zip archives, tried again when a network fails, and bounded.

Everything else in `sweetgrad.store` reads and writes through what stands here; nothing here knows of profiles.
"""

from sweetgrad.store.access._archives import check_members
from sweetgrad.store.access._chunks import RefusedChunkError
from sweetgrad.store.access._copy import Progress, copy_groups, map_in_threads, new_folder
from sweetgrad.store.access._documents import check_num_shards, check_profile
from sweetgrad.store.access._limits import MAX_SHARDS
from sweetgrad.store.access._litter import files_in, is_litter
from sweetgrad.store.access._location import (
    Location,
    absolute,
    child_groups,
    ignore_leftovers,
    is_remote,
    is_zip,
    making_sense,
    open_root,
    require_readable,
    with_options,
    zarr_store,
)
from sweetgrad.store.access._remote import AtMost, PatientStore, RemoteStore, open_remote

__all__ = [
    "MAX_SHARDS",
    "AtMost",
    "Location",
    "PatientStore",
    "Progress",
    "RefusedChunkError",
    "RemoteStore",
    "absolute",
    "check_members",
    "check_num_shards",
    "check_profile",
    "child_groups",
    "copy_groups",
    "files_in",
    "ignore_leftovers",
    "is_litter",
    "is_remote",
    "is_zip",
    "making_sense",
    "map_in_threads",
    "new_folder",
    "open_remote",
    "open_root",
    "require_readable",
    "with_options",
    "zarr_store",
]
