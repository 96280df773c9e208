"""Training recipes: everything that an accuracy depends on except the network, the images and the seed."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum; the learning rate is annealed to 0 by a cosine schedule, step by step.

    Attributes
    ----------
    name
        Name in messages and in the store.
    epochs, batch_size
        Number of epochs; images per step. The last incomplete batch of an epoch is dropped.
    learning_rate, momentum, nesterov, weight_decay
        Settings of SGD; weight decay applies to every parameter.
    gradient_clip
        Maximum norm of the gradient; 0: no clipping.
    label_smoothing
        Fraction of a label that is distributed over all classes.
    crop, flip, cutout
        Whether training images are cropped at random (with the padding of the data set) and flipped; side of the square that is
        cut out, in pixels, 0: no cutout.
    auxiliary_weight
        Weight of the loss of the auxiliary head; 0: no auxiliary head.
    drop_path
        Probability of dropping an operation of a cell for an image, in the last epoch; it increases linearly from 0.

    Examples
    --------
    >>> RECIPES["darts-cifar"].changed(epochs=3).epochs
    3
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    momentum: float = 0.9
    nesterov: bool = False
    gradient_clip: float = 0.0
    label_smoothing: float = 0.0
    crop: bool = False
    flip: bool = False
    cutout: int = 0
    auxiliary_weight: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        """Validate the values."""
        for key in ("epochs", "batch_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("learning_rate", "weight_decay", "gradient_clip", "cutout", "auxiliary_weight"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be a finite number of at least 0, got {getattr(self, key)}")
        for key in ("momentum", "label_smoothing", "drop_path"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be in [0, 1), got {getattr(self, key)}")
        if self.nesterov and not self.momentum:
            raise ValueError("Nesterov momentum requires a momentum above 0")

    def changed(self, **values: Any) -> "Recipe":
        """Copy of the recipe with other values; None keeps a value."""
        return replace(self, **{key: value for key, value in values.items() if value is not None})

    def to_attrs(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_attrs(cls, attrs: dict[str, Any]) -> "Recipe":
        """Inverse of `to_attrs`; raises ValueError for unknown keys."""
        unknown = sorted(set(attrs) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} in a recipe: it was written by a newer version of sweetgrad")
        return cls(**attrs)


_DARTS = Recipe(
    name="darts-cifar",
    epochs=600,
    batch_size=96,
    learning_rate=0.025,
    weight_decay=3e-4,
    gradient_clip=5.0,
    crop=True,
    flip=True,
    cutout=16,
    auxiliary_weight=0.4,
    drop_path=0.2,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits-201", epochs=20, batch_size=50, learning_rate=0.025, weight_decay=5e-4, nesterov=True),
        _DARTS,
        _DARTS.changed(
            name="darts-imagenet",
            epochs=250,
            batch_size=1024,
            learning_rate=0.5,
            weight_decay=3e-5,
            label_smoothing=0.1,
            cutout=0,
            drop_path=0.0,
        ),
    )
}
"""Recipes by name: that of *digits-201*, and those with which DARTS cells are retrained on CIFAR-10 and ImageNet."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe with a name.

    Raises
    ------
    ValueError
        If there is none; the message lists all names.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe named {name!r}; recipes: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
