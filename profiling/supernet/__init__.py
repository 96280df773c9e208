"""SPOS, a baseline that trains: a weight-sharing supernet of NAS-Bench-201, whose sub-networks are scored by their accuracy."""

from sweetgrad.profiling.supernet.network import Supernet
from sweetgrad.profiling.supernet.training import SupernetSettings, SupernetTraining, subnet_accuracy

__all__ = ["Supernet", "SupernetSettings", "SupernetTraining", "subnet_accuracy"]
