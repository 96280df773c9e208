"""Train networks for real: recipes, one descent that can be laid down and taken up, many architectures on one data set."""

from sweetgrad.profiling.training.cells import DropPath, WithAuxiliary
from sweetgrad.profiling.training.checkpoints import load_checkpoint, save_checkpoint, settings_digest
from sweetgrad.profiling.training.descent import DivergedError, Epoch, Trainer, accuracy_of
from sweetgrad.profiling.training.images import Augmentation, ReadInBatches
from sweetgrad.profiling.training.recipe import RECIPES, Recipe, find_recipe
from sweetgrad.profiling.training.work import (
    JUDGED,
    Course,
    check_course,
    make_trainer,
    parts_of,
    train_architecture,
    train_shard,
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
