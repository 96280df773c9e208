"""The layers of a network that nobody named, in the order in which its forward pass reaches them."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Layer, kind_of
from sweetgrad.store import KINDS

__all__ = ["layers_in_forward_order"]


def layers_in_forward_order(module: nn.Module, x: Tensor) -> tuple[Layer, ...]:
    """Every module that holds a weight of its own is a layer; modules with small parameters only join the layer before them.

    Parameters
    ----------
    module
        The network, which is left as it was.
    x
        What it takes; one forward pass in train mode is run on a copy.

    Returns
    -------
    Layers that hold every parameter once; one that several modules share is in the layer that is reached first.

    Raises
    ------
    ValueError
        If the forward pass raises; the message gives the shape of ``x``, and what was raised.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    >>> [layer.name for layer in layers_in_forward_order(model, torch.zeros(2, 3, 1, 1))]
    ['0', '3']
    """
    submodules = dict(module.named_modules())
    # An attention block, say, holds parameters of its own beside submodules: a list of parameters stands for "its own".
    own: dict[str, list[nn.Parameter]] = {}
    seen: set[int] = set()
    for name in _in_order_of_first_call(module, x):
        new = [p for p in submodules[name].parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, new))
        if not own or any(kind_of(p) == KINDS[0] for p in new):
            own[name] = new
        else:
            own[next(reversed(own))].extend(new)
    return tuple(
        Layer(name or "root", "cell", (nn.ParameterList(parameters),)) for name, parameters in own.items() if parameters
    )


def _in_order_of_first_call(module: nn.Module, x: Tensor) -> list[str]:
    """Names of all submodules that hold parameters of their own.

    One that is never called (its parent reads its parameters, or it is not used) stands where its parent is called; at the end if
    that is the whole network.
    """
    # The copy keeps what a forward pass changes (running statistics, spectral norms) from being changed twice.
    trial = copy.deepcopy(module).train()
    called: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:  # a hook that returned something would replace the input
            called.setdefault(name, len(called))

        return hook

    for name, submodule in trial.named_modules():
        submodule.register_forward_pre_hook(note(name))
    # Dropout in the trial must not move the generator on: the measured pass draws what it would draw alone.
    with torch.no_grad(), torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        try:
            trial(x)
        except Exception as error:  # whatever a network raises on what it was not made for
            raise ValueError(
                f"the network failed on x of shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')}: "
                f"{type(error).__name__}: {error}. Give x in the shape that it takes, or fewer images if memory ran out"
            ) from error

    def position(name: str) -> int:
        while name and name not in called:
            name = name.rpartition(".")[0]
        return called.get(name, 0) if name else len(called)

    owners = [name for name, m in module.named_modules() if any(True for _ in m.parameters(recurse=False))]
    # The root's own parameters (a class token, positions) are taken to be used at its beginning; sorting is stable.
    return sorted(owners, key=lambda name: position(name) if name else 0)
