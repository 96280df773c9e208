"""The server of a run is its own, is kept up, and says what is wrong with it; a server that is gone is named."""

import subprocess
import sys
import time
from contextlib import closing

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from sweetgrad.flows.server import ephemeral
from sweetgrad.flows.server.ephemeral import ServerError, cause_in, prefect_server, require_server, wait_until_up


def stand_in(*_):
    """A process that ends, as the server does, when its standard input closes."""
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


def test_server__is_started_again_when_it_ends_before_the_run_does(tmp_path, monkeypatch):
    monkeypatch.setattr(ephemeral, "_start", stand_in)
    monkeypatch.setattr(ephemeral, "_LOOK_EVERY_S", 0.01)
    with closing(ephemeral._Server(tmp_path)) as server:
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


def test_prefect_server__gives_advice_where_none_answers():
    url = "http://127.0.0.1:9/api"
    words = r"no Prefect server answers at http://127\.0\.0\.1:9/api.*: start it with `prefect server start`, or unset PREFECT"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ServerError, match=words):
        require_server(url)
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ServerError, match=words), prefect_server():
        pass


def test_prefect_server__no_page_of_a_site_can_ask_it_for_anything(prefect_api):
    for origin in ("https://example.org", "null"):
        answer = httpx.get(f"{prefect_api}/health", headers={"Origin": origin}, trust_env=False)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


def test_prefect_server__says_in_one_message_why_it_did_not_start(monkeypatch):
    original = ephemeral.server_environment

    def without_a_home(environment, *, home):
        return {**original(environment, home=home), "PREFECT_HOME": "/dev/null"}

    monkeypatch.setattr(ephemeral, "server_environment", without_a_home)
    homes = []

    def start() -> None:
        with temporary_settings(restore_defaults={PREFECT_API_URL}), prefect_server() as url:
            homes.append(PREFECT_HOME.value())
            assert homes[0].is_dir()
            wait_until_up(url)

    with pytest.raises(ServerError) as caught:
        start()
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "the Prefect server of this run did not start (ended with code 1): sqlalchemy.exc.OperationalError: "
    )
    assert first.endswith("unable to open database file")
    assert second == "Set PREFECT_API_URL to use a server that runs."
    assert not homes[0].exists()


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "Traceback (most recent call last):\n  File x\nOSError: full\n\nDuring handling:\n\nTraceback:\n"
            "sqlalchemy.exc.OperationalError: locked\n[SQL: x]\n\n"
            "Application startup failed. Exiting.\nFatal Python error: _enter_buffered_busy: could not\n",
            "sqlalchemy.exc.OperationalError: locked",
        ),
        ("one\ntwo\n", "one\ntwo"),
        ("", "its log is empty"),
    ],
)
def test_cause_in__is_the_last_error_of_a_log(log, cause):
    assert cause_in(log) == cause
