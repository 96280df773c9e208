"""The server of a run is kept up, and a server that is gone is named."""

import subprocess
import sys
import tempfile
import time
from contextlib import closing

import httpx
import pytest

from sweetgrad.flows import server as server_module
from sweetgrad.flows.server import ServerError, prefect_server


def stand_in(port, log):
    """A process that ends, as the server does, when its standard input closes."""
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


def test_server__is_started_again_when_it_ends_before_the_run_does(monkeypatch):
    monkeypatch.setattr(server_module, "_start", stand_in)
    monkeypatch.setattr(server_module, "_LOOK_EVERY_S", 0.01)
    with tempfile.TemporaryFile() as log, closing(server_module._Server(1, log)) as server:
        first = server.process
        server.keep_up()
        first.kill()
        deadline = time.monotonic() + 30
        while server.process is first:
            assert time.monotonic() < deadline
        second = server.process
        assert second.poll() is None
    assert second.poll() == 0


def test_prefect_server__says_that_a_configured_server_is_gone(prefect_api):
    words = r"at http://127.0.0.1:\d+/api does not answer any more .*run the same command"
    with pytest.raises(ServerError, match=words), prefect_server():
        raise httpx.ConnectError("connection refused")
