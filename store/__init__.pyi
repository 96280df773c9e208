"""The public names of `sweetgrad.store`; each is imported when it is first used."""

from .access import Location, RemoteStore
from .accuracy import (
    ImportReport,
    import_accuracy,
    list_archs,
    open_accuracies,
    open_accuracy,
)
from .accuracy_table import ACCURACY_VARIABLES
from .benchmarks import (
    OnnxSurrogate,
    Surrogate,
    detect_format,
    predict_accuracies,
    read_accuracy_file,
)
from .checks import Problem, verify
from .creation import create_profile, stored_archs
from .errors import (
    CorruptShardError,
    FencedError,
    LockedError,
    NotAStoreError,
    SchemaVersionError,
    SpecMismatchError,
    StoreError,
    UnreachableStoreError,
)
from .format.bins import EDGES, NUM_BINS, bin_bounds, edges_f32
from .format.blocks import (
    ACTIVATIONS,
    COUNTS,
    MOMENTS,
    TRAINING,
    VARIABLES,
    Block,
    declare_block,
    empty_rows,
    profile_block,
)
from .format.schema import FORMAT_VERSION, KINDS, LAYER_TYPES, STATUS, Variable
from .format.spec import ProfileSpec
from .format.statistics import STATISTICS
from .groups import Store
from .locks import Lock, lock_shard
from .merging import MergedProfile, MergeReport, merge
from .overview import (
    AccuracyInfo,
    BlockStatus,
    Failure,
    ProfileInfo,
    ProfileStatus,
    StoreInfo,
    info,
    status,
)
from .profile import (
    Profile,
    list_estimators,
    list_profiles,
    open_activations,
    open_block,
    open_estimators,
    open_moments,
    open_profile,
    open_store,
)
from .release import Release, ReleaseFile, publish
from .shards import Shard, Table
from .spaces import Genotype, parse_genotype
from .training import TRAINING_VARIABLES, Trainings, collect_trainings, create_training, open_training

__all__ = [
    "ACCURACY_VARIABLES",
    "ACTIVATIONS",
    "COUNTS",
    "EDGES",
    "FORMAT_VERSION",
    "KINDS",
    "LAYER_TYPES",
    "MOMENTS",
    "NUM_BINS",
    "STATISTICS",
    "STATUS",
    "TRAINING",
    "TRAINING_VARIABLES",
    "VARIABLES",
    "AccuracyInfo",
    "Block",
    "BlockStatus",
    "CorruptShardError",
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
    "Profile",
    "ProfileInfo",
    "ProfileSpec",
    "ProfileStatus",
    "Release",
    "ReleaseFile",
    "RemoteStore",
    "SchemaVersionError",
    "Shard",
    "SpecMismatchError",
    "Store",
    "StoreError",
    "StoreInfo",
    "Surrogate",
    "Table",
    "Trainings",
    "UnreachableStoreError",
    "Variable",
    "bin_bounds",
    "collect_trainings",
    "create_profile",
    "create_training",
    "declare_block",
    "detect_format",
    "edges_f32",
    "empty_rows",
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
    "open_block",
    "open_estimators",
    "open_moments",
    "open_profile",
    "open_store",
    "open_training",
    "parse_genotype",
    "predict_accuracies",
    "profile_block",
    "publish",
    "read_accuracy_file",
    "status",
    "stored_archs",
    "verify",
]
