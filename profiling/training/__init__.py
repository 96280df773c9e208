"""Train networks for real: recipes, one descent that can be laid down and taken up, many architectures on one data set."""

from sweetgrad.profiling.training.descent import Diverged, Epoch, Trainer, accuracy_of
from sweetgrad.profiling.training.recipe import RECIPES, Recipe, find_recipe
from sweetgrad.profiling.training.work import JUDGED, Course, parts_of, train_architecture, train_shard

__all__ = [
    "JUDGED",
    "RECIPES",
    "Course",
    "Diverged",
    "Epoch",
    "Recipe",
    "Trainer",
    "accuracy_of",
    "find_recipe",
    "parts_of",
    "train_architecture",
    "train_shard",
]
