"""Search spaces: architectures by index, and the networks they stand for."""

from sweetgrad.profiling.spaces.protocol import Layer, Network, SearchSpace, kind_of, unite_names

__all__ = ["Layer", "Network", "SearchSpace", "kind_of", "unite_names"]
