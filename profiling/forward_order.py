"""The layers of a network that nobody named, in the order in which its forward pass reaches them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parametrize

from sweetgrad.profiling.spaces.protocol import Layer, kind_of
from sweetgrad.store import KINDS

__all__ = ["layers_in_forward_order", "noting_calls"]


@contextmanager
def noting_calls(module: nn.Module, x: Tensor) -> Iterator[Mapping[str, int]]:
    """Note in which order the submodules are first called while the network runs once.

    Parameters
    ----------
    module
        The network.
    x
        What it is about to be given; an error of its forward pass gives the shape.

    Yields
    ------
    Position of the first call of each submodule, by name; one that is never called is missing.

    Raises
    ------
    ValueError
        If the forward pass raises; the message gives the shape of ``x``, and what was raised.
    """
    called: dict[str, int] = {}
    is_over = False

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:  # a hook that returned something would replace the input
            called.setdefault(name, len(called))

        return hook

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    handles = [submodule.register_forward_pre_hook(note(name)) for name, submodule in module.named_modules()]
    handles.append(module.register_forward_hook(end))
    try:
        yield called
    except Exception as error:  # whatever a network raises on what it was not made for
        if is_over:
            raise
        raise ValueError(
            f"the network failed on x of shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')}: "
            f"{type(error).__name__}: {error}. Give x in the shape that it takes, or fewer images if memory ran out"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def layers_in_forward_order(module: nn.Module, called: Mapping[str, int]) -> tuple[Layer, ...]:
    """Every module whose forward pass uses a weight of its own is a layer; small parameters join the layer before them.

    Parameters
    ----------
    module
        The network, after a forward pass: before it, a lazy module does not know what it holds.
    called
        Position of the first call of each submodule in that pass (`noting_calls`).

    Returns
    -------
    Layers that hold every parameter once; one that several modules share is in the layer that is reached first. What is reached
    before the first weight (a norm at the input) joins the layer of that weight. The parameters behind a parametrization, such as
    those of a weight norm, are their module's own.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    >>> [layer.name for layer in layers_in_forward_order(model, {"": 0, "0": 1, "1": 2, "2": 3, "3": 4})]
    ['0', '3']
    """
    # An attention block, say, holds parameters of its own beside submodules: a list of parameters stands for "its own".
    layers: dict[str, list[nn.Parameter]] = {}
    before_the_first: list[nn.Parameter] = []
    seen: set[int] = set()
    own = _own_parameters(module)
    for name in _in_order_of_first_call(list(own), called):
        new = [p for p in own[name] if id(p) not in seen]
        seen.update(map(id, new))
        if any(kind_of(p) == KINDS[0] for p in new):
            layers[name] = [*(before_the_first if not layers else ()), *new]
        elif layers:
            layers[next(reversed(layers))].extend(new)
        else:
            before_the_first.extend(new)
    if not layers and before_the_first:  # no weight at all
        layers[""] = before_the_first
    return tuple(Layer(name or "root", "cell", (nn.ParameterList(parameters),)) for name, parameters in layers.items())


def _own_parameters(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters by the name of the submodule whose forward pass uses them, if only by reading them."""
    submodules = dict(module.named_modules())
    own: dict[str, list[nn.Parameter]] = {}
    for name, submodule in submodules.items():
        parameters = list(submodule.parameters(recurse=False))
        if parameters:
            own.setdefault(_user(name, submodules), []).extend(parameters)
    return own


def _user(name: str, submodules: Mapping[str, nn.Module]) -> str:
    """The submodule itself, or the one around it that uses its parameters: what is parametrized, or holds a list of them."""
    parts = name.split(".") if name else []
    for depth, part in enumerate(parts):
        around = ".".join(parts[:depth])
        if part == "parametrizations" and parametrize.is_parametrized(submodules[around]):
            return around
    while name and type(submodules[name]).forward is nn.Module.forward:  # nn.ParameterList has no forward pass
        name = name.rpartition(".")[0]
    return name


def _in_order_of_first_call(names: list[str], called: Mapping[str, int]) -> list[str]:
    """Sort names by the first call.

    One that is never called (its parent reads its parameters, or it is not used) stands where its parent is called; at the end if
    that is the whole network.
    """

    def position(name: str) -> int:
        while name and name not in called:
            name = name.rpartition(".")[0]
        return called.get(name, 0) if name else len(called)

    # The root's own parameters (a class token, positions) are taken to be used at its beginning; sorting is stable.
    return sorted(names, key=lambda name: position(name) if name else 0)
