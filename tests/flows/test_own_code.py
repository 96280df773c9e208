"""Spaces, data sets and estimators that are a file of the user's, and objects in place of names."""

import io
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweetgrad.flows import estimate, profile
from sweetgrad.flows.deployment import profile_deployment
from sweetgrad.flows.selection import select_archs
from sweetgrad.profiling import load_batch, load_space, registry
from sweetgrad.store import open_estimators, open_profile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-your-own-code.md"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the how-to, in the folder in which the tests run."""
    code = re.search(r'```python title="mine.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "mine.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.py"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=400)


@pytest.mark.usefixtures("worker_in_this_process", "prefect_api")
def test_profile__of_a_file_is_what_its_objects_give(mine: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 16, "archs": "0:3"}
    profile("a.zarr", space="mine.py:Widths", dataset="mine.py:stripes", estimators=["mine.py:grad_max"], **settings)
    space, examples = load_space("mine.py:Widths"), registry.load_examples("mine.py:stripes")
    profile("b.zarr", space=space, dataset=examples, **settings)
    of_file, of_objects = open_profile("a.zarr", chunks=None), open_profile("b.zarr", chunks=None)
    name = "widths/stripes/bs16-seed42"
    assert of_file.attrs["content_digest"] == of_objects.attrs["content_digest"]
    assert open_estimators("a.zarr", name)["estimator"].values.tolist() == ["grad_max"]
    run = of_file.attrs["runs"][-1]
    assert re.fullmatch("SHA-256 [0-9a-f]{16}", run["code mine.py"])
    assert not [key for key in of_objects.attrs["runs"][-1] if key.startswith("code ")]
    # Another file under the same name: the run says so.
    mine.write_text(mine.read_text() + "# changed\n")
    said = io.StringIO()
    own: dict[str, Any] = {"space": "mine.py:Widths", "dataset": "mine.py:stripes"}
    summary = estimate("a.zarr", name, estimators=["grad_norm"], console=Console(file=said, width=400), **own)
    assert summary.num_done == 3
    assert f"code mine.py is {run['code mine.py'][:8]}" in said.getvalue()
    with pytest.raises(ValueError, match="no search space named 'widths'"):
        estimate("a.zarr", name, estimators=["snip"])


def test_load_space__of_a_file_is_made_anew_in_another_process(mine: Path) -> None:
    space = load_space("mine.py:Widths")
    assert load_space("mine.py:Widths").__class__ is space.__class__
    (mine.parent / "elsewhere").mkdir()
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).arch_id(5))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(space),
        capture_output=True,
        check=True,
        cwd=mine.parent / "elsewhere",
    )
    assert found.stdout.decode().strip() == "8-16"


def test_load_examples__may_be_the_examples_themselves(mine: Path) -> None:
    mine.write_text(mine.read_text() + "\nready = stripes()\n\n\ndef of(folder, *, seed):\n    return ready\n")
    for name in ("ready", "of", "stripes"):
        assert load_batch(f"mine.py:{name}", batch_size=4).dataset == "stripes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "mine.py:Nope"}, "mine.py has no 'Nope'; it has np, nn, Examples, Layer, Network, Widths"),
        ({"space": "other.py:Widths"}, "no such file: .*other.py; own code is given as FILE.py:NAME"),
        ({"space": "mine.py:stripes"}, "does not implement the protocol .* it lacks variant, init, layer_names"),
        (
            {"dataset": "mine.py:Layer"},
            "Layer cannot be called with what there is: missing a required argument",
        ),
        ({"estimators": ["mine.py:snip"]}, "'snip' is a registered estimator: rename that of .*mine.py:snip"),
        ({"space": "broken.py:Widths"}, r"broken.py cannot be loaded: ZeroDivisionError.*\(broken.py, line 1\)"),
        ({"archs": "@nowhere.txt"}, "cannot read the architectures of nowhere.txt: No such file"),
    ],
)
def test_profile__explains_what_is_wrong_with_a_file(mine: Path, arguments: dict[str, Any], message: str) -> None:
    (mine.parent / "broken.py").write_text("1 / 0\n")
    given = {"space": "mine.py:Widths", "dataset": "mine.py:stripes", "batch_size": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        profile(mine.parent / "s.zarr", console=quiet(), **given)
    assert not (mine.parent / "s.zarr").exists()


@pytest.mark.parametrize(
    "given", [{"space": "mine.py:Widths"}, {"dataset": "mine.py:stripes"}, {"estimators": ["mine.py:grad_max"]}]
)
def test_deployment__runs_no_file_for_whoever_reaches_the_server(mine: Path, given: dict[str, Any]) -> None:
    defaults: dict[str, Any] = {
        "space": "nas-bench-201",
        "dataset": "digits",
        "estimators": [],
        "blocks": [],
        "archs": "0:1",
    }
    with pytest.raises(ValueError, match="a deployment runs registered code only"):
        profile_deployment.fn(store="s.zarr", **defaults | given)
    with pytest.raises(ValueError, match="a deployment reads no file of architectures"):
        profile_deployment.fn(store="s.zarr", **defaults | {"archs": "@/etc/passwd"})


def test_select_archs__takes_those_that_a_file_lists(tmp_path: Path) -> None:
    archs = [f"net{i}" for i in range(6)]
    file = tmp_path / "archs.txt"
    file.write_text("net4\n\n 1 \nnet4\r\n")
    assert select_archs(f"@{file}", archs, space="own") == [1, 4]
    for text, message in (
        ("net9\n", "line 1: "),
        ("1\n6\n", "line 2: architectures are numbered 0 to 5, got 6"),
        ("", "names no"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            select_archs(f"@{file}", archs, space="own")
