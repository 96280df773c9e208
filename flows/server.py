"""A Prefect server for the length of one run, which cannot outlive it.

Prefect would start one by itself, in our process group, where Ctrl-C ends it before the run and ``kill -9`` leaves it behind.
This one has its own session, and a thread that ends it as soon as the pipe from its parent closes, however the parent ended.
Should it end before the run does, it is started again: a run does not fail for want of the server that it brought itself.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO

__all__ = ["ServerError", "prefect_server"]

STARTUP_TIMEOUT_S = float(os.environ.get("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120"))
_LOOK_EVERY_S = 0.5


class ServerError(RuntimeError):
    """The Prefect server did not come up, or is gone."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """Start a server, or use the one that Prefect is configured for (``PREFECT_API_URL``); yields its API address.

    Returns at once: call `wait_until_up` before the first flow, so that other things can start meanwhile.

    Raises
    ------
    ServerError
        From `wait_until_up`, with the end of the server's log; or if the server is gone and the flow ended for want of it.
    """
    import httpx
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    configured = PREFECT_API_URL.value()
    if configured:
        try:
            yield configured
        except httpx.TransportError as error:
            raise ServerError(
                f"the Prefect server at {configured} does not answer any more ({error}). What was written before is safe: "
                "start it anew, or unset PREFECT_API_URL, then run the same command again."
            ) from error
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryFile(mode="w+b") as log, closing(_Server(port, log)) as server:
        _running[url] = server
        # Nobody watches the events and logs of this server, and those still queued when it ends would be retried for minutes.
        EventsWorker.set_client_override(NullEventsClient)
        try:
            # Nor its heartbeat, whose thread takes up to a second to end.
            ours = {
                PREFECT_API_URL: url,
                PREFECT_LOGGING_TO_API_ENABLED: False,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
            with temporary_settings(ours):
                yield url
        finally:
            EventsWorker.set_client_override(None)
            del _running[url]


class _Server:
    """The process of a server. Once it is up, another one takes its port if it ends: Prefect asks again for a minute."""

    def __init__(self, port: int, log: IO[bytes]) -> None:
        self.port, self.log = port, log
        self.process = _start(port, log)
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up, daemon=True)

    def keep_up(self) -> None:
        """From now on, replace the process if it ends."""
        if not self._keeper.is_alive():
            self._keeper.start()

    def _keep_up(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            if self.process.poll() is not None:
                _end(self.process)
                self.process = _start(self.port, self.log)

    def close(self) -> None:
        """End it for good."""
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        _end(self.process)


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
        return  # not ours: Prefect reports what it thinks of it
    server = _running[url]
    process, log = server.process, server.log
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                server.keep_up()
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    log.seek(0)
    tail = log.read().decode(errors="replace")[-2000:]
    state = (
        f"ended with code {process.returncode}"
        if process.poll() is not None
        else f"no answer in {STARTUP_TIMEOUT_S:.0f} s"
    )
    raise ServerError(
        f"the Prefect server did not start ({state}). Set PREFECT_API_URL to use a running one, or a longer "
        f"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS. The end of its log:\n{tail}"
    )


def _start(port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PREFECT_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "sweetgrad.flows.server", str(port)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # nothing to save: every state is committed to the database when it is set


def _serve(port: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
