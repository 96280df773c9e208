"""Train architectures: recipes, a trainer that resumes exactly from checkpoints, and many architectures on one data set."""

from sweetgrad.profiling.training.architectures import (
    EVAL_SPLITS,
    TrainingConfig,
    check_config,
    make_trainer,
    splits_of,
    train_architecture,
    train_shard,
)
from sweetgrad.profiling.training.recipe import RECIPES, Recipe, find_recipe
from sweetgrad.profiling.training.regularisation import Augmentation, DropPath, LazyImages, WithAuxiliaryHead
from sweetgrad.profiling.training.trainer import (
    DivergedError,
    Epoch,
    Trainer,
    evaluate,
    load_checkpoint,
    save_checkpoint,
    settings_digest,
)

__all__ = [
    "EVAL_SPLITS",
    "RECIPES",
    "Augmentation",
    "DivergedError",
    "DropPath",
    "Epoch",
    "LazyImages",
    "Recipe",
    "Trainer",
    "TrainingConfig",
    "WithAuxiliaryHead",
    "check_config",
    "evaluate",
    "find_recipe",
    "load_checkpoint",
    "make_trainer",
    "save_checkpoint",
    "settings_digest",
    "splits_of",
    "train_architecture",
    "train_shard",
]
