"""The blocks of sums and spectra from which training-free estimators are derived; definitions in docs/blocks.md.

What is stored is what estimators take logarithms, roots and maxima of, so that one stored value serves several of them. Only
determinants and entropies, for which a whole spectrum would have to be stored, are logarithms or sums of such. Values are
rounded to 12 significant bits, those of scales, shifts and biases to 9. NaN means that an architecture has no such parameter,
layer or class, or that a value is undefined.
"""

import numpy as np

from sweetgrad.store.format.blocks import Block, declare_block
from sweetgrad.store.format.schema import Variable

_KEEP_BITS, _KEEP_BITS_OF_VECTORS = 11, 8
"""Bits beside the leading one. With 12 of every value, the core blocks took 2,391 bytes an architecture of NAS-Bench-201."""

_TENSOR, _VECTOR, _LAYER = ("arch", "tensor"), ("arch", "vector"), ("arch", "layer")


def _real(name: str, dims: tuple[str, ...], doc: str, units: str = "1", dtype: str = "float32") -> Variable:
    keep_bits = _KEEP_BITS_OF_VECTORS if "vector" in dims else _KEEP_BITS
    return Variable(name, dims, dtype, units, doc, np.nan, keep_bits=keep_bits)


def _count(name: str, dims: tuple[str, ...], units: str, doc: str) -> Variable:
    return Variable(name, dims, "uint32", units, doc)


_MISSING = "a missing gradient counts as 0"

TENSOR_SUMS = declare_block(
    "tensor_sums",
    "Sums over the entries of every parameter tensor, in the pass of the counts.",
    _count(
        "tensor_size", _TENSOR, "parameters", "Entries of the weight tensor; 0: the architecture has no such tensor."
    ),
    _count(
        "tensor_positions",
        _TENSOR,
        "positions",
        "Times that each entry is multiplied for one image: height times width of the output of a convolution. Those of "
        "operations on dead paths are included; 0: no convolution and no linear layer uses it.",
    ),
    _count("tensor_channels", _TENSOR, "channels", "Output channels of the weight tensor: its first dimension."),
    _real("tensor_weight_sq_sum", _TENSOR, "Sum of w^2 over the entries w of the tensor."),
    _real("tensor_weight_grad_sum", _TENSOR, f"Sum of w g, g = dJ/dw; {_MISSING}."),
    _real("tensor_weight_grad_abs_sum", _TENSOR, f"Sum of abs(w g); {_MISSING}."),
    _real("tensor_grad_abs_sum", _TENSOR, f"Sum of abs(g); {_MISSING}."),
    _real("tensor_grad_sq_sum", _TENSOR, f"Sum of g^2; {_MISSING}."),
    _real("tensor_grad_sum", _TENSOR, f"Sum of g; {_MISSING}."),
    _real("tensor_grad_abs_max", _TENSOR, f"Maximum of abs(g); {_MISSING}."),
    _real(
        "tensor_fisher_sum",
        _TENSOR,
        "Sum over the output channels of the squared product of output and gradient, summed over positions, averaged over images "
        "and divided by 2, times the entries of the channel.",
    ),
    _count(
        "vector_size",
        _VECTOR,
        "parameters",
        "Entries of a scale, shift or bias; 0: the architecture has none of this name.",
    ),
    _real("vector_grad_sum", _VECTOR, f"Sum of g over the entries of a scale, shift or bias; {_MISSING}."),
    _real("vector_grad_sq_sum", _VECTOR, f"Sum of g^2; {_MISSING}."),
    _real("vector_grad_abs_max", _VECTOR, f"Maximum of abs(g); {_MISSING}."),
    cost="shares the pass of the counts",
)

SECOND_BATCH = declare_block(
    "second_batch",
    "How the gradients of two batches agree; gradients are set to zero between the two.",
    _real(
        "tensor_snr_sum",
        _TENSOR,
        "Sum of mean(abs(g)) / std(g) over the entries with std(g) > 0, with mean and (population) standard deviation over the "
        "two batches.",
    ),
    _count("tensor_num_varying", _TENSOR, "parameters", "Entries with std(g) > 0."),
    _real("tensor_grad_var_sum", _TENSOR, "Sum of the variance of g over the two batches."),
    _real("tensor_mean_grad_abs_sum", _TENSOR, "Sum of abs(mean(g)) over the two batches."),
    cost="1 forward and backward pass",
)

IMAGE_JACOBIAN = declare_block(
    "image_jacobian",
    "Correlations between the images of the gradient of the sum of the logits with respect to each image.",
    _real(
        "jacobian_eigenvalue",
        ("arch", "eigenvalue"),
        "Eigenvalues of the correlation matrix of the images' Jacobians, ascending.",
    ),
    _real(
        "jacobian_class_log_corr",
        ("arch", "class"),
        "Sum of log(abs(corr) + 1e-5) over all pairs of images of a class; NaN if the batch has no image of it.",
    ),
    cost="0.4 passes: the gradient of the input",
)

RELU_PATTERNS = declare_block(
    "relu_patterns",
    "Which ReLU units are on for which images, and correlations of the layers' outputs, in the pass of the counts.",
    _real(
        "pattern_eigenvalue",
        ("arch", "eigenvalue"),
        "Eigenvalues of the number of ReLU units in which each pair of images agrees, over all ReLUs, ascending; 0 if they are "
        "as small as rounding errors.",
        units="units",
    ),
    _real(
        "pattern_log_det",
        _LAYER,
        "log(abs(det)) of the same matrix over the ReLUs of a layer; -inf: singular.",
        units="nat",
    ),
    _real(
        "output_corr_log_det",
        _LAYER,
        "log(abs(det)) of the absolute correlations between the images of the output of a layer.",
        units="nat",
    ),
    _real(
        "output_grad_corr_log_det",
        _LAYER,
        "log(abs(det)) of the absolute correlations between the images of the gradient of the output of a layer.",
        units="nat",
    ),
    _count(
        "num_patterns", _LAYER, "patterns", "Different patterns of a ReLU unit of a layer over the first 16 images."
    ),
    _count(
        "num_patterns_network", ("arch",), "patterns", "Different patterns of a ReLU unit over the first 16 images."
    ),
    _real("zero_share", _LAYER, "Share of the ReLU outputs of a layer that are 0."),
    cost="0.3 passes, in the pass of the counts",
)

NOISE_PASS = declare_block(
    "noise_pass",
    "Spectra of the layers' outputs and of the maps of gradients between them, for random images and He's initialisation.",
    _real(
        "cov_trace",
        _LAYER,
        "Trace of the covariance C of the channels of the output of a layer, over images and positions.",
    ),
    _real("cov_sq_trace", _LAYER, "Trace of C^2."),
    _real(
        "spectrum_entropy",
        _LAYER,
        "Sum of -p log(p + 1e-8) over the eigenvalues of C, p an eigenvalue divided by their sum.",
        units="nat",
    ),
    _real("cov_min", _LAYER, "Smallest eigenvalue of C."),
    _real("cov_max", _LAYER, "Largest eigenvalue of C."),
    _real(
        "effective_rank",
        _LAYER,
        "exp of the entropy of the singular values of the centred outputs, divided by their sum.",
    ),
    _real(
        "grad_map_norm",
        _LAYER,
        "Largest singular value of g_in' g_out divided by the number of images and positions: g_out a random sign at each output "
        "of the layer, g_in its gradient at the output of the layer before.",
    ),
    Variable("grad_map_is_identity", _LAYER, "uint8", "1", "1 where g_in is equal to g_out."),
    cost="1 forward and backward pass",
)

NOISE_IMAGE = declare_block(
    "noise_image",
    "Spectra of the outputs of all modules for one random image.",
    _real(
        "corr_min_sum",
        _LAYER,
        "Sum over the modules of a layer of the smallest eigenvalue of the correlation matrix of the channels of their output; "
        "undefined correlations count as 0.",
    ),
    _real(
        "singular_ratio_sum", _LAYER, "Sum over the modules of a layer of the smallest over the largest singular value."
    ),
    _real("corr_min_sum_network", ("arch",), "As corr_min_sum, over all modules of the network, containers included."),
    _real("singular_ratio_sum_network", ("arch",), "As singular_ratio_sum, over all modules of the network."),
    cost="1 forward pass of one image",
)

PER_IMAGE = declare_block(
    "per_image",
    "Gradients of the loss of each image as a batch of one.",
    _real("tensor_sign_sum", _TENSOR, "Sum over the entries of abs(sum over images of sign(g))."),
    _real("tensor_image_grad_sq_sum", _TENSOR, "Sum of g^2 over entries and images."),
    _real(
        "gram_eigenvalue",
        ("arch", "eigenvalue"),
        "Eigenvalues of the Gram matrix of the images' gradients, over all weight tensors, ascending; 0 if they are as small as "
        "rounding errors.",
    ),
    cost="1.6 forward and backward passes",
)

SYNFLOW = declare_block(
    "synflow",
    "SynFlow of every weight tensor.",
    _real(
        "tensor_flow_sum",
        _TENSOR,
        "Sum of abs(w dR/dw), R the sum of the outputs for an image of ones, all parameters replaced by their absolute values, "
        "without BatchNorm.",
        dtype="float64",
    ),
    cost="0.1 passes",
)

VKDNW = declare_block(
    "vkdnw",
    "Spectrum of the empirical Fisher information of one entry of each of the first 128 parameter tensors, in eval mode.",
    _real(
        "fisher_decile",
        ("arch", "decile"),
        "Deciles (10 % to 90 %) of the singular values of the Fisher information matrix.",
    ),
    _count("num_parameter_tensors", ("arch",), "tensors", "Parameter tensors of the network."),
    cost="4 forward and backward passes",
    sizes={"decile": 9},
)

SWEET_BINS = declare_block(
    "sweet_bins",
    "How gradients agree over two batches and over the images, in every bin of the histogram.",
    _real(
        "snr_bin_sum",
        ("arch", "tensor", "bin"),
        "Sum of mean(abs(g)) / std(g) over two batches, of the entries with std(g) > 0 whose gradient of the first is in the "
        "bin.",
    ),
    _real(
        "sign_bin_sum",
        ("arch", "layer", "sign", "bin"),
        "Sum of abs(sum over images of sign(g)) over the weights of a layer whose abs(gradient of the batch) is in the bin; "
        "sign 0: it is 0 or positive, sign 1: negative.",
    ),
    cost="3 forward and backward passes",
    sizes={"sign": 2},
)

STATISTICS: dict[str, Block] = {
    block.name: block
    for block in (
        TENSOR_SUMS,
        SECOND_BATCH,
        IMAGE_JACOBIAN,
        RELU_PATTERNS,
        NOISE_PASS,
        NOISE_IMAGE,
        PER_IMAGE,
        SYNFLOW,
        VKDNW,
        SWEET_BINS,
    )
}
"""The blocks of statistics that sweetgrad declares, by name."""
