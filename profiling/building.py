"""Build the networks of one architecture: the one that is profiled, the whole one, the thin one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from sweetgrad.profiling.estimators.protocol import EstimatorError
from sweetgrad.profiling.spaces.protocol import Network, SearchSpace
from sweetgrad.store import ProfileSpec


@dataclass(frozen=True)
class Builder:
    """Builds networks of one architecture, each from the seed of the spec, on its device and in channels-last format."""

    space: SearchSpace
    arch: str
    spec: ProfileSpec

    def network(self) -> Network:
        """The network that is profiled; the generator stands where its initialisation left it."""
        torch.manual_seed(self.spec.seed)
        return self._place(self.space.build)

    def whole(self) -> Network:
        """The same network, with the same weights, that leaves nothing out; torch's generator is left as it was."""
        build = getattr(self.space, "build_literal", self.space.build)
        with torch.random.fork_rng([]):
            torch.manual_seed(self.spec.seed)
            return self._place(build)

    def thin(self) -> nn.Module:
        """The narrow and shallow variant, if the space offers one; torch's generator is left as it was."""
        build = getattr(self.space, "build_thin", None)
        if build is None:
            raise EstimatorError(
                f"{self.space.name} offers no thin network: "
                "its space has no method build_thin(arch_id, *, in_channels, num_classes)"
            )
        with torch.random.fork_rng([]):
            torch.manual_seed(self.spec.seed)
            module: nn.Module = build(self.arch, **self._shape)
        return module.train().to(self.spec.device)

    def _place(self, build: Callable[..., Network]) -> Network:
        network = build(self.arch, **self._shape)
        network.module.train().to(self.spec.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    @property
    def _shape(self) -> dict[str, int]:
        return {"in_channels": self.spec.input_shape[0], "num_classes": self.spec.num_classes}
