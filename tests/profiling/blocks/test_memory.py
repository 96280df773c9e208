"""Measuring blocks leaves nothing of a network behind, or a run of thousands of networks would fill the memory."""

import gc

import torch

from sweetgrad.profiling import make_spec, random_batch
from sweetgrad.profiling.architectures import load_functions, measure_blocks
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import STATISTICS


def num_tensors():
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def test_blocks__free_every_tensor_of_a_network():
    space, batch = NasBench201(), random_batch((3, 8, 8), num_classes=3, batch_size=4)
    spec = make_spec(space, batch)
    functions = load_functions((), [*STATISTICS, "moments", "activations"], spec=spec, batch=batch)
    measure_blocks(space, [9000], batch, spec, functions)  # fills caches
    before = num_tensors()
    for index in (12345, 7):
        measure_blocks(space, [index], batch, spec, functions)
    assert num_tensors() <= before
