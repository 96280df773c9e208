"""A Prefect server for the length of one run, which cannot outlive it.

Prefect would start one by itself, in our process group, where Ctrl-C ends it before the run and ``kill -9`` leaves it behind.
This one has a session of its own, and a thread that ends it as soon as the pipe from its parent closes, however the parent ended.
If it ends before the run does, it is started again: a run must not fail because its own server is missing.
"""

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sweetgrad.flows.interrupt import signals_blocked
from sweetgrad.flows.server.prefect_private import SERVER_VARIABLES, discarded_events

STARTUP_TIMEOUT_S = float(os.environ.get("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120"))
_LOOK_EVERY_S = 0.5
_LOG_LINES = 8

_logger = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """The Prefect server did not start, or does not answer any more."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """Start a server, or use the one that Prefect is configured for (``PREFECT_API_URL``); yields its API address.

    A server that is started here ignores the user's settings of Prefect, and has a database of its own; the settings of how to
    reach a server do not apply meanwhile. Returns at once, so that other things can start at the same time: call `wait_until_up`
    before the first flow.

    Raises
    ------
    ServerError
        If the configured server does not answer, or stops answering during the flow. From `wait_until_up`: if ours did not start.
    """
    import httpx
    from prefect.settings import PREFECT_API_URL, temporary_settings

    configured = PREFECT_API_URL.value()
    if configured:
        require_server(configured)
        try:
            yield configured
        except httpx.TransportError as error:
            raise ServerError(
                f"the Prefect server at {configured} does not answer any more ({error}). What was written before is safe: "
                "restart it, or unset PREFECT_API_URL, then run the same command again."
            ) from error
        return
    home = Path(tempfile.mkdtemp(prefix="sweetgrad-prefect-"))
    try:
        with closing(_Server(home)) as server, discarded_events():
            _running[server.url] = server
            try:
                with temporary_settings(_client_settings(server.url, home)):
                    yield server.url
            finally:
                del _running[server.url]
    finally:
        shutil.rmtree(home, ignore_errors=True)


def require_server(url: str) -> None:
    """Raise `ServerError`, with advice, if the server that Prefect is configured for does not answer."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise ServerError(
            f"no Prefect server answers at {url}, the PREFECT_API_URL ({_first_line(error)}): start it with `prefect server "
            "start`, or unset PREFECT_API_URL (`prefect config unset PREFECT_API_URL` if a profile sets it), and a run brings "
            "its own."
        )


def _client_settings(url: str, home: Path) -> dict[str, Any]:
    """Settings of Prefect in this process while the server is ours."""
    return {
        "home": home,
        "api.url": url,
        "api.auth_string": None,
        "api.key": None,
        "client.custom_headers": {},
        "client.csrf_support_enabled": False,
        "flows.default_retries": 0,
        "flows.heartbeat_frequency": None,  # it is not needed, and its thread takes up to a second to end
        "logging.to_api.enabled": False,
        "results.persist_by_default": False,
        "tasks.default_persist_result": False,
    }


class _Server:
    """The process of a server. Once it is up, another one takes its place if it ends: Prefect asks again for a minute.

    The socket that it serves on is ours, so that nobody else gets the port, and requests between two processes are answered.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        self.log = home / "server.log"
        self.process = _start(home, self._socket, self.log)
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up, daemon=True)

    def keep_up(self) -> None:
        """From now on, replace the process if it ends."""
        if not self._keeper.is_alive():
            self._keeper.start()

    def _keep_up(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            if self.process.poll() is not None:
                _logger.warning("the Prefect server ended with code %d, and is started again", self.process.returncode)
                _end(self.process)
                self.process = _start(self._home, self._socket, self.log)

    def close(self) -> None:
        """End it for good."""
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        _end(self.process)
        self._socket.close()


_running: dict[str, _Server] = {}


def wait_until_up(url: str) -> None:
    """Wait until the server at ``url`` answers.

    Raises
    ------
    ServerError
        If it ended or did not answer in time.
    """
    import httpx

    if url not in _running:
        return  # not ours: it has answered before
    server = _running[url]
    process = server.process
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=1, trust_env=False).status_code == 200:
                server.keep_up()
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    ended = process.poll() is not None
    what = f"ended with code {process.returncode}" if ended else f"no answer in {STARTUP_TIMEOUT_S:.0f} s"
    longer = "" if ended else ", or a longer PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
    raise ServerError(
        f"the Prefect server of this run did not start ({what}): {cause_in(server.log.read_text(errors='replace'))}\n"
        f"Set PREFECT_API_URL to use a server that runs{longer}."
    )


def cause_in(log: str) -> str:
    r"""The cause of a failure in a server's log: its last error, or else its last lines.

    Examples
    --------
    >>> cause_in("Traceback (most recent call last):\n  File ...\nOSError: disk full\n\nApplication startup failed. Exiting.")
    'OSError: disk full'
    """
    errors = re.findall(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt))\b.*$", log, re.MULTILINE)
    return errors[-1] if errors else "\n".join(log.strip().splitlines()[-_LOG_LINES:]) or "its log is empty"


def _start(home: Path, listening: socket.socket, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output, signals_blocked():
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sweetgrad.flows.server.program", str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=home,
            env=server_environment(os.environ, home=home),
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()  # the server's watcher sees the end of the pipe
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


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
