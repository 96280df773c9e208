"""Where shards run: worker processes of this machine, a running Dask cluster, or one that a TOML file describes."""

from sweetgrad.flows.cluster.client import open_client
from sweetgrad.flows.cluster.config import ClusterConfig, WorkerSource, choose_workers, read_cluster_config
from sweetgrad.flows.cluster.waiting import NoWorkerError

__all__ = ["ClusterConfig", "NoWorkerError", "WorkerSource", "choose_workers", "open_client", "read_cluster_config"]

__all__ = [
    "ClusterConfig",
    "NoWorkerError",
    "WorkerSource",
    "choose_workers",
    "open_client",
    "read_cluster_config",
]
