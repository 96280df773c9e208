"""The published format: create a store, write its shards, open it, verify it. Needs neither torch nor Prefect."""

import sweetgrad.store._assertions  # noqa: F401  (first: it refuses to go on without them)
from sweetgrad.store._accuracy_table import ACCURACY_VARIABLES
from sweetgrad.store._planning import Shard
from sweetgrad.store.access import Location, RemoteStore
from sweetgrad.store.accuracy import (
    ImportReport,
    import_accuracy,
    list_archs,
    open_accuracies,
    open_accuracy,
)
from sweetgrad.store.benchmarks import (
    OnnxSurrogate,
    Surrogate,
    detect_format,
    predict_accuracies,
    read_accuracy_file,
)
from sweetgrad.store.checks import Problem, verify
from sweetgrad.store.errors import (
    CorruptShardError,
    FencedError,
    LockedError,
    NotAStoreError,
    SchemaVersionError,
    SpecMismatchError,
    StoreError,
    UnreachableStoreError,
)
from sweetgrad.store.estimators import (
    ACTIVATION_VARIABLES,
    ACTIVATIONS,
    MOMENT_VARIABLES,
    MOMENTS,
    create_estimators,
    list_estimators,
    open_activations,
    open_estimators,
    open_moments,
)
from sweetgrad.store.format.bins import EDGES, NUM_BINS, bin_bounds, edges_f32
from sweetgrad.store.format.schema import FORMAT_VERSION, KINDS, LAYER_TYPES, STATUS, VARIABLES, Variable, empty_rows
from sweetgrad.store.format.spec import ProfileSpec
from sweetgrad.store.locks import Lock, lock_shard
from sweetgrad.store.merging import MergedProfile, MergeReport, merge
from sweetgrad.store.overview import (
    AccuracyInfo,
    EstimatorStatus,
    Failure,
    ProfileInfo,
    ProfileStatus,
    StoreInfo,
    info,
    status,
)
from sweetgrad.store.profiles import (
    create_profile,
    finalise_profile,
    list_profiles,
    open_profile,
    open_store,
    record_run,
    stored_archs,
)
from sweetgrad.store.release import Release, ReleaseFile, publish
from sweetgrad.store.shards import (
    plan_shards,
    read_estimator_status,
    read_shard,
    recover_shard,
    replan_shard,
    reset_shard,
    write_estimators,
    write_shard,
)
from sweetgrad.store.spaces import Genotype, parse_genotype
from sweetgrad.store.training import TRAINING_VARIABLES, collect_trainings, open_training

__all__ = [
    "ACCURACY_VARIABLES",
    "ACTIVATIONS",
    "ACTIVATION_VARIABLES",
    "EDGES",
    "FORMAT_VERSION",
    "KINDS",
    "LAYER_TYPES",
    "MOMENTS",
    "MOMENT_VARIABLES",
    "NUM_BINS",
    "STATUS",
    "TRAINING_VARIABLES",
    "VARIABLES",
    "AccuracyInfo",
    "CorruptShardError",
    "EstimatorStatus",
    "Failure",
    "FencedError",
    "Genotype",
    "ImportReport",
    "Location",
    "Lock",
    "LockedError",
    "MergeReport",
    "MergedProfile",
    "NotAStoreError",
    "OnnxSurrogate",
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
    "Surrogate",
    "UnreachableStoreError",
    "Variable",
    "bin_bounds",
    "collect_trainings",
    "create_estimators",
    "create_profile",
    "detect_format",
    "edges_f32",
    "empty_rows",
    "finalise_profile",
    "import_accuracy",
    "info",
    "list_archs",
    "list_estimators",
    "list_profiles",
    "lock_shard",
    "merge",
    "open_accuracies",
    "open_accuracy",
    "open_activations",
    "open_estimators",
    "open_moments",
    "open_profile",
    "open_store",
    "open_training",
    "parse_genotype",
    "plan_shards",
    "predict_accuracies",
    "publish",
    "read_accuracy_file",
    "read_estimator_status",
    "read_shard",
    "record_run",
    "recover_shard",
    "replan_shard",
    "reset_shard",
    "status",
    "stored_archs",
    "verify",
    "write_estimators",
    "write_shard",
]
