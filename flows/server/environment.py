"""Environment variables of a run and of its server: what the processes that they start must not inherit."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sweetgrad.flows.server.prefect_private import SERVER_VARIABLES

_LOOPBACK = "127.0.0.1,localhost,::1"

# Prefect's settings, and what the libraries below it would take from the environment by themselves.
_NOT_FOR_THE_SERVER = ("PREFECT", "UVICORN_", "DOCKET_", "OTEL_", "WEB_CONCURRENCY")


@contextmanager
def run_environment() -> Iterator[None]:
    """Set the environment of a run and of its processes: no proxy to this machine, no modules of the working folder.

    Python puts the working folder before its own library in processes that are started by ``-c`` or ``-m``, which workers are: a
    ``queue.py`` there would stand for the module ``queue``. Workers get the parent's ``sys.path`` afterwards, so nothing is lost.
    """
    direct = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), _LOOPBACK)))
    ours = {"no_proxy": direct, "NO_PROXY": direct, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def server_environment(environment: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """Environment of the Prefect server of a run: the user's, without settings of Prefect and without proxies.

    Parameters
    ----------
    environment
        The user's.
    home
        Folder of the server alone, also its working folder.

    Examples
    --------
    >>> variables = server_environment({"PATH": "/bin", "prefect_ui_enabled": "1", "http_proxy": "x"}, home=Path("/tmp/own"))
    >>> variables["PATH"], variables["PREFECT_HOME"], "http_proxy" in variables, "prefect_ui_enabled" in variables
    ('/bin', '/tmp/own', False, False)
    """
    kept = {name: value for name, value in environment.items() if not _is_refused(name)}
    # An entry that is relative, or empty, is of the user's working folder.
    places = [os.path.abspath(place) for place in kept.pop("PYTHONPATH", "").split(os.pathsep) if place]  # noqa: PTH100
    return {
        **kept,
        **({"PYTHONPATH": os.pathsep.join(places)} if places else {}),
        "DO_NOT_TRACK": "1",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Its tables are made by us: migrating an empty database to them takes ten times as long.
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "https://none.invalid",  # no page of any site: it has no UI
        "PREFECT_SERVER_UI_ENABLED": "false",
        **SERVER_VARIABLES,
    }


def _is_refused(name: str) -> bool:
    return name.upper().startswith(_NOT_FOR_THE_SERVER) or name.lower().endswith("_proxy")
