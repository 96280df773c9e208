"""Every how-to, the tutorial and other pages with commands are run as printed, block by block, in a folder of their own.

* A block with a title is a file: it is written where the title says.
* A ``console`` block is run, command by command, the program in this process. What it prints is not compared.
* A ``python`` block is run in the namespace of its page. If a ``text`` block right below it begins with the name of an error,
  that error must be raised.

What a machine for tests lacks is left out by `LEFT_OUT`, and what takes long is made small by `SMALLER`; both say why.
"""

import gzip
import importlib
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.selection import select_archs
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.store import COUNTS, Profile, Shard, create_profile, import_accuracy

ROOT = Path(__file__).resolve().parents[2]
HOW_TOS = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = [
    *HOW_TOS,
    *(ROOT / name for name in ("README.md", "docs/tutorial.md", "docs/spaces.md", "docs/store-format.md")),
]
NUM_ARCHS = 5
MOST_NETWORKS = 20

NETWORK = "is at an address that is not ours"
BATCH_SYSTEM = "needs a batch system; tests/flows/test_cluster_config.py and test_cluster.py stand in for one"
FOREIGN = "needs a file of its publisher; tests/store/benchmarks read small ones of that layout"
STAYS = "goes on until it is stopped; tests/flows/test_prefect.py serves and runs"
IMAGENET = "needs pictures of ImageNet"
INSTALLED = "installs what the tests are run with"

LEFT_OUT: list[tuple[str, str, str]] = [
    ("README", "make ", "is this suite, and what it is run with"),
    ("README", "pip install", INSTALLED),
    ("README", "from sweetgrad.profiling import profile_network", "speaks of a model of the reader"),
    ("tutorial", "python3 -m venv|source |pip install", INSTALLED),
    ("clusters", "pip install|#!/bin/bash", BATCH_SYSTEM),
    (
        "clusters",
        r"sweetgrad profile .*--(cluster|scheduler)|dask |CUDA_VISIBLE_DEVICES=0 dask|kubectl|export DASK",
        BATCH_SYSTEM,
    ),
    ("clusters", "from sweetgrad.flows import profile", BATCH_SYSTEM),
    ("import-accuracies", r"sweetgrad accuracy import .*\.(pth|tfrecord|json|onnx)$|.*NATS-tss", FOREIGN),
    ("object-stores", "pip install", INSTALLED),
    (
        "object-stores",
        r"export AWS|sweetgrad \w+ s3://|from sweetgrad.store import RemoteStore",
        "needs a bucket; tests/store/access has one",
    ),
    ("object-stores", r"sweetgrad \w+ (zip::)?https://|import xarray", NETWORK),
    ("prefect", "export PREFECT_|prefect |sweetgrad serve", STAYS),
    ("publish", r"sweetgrad verify (https|s3)://|aws |python release/load.py zip::", NETWORK),
    ("publish", "sweetgrad profile .*imagenet16-120", IMAGENET),
    ("score-a-network", "import timm", "needs timm"),
    ("search", "sweetgrad evolve .*imagenet", IMAGENET),
    (
        "search",
        "from sweetgrad.analysis.figures import plot_cells",
        "runs 300 networks; the command above does the same",
    ),
    (
        "train",
        r"sweetgrad (train|accuracy export) digits201\.zarr",
        "takes minutes; the first commands of the page are of the same kind",
    ),
    (
        "train",
        r"sweetgrad train darts.zarr .*--recipe darts-cifar ",
        "takes a day of a GPU; tests/flows/test_train.py does an epoch",
    ),
    ("train", r"sweetgrad train darts.zarr .*--recipe darts-imagenet ", IMAGENET),
    ("train", "pip install", INSTALLED),
]
"""Page, how a command or a block of code begins, and why it is not run."""

SMALLER: list[tuple[str, str]] = [
    (r"^CUDA_VISIBLE_DEVICES=[0-9,]+ ", ""),
    (r"--archs 8000:15625", "--archs 2:4"),
    (r"^(sweetgrad (?:profile|evolve) .*--space darts .*)", r"\1 --batch-size 8"),
    (r"bootstrap=200", "bootstrap=5"),
    (r"(--space darts .*)--archs \S+", r"\1--archs 0:1"),
    (r"--archs (all|0:\d+)", "--archs 0:3"),
    (r"--archs sample:\d+", "--archs sample:2"),
    (r'archs="sample:\d+"', 'archs="sample:2"'),
    (r"^(sweetgrad (?:--log-\S+ \S+ )*profile (?!.*--archs).*)", r"\1 --archs 0:3"),
    (r"^(sweetgrad train .*)", r"\1 --epochs 1"),
    (r"^(sweetgrad supernet .*)", r"\1 --epochs 1"),
    (r"epochs=60", "epochs=1, widths=(4, 4, 4), depth=1"),
    (r"^(sweetgrad report .*)", r"\1 --bootstrap 5"),
    (r"^(sweetgrad search .*)", r"\1 --runs 3"),
    ("import run_searches, ", "import SearchSettings, run_searches, "),
    (r"run_searches\(inputs.benchmark, ", "run_searches(inputs.benchmark, SearchSettings(num_runs=3), "),
    (r"^(sweetgrad evolve .*) --surrogate \S+", r"\1 --random 3 --cycles 4 --population 3 --tournament 2"),
    (r"^(sweetgrad publish .*)", r"\1 --allow-incomplete"),  # of 15,625 architectures the store has a dozen
    (r"--device cuda", "--device cpu"),
    (r"/shared/", ""),
]
"""What is made small or what a test machine has none of, in commands and in code; in this order."""

BOTH = "both"
HAS = {
    "choose-an-architecture": "cifar10",
    "README": None,
    "tutorial": None,
    "prefect": None,
    "search": None,
    "train": "digits",
    "object-stores": None,
}
"""What the store of a reader of a page holds, where that is not a profile on CIFAR-10 and one on the digits; None: no store."""

FENCE = re.compile(r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass
class Run:
    """A page that is run; what was run and what was left out, and why."""

    page: Path
    folder: Path
    num_run: int = 0
    left_out: Counter[int] = field(default_factory=Counter)
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "docs"})

    def __call__(self) -> None:
        text = self.page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            code = block["code"]
            if block["language"] == "console":
                for command in _commands(code):
                    if not self._is_left_out(command):
                        self.command(_smaller(command))
            elif block["language"] in ("python", "bash") or block["file"]:
                if self._is_left_out(code):
                    continue
                if block["file"]:
                    file = self.folder / block["file"]
                    file.unlink(missing_ok=True)  # it may be a link to what the pages share
                    file.write_text(code, encoding="utf-8")
                if block["language"] == "python":
                    self.python(_smaller(code), _error_below(text[block.end() :]))

    def _is_left_out(self, code: str) -> bool:
        for number, (page, start, _) in enumerate(LEFT_OUT):
            if page == self.page.stem and re.match(start, code):
                self.left_out[number] += 1
                return True
        return False

    def command(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        if words[0] == "sweetgrad":
            result = CliRunner().invoke(cli.app, words[1:], env={"COLUMNS": "200"})
            if result.exit_code != 0:
                raise AssertionError(
                    f"{self.page.name}: `{command}`: {result.exception!r}\n{result.output}"
                ) from result.exception
        elif words[:2] == ["pip", "install"]:
            _install(words[2:])
        else:
            assert "…" not in command
            # There nothing counts the networks, and nothing stops it.
            assert not re.search("sweetgrad (profile|train|evolve|supernet) ", command), (
                f"not run in this process: {command}"
            )
            environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
            subprocess.run(["bash", "-c", command], check=True, env=environment, capture_output=True)
        self.num_run += 1

    def python(self, code: str, error: str | None) -> None:
        compiled = compile(code, f"{self.page.name}, python {self.num_run}", "exec")
        if error is None:
            exec(compiled, self.namespace)
        else:
            with pytest.raises(Exception, match=re.escape(error.partition(": ")[2])) as raised:
                exec(compiled, self.namespace)
            assert raised.type.__name__ == error.partition(":")[0]
        self.num_run += 1


def _commands(block: str) -> Iterator[str]:
    joined = re.sub(r"\\\n\s*", "", block)
    return (line[2:] for line in joined.splitlines() if line.startswith("$ "))


def _smaller(code: str) -> str:
    for pattern, replacement in SMALLER:
        code = re.sub(pattern, replacement, code)
    return code


def _error_below(rest: str) -> str | None:
    found = re.match(r"\s*```text\n(\w+Error: .*?)\n```", rest, re.DOTALL)
    return found[1].replace("\n", " ") if found else None


def _install(words: list[str]) -> None:
    """What the command of the page builds, installed beside the page and not into what runs the tests; no index is asked."""
    pytest.importorskip("setuptools", reason="setuptools is missing: the packages of the pages are built with it")
    offline = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target", "site"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, *words], check=True, capture_output=True, text=True
    )
    site.addsitedir(str(Path("site").resolve()))
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages say that a reader has: a store, images, tables of accuracies; all of them small."""
    folder = tmp_path_factory.mktemp("given")
    random = np.random.RandomState(0)
    for file, labels in (("cifar-10-batches-bin/data_batch_1.bin", [10]), ("cifar-100-binary/train.bin", [20, 100])):
        path = folder / "data" / file
        path.parent.mkdir(parents=True)
        label_columns = [random.randint(0, high, (200, 1)) for high in labels]
        path.write_bytes(np.hstack([*label_columns, random.randint(0, 256, (200, 3072))]).astype(np.uint8).tobytes())
    (folder / "DATA").symlink_to("data")
    (folder / "docs").symlink_to(ROOT / "docs")
    space = load_space("nas-bench-201")
    archs = [space.arch_id(i) for i in range(len(space))]
    _write_stores(folder, space, archs)
    columns = [
        f"{name}_{split}{e}"
        for name in ("cifar10", "cifar100", "in16")
        for split in ("valid", "test")
        for e in ("", "_e12")
    ]
    table = pd.DataFrame(random.uniform(10, 95, (len(archs), len(columns))).round(2), columns=columns)
    table = table.assign(arch_str=archs, epoch_time_s_cifar_50k=20.0, epoch_time_s_in16=10.0)
    with gzip.open(folder / "nas-bench-201.csv.gz", "wt") as csv:
        table.to_csv(csv, index=False)
    return folder


def _write_stores(folder: Path, space: Any, archs: list[str]) -> None:
    """A store with some architectures on each of two sets of images, one with both; each with accuracies of the space."""
    indices = sorted(select_archs(f"sample:{NUM_ARCHS}", archs, space=space.name))
    known = list(dict.fromkeys([archs[i] for i in (*indices, *range(3))]))
    accuracy = np.random.RandomState(0).uniform(10, 95, len(known))
    table = pd.DataFrame({"arch": known, "dataset": "cifar10", "split": "test", "epochs": 200, "accuracy": accuracy})
    table.to_csv(folder / "accuracies.csv", index=False)
    for dataset in ("digits", "cifar10"):
        batch = load_batch(dataset, batch_size=64, data_dir=folder / "data")
        spec = make_spec(space, batch)
        rows = profile_architectures(space, indices, batch, spec)
        for path in (folder / f"{dataset}.zarr", folder / f"{BOTH}.zarr"):
            name = create_profile(path, spec, arch=archs, layers=space.layer_names).name
            for shard in Profile.open(path, name).plan(indices):
                Profile.open(path, name).write(shard, {COUNTS: rows.isel(arch=rows.arch_index.isin(shard.rows).values)})
            Profile.open(path, name).finalise()
            import_accuracy(path, space="nas-bench-201", table=table, source="accuracies.csv")


@pytest.fixture
def run(
    given: Path,
    worker_in_this_process: None,
    prefect_api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    for each in given.iterdir():
        if each.suffix != ".zarr":
            (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)

    plan = Profile.plan

    def plan_few(*arguments: Any, **options: Any) -> list[Shard]:
        shards = plan(*arguments, **options)
        num_networks = sum(len(shard.rows) for shard in shards)
        assert num_networks <= MOST_NETWORKS, f"a command runs {num_networks} networks: make them fewer in SMALLER"
        return shards

    monkeypatch.setattr(Profile, "plan", plan_few)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    modules = set(sys.modules)

    def of(page: Path) -> Run:
        if store := HAS.get(page.stem, BOTH):
            shutil.copytree(given / f"{store}.zarr", tmp_path / "nb201.zarr")
        return Run(page, tmp_path)

    yield of
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__runs_as_printed(page: Path, run: Any) -> None:
    one = run(page)
    one()
    expected = {number for number, (name, *_) in enumerate(LEFT_OUT) if name == page.stem}
    assert set(one.left_out) == expected, "an entry of LEFT_OUT fits nothing on its page any more"
    assert one.num_run or page.stem in NOTHING_TO_RUN


NOTHING_TO_RUN = {"clusters", "object-stores"}
"""Pages that speak of other machines alone."""
