"""Statistics of a network from which training-free estimators are derived without running it again.

A function of a `Probe` measures each block of `STATISTICS`; if it can, it takes part in the pass of the counts.
"""

from sweetgrad.profiling.blocks.fisher import vkdnw
from sweetgrad.profiling.blocks.images import image_jacobian, relu_patterns
from sweetgrad.profiling.blocks.noise import noise_image, noise_pass
from sweetgrad.profiling.blocks.per_image import per_image, sweet_bins
from sweetgrad.profiling.blocks.tensors import second_batch, synflow, tensor_sums

__all__ = [
    "image_jacobian",
    "noise_image",
    "noise_pass",
    "per_image",
    "relu_patterns",
    "second_batch",
    "sweet_bins",
    "synflow",
    "tensor_sums",
    "vkdnw",
]
