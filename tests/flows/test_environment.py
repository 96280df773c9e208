"""What a run's own Prefect server, and every process of a run, takes from the user's environment: nothing that could harm it."""

import os
import subprocess
import sys

import httpx
import pytest

from sweetgrad.flows.server.ephemeral import run_environment, server_environment

HOSTILE = {
    "PREFECT_API_AUTH_STRING": "a:b",
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////dev/null/none.db",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "none"}',
    "PREFECT_FLOWS_DEFAULT_RETRIES": "3",
    "PREFECT_PROFILE": "mine",
    "PREFECT_PROFILES_PATH": "profiles.toml",
    "PREFECT_SERVER_API_AUTH_STRING": "c:d",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "prefect_server_logging_level": "DEBUG",
    "WEB_CONCURRENCY": "4",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "all_proxy": "socks5://127.0.0.1:9",
}
MODULES = ("platform", "prefect", "queue", "random", "signal", "socket", "uvicorn")


def test_server_environment__has_nothing_of_the_users_prefect_and_no_proxy(tmp_path):
    found = server_environment({**HOSTILE, "PATH": "/bin", "HOME": "/home/me", "LC_ALL": "C"}, home=tmp_path)
    assert not set(HOSTILE) & set(found)
    assert (found["PATH"], found["HOME"], found["LC_ALL"]) == ("/bin", "/home/me", "C")
    assert found["PREFECT_HOME"] == str(tmp_path)
    assert not set(HOSTILE.values()) & set(found.values())


def test_server_environment__finds_modules_where_the_parent_does_but_not_in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = server_environment({"PYTHONPATH": os.pathsep.join(["", "lib", "/abs"])}, home=tmp_path)
    assert found["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "lib"), "/abs"]
    assert "PYTHONPATH" not in server_environment({"PYTHONPATH": ""}, home=tmp_path)


@pytest.mark.parametrize("direct", [None, "example.org"])
def test_run_environment__reaches_this_machine_without_a_proxy_and_others_with_it(direct, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    if direct:
        monkeypatch.setenv("no_proxy", direct)
    before = dict(os.environ)
    with run_environment(), httpx.Client() as client:
        for url, is_direct in (("http://127.0.0.1:1", True), ("http://localhost:1", True), ("http://other.org", False)):
            assert (client._transport_for_url(httpx.URL(url)) is client._transport) == is_direct, url
        if direct:
            assert client._transport_for_url(httpx.URL("http://example.org")) is client._transport
    assert dict(os.environ) == before


def test_run_environment__workers_import_nothing_from_the_working_folder(tmp_path):
    """`multiprocessing` starts them with ``python -c``, and Python then looks in the working folder first."""
    (tmp_path / "random.py").write_text("print('hostile')")
    command = [sys.executable, "-c", "import random; print(random.random() < 1)"]
    with run_environment():
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "True\n"


def test_profile__runs_where_everything_about_prefect_is_hostile(tmp_path):
    """One real run: modules, settings and secrets in the working folder, a home that cannot be written, a proxy that is dead."""
    folder = tmp_path / "work"
    folder.mkdir()
    for module in MODULES:
        (folder / f"{module}.py").write_text(f"raise RuntimeError('{module} of the working folder')")
    (folder / "prefect.toml").write_text('[server.api]\nbase_path = "/toml"\nauth_string = "e:f"\n')
    (folder / ".env").write_text("PREFECT_SERVER_API_BASE_PATH=/dotenv\nPREFECT_API_KEY=none\n")
    (folder / "pyproject.toml").write_text(
        '[tool.prefect.server.database]\nconnection_url = "postgresql+asyncpg://x/y"\n'
    )
    (folder / "profiles.toml").write_text('active = "mine"\n[profiles.mine]\nPREFECT_SERVER_API_AUTH_STRING = "g:h"\n')
    ours = ("PREFECT_API_URL", "PREFECT_HOME", "no_proxy", "NO_PROXY", "PYTHONSAFEPATH")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ended = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "sweetgrad.flows.cli", "profile", str(tmp_path / "s.zarr")),
            *("--archs", "0:2", "--batch-size", "4", "--workers", "1", "--device", "cpu"),
        ],
        env={**kept, **HOSTILE, "HOME": "/dev/null", "TMPDIR": str(temporary)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 architectures profiled" in ended.stderr
    assert "Warning" not in ended.stderr
    assert not list(temporary.glob("sweetgrad-prefect-*"))
