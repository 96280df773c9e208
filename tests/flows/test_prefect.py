"""What Prefect is told of a run, and runs that Prefect starts: asked of a server as its UI asks."""

import asyncio
import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.exceptions import ParameterBindError, ParameterTypeError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from rich.console import Console

from sweetgrad.flows import deployment, profile
from sweetgrad.flows.runs import dispatcher
from sweetgrad.flows.runs.artifacts import Ending, artifact_key, summary_markdown
from sweetgrad.flows.serve import serve
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.store import COUNTS, Profile, Shard, UnreachableStoreError, create_profile, info, status

NAME = "nas-bench-201/digits/bs4-seed42"
SETTINGS = {"dataset": "digits", "batch_size": 4, "device": "cpu"}
THREADS = {"class": "distributed:LocalCluster", "n_workers": 1, "threads_per_worker": 1, "processes": False}
IN_THIS_PROCESS = {"cluster": {**THREADS, "workers": 1, "dashboard_address": None}}
IN_ITS_PROCESS = """[cluster]
class = "distributed:LocalCluster"
workers = 1
n_workers = 1
threads_per_worker = 1
processes = false
dashboard_address = ":0"
"""


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def wait_for(condition, *, timeout_s: float = 120):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def api(prefect_api):
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield get_client(sync_client=True)


@pytest.fixture(scope="module")
def serving(api, prefect_api, tmp_path_factory):
    """``sweetgrad serve``, in a process group of its own as on a terminal; a batch system ends it."""
    cluster = tmp_path_factory.mktemp("serve") / "cluster.toml"
    cluster.write_text(IN_ITS_PROCESS)
    process = subprocess.Popen(
        [sys.executable, "-m", "sweetgrad.flows.cli", "serve", "--cluster", str(cluster)],
        env={**os.environ, "PREFECT_API_URL": prefect_api, "PREFECT_RUNNER_POLL_FREQUENCY": "1", "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = process.stderr.readline()
    assert first.startswith("Serving the deployment sweetgrad/profile"), first
    yield api.read_deployment_by_name("sweetgrad/profile")
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "no password" not in said  # this server answers no page of another site


def start(api, served, store, **parameters):
    parameters = {"store": str(store), **SETTINGS, **parameters}
    return api.create_flow_run_from_deployment(served.id, parameters=parameters).id


def inner_run(api, parent):
    """The flow run over the shards, which the served one starts."""
    found = api.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=filters.FlowRunFilterParentFlowRunId(any_=[parent]))
    )
    return found[0] if found else None


@pytest.fixture(scope="module")
def finished(api, serving, tmp_path_factory):
    """Store and flow runs of one that was started through the deployment."""
    store = tmp_path_factory.mktemp("prefect") / "served.zarr"
    parent = start(api, serving, store, archs="623:627")
    wait_for(lambda: api.read_flow_run(parent).state.is_final())
    return store, api.read_flow_run(parent), inner_run(api, parent)


def test_deployment__runs_what_it_is_asked_for(finished):
    store, outer, _ = finished
    assert outer.state_name == "Completed", outer.state.message
    assert outer.name == NAME
    assert outer.state.message.startswith("4 architectures profiled in ")
    assert outer.state.message.endswith(f"0 failed in the whole profile {NAME}.")
    (found,) = status(store)
    assert (found.name, found.num_ok, found.num_failed) == (NAME, 4, 0)


def test_profile__flow_run_says_what_it_is_about(finished):
    _, _, inner = finished
    assert (inner.name, inner.state_name, inner.flow_version) == (NAME, "Completed", version("sweetgrad"))
    assert set(inner.tags) == {"nas-bench-201", "digits", "seed-42", "cpu"}
    assert inner.parameters["num_archs"] == 4
    assert "--archs 623:627 --batch-size 4" in inner.parameters["command"]


def test_profile__task_runs_say_which_architectures(api, finished):
    mine = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[finished[2].id]))

    def completed():
        tasks = [run for run in api.read_task_runs(flow_run_filter=mine) if run.state_name == "Completed"]
        return tasks if len(tasks) == 2 else None

    tasks = wait_for(completed)  # Prefect hears of tasks through events, which come late
    assert {task.name for task in tasks} == {"archs 623-624", "archs 625-626"}
    assert not any(task.tags for task in tasks)  # each tag costs calls to the server


def test_profile__shows_progress_and_a_summary(api, finished):
    store, _, inner = finished
    found = {artifact.key: artifact for artifact in api.read_artifacts(limit=200) if artifact.flow_run_id == inner.id}
    progress, summary = found[artifact_key("progress", NAME)], found[artifact_key("summary", NAME)]
    assert (progress.type, float(progress.data)) == ("progress", 100)
    assert progress.description.startswith(f"{NAME}: 4 of 4 architectures, ")
    assert summary.type == "markdown"
    assert "| This run | complete |" in summary.data
    assert "4 measured, 0 failed, 15,621 not run, of 15,625" in summary.data
    assert f"`{info(store, NAME).profiles[0].content_digest}`" in summary.data
    assert "over 4 architectures, win rate " in summary.data
    assert f"$ sweetgrad intervals {store} {NAME}" in summary.data


def test_serve__a_run_that_is_cancelled_writes_what_it_has(api, serving, tmp_path):
    store = tmp_path / "cancelled.zarr"
    parent = start(api, serving, store, archs="all", shard_size=625)
    inner = wait_for(lambda: inner_run(api, parent))
    key = artifact_key("progress", NAME)
    wait_for(
        lambda: any(
            artifact.flow_run_id == inner.id and artifact.key == key and float(artifact.data) > 0
            for artifact in api.read_artifacts(limit=200)
        )
    )
    api.set_flow_run_state(parent, Cancelling(), force=True)
    wait_for(lambda: api.read_flow_run(parent).state.is_cancelled())
    ended = wait_for(lambda: (run := inner_run(api, parent)).state.is_final() and run)
    assert (ended.state_name, ended.state.is_cancelled()) == ("Interrupted", True)
    done = int(ended.state.message.split()[0])
    assert 0 < done == status(store)[0].num_ok


def test_deployment__parameters_have_a_schema_and_words(serving):
    properties = serving.parameter_openapi_schema["properties"]
    assert serving.parameter_openapi_schema["required"] == ["store"]
    assert properties["archs"]["default"] == "all"
    assert properties["batch_size"]["type"] == "integer"
    assert properties["device"]["enum"] == ["auto", "cpu", "cuda"]
    assert all(each["description"] for each in properties.values())
    assert set(properties) == set(profile.__annotations__) - {"console", "return", "scheduler", "cluster"}


@pytest.mark.parametrize("place", [{"scheduler": "tcp://evil:8786"}, {"cluster": "/tmp/evil.toml"}])
def test_deployment__nobody_who_starts_a_run_says_where_it_is_done(place, tmp_path):
    with pytest.raises(ParameterBindError):  # as the process of a served run calls it
        deployment.profile_deployment(**{"store": str(tmp_path / "s.zarr"), **place})


def test_deployment__runs_where_the_one_who_serves_it_says(tmp_path, monkeypatch, prefect_api):
    monkeypatch.setenv("SWEETGRAD_SCHEDULER", "tcp://127.0.0.1:1")
    state = deployment.profile_deployment(str(tmp_path / "new.zarr"), archs="0:2", return_state=True, **SETTINGS)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in state.message


@pytest.mark.parametrize(("origins", "is_open"), [("*", True), ("http://127.0.0.1:4200", False), ("", False)])
def test_serve__warns_of_a_server_that_any_page_may_ask(origins, is_open, tmp_path):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("access-control-allow-origin", origins)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            assert deployment.is_open_to_web_pages() == is_open
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: "user:password"}):
            assert not deployment.is_open_to_web_pages()
        server.shutdown()


def test_deployment__fails_with_the_message(api, tmp_path):
    state = deployment.profile_deployment(str(tmp_path / "new.zarr"), space="nas-bench-202", return_state=True)
    assert state.is_failed()
    assert "no search space named 'nas-bench-202'. Did you mean 'nas-bench-201'" in state.message
    with pytest.raises(ParameterTypeError, match="batch_size"):
        deployment.profile_deployment(str(tmp_path / "new.zarr"), batch_size="many")


def test_serve__says_that_it_needs_a_server(monkeypatch):
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ValueError, match="no Prefect server is configured: start one with `prefect server start`"),
    ):
        serve()


def test_serve__stops_when_told_so_before_it_has_started():
    class Runner:
        started = False

        async def start(self):
            await asyncio.sleep(0.01)
            self.started, self.stopped = True, asyncio.Event()
            await self.stopped.wait()

        async def astop(self):
            assert self.started
            self.stopped.set()

    asked = threading.Event()
    asked.set()
    asyncio.run(asyncio.wait_for(deployment.run_until(Runner(), asked), 60))


def fail_first(monkeypatch, errors):
    """Let the first attempts to profile a shard raise ``errors``; returns the number of attempts as a list of ones."""
    from sweetgrad.flows.cluster import worker

    attempts, original = [], worker.profile_shard

    def profile_shard(*args, **kwargs):
        attempts.append(1)
        if len(attempts) <= len(errors):
            raise errors[len(attempts) - 1]
        return original(*args, **kwargs)

    monkeypatch.setattr(worker, "profile_shard", profile_shard)
    monkeypatch.setattr(dispatcher, "_BACKOFF_S", 0.01)
    return attempts


def test_profile__tries_again_when_a_store_cannot_be_reached(prefect_api, tmp_path, monkeypatch):
    passing = [OSError(errno.EIO, "I/O error"), ConnectionResetError(), UnreachableStoreError("503")]
    attempts = fail_first(monkeypatch, passing)
    summary = profile(tmp_path / "s.zarr", archs="0:2", console=quiet(), **SETTINGS, **IN_THIS_PROCESS)
    assert (summary.num_done, summary.num_left, len(attempts)) == (2, 0, 4)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (ValueError("a batch of another size"), "a batch of another size"),
    ],
)
def test_profile__does_not_try_again_what_will_not_pass(error, message, prefect_api, tmp_path, monkeypatch):
    attempts = fail_first(monkeypatch, [error] * 9)
    with pytest.raises(type(error), match=message):
        profile(tmp_path / "s.zarr", archs="0:2", console=quiet(), **SETTINGS, **IN_THIS_PROCESS)
    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("rows", "name"),
    [((7,), "arch 7"), (tuple(range(625, 1250)), "archs 625-1249"), ((3, 5, 8), "3 archs in 3-8")],
)
def test_task_run__says_which_architectures(rows, name):
    assert dispatcher._task_run_name(Shard(0, 0, 2000, rows)) == name


@pytest.fixture(scope="module")
def one_failed(tmp_path_factory):
    """A store with 2 rows measured, and 1 that failed with a message of two lines."""
    store = tmp_path_factory.mktemp("summary") / "a store.zarr"
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=4)
    spec = make_spec(space, batch)
    rows = profile_architectures(space, range(3), batch, spec)
    rows["status"][1], rows["message"][1] = 2, "RuntimeError: out of memory\nTraceback"
    arch = [space.arch_id(index) for index in range(len(space))]
    create_profile(store, spec, arch=arch, layers=space.layer_names)
    (shard,) = Profile.open(store, NAME).plan(range(3))
    Profile.open(store, NAME).write(shard, {COUNTS: rows})
    Profile.open(store, NAME).finalise()
    return store


def test_summary__lists_failures_and_how_to_continue(one_failed):
    ending = Ending(num_done=3, num_left=7, num_workers=2, seconds=90)
    text = summary_markdown(one_failed, NAME, ending, command="sweetgrad profile x --archs 0:10")
    assert "| This run | **interrupted**, 7 architectures left |" in text
    assert "| Profiled in this run | 3 architectures in 1 min 30 s, 0.03 a second |" in text
    assert "2 measured, 1 failed, 15,622 not run" in text
    assert "- 1: `RuntimeError: out of memory`, first `|" in text
    assert text.endswith("```console\n$ sweetgrad profile x --archs 0:10\n```")


def test_summary__says_what_stopped_the_run_in_one_cell(one_failed):
    ending = Ending(error="No space | left\non device")
    text = summary_markdown(one_failed, NAME, ending, command="sweetgrad profile x")
    assert "| This run | **stopped by an error**: No space \\| left on device |" in text
    assert "$ sweetgrad profile x" in text
