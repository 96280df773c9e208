"""Train networks for real: recipes, one descent that can be laid down and taken up, many architectures on one data set."""

from sweetgrad.profiling.training.architectures import (
    JUDGED,
    Course,
    check_course,
    make_trainer,
    parts_of,
    train_architecture,
    train_shard,
)
from sweetgrad.profiling.training.recipe import RECIPES, Recipe, find_recipe
from sweetgrad.profiling.training.regularisation import Augmentation, DropPath, ReadInBatches, WithAuxiliary
from sweetgrad.profiling.training.trainer import (
    DivergedError,
    Epoch,
    Trainer,
    accuracy_of,
    load_checkpoint,
    save_checkpoint,
    settings_digest,
)

__all__ = [
    "JUDGED",
    "RECIPES",
    "Augmentation",
    "Course",
    "DivergedError",
    "DropPath",
    "Epoch",
    "ReadInBatches",
    "Recipe",
    "Trainer",
    "WithAuxiliary",
    "accuracy_of",
    "check_course",
    "find_recipe",
    "load_checkpoint",
    "make_trainer",
    "parts_of",
    "save_checkpoint",
    "settings_digest",
    "train_architecture",
    "train_shard",
]
