"""The published format: create a store, write its shards, open it, verify it. Needs neither torch nor Prefect."""

from sweetgrad.store.bins import EDGES, NUM_BINS, bin_bounds, edges_f32
from sweetgrad.store.errors import CorruptShardError, NotAStoreError, SchemaVersionError, SpecMismatchError, StoreError
from sweetgrad.store.profiles import create_profile, finalise_profile, list_profiles, open_profile, open_store
from sweetgrad.store.schema import FORMAT_VERSION, KINDS, LAYER_TYPES, STATUS, VARIABLES, Variable, empty_rows
from sweetgrad.store.shards import Shard, plan_shards, read_shard, reset_shard, write_shard
from sweetgrad.store.spec import ProfileSpec

__all__ = [
    "EDGES",
    "FORMAT_VERSION",
    "KINDS",
    "LAYER_TYPES",
    "NUM_BINS",
    "STATUS",
    "VARIABLES",
    "CorruptShardError",
    "NotAStoreError",
    "ProfileSpec",
    "SchemaVersionError",
    "Shard",
    "SpecMismatchError",
    "StoreError",
    "Variable",
    "bin_bounds",
    "create_profile",
    "edges_f32",
    "empty_rows",
    "finalise_profile",
    "list_profiles",
    "open_profile",
    "open_store",
    "plan_shards",
    "read_shard",
    "reset_shard",
    "write_shard",
]
