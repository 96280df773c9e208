"""Placement of networks. What a GPU does is in tests/gpu; the copy through one buffer also runs on the CPU."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sweetgrad.profiling import devices, load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.devices import MEMORY_FORMATS, formatted, memory_format_on, place
from sweetgrad.profiling.measure import Builder


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


class Odd(nn.Module):
    """Tensors of other kinds than a network of a benchmark has."""

    def __init__(self) -> None:
        super().__init__()
        self.precise = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.transposed = nn.Parameter(torch.randn(3, 5).t())
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.number = nn.Parameter(torch.tensor(2.5))
        self.tied = self.number
        self.lazy = nn.LazyLinear(4)
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
def test_copy_at_once__leaves_what_one_copy_for_each_tensor_leaves(memory_format: str) -> None:
    space = load_space("nas-bench-201")
    modules = []
    for _ in range(2):
        torch.manual_seed(0)
        modules.append(space.build(space.arch_id(9_999), in_channels=3, num_classes=10).module)
    at_once, one_by_one = modules
    parameters = list(at_once.parameters())
    devices._copy_at_once(at_once, "cpu", MEMORY_FORMATS[memory_format])
    place(one_by_one, "cpu", memory_format)
    found, expected = tensors_of(at_once), tensors_of(one_by_one)
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
        assert tensor.stride() == expected[name].stride(), name
    # The same objects, as an optimiser and tied weights need, that start where torch's own would.
    assert all(a is b for a, b in zip(parameters, at_once.parameters(), strict=True))
    assert all(p.storage_offset() % 64 == 0 for p in parameters)
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == 1


def test_copy_at_once__leaves_other_tensors_where_they_are() -> None:
    module = Odd()
    before = {name: t.data_ptr() for name, t in tensors_of(module).items() if name in ("precise", "transposed", "mask")}
    values = {name: t.detach().clone() for name, t in tensors_of(module).items() if not name.startswith("lazy")}
    devices._copy_at_once(module, "cpu", torch.contiguous_format)
    after = tensors_of(module)
    assert {name: after[name].data_ptr() for name in before} == before
    for name, value in values.items():
        assert torch.equal(after[name], value), name
    assert module.tied is module.number


def test_memory_format_on__avoids_channels_last_on_gpus() -> None:
    assert (memory_format_on("cpu"), memory_format_on("cuda"), memory_format_on("cuda:1")) == (
        "channels_last",
        "contiguous",
        "contiguous",
    )
    assert formatted(torch.zeros(2, 3)).shape == (2, 3)
    assert formatted(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)


def test_make_spec__records_the_memory_format_that_networks_then_have() -> None:
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=2)
    on_cpu, on_gpu = make_spec(space, batch), make_spec(space, batch, device="cuda")
    assert (on_cpu.memory_format, on_gpu.memory_format) == ("channels_last", "contiguous")


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
def test_builder__uses_the_memory_format_of_the_spec(memory_format: str) -> None:
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=2)
    spec = replace(make_spec(space, batch), memory_format=memory_format)
    weight = next(
        p for p in Builder(space, space.arch_id(4), spec).network().module.parameters() if p.shape[2:] == (3, 3)
    )
    assert weight.is_contiguous(memory_format=MEMORY_FORMATS[memory_format])
    assert (profile_architectures(space, [4], batch, spec)["status"] == 1).all()
