r"""GraSP: the change of the gradient along itself, ``w . (H g)``, with a third fewer convolutions than autograd.

In a backward pass through the backward pass, the weight of a convolution y = x * w has two cotangents, of which only the product
with w is needed, never the product with the Hessian itself. Let d be the gradient of y, V the cotangent of the gradient of x that
the first backward pass computes, and e the final cotangent of y:

.. math:: w \cdot \frac{\partial}{\partial w} = \langle V * w, d \rangle + \langle x * w, e \rangle

Both convolutions are available: the first is needed for the rest of the pass, the second is the output. BatchNorm is implemented
as a pair of functions as well; its second derivative takes three sums and one pass over the data, instead of thirty.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn

from sweetgrad.profiling.estimators._layers import (
    BatchNorm,
    convolution_backward,
    is_plain_layer,
    patched_forward,
    restored_buffers,
)
from sweetgrad.profiling.estimators.protocol import Probe, estimator, require_real, weights_of


@estimator(needs="network")
def grasp(probe: Probe) -> float:
    r"""``-sum w * (H g)`` over conv and linear weights, with the Hessian H and the gradient g of the loss of the batch.

    Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020, with temperature 1 and the sign
    of Abdelfattah et al., ICLR 2021.
    """
    require_real(probe.network.module, "grasp")
    with restored_buffers(probe.network.module):
        try:
            product = _by_own_layers(probe)
        except RuntimeError:  # an in-place operation changed what our layers saved, which autograd's would not have
            product = None
        return -(product if product is not None else _by_autograd(probe))


def _by_autograd(probe: Probe) -> float:
    """``w . (H g)`` by a second backward pass, through ``<g, g.detach()>``: for any network."""
    module = probe.network.module
    weights = [weight for weight in weights_of(module) if weight.requires_grad]
    loss = probe.task.loss(module(probe.x), probe.x, probe.y)
    grads = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    pairs = zip(weights, grads, strict=True)
    used = [(weight, grad) for weight, grad in pairs if grad is not None and grad.requires_grad]
    if not used:
        return 0.0  # the gradient depends on no weight
    square = torch.stack([(grad * grad.detach()).sum() for _, grad in used]).sum()
    products = torch.autograd.grad(square, [weight for weight, _ in used], allow_unused=True)
    return float(
        sum((w.detach() * h).double().sum() for (w, _), h in zip(used, products, strict=True) if h is not None)
    )


def _by_own_layers(probe: Probe) -> float | None:
    """The same, if every weight belongs to a convolution or a linear layer and is used nowhere else; else None."""
    module = probe.network.module
    weights = [weight for weight in weights_of(module) if weight.requires_grad]
    plain = {id(m.weight) for m in module.modules() if is_plain_layer(m)}
    if not weights or any(id(weight) not in plain for weight in weights):
        return None
    pass_ = _Pass(probe.x)

    def replacement(m: nn.Module) -> Callable[..., Tensor] | None:
        if is_plain_layer(m) and m.weight.requires_grad:
            return partial(_run_layer, m, pass_)
        return partial(_run_norm, m) if isinstance(m, BatchNorm) else None

    try:
        with patched_forward(module, replacement):
            loss = probe.task.loss(module(probe.x), probe.x, probe.y)
        outside = torch.autograd.grad(loss, [pass_.anchor, *weights], create_graph=True, allow_unused=True)[1:]
        if any(grad is not None for grad in outside):
            return None
        squares = [(grad * grad.detach()).sum() for grad in pass_.gradients()]
        torch.autograd.grad(torch.stack([pass_.anchor.to(probe.x), *squares]).sum(), pass_.anchor)
        return float(pass_.total)
    finally:
        pass_.release()


class _Pass:
    """State that the layers share during one run."""

    def __init__(self, x: Tensor) -> None:
        self.anchor = torch.zeros((), requires_grad=True)  # so that the graph starts at the first layer
        self.total = torch.zeros((), dtype=torch.float64, device=x.device)
        self._gradients: dict[Tensor, Tensor] = {}

    def release(self) -> None:
        """Release the graph, which references this object in turn: a cycle through C++ that Python's collector cannot see."""
        self._gradients.clear()

    def gradients(self) -> list[Tensor]:
        return list(self._gradients.values())

    def take(self, weight: Tensor, grad: Tensor) -> None:
        """Add the gradient of a weight from one of its uses."""
        known = self._gradients.get(weight)
        self._gradients[weight] = grad if known is None else known + grad

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add a term of ``w . (H g)``."""
        self.total += (a * b).sum()


def _run_layer(layer: Any, pass_: _Pass, x: Tensor) -> Tensor:
    output: Tensor = _Layer.apply(x, pass_.anchor, layer, pass_)  # type: ignore[no-untyped-call]  # torch's is untyped
    return output


def _multiply(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    output: Tensor = layer._conv_forward(x, weight, bias)
    return output


def _multiply_back(layer: Any, grad: Tensor, x: Tensor, weight: Tensor, mask: tuple[bool, bool]) -> Any:
    if not isinstance(layer, nn.Linear):
        return convolution_backward(grad, x, weight, layer, mask)
    before = grad @ weight if mask[0] else None
    return before, (grad.reshape(-1, len(weight)).T @ x.reshape(-1, x.shape[-1]) if mask[1] else None)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layer: Any, pass_: _Pass) -> Tensor:
        y = _multiply(layer, x, layer.weight, layer.bias)
        ctx.save_for_backward(x, anchor, y)
        ctx.layer, ctx.pass_ = layer, pass_
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, anchor, y), (grad,), layer, pass_ = ctx.saved_tensors, grads, ctx.layer, ctx.pass_
        weight = layer.weight.detach()
        if torch.is_grad_enabled():  # the first pass, through whose graph the second one runs
            before, of_weight = _LayerBackward.apply(grad, x, anchor, layer, pass_, ctx.needs_input_grad[0])  # type: ignore[no-untyped-call]
            pass_.take(layer.weight, of_weight)
            return (before if ctx.needs_input_grad[0] else None), None, None, None
        pass_.add(y if layer.bias is None else _without_bias(y, layer), grad)
        before = _multiply_back(layer, grad, x, weight, (True, False))[0] if ctx.needs_input_grad[0] else None
        return before, None, None, None


def _without_bias(y: Tensor, layer: Any) -> Tensor:
    bias = layer.bias.detach()
    shifted: Tensor = y - (bias if isinstance(layer, nn.Linear) else bias.view(-1, *[1] * (y.ndim - 2)))
    return shifted


class _LayerBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, anchor: Tensor, layer: Any, pass_: _Pass, needs_x: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(grad, x)
        ctx.set_materialize_grads(False)
        ctx.layer, ctx.pass_ = layer, pass_
        before, of_weight = _multiply_back(layer, grad, x, layer.weight.detach(), (needs_x, True))[:2]
        return before if needs_x else grad.new_empty(0), of_weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad, x), (of_before, of_weight), layer = ctx.saved_tensors, grads, ctx.layer
        of_grad, of_x = None, None
        if of_before is not None and of_before.numel():
            of_grad = _multiply(layer, of_before, layer.weight.detach())
            ctx.pass_.add(of_grad, grad)
        if of_weight is not None:
            more = _multiply(layer, x, of_weight)
            of_grad = more if of_grad is None else of_grad.add_(more)
            if ctx.needs_input_grad[1]:
                of_x = _multiply_back(layer, grad, x, of_weight, (True, False))[0]
        return of_grad, of_x, None, None, None, None


def _run_norm(norm: Any, x: Tensor) -> Tensor:
    weight = torch.ones_like(x[0, :].reshape(x.shape[1], -1)[:, 0]) if norm.weight is None else norm.weight.detach()
    bias = torch.zeros_like(weight) if norm.bias is None else norm.bias.detach()
    output: Tensor = _Norm.apply(x, weight, bias, norm.eps)  # type: ignore[no-untyped-call]  # torch's is untyped
    return output


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, inverse = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        run = _NormBackward.apply if torch.is_grad_enabled() else _norm_backward
        x, weight, mean, inverse = ctx.saved_tensors
        return run(grads[0], x, weight, mean, inverse, ctx.eps), None, None, None


def _norm_backward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> Tensor:
    return _norm_backward_and_sums(grad, x, weight, mean, inverse, eps)[0]


def _norm_backward_and_sums(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of x, and the sums over a channel of ``grad * x^`` and of ``grad``, x^ the normalised x."""
    settings = (None, None, mean, inverse, True, eps, [True, True, True])
    gradient_and_sums: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, *settings
    )
    return gradient_and_sums


class _NormBackward(torch.autograd.Function):
    r"""With means over a channel of M values, x^ the normalised x, r the inverse deviation and c the weight of the channel,

    .. math:: b = c r (g - \bar g - \hat x\, \overline{g \hat x})

    For a cotangent v of b, that of g is the same function of v; that of x is, with p and q the means of v x^ and g x^,

    .. math:: -c r^2 (q v + p g - q \bar v - p \bar g + \hat x (\overline{v g} - \bar v \bar g - 3 p q))
    """  # noqa: D400

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> Tensor:
        before, product, total = _norm_backward_and_sums(grad, x, weight, mean, inverse, eps)
        ctx.save_for_backward(grad, x, weight, mean, inverse, product, total)
        ctx.eps = eps
        return before

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (v,), (g, x, weight, mean, inverse, product, total) = grads, ctx.saved_tensors
        num = x.numel() // x.shape[1]
        of_g, v_product, v_total = _norm_backward_and_sums(v, x, weight, mean, inverse, ctx.eps)
        p, q, v_mean, g_mean = v_product / num, product / num, v_total / num, total / num
        channels = [dim for dim in range(x.ndim) if dim != 1]
        slope = (v * g).mean(channels) - v_mean * g_mean - 3 * p * q
        scale = -weight * inverse.square()
        # scale * (q v + p g + x^ slope - ...), with x^ = (x - mean) * inverse substituted: one pass over the data for each of
        # three terms.
        constant = -scale * (q * v_mean + p * g_mean + slope * inverse * mean)
        shape = [-1] + [1] * (x.ndim - 2)
        factor_v, factor_g, factor_x, constant = (
            term.view(shape) for term in (scale * q, scale * p, scale * slope * inverse, constant)
        )
        of_x = torch.addcmul(constant, v, factor_v).addcmul_(g, factor_g).addcmul_(x, factor_x)
        return of_g, of_x, None, None, None, None
