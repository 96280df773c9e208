"""SPOS, a comparison that trains: a weight-sharing supernet of NAS-Bench-201, and the accuracy of its sub-networks as scores."""

from sweetgrad.profiling.supernet.network import Supernet
from sweetgrad.profiling.supernet.training import SupernetSettings, SupernetTraining, subnet_accuracy

__all__ = ["Supernet", "SupernetSettings", "SupernetTraining", "subnet_accuracy"]
