"""The settings of a profile: two profiles with equal specs have equal results."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from sweetgrad.store.errors import SpecMismatchError

_LATER: dict[str, object] = {"space_options": {}, "space_version": 1, "task": "image-classification"}
"""Fields that were added to the spec later, and the values that their absence stands for."""


@dataclass(frozen=True, kw_only=True)
class ProfileSpec:
    """Settings of one profile, complete enough to repeat it.

    Attributes
    ----------
    space, variant
        Search space, and the variant of its networks (empty: the reference).
    dataset, num_classes, input_shape
        Data set, its classes or the size of its vocabulary, and the shape of one example: (channels, height, width) of an image.
    batch_size, seed, augment
        Examples in the batch; seed of its sampling and of every network's initialisation; whether the batch was augmented.
    batch_sha256
        SHA-256 of the batch's inputs (images: float32, NCHW, little-endian) followed by its targets (int64).
    arch_sha256
        SHA-256 of the architecture strings of the space, in order, each followed by a newline.
    init, loss, dtype, memory_format, thresholds
        Initialisation, loss, precision, memory format, and the set of bin edges.
    space_options
        Parameters of the search space, such as channels and cells; empty if it has none.
    space_version
        Version of the search space's networks, which is increased when the results of an architecture change.
    task
        What the networks are to do: image-classification, language-modelling or speech-recognition.
    device, threads
        Type of device that computed the gradients (``cpu`` or ``cuda``), and CPU threads per network: both affect the last bits.
    """

    space: str
    dataset: str
    batch_size: int
    seed: int
    num_classes: int
    input_shape: tuple[int, ...]
    batch_sha256: str
    arch_sha256: str
    variant: str = ""
    augment: bool = False
    init: str = "pytorch-default"
    loss: str = "cross-entropy"
    dtype: str = "float32"
    memory_format: str = "channels_last"
    thresholds: str = "fractions-1-to-10-of-1e-10-to-10"
    device: str = "cpu"
    threads: int = 1
    space_options: Mapping[str, Any] = field(default_factory=dict)
    space_version: int = 1
    task: str = "image-classification"

    @property
    def profile_name(self) -> str:
        """Path of the profile inside a store, e.g. ``nas-bench-201/cifar10/bs64-seed42``."""
        setting = f"bs{self.batch_size}-seed{self.seed}"
        suffix = "".join(f"-{part}" for part in (self.variant, "augment" if self.augment else "") if part)
        return f"{self.space}/{self.dataset}/{setting}{suffix}"

    def to_attrs(self) -> dict[str, Any]:
        """JSON-ready form for the attributes of a profile."""
        attrs = {**asdict(self), "input_shape": list(self.input_shape)}
        # Later fields are omitted if they have their default, so that older versions can read the spec.
        return {key: value for key, value in attrs.items() if key not in _LATER or value != _LATER[key]}

    @classmethod
    def from_attrs(cls, attrs: dict[str, Any]) -> Self:
        """Inverse of `to_attrs`; unknown keys raise, so that a newer spec is never read in part."""
        return cls(**{**attrs, "input_shape": tuple(attrs["input_shape"])})

    def differences(self, other: Self) -> dict[str, tuple[str, str]]:
        """Fields in which two specs differ, each with its value in this and in the other spec, as JSON."""
        mine, theirs = asdict(self), asdict(other)
        return {
            f.name: (json.dumps(mine[f.name]), json.dumps(theirs[f.name]))
            for f in fields(self)
            if mine[f.name] != theirs[f.name]
        }

    def require_equal(self, other: Self, *, where: str) -> None:
        """Raise `SpecMismatchError` that names every field in which ``other`` (found in the store) differs from this spec."""
        differing = self.differences(other)
        if differing:
            lines = "\n".join(
                f"  {name}: stored {theirs}, requested {mine}" for name, (mine, theirs) in differing.items()
            )
            raise SpecMismatchError(f"{where} was measured with other settings:\n{lines}\n{_advice(differing)}")


def _advice(differing: Mapping[str, object]) -> str:
    if "space_version" in differing:
        return (
            "The networks of this space have changed between versions of sweetgrad (or of the package that has the space), and "
            "counts of the two must not be mixed: write to another store, or continue with the version that wrote the profile "
            "(`sweetgrad info` shows it)."
        )
    return "Use the stored settings to continue that profile, or write to another store."


MATTERS = ("sweetgrad", "torch", "device_name", "cpu_capability")
"""Facts about a run that may change the last bit of a gradient, by their names in the attribute ``runs`` of a profile."""
CODE = "code "
"""How the name of a fact begins that is the digest of a user's own file, before the name of that file."""


def values_of(runs: Iterable[Mapping[str, Any]], key: str) -> set[str]:
    """Different values of a fact in the runs that recorded it."""
    return {str(run[key]) for run in runs if key in run}


def facts_that_differ(before: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Facts of `MATTERS`, and files of code, that differ from an earlier run, each as a sentence.

    Examples
    --------
    >>> facts_that_differ([{"torch": "2.6"}, {"torch": "2.7"}], {"torch": "2.7", "cpu_capability": "AVX2"})
    ('torch is 2.7 in this run, but was 2.6 in an earlier one',)
    """
    runs = list(before)
    keys = [*(key for key in MATTERS if key in facts), *(key for key in facts if key.startswith(CODE))]
    others = {key: values_of(runs, key) - {str(facts[key])} for key in keys}
    return tuple(
        f"{key} is {facts[key]} in this run, but was {' or '.join(sorted(values))} in an earlier one"
        for key, values in others.items()
        if values
    )
