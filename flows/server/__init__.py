"""The Prefect server of a run, or the one that the user has configured, and what Prefect needs around a flow."""

from sweetgrad.flows.server.ephemeral import ServerError, prefect_server, require_server, wait_until_up

__all__ = ["ServerError", "prefect_server", "require_server", "wait_until_up"]

__all__ = [
    "ServerError",
    "prefect_server",
    "require_server",
    "wait_until_up",
]
