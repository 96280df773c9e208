"""Closed forms over NAS-Bench-201."""

import pytest
import torch
from torch import nn

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.estimators import flops, params, params_live, params_weights
from sweetgrad.profiling.spaces.nas_bench_201 import num_params
from sweetgrad.store.spaces.cells import parse_arch


def literal_flops(arch: str, *, size: int = 32, classes: int = 10) -> int:
    """Every convolution of a stage has the same price at 3 x 3: half the size, twice the channels."""
    operations = parse_arch(arch)
    per_cell = sum({"nor_conv_3x3": 9, "nor_conv_1x1": 1}.get(op, 0) for op in operations) * 16 * 16 * size * size
    block = 2 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * (size // 2) ** 2
    return 15 * per_cell + block + 9 * 3 * 16 * size * size + 64 * classes


def test_size__equals_closed_forms_over_nas_bench_201():
    space, batch = load_space("nas-bench-201"), load_batch("synthetic", batch_size=2)
    indices = list(range(0, len(space), 1301))
    names = ["flops", "params", "params_weights"]
    rows = profile_architectures(space, indices, batch, make_spec(space, batch), estimators=names)
    for arch, scores in zip(rows.arch.values, rows.score.values, strict=True):
        assert scores[0] == literal_flops(arch)
        assert scores[1] == num_params(arch)
    weights = rows.num_params.sel(kind="weight").sum("layer").values
    assert rows.score.sel(estimator="params_weights").values.tolist() == weights.tolist()


def test_flops__is_what_the_benchmark_says_of_its_smallest_and_its_largest_network():
    """7.78 and 220.12 million, in the benchmark's table."""
    smallest = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert literal_flops(smallest) == 7_783_040
    largest = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert round(literal_flops(largest) / 1e6, 2) == 220.12


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), (1, 4, 5, 5), 25 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 5), 25 * 4 * 6 * 9),
        (nn.Linear(7, 3), (1, 7), 21),
        (nn.Conv1d(2, 3, 5), (1, 2, 8), 4 * 3 * 10),
    ],
)
def test_flops__of_a_layer(run_one, layer, x, expected):
    module = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2, bias=False))
    module(torch.zeros(x))
    head = module[2].weight.numel()
    assert run_one(flops, module, torch.randn(2, *x[1:]), torch.tensor([0, 1])).value == expected + head


def test_params__count_what_is_used_and_what_is_not(run_one, conv_net):
    module, x, y = conv_net()
    every = {name: p.numel() for name, p in module.named_parameters()}
    assert run_one(params, module, x, y).value == sum(every.values())
    assert run_one(params_weights, module, x, y).value == 54 + 108 + 16 + 4 + 12
    assert run_one(params_live, module, x, y).value == 54 + 108 + 16 + 12


def test_params_live__leaves_out_what_is_not_finite(run_one, conv_net):
    module, x, y = conv_net()
    x[0] = torch.inf
    assert run_one(params_live, module, x, y).value == 0


def test_flops__of_a_network_without_layers_says_so(run_one):
    module = nn.BatchNorm2d(2)
    x, y = torch.randn(3, 2, 1, 1), torch.tensor([[[0]], [[1]], [[0]]])
    assert run_one(flops, module, x, y).message == "flops: the network ran no convolution and no linear layer"
