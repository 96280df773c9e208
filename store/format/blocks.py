"""Blocks: the columns of a table that are measured, written, resumed, verified, merged and published together.

A profile is a table whose rows are architectures. Its columns are grouped into blocks, each of which is declared once: here, in
`sweetgrad.store.format.statistics`, or by another package with `declare_block`. Every block has a ``status``, a ``digest``, a
``message`` and a wall time for each row, besides its own columns, and is stored in a zarr group of its own (that of the counts is
the profile itself). The store can plan, write, resume, verify, merge and publish every block, independently of what it measures,
also where the package that declared it is not installed; `verify` has further checks of the counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.format.bins import NUM_BINS
from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.format.schema import COORDINATES, KINDS, LAYER_TYPES, STATUS, Variable, full

AXES = {"tensor": "weight", "vector": "other"}
"""Axes of the parameters of a network, each with the kind of parameter along it, in forward order and named by the search space.

A block with such a dim has two coordinates along it: the names, and the name of the layer of each (``tensor_layer``). An
architecture without a parameter of that name has NaN (or the count 0) there.
"""

Axis = Mapping[str, str]
"""Names of parameters along an axis, in forward order, each with the name of its layer."""

_Names = Sequence[tuple[str, str]]

KNOWN_DIMS = ("arch", "layer", "kind", "bin", *AXES, "eigenvalue", "class")
"""Dims whose sizes a profile knows; ``eigenvalue`` has one entry for each image of the batch, and ``class`` for each class."""


@dataclass(frozen=True)
class Block:
    """Columns that belong together.

    Attributes
    ----------
    name
        Name of the block; for an estimator, its name.
    doc
        What it contains, in one sentence.
    cost
        Cost of measuring it, in passes through the network; for display.
    variables
        Its variables, all with the dim ``arch``, in the order in which they are written: ``status`` last.
    path
        Group below the table; empty for the table itself.
    command
        The subcommand of ``sweetgrad`` that measures it.
    digest_order
        Variables in the digest of a row, in order: all except the digest, the status, and the wall times of measurements (the
        time of a training is part of its result).
    sizes
        Sizes of the dims that are the block's own, not of `KNOWN_DIMS`, sorted by name.
    settings
        What it was measured with beyond the spec of its profile, such as an initialisation of its own: names and JSON values,
        sorted by name. Rows with different settings are never mixed.
    """

    name: str
    doc: str
    cost: str
    variables: tuple[Variable, ...]
    path: str
    command: str
    digest_order: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def contents(self) -> tuple[Variable, ...]:
        """Its own variables: without a score, and without those that describe a row of any block."""
        return tuple(variable for variable in self.variables if variable.name not in _IN_EVERY_BLOCK)

    @property
    def layout(self) -> dict[str, tuple[Any, ...]]:
        """Dims, with sizes of those that are the block's own, and type of each of its own variables; never mixed with others."""
        sizes = dict(self.sizes)
        return {v.name: (*((dim, sizes.get(dim)) for dim in v.dims), _dtype(v).name) for v in self.contents}

    @property
    def axes(self) -> tuple[str, ...]:
        """Dims of `AXES` that its variables have."""
        used = {dim for variable in self.variables for dim in variable.dims}
        return tuple(axis for axis in AXES if axis in used)

    def differences(
        self, other: "Block", *, axes: Mapping[str, Axis], other_axes: Mapping[str, Axis]
    ) -> dict[str, tuple[str, str]]:
        """Settings, variables and axes in which two blocks of one path differ, each with what this and the other have.

        Parameters
        ----------
        other
            The other block.
        axes, other_axes
            The axes of this block, and of the other.
        """
        differing: dict[str, tuple[str, str]] = {}
        for mine, theirs in ((dict(self.settings), dict(other.settings)), (self.layout, other.layout)):
            differing |= {
                name: (str(mine.get(name)), str(theirs.get(name)))
                for name in sorted({*mine, *theirs})
                if mine.get(name) != theirs.get(name)
            }
        for axis in self.axes:
            # If the other has no such axis, their variables differ.
            names, other_names = list(axes[axis].items()), list(other_axes.get(axis, axes[axis]).items())
            if names != other_names:
                differing[axis] = _describe_axes(names, other_names)
        return differing

    def measured_with(self, settings: Mapping[str, Any]) -> "Block":
        """The same block with these settings.

        Raises
        ------
        ValueError
            If a value is not a string, number or boolean, or None: others are not equal to what JSON makes of them.
        """
        for name, value in settings.items():
            if not isinstance(value, str | int | float | None):
                raise ValueError(
                    f"setting {name!r} of block {self.name!r} must be a string, number or boolean, or None; got {value!r}"
                )
        return replace(self, settings=tuple(sorted(settings.items())))

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all variables except the digest, which is computed from them."""
        return tuple(variable.name for variable in self.variables if variable.name != "digest")

    def digests(self, arch: Iterable[object], rows: Mapping[str, Any] | xr.Dataset) -> NDArray[np.uint64]:
        """Digest of every row, shape (arch,), computed from its values as stored.

        Parameters
        ----------
        arch
            Architecture string of each row.
        rows
            Values by variable, along ``arch``.
        """
        types = {v.name: _dtype(v) for v in self.variables}
        return row_digests(arch, [np.asarray(rows[name]).astype(types[name], copy=False) for name in self.digest_order])


def _describe_axes(names: _Names, other_names: _Names) -> tuple[str, str]:
    """How many names each of two different axes has, and the first that differs.

    Examples
    --------
    >>> _describe_axes([("0.weight", "stem")], [("0.weight", "stem"), ("1.weight", "head")])
    ('1 names', '2 names, of which number 2 is 1.weight of the layer head')
    """
    pairs = zip_longest(names, other_names)
    first = next(position for position, (name, other_name) in enumerate(pairs) if name != other_name)

    def describe(of_one: _Names) -> str:
        named = [f", of which number {first + 1} is {name} of the layer {layer}" for name, layer in of_one[first:][:1]]
        return "".join([f"{len(of_one)} names", *named])

    return describe(names), describe(other_names)


def _dtype(variable: Variable) -> np.dtype[Any]:
    return np.dtype(object if variable.dtype == "str" else variable.dtype)


_IN_EVERY_BLOCK = {"score", "seconds", "message", "digest", "status"}

_UNDIGESTED = {"digest", "profile_seconds", "seconds", "status"}
"""Columns that differ between two equal measurements, or that describe the other columns."""

_DIGEST = "First 8 bytes of the SHA-256 over the architecture string and the row's other variables"
_KIND, _BIN = ("arch", "layer", "kind"), ("arch", "layer", "kind", "bin")

DIGEST = Variable(
    "digest", ("arch",), "uint64", "1", f"{_DIGEST} in the order of their names, except seconds and status."
)
MESSAGE = Variable("message", ("arch",), "str", "", "Why there is no finite score; empty unless status is 2.", "")


def _block(
    name: str,
    doc: str,
    cost: str,
    *variables: Variable,
    path: str = "",
    command: str,
    sort: bool = True,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> Block:
    digested = [variable.name for variable in variables if variable.name not in _UNDIGESTED]
    order = tuple(sorted(digested) if sort else digested)
    return Block(name, doc, cost, variables, path, command, order, tuple(sorted(sizes.items())))


COUNTS = _block(
    "counts",
    "Histogram of the absolute gradients of every layer at initialisation (Eq. 1).",
    "1 forward and backward pass",
    Variable(
        "grad_count",
        _BIN,
        "uint32",
        "parameters",
        "Parameters of a layer with abs(dJ/dtheta) in [bin_lower, bin_upper), compared in float32, at initialisation (Eq. 1).",
    ),
    Variable(
        "grad_count_network",
        ("arch", "kind", "bin"),
        "uint32",
        "parameters",
        "Sum of grad_count over the layers: all that a score of the whole network needs.",
    ),
    Variable(
        "grad_abs_sum",
        _KIND,
        "float64",
        "1",
        "Sum of abs(dJ/dtheta) over the same parameters, to 24 significant bits.",
        np.nan,
    ),
    Variable(
        "grad_sq_sum",
        _KIND,
        "float64",
        "1",
        "Sum of (dJ/dtheta)^2 over the same parameters, to 24 significant bits.",
        np.nan,
    ),
    Variable(
        "num_params",
        _KIND,
        "uint32",
        "parameters",
        "Parameters of the layer, counted from the network and not from gradients: the sum of grad_count over bins.",
    ),
    Variable("layer_type", ("arch", "layer"), "int8", "1", f"What the layer is: {LAYER_TYPES}."),
    Variable("loss", ("arch",), "float32", "nat", "Mean cross-entropy over the batch at initialisation.", np.nan),
    Variable(
        "profile_seconds",
        ("arch",),
        "float32",
        "s",
        "Wall time of building, forward and backward pass and counting (of a failed one: until it failed); estimators have their "
        "own. The only variable that differs between two runs of one profile.",
        np.nan,
    ),
    Variable("message", ("arch",), "str", "", "Why the architecture failed; empty unless status is 2.", ""),
    Variable(
        "digest",
        ("arch",),
        "uint64",
        "1",
        f"{_DIGEST} except profile_seconds and status: equal digests, equal measurements.",
    ),
    Variable("status", ("arch",), "uint8", "1", f"{STATUS}; written last, after everything else of its shard."),
    command="profile",
    sort=False,
)
"""The block that every profile has."""


SCORES = (
    Variable("score", ("arch",), "float64", "1", "Score of the estimator; NaN where it was not run.", np.nan),
    Variable("seconds", ("arch",), "float32", "s", "Wall time of the estimator alone.", np.nan),
    MESSAGE,
    DIGEST,
    Variable("status", ("arch",), "uint8", "1", f"{STATUS}; failed: the score is not finite. Written last."),
)
"""Variables of every block of a profile except the counts; an estimator with one score has no others."""


def _score_block(name: str, doc: str, cost: str, *arrays: Variable) -> Block:
    return _block(name, doc, cost, *arrays, *SCORES, path=f"estimators/{name}", command="profile")


_IN_BIN = "over the parameters of a bin, rounded to single precision; NaN where it was not run."
MOMENTS = _score_block(
    "moments",
    "Sums of gradients in every bin.",
    "shares the pass of the counts",
    Variable("grad_abs_bin_sum", _BIN, "float32", "1", f"Sum of abs(dJ/dtheta) {_IN_BIN}", np.nan),
    Variable("grad_sq_bin_sum", _BIN, "float32", "1", f"Sum of (dJ/dtheta)^2 {_IN_BIN}", np.nan),
    Variable("weight_grad_bin_sum", _BIN, "float32", "1", f"Sum of abs(theta * dJ/dtheta) {_IN_BIN}", np.nan),
)

ACTIVATIONS = _score_block(
    "activations",
    "Histograms of the outputs of the cells.",
    "1 forward pass",
    Variable(
        "activation_count",
        ("arch", "layer", "bin"),
        "uint32",
        "activations",
        "Values with abs(value) in [bin_lower, bin_upper) among all that the layer outputs for the batch in the forward pass; "
        "layers of the types cell and reduction only, 0 in all others and where it was not run.",
    ),
)

TRAINING = _block(
    "training",
    "Accuracy after training.",
    "a whole training",
    Variable("accuracy", ("arch", "split"), "float64", "%", "Accuracy after training; NaN unless status is 1.", np.nan),
    Variable("train_seconds", ("arch",), "float64", "s", "Wall time of the training, without evaluation.", np.nan),
    Variable("loss", ("arch",), "float32", "nat", "Mean loss over the last epoch.", np.nan),
    Variable("message", ("arch",), "str", "", "Why the training failed; empty unless status is 2.", ""),
    DIGEST,
    Variable("status", ("arch",), "uint8", "1", f"{STATUS}; failed: the loss was not finite. Written last."),
    command="train",
)
"""The block of a table of trainings."""

_DECLARED = {block.name: block for block in (COUNTS, MOMENTS, ACTIVATIONS)}


def profile_block(name: str) -> Block:
    """The block of an estimator with one score, or one of ``COUNTS``, ``MOMENTS`` and ``ACTIVATIONS``, by its name."""
    return _DECLARED.get(name) or _score_block(name, f"Score of the estimator {name}.", "as the estimator needs")


def declare_block(
    name: str, doc: str, *variables: Variable, cost: str, sizes: Mapping[str, int] = MappingProxyType({})
) -> Block:
    """Declare a block of statistics, stored in the group ``blocks/<name>`` of a profile.

    Parameters
    ----------
    name
        Its name: letters, digits and underscores.
    doc
        What it contains, in one sentence.
    variables
        Its own variables, each with ``arch`` as the first dim. ``seconds``, ``message``, ``digest`` and ``status`` are added.
    cost
        Cost of measuring it, in passes through the network; for display.
    sizes
        Sizes of dims other than `KNOWN_DIMS`.

    Raises
    ------
    ValueError
        If the name or a variable is invalid.

    Examples
    --------
    >>> kurtosis = Variable("grad_kurtosis", ("arch", "tensor"), "float32", "1", "Kurtosis of the gradients.", np.nan)
    >>> declare_block("kurtosis", "Shape of the gradients.", kurtosis, cost="shares the pass of the counts").path
    'blocks/kurtosis'
    """
    if not name.isidentifier():
        raise ValueError(f"the name of a block must consist of letters, digits and underscores, got {name!r}")
    for variable in variables:
        unknown = set(variable.dims) - {*KNOWN_DIMS, *sizes}
        if variable.dims[:1] != ("arch",) or unknown:
            raise ValueError(
                f"variable {variable.name!r} of block {name!r} has the dims {variable.dims}: the first must be arch, and the "
                f"sizes of others than {', '.join(KNOWN_DIMS)} must be given"
            )
        if variable.name in _IN_EVERY_BLOCK:
            raise ValueError(f"block {name!r} must not declare {variable.name!r}, which every block has or a score is")
    seconds, status = SCORES[1], SCORES[-1]
    seconds = replace(seconds, doc="Wall time of the block alone.")
    message = replace(MESSAGE, doc="Why it could not be measured; empty unless status is 2.")
    status = replace(status, doc=f"{STATUS}; written last.")
    every = (seconds, message, DIGEST, status)
    return _block(name, doc, cost, *variables, *every, path=f"blocks/{name}", command="profile", sizes=sizes)


def is_block(block: Block) -> bool:
    """Whether it is a block of statistics (`declare_block`), not the counts or an estimator."""
    return block.path.startswith("blocks/")


def axis_variables(axis: str) -> tuple[Variable, Variable]:
    """The coordinates along an axis of `AXES`: the names, and the layer of each."""
    names = f"Name of a parameter of the kind {AXES[axis]} that networks of the space may have, in forward order."
    return (
        Variable(axis, (axis,), "str", "", names, "", "coord"),
        Variable(f"{axis}_layer", (axis,), "str", "", "Name of the layer that has it.", "", "coord"),
    )


VARIABLES: dict[str, Variable] = {variable.name: variable for variable in (*COUNTS.variables, *COORDINATES)}
"""Variables of a profile without its other blocks, by name."""


def empty_rows(arch: Sequence[str], arch_index: Sequence[int], *, layers: Sequence[str]) -> xr.Dataset:
    """Empty rows of the counts in memory, with status not run, for a writer to fill.

    Parameters
    ----------
    arch, arch_index
        Canonical string of each architecture and its position in the search space.
    layers
        Layer names, from input to output.

    Returns
    -------
    Every variable of the block with its declared dims and its fill value.

    Examples
    --------
    >>> rows = empty_rows(["|none~0|"], [7], layers=["stem", "head"])
    >>> dict(rows.sizes)
    {'arch': 1, 'layer': 2, 'kind': 2, 'bin': 345}
    >>> int(rows.status.sum())
    0
    """
    sizes = {"arch": len(arch), "layer": len(layers), "kind": len(KINDS), "bin": NUM_BINS}
    data = {v.name: (v.dims, full(v, sizes), {"units": v.units, "doc": v.doc}) for v in COUNTS.variables}
    coords = {
        "arch": list(arch),
        "arch_index": ("arch", np.asarray(arch_index, "int32")),
        "layer": list(layers),
        "kind": list(KINDS),
    }
    return xr.Dataset(data, coords=coords)
