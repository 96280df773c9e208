"""Slow, literal versions of the blocks: loops over images, entries and modules, for networks in double precision."""

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sweetgrad.profiling.spaces.protocol import Layer, Network
from sweetgrad.store import NUM_BINS, edges_f32

Arrays = dict[str, Any]
LITERAL_LAYERS = ("stem", "cell", "reduction")


def output_of(layer: Layer) -> nn.Module:
    """The module whose output is that of a layer; a stem of DARTS is a list of modules."""
    module = layer.modules[-1]
    return module[-1] if isinstance(module, nn.ModuleList) else module


def gradients(network: Network, x: Tensor, y: Tensor) -> dict[str, NDArray[np.float64]]:
    """Gradient of every parameter for the mean loss, 0 where there is none, by the name that the block gives it."""
    network.module.zero_grad(set_to_none=True)
    functional.cross_entropy(network.module(x), y).backward()
    found = {name: p for axis in network.named_parameters().values() for name, (_, p) in axis.items()}
    return {
        name: (torch.zeros_like(p) if p.grad is None else p.grad).detach().numpy().copy() for name, p in found.items()
    }


def tensor_sums(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    grads = gradients(network, x, y)
    arrays: dict[str, list[float]] = {}
    for name, (_, parameter) in network.named_parameters()["tensor"].items():
        w, g = parameter.detach().numpy().ravel(), grads[name].ravel()
        values = {
            "size": w.size,
            "channels": parameter.shape[0],
            "weight_sq_sum": math.fsum(a * a for a in w),
            "weight_grad_sum": math.fsum(a * b for a, b in zip(w, g, strict=True)),
            "weight_grad_abs_sum": math.fsum(abs(a * b) for a, b in zip(w, g, strict=True)),
            "grad_abs_sum": math.fsum(map(abs, g)),
            "grad_sq_sum": math.fsum(b * b for b in g),
            "grad_sum": math.fsum(g),
            "grad_abs_max": max(map(abs, g)),
        }
        for key, value in values.items():
            arrays.setdefault(f"tensor_{key}", []).append(value)
    for name in network.named_parameters()["vector"]:
        g = grads[name].ravel()
        values = {
            "size": g.size,
            "grad_sum": math.fsum(g),
            "grad_sq_sum": math.fsum(b * b for b in g),
            "grad_abs_max": max(map(abs, g)),
        }
        for key, value in values.items():
            arrays.setdefault(f"vector_{key}", []).append(value)
    outputs: dict[int, Tensor] = {}

    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs[id(layer.weight)] = output

    handles = [m.register_forward_hook(keep) for m in network.module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    functional.cross_entropy(network.module(x), y).backward()
    for handle in handles:
        handle.remove()
    for _, weight in network.named_parameters()["tensor"].values():
        output = outputs[id(weight)]
        arrays.setdefault("tensor_positions", []).append(math.prod(output.shape[2:]))
        assert output.grad is not None
        product = (output * output.grad).detach().reshape(*output.shape[:2], -1).sum(2)
        information = sum((product[:, c] ** 2).mean() / 2 * weight[c].numel() for c in range(len(weight)))
        arrays.setdefault("tensor_fisher_sum", []).append(float(information))
    return arrays


def second_batch(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    both = [gradients(network, x, y), gradients(network, *second)]
    arrays: dict[str, list[float]] = {}
    for name in network.named_parameters()["tensor"]:
        snr = variance = mean = 0.0
        varying = 0
        for pair in zip(*(grads[name].ravel() for grads in both), strict=True):
            if np.std(pair) > 0:
                snr += np.mean(np.abs(pair)) / np.std(pair)
                varying += 1
            variance += np.var(pair)
            mean += abs(np.mean(pair))
        for key, value in {
            "tensor_snr_sum": snr,
            "tensor_num_varying": varying,
            "tensor_grad_var_sum": variance,
            "tensor_mean_grad_abs_sum": mean,
        }.items():
            arrays.setdefault(key, []).append(value)
    return arrays


def image_jacobian(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    x = x.clone().requires_grad_()
    logits = network.module(x)
    logits.sum().backward()
    assert x.grad is not None
    correlation = np.corrcoef(x.grad.reshape(len(x), -1).numpy())
    by_class = np.full(logits.shape[1], np.nan)
    for label in set(y.tolist()):
        members = [n for n in range(len(y)) if y[n] == label]
        by_class[label] = sum(math.log(abs(correlation[i, j]) + 1e-5) for i in members for j in members)
    return {"jacobian_eigenvalue": np.linalg.eigvalsh(correlation), "jacobian_class_log_corr": by_class}


def relu_patterns(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    num, num_layers = len(x), len(network.layers)
    relus: list[tuple[int, NDArray[np.float64]]] = []
    outputs: dict[int, Tensor] = {}
    layer_of = {m: row for row, layer in enumerate(network.layers) for top in layer.modules for m in top.modules()}

    def on_relu(module: nn.Module, inputs: Any, output: Tensor) -> None:
        relus.append((layer_of[module], output.detach().reshape(num, -1).numpy()))

    def on_layer(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs[layer_of[module]] = output

    handles = [m.register_forward_hook(on_relu) for m in network.module.modules() if isinstance(m, nn.ReLU)]
    handles += [
        output_of(layer).register_forward_hook(on_layer) for layer in network.layers if layer.type in LITERAL_LAYERS
    ]
    functional.cross_entropy(network.module(x), y).backward()
    for handle in handles:
        handle.remove()
    kernels = np.zeros((num_layers, num, num))
    zeros, values = np.zeros(num_layers), np.zeros(num_layers)
    patterns: list[set[tuple[bool, ...]]] = [set() for _ in range(num_layers)]
    for row, output in relus:
        on = output > 0
        for i in range(num):
            for j in range(num):
                kernels[row, i, j] += (on[i] == on[j]).sum()
        zeros[row] += (output == 0).sum()
        values[row] += output.size
        patterns[row] |= {tuple(column) for column in on[:16].T.tolist()}
    with np.errstate(invalid="ignore", divide="ignore"):
        log_det = np.where(values > 0, np.linalg.slogdet(kernels)[1], np.nan)
        zero_share = zeros / values
    return {
        "pattern_eigenvalue": np.linalg.eigvalsh(kernels.sum(0)),
        "pattern_log_det": log_det,
        "output_corr_log_det": [_corr_log_det(outputs.get(row)) for row in range(num_layers)],
        "output_grad_corr_log_det": [
            _corr_log_det(outputs[row].grad if row in outputs else None) for row in range(num_layers)
        ],
        "num_patterns": [len(found) for found in patterns],
        "num_patterns_network": len(set().union(*patterns)),
        "zero_share": zero_share,
    }


def _corr_log_det(values: Tensor | None) -> float:
    if values is None:
        return math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.abs(np.corrcoef(values.detach().reshape(len(values), -1).numpy()))
    return float(np.linalg.slogdet(correlation)[1]) if np.isfinite(correlation).all() else math.nan


def initialise(module: nn.Module, seed: int) -> None:
    """He's initialisation, drawn in the order of the modules."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = math.prod(layer.weight.shape[1:])
            drawn = torch.empty(layer.weight.shape).normal_(0, math.sqrt(2 / fan_in), generator=generator)
            layer.weight.data = drawn.double()
            if layer.bias is not None:
                layer.bias.data.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.fill_(1)
            layer.bias.data.zero_()


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def noise_pass(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    initialise(network.module, seed)
    features: dict[int, Tensor] = {}
    for row, layer in enumerate(network.layers):
        if layer.type in LITERAL_LAYERS:
            output_of(layer).register_forward_hook(lambda m, i, output, row=row: features.__setitem__(row, output))
    network.module(noise(tuple(x.shape), seed))
    names = ("cov_trace", "cov_sq_trace", "spectrum_entropy", "cov_min", "cov_max", "effective_rank", "grad_map_norm")
    arrays = {name: np.full(len(network.layers), np.nan) for name in names}
    identity = np.zeros(len(network.layers))
    rows = sorted(features)
    for row in rows:
        samples = features[row].detach().permute(0, 2, 3, 1).flatten(0, 2).numpy()
        cov = np.atleast_2d(np.cov(samples.T, bias=True))
        values = np.linalg.eigvalsh(cov)
        singular = np.linalg.svd(samples - samples.mean(0), compute_uv=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = values / values.sum()
            q = singular / singular.sum()
            entropy = -sum(a * math.log(max(a, 0) + 1e-8) if math.isfinite(a) else math.nan for a in p)
            rank = math.exp(-sum(0 if a == 0 else a * math.log(a) for a in q)) if np.isfinite(q).all() else math.nan
        found = (np.trace(cov), np.trace(cov @ cov), entropy, values[0], values[-1], rank)
        for name, value in zip(names, found, strict=False):
            arrays[name][row] = value
    for before, row in itertools.pairwise(rows):
        output, source = features[row], features[before]
        count = output.numel()
        bits = np.unpackbits(np.frombuffer(np.random.RandomState(seed).bytes(-(-count // 8)), np.uint8))[:count]
        num, channels, height, width = output.shape
        g_out = torch.from_numpy(bits * 2.0 - 1).reshape(num, height, width, channels).permute(0, 3, 1, 2)
        (g_in,) = torch.autograd.grad(output, source, g_out, retain_graph=True)
        identity[row] = g_in.shape == g_out.shape and torch.equal(g_in, g_out)
        stride = g_in.shape[2] // height
        # Every position of the output is multiplied with the stride x stride positions of the input in its place.
        matrix = np.zeros((g_in.shape[1] * stride * stride, channels))
        for i in range(height):
            for j in range(width):
                patch = g_in[:, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride].flatten(1).numpy()
                matrix += patch.T @ g_out[:, :, i, j].numpy()
        arrays["grad_map_norm"][row] = np.linalg.svd(matrix / (num * height * width), compute_uv=False).max()
    return {**arrays, "grad_map_is_identity": identity}


def noise_image(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    initialise(network.module, seed)
    found: list[tuple[nn.Module, float, float]] = []

    def on_output(module: nn.Module, inputs: Any, output: Tensor) -> None:
        values = output[0].detach().reshape(output.shape[1], -1).numpy()
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore")  # of one value for each channel
            correlation = np.nan_to_num(np.corrcoef(values), nan=0.0, posinf=0.0, neginf=0.0)
        singular = np.linalg.svd(values, compute_uv=False)
        ratio = singular[-1] / singular[0] if singular[0] > 0 else 0.0
        found.append((module, np.linalg.eigvalsh(correlation)[0], ratio))

    for module in network.module.modules():
        module.register_forward_hook(on_output)
    network.module(noise((1, x.shape[1], 64, 64), seed))
    by_layer = np.zeros((2, len(network.layers)))
    for row, layer in enumerate(network.layers):
        inside = {m for top in layer.modules for m in top.modules()}
        by_layer[:, row] = [sum(values[i] for m, *values in found if m in inside) for i in (0, 1)]
    return {
        "corr_min_sum": by_layer[0],
        "singular_ratio_sum": by_layer[1],
        "corr_min_sum_network": sum(value for _, value, _ in found),
        "singular_ratio_sum_network": sum(value for _, _, value in found),
    }


def per_image(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    names = [*network.named_parameters()["tensor"]]
    grads = [gradients(network, x[n : n + 1], y[n : n + 1]) for n in range(len(x))]
    flat = np.stack([np.concatenate([grad[name].ravel() for name in names]) for grad in grads])
    return {
        "tensor_sign_sum": [np.abs(sum(np.sign(grad[name]) for grad in grads)).sum() for name in names],
        "tensor_image_grad_sq_sum": [sum((grad[name] ** 2).sum() for grad in grads) for name in names],
        "gram_eigenvalue": np.linalg.eigvalsh(flat @ flat.T),
    }


def synflow(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    module = network.module
    for child in [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]:
        child.forward = lambda values: values  # type: ignore[method-assign, assignment]
    for parameter in module.parameters():
        parameter.data.abs_()
    module.zero_grad(set_to_none=True)
    module(torch.ones_like(x[:1])).sum().backward()
    weights = [p for _, p in network.named_parameters()["tensor"].values()]
    return {"tensor_flow_sum": [0.0 if p.grad is None else float((p.detach() * p.grad).abs().sum()) for p in weights]}


def vkdnw(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    module = network.module
    initialise(module, seed)
    module.eval()
    images = noise(tuple(x.shape), seed)
    tensors = list(module.parameters())[:128]
    fisher = np.zeros((len(tensors), len(tensors)))
    for image in images:
        logits = module(image[None])[0]
        p = logits.softmax(0).detach().numpy()
        rows = []
        for logit in logits:
            grads = torch.autograd.grad(logit, tensors, retain_graph=True, allow_unused=True)
            rows.append([0.0 if grad is None else float(grad.flatten()[0]) for grad in grads])
        jacobian = np.array(rows)
        fisher += jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian / len(images)
    singular = np.linalg.svd(fisher, compute_uv=False)
    return {
        "fisher_decile": np.quantile(singular, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        "num_parameter_tensors": len(list(module.parameters())),
    }


def sweet_bins(network: Network, x: Tensor, y: Tensor, second: Any, seed: int) -> Arrays:
    both = [gradients(network, x, y), gradients(network, *second)]
    alone = [gradients(network, x[n : n + 1], y[n : n + 1]) for n in range(len(x))]
    names = network.named_parameters()["tensor"]
    layers = [layer.name for layer in network.layers]
    upper = np.concatenate([[np.nextafter(np.float32(0), np.float32(1))], edges_f32(), [np.float32(np.inf)]])
    snr, signs = np.zeros((len(names), NUM_BINS)), np.zeros((len(layers), 2, NUM_BINS))
    for tensor, (name, (layer, _)) in enumerate(names.items()):
        first, other = (grads[name].ravel() for grads in both)
        total = np.abs(sum(np.sign(grad[name]).ravel() for grad in alone))
        for g, h, sign in zip(first, other, total, strict=True):
            place = int((np.float32(abs(g)) >= upper).sum())
            snr[tensor, place] += np.mean(np.abs([g, h])) / np.std([g, h]) if np.std([g, h]) > 0 else 0
            signs[layers.index(layer), int(g < 0), place] += sign
    return {"snr_bin_sum": snr, "sign_bin_sum": signs}


TWINS: dict[str, Callable[..., Arrays]] = {
    each.__name__: each
    for each in (
        tensor_sums,
        second_batch,
        image_jacobian,
        relu_patterns,
        noise_pass,
        noise_image,
        per_image,
        synflow,
        vkdnw,
        sweet_bins,
    )
}
