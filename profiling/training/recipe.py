"""How a network is trained: everything that its accuracy depends on, but the network, the images and the seed."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum, the learning rate falling to 0 along half a cosine, step by step.

    Attributes
    ----------
    name
        Name in messages and in the store.
    epochs, batch_size
        Passes through the training images; images a step. The last images of an epoch that fill no batch are left out.
    learning_rate, momentum, nesterov, weight_decay
        Of the descent; weight decay is on every parameter.
    gradient_clip
        Greatest norm of the whole gradient; 0: any.
    label_smoothing
        Share of a label that is spread over all classes.
    crop, flip, cutout
        Whether training images are cropped at random (padding of the data set) and flipped; side of the square that is cut out
        of them, in pixels, 0: none.
    auxiliary_weight
        Weight of the loss of an auxiliary head; 0: no such head.
    drop_path
        Probability in the last epoch that a path in a cell is left out for an image; it grows from 0 epoch by epoch.

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
        """Refuse what no training can be run with."""
        for key in ("epochs", "batch_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("learning_rate", "weight_decay", "gradient_clip", "cutout", "auxiliary_weight"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be a number from 0 on, got {getattr(self, key)}")
        for key in ("momentum", "label_smoothing", "drop_path"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be in [0, 1), got {getattr(self, key)}")
        if self.nesterov and not self.momentum:
            raise ValueError("Nesterov's step needs a momentum above 0")

    def changed(self, **values: Any) -> "Recipe":
        """The same recipe with other values; those that are None stay."""
        return replace(self, **{key: value for key, value in values.items() if value is not None})

    def to_attrs(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_attrs(cls, attrs: dict[str, Any]) -> "Recipe":
        """Read what `to_attrs` wrote; keys that this version does not know are refused by name."""
        unknown = sorted(set(attrs) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"a recipe has no {unknown[0]!r}: it was written by a newer sweetgrad")
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
"""Recipes by name: that of *digits-201*, and those that DARTS cells are retrained with on CIFAR-10 and ImageNet."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises
    ------
    ValueError
        If there is none; the names that there are are given.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
