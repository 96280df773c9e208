"""The published format: create a store, write its shards, open it, verify it. Needs neither torch nor Prefect."""

from sweetgrad.store._location import Location
from sweetgrad.store._remote import RemoteStore
from sweetgrad.store.accuracy import (
    ACCURACY_VARIABLES,
    ImportReport,
    import_accuracy,
    open_accuracy,
    read_accuracy_file,
)
from sweetgrad.store.bins import EDGES, NUM_BINS, bin_bounds, edges_f32
from sweetgrad.store.claims import Claim, claim_shard
from sweetgrad.store.errors import (
    ClaimedError,
    CorruptShardError,
    FencedError,
    NotAStoreError,
    SchemaVersionError,
    SpecMismatchError,
    StoreError,
    UnreachableStoreError,
)
from sweetgrad.store.estimators import (
    MOMENT_VARIABLES,
    MOMENTS,
    create_estimators,
    list_estimators,
    open_estimators,
    open_moments,
)
from sweetgrad.store.merge import MergedProfile, MergeReport, merge
from sweetgrad.store.profiles import (
    create_profile,
    finalise_profile,
    list_profiles,
    open_profile,
    open_store,
    record_run,
)
from sweetgrad.store.release import Release, ReleaseFile, publish
from sweetgrad.store.schema import FORMAT_VERSION, KINDS, LAYER_TYPES, STATUS, VARIABLES, Variable, empty_rows
from sweetgrad.store.shards import (
    Shard,
    plan_shards,
    read_estimator_status,
    read_shard,
    recover_shard,
    replan_shard,
    reset_shard,
    write_estimators,
    write_shard,
)
from sweetgrad.store.spec import ProfileSpec
from sweetgrad.store.status import (
    AccuracyInfo,
    EstimatorStatus,
    Failure,
    ProfileInfo,
    ProfileStatus,
    StoreInfo,
    info,
    status,
)
from sweetgrad.store.verify import Problem, verify

__all__ = [
    "ACCURACY_VARIABLES",
    "EDGES",
    "FORMAT_VERSION",
    "KINDS",
    "LAYER_TYPES",
    "MOMENTS",
    "MOMENT_VARIABLES",
    "NUM_BINS",
    "STATUS",
    "VARIABLES",
    "AccuracyInfo",
    "Claim",
    "ClaimedError",
    "CorruptShardError",
    "EstimatorStatus",
    "Failure",
    "FencedError",
    "ImportReport",
    "Location",
    "MergeReport",
    "MergedProfile",
    "NotAStoreError",
    "Problem",
    "ProfileInfo",
    "ProfileSpec",
    "ProfileStatus",
    "Release",
    "ReleaseFile",
    "RemoteStore",
    "SchemaVersionError",
    "Shard",
    "SpecMismatchError",
    "StoreError",
    "StoreInfo",
    "UnreachableStoreError",
    "Variable",
    "bin_bounds",
    "claim_shard",
    "create_estimators",
    "create_profile",
    "edges_f32",
    "empty_rows",
    "finalise_profile",
    "import_accuracy",
    "info",
    "list_estimators",
    "list_profiles",
    "merge",
    "open_accuracy",
    "open_estimators",
    "open_moments",
    "open_profile",
    "open_store",
    "plan_shards",
    "publish",
    "read_accuracy_file",
    "read_estimator_status",
    "read_shard",
    "record_run",
    "recover_shard",
    "replan_shard",
    "reset_shard",
    "status",
    "verify",
    "write_estimators",
    "write_shard",
]
