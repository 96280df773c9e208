"""Parameters and multiply-adds of the networks of genotypes, by arithmetic alone: a filter must not build a million networks."""

from dataclasses import dataclass

from sweetgrad.profiling.spaces._cell_network import STEM_CHANNELS, CellPlan, Form, plan_cells
from sweetgrad.profiling.spaces._operations import CONVOLUTIONS
from sweetgrad.store import Genotype

__all__ = ["Costs", "count_costs"]


@dataclass(frozen=True)
class Costs:
    """What a network costs.

    Attributes
    ----------
    params
        Trainable parameters.
    multiply_adds
        Those of the convolutions and the linear layer, for one image.
    """

    params: int = 0
    multiply_adds: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        """Sum of both."""
        return Costs(self.params + other.params, self.multiply_adds + other.multiply_adds)


def count_costs(
    genotype: Genotype, *, form: Form, channels: int, num_cells: int, in_channels: int, num_classes: int, size: int
) -> Costs:
    """Count for images of ``size`` x ``size`` pixels; other arguments as in `build_cell_network`."""
    if form == "cifar":
        total = _conv(9 * in_channels, STEM_CHANNELS * channels, size)
        before = last = size
    else:
        half = channels // 2
        size = _halved(size)
        total = _conv(9 * in_channels, half, size)
        before = _halved(size)
        total += _conv(9 * half, channels, before)
        last = _halved(before)
        total += _conv(9 * channels, channels, last)
    plans = plan_cells(genotype, form=form, channels=channels, num_cells=num_cells)
    concat = 0
    for plan in plans:
        edges, joined = (
            (genotype.reduce, genotype.reduce_concat) if plan.reduces else (genotype.normal, genotype.normal_concat)
        )
        total += _inputs(plan, last)
        inner = _halved(last) if plan.reduces else last
        for name, source in edges:
            total += _operation(name, plan.channels, 2 if plan.reduces and source < 2 else 1, inner)
        before, last, concat = last, inner, plan.channels * len(joined)
    return total + Costs((concat + 1) * num_classes, concat * num_classes)


def _inputs(plan: CellPlan, size: int) -> Costs:
    # A factorised reduction has two convolutions to half of the channels each: together, as many weights as one.
    return _conv(plan.before, plan.channels, size) + _conv(plan.last, plan.channels, size)


def _operation(name: str, channels: int, stride: int, size: int) -> Costs:
    if name == "skip_connect" and stride == 2:
        return _conv(channels, channels, size)
    total = Costs()
    for place, block in enumerate(CONVOLUTIONS.get(name, ())):
        for number, (kernel, depthwise, _) in enumerate(block):
            weights = kernel[0] * kernel[1] * channels * (1 if depthwise else channels)
            # The first of a pair such as 1x7 and 7x1 strides along its own kernel alone: it puts out twice the rows.
            rows = stride if place == 0 and number == 0 and kernel[0] != kernel[1] else 1
            total += Costs(weights, weights * size * size * rows)
        total += Costs(2 * channels)
    return total


def _conv(inputs: int, outputs: int, size: int) -> Costs:
    """A convolution of ``inputs`` weights for each output channel, and its BatchNorm."""
    return Costs(inputs * outputs + 2 * outputs, inputs * outputs * size * size)


def _halved(size: int) -> int:
    return (size + 1) // 2
