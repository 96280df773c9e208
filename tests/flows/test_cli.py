"""The program as a person types it, on a small real store; the profiling run itself is tested in test_run.py."""

import errno
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.cli.terminal import Terminal, plain_table
from sweetgrad.profiling import load_batch, load_space, make_spec, profile_shard
from sweetgrad.store import Profile, create_profile, profile_block
from sweetgrad.store.errors import how_to_install

NAME = "nas-bench-201/digits/bs8-seed42"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """20 architectures in shards of 625, an estimator, and accuracies made up from their index."""
    folder = tmp_path_factory.mktemp("cli")
    path, space, batch = folder / "s.zarr", load_space("nas-bench-201"), load_batch("digits", batch_size=8)
    spec = make_spec(space, batch)
    arch = [space.arch_id(i) for i in range(len(space))]
    name = create_profile(path, spec, arch=arch, layers=space.layer_names).name
    Profile.open(path, name).add_blocks([profile_block("snip")])
    for shard in Profile.open(path, name).plan(range(7800, 7820)):
        profile_shard(Profile.open(path, name), shard, space, batch, spec, estimators=["snip"])
    Profile.open(path, name).finalise()
    lines = [f"{arch[i]},cifar10,test,200,{50 + (i * 7) % 20}" for i in range(7800, 7820)]
    (folder / "accuracy.csv").write_text("\n".join(["arch,dataset,split,epochs,accuracy", *lines]) + "\n")
    return path


@pytest.fixture
def run(monkeypatch):
    """Run a command line; returns exit status, standard output and standard error."""

    def run_command(*arguments, columns=160):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run_command


@pytest.mark.parametrize("is_terminal", [True, False])
def test_terminal__folds_nothing_for_a_file_or_another_program(monkeypatch, is_terminal):
    monkeypatch.delenv("COLUMNS", raising=False)
    console = Terminal(file=io.StringIO(), force_terminal=is_terminal)
    table = plain_table("algorithm", "score")
    table.add_row("s-reinforce/" * 20, "1")
    console.print(table)
    console.print("Next: sweetgrad correlate" + " nb201.zarr" * 20)
    text = console.file.getvalue()
    for whole in ("s-reinforce/" * 20, "Next: sweetgrad correlate" + " nb201.zarr" * 20):
        assert (whole in text) is not is_terminal


def test_help__names_every_command(run):
    code, out = run("--help")
    assert code == 0
    for command in (
        "profile",
        "estimate",
        "status",
        "verify",
        "info",
        "accuracy",
        "intervals",
        "correlate",
        "reproduce",
        "findings",
        "explore",
        "search",
    ):
        assert command in out


@pytest.mark.parametrize(
    "command",
    [
        "profile",
        "estimate",
        "score",
        "status",
        "verify",
        "info",
        "intervals",
        "correlate",
        "reproduce",
        "findings",
        "explore",
        "search",
    ],
)
def test_help__of_every_command(command, run):
    code, out = run(command, "--help")
    assert code == 0
    assert "Usage" in out


def test_version(run):
    assert run("--version") == (0, "sweetgrad 0.1.0\n")


def test_status_and_info__say_what_is_there(store, run):
    code, out = run("status", store)
    assert code == 0
    assert NAME in out
    assert "15,605" in out
    code, out = run("info", store)
    assert code == 0
    for text in ("20 of 15,625 architectures", "bytes per architecture", "batch_sha256", "estimator snip"):
        assert text in out


def test_status__of_a_long_name_at_80_columns_shows_every_number(run, tmp_path):
    space = load_space("nas-bench-201")
    spec = replace(make_spec(space, load_batch("digits", batch_size=8)), dataset="imagenet16-120", batch_size=64)
    name = create_profile(
        tmp_path / "s.zarr", spec, arch=[space.arch_id(i) for i in range(len(space))], layers=space.layer_names
    ).name
    assert name == "nas-bench-201/imagenet16-120/bs64-seed42"
    out = run("status", tmp_path / "s.zarr", columns=80)[1]
    assert re.search(rf"^ {name} +0 +0 +15,625 +0/25 $", out, re.MULTILINE)
    out = run("status", tmp_path / "s.zarr", columns=50)[1]
    assert re.search(r"^ nas-bench-201/im +0 +0 +15,625 +0/25 $", out, re.MULTILINE)


def test_every_table__at_40_columns_says_what_it_says_at_160(store, run):
    """Folded, or in longer lines: nothing is cut, so without white space the texts are equal."""
    run("accuracy", "import", store, "--space", "nas-bench-201", "--from", store.parent / "accuracy.csv")
    for command in (
        ("status", store),
        ("intervals", store, "--bootstrap", "10"),
        ("correlate", store, "--accuracy", "cifar10/test", "--estimators", "--all-intervals", "--bootstrap", "10"),
    ):
        wide, narrow = (run(*command, columns=columns)[1] for columns in (160, 40))
        assert "…" not in narrow
        assert sorted(numbers(wide)) == sorted(numbers(narrow))
    digest = re.search(r"^content +([0-9a-f]{64})", run("info", store)[1], re.MULTILINE)[1]
    assert digest in re.sub(r"\s", "", run("info", store, columns=40)[1])


def numbers(text):
    """Those that stand by themselves, so not those in a name that is folded."""
    return re.findall(r"(?<=\s)[-+]?[\d,]+\.?\d*%?(?=\s)", text)


def test_verify__says_that_nothing_is_wrong_or_what_is(store, run, tmp_path):
    import shutil

    assert run("verify", store) == (0, f"{store}: no problems.\n")
    copy = tmp_path / "copy.zarr"
    shutil.copytree(store, copy)
    (file,) = (path for path in (copy / NAME / "grad_count" / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    code, out = run("verify", copy)
    assert code == 1
    assert "grad_count" in out
    assert "1 problem." in out
    code, out = run("verify", copy, "--repair")
    assert (code, "1 problem, 1 repaired." in out) == (0, True)
    assert run("verify", copy)[0] == 0


def test_intervals__prints_every_interval_and_draws(store, run, tmp_path):
    code, out = run(
        "intervals", store, NAME, "--split", "3", "--min", "1e-6", "--max", "1", "--plot", tmp_path / "p.png"
    )
    assert code == 0
    assert "[3.33e-4, 6.67e-4)" in out
    assert "Best interval" in out
    assert "Runner-up" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_intervals__takes_the_architectures_asked_for(store, run):
    assert "5 architectures" in run("intervals", store, "--archs", "7800:7805")[1]


def test_accuracy_import_then_correlate(store, run, tmp_path):
    code, out = run("accuracy", "import", store, "--space", "nas-bench-201", "--from", store.parent / "accuracy.csv")
    assert code == 0
    assert "20 rows matched" in out
    assert "cifar10/test/200" in out
    picture = tmp_path / "heatmap.svg"
    code, out = run(
        *("correlate", store, "--accuracy", "cifar10/test", "--estimators", "--all-intervals"),
        *("--bootstrap", "20", "--method", "kendall", "--heatmap", picture),
    )
    assert code == 0
    for text in ("sweetimator", "runner-up", "params_live", "snip", "kendall", "[1e-4, 5e-4)", "20 architectures"):
        assert text in out
    assert "<svg" in picture.read_text()
    code, out = run("correlate", store, "--accuracy", "cifar10/test", "--interval", "1e-4,3.1e-4", "--bootstrap", "0")
    assert "not a bin edge" in out
    with pytest.raises(
        ValueError, match=r"no accuracies of nas-bench-201 on digits.*--accuracy, from cifar10/test/200"
    ):
        run("correlate", store)
    with pytest.raises(ValueError, match="expected a profile with trained accuracies of its data set"):
        run("reproduce", store)  # profiled on digits, trained on cifar10


def test_correlate__takes_the_test_accuracy_on_the_data_set_of_the_profile(store, run, tmp_path):
    path = tmp_path / "s.zarr"
    shutil.copytree(store, path)
    table = (store.parent / "accuracy.csv").read_text()
    (tmp_path / "own.csv").write_text(table.replace("cifar10,test", "digits,test"))
    run("accuracy", "import", path, "--space", "nas-bench-201", "--from", tmp_path / "own.csv")
    assert "digits/test, 20 architectures" in run("correlate", path, "--bootstrap", "0")[1]


def test_accuracy_import__asks_about_a_space_without_a_profile(store, run, tmp_path):
    shutil.copytree(store, tmp_path / "s.zarr")
    table = tmp_path / "darts.csv"
    genotype = load_space("darts").arch_id(0)
    table.write_text(f'arch,dataset,split,epochs,accuracy\n"{genotype}",cifar10,test,600,97\n')
    out = run("accuracy", "import", tmp_path / "s.zarr", "--space", "darts", "--from", table)[1]
    assert "no profile of darts to compare with, only of nas-bench-201" in out


def test_intervals__of_a_split_beyond_the_bins_says_that_they_are_estimated(store, run):
    assert "counts are estimated" in run("intervals", store, "--split", "11")[1]
    assert "estimated" not in run("intervals", store, "--split", "10")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nowhere.zarr"], "no store at nowhere.zarr: the path does not exist"),
        (["intervals", "{store}", "nas-bench-201/digits/bs8-seed43"], f"it holds {NAME}"),
        (["correlate", "{store}", "--accuracy", "cifar10/test", "--interval", "1e-4"], "an interval is LOWER,UPPER"),
        (["intervals", "{store}", "--max", "3"], "max / min must be 10, 100"),
        (["accuracy", "import", "{store}", "--space", "nas-bench-201", "--from", "none.csv"], "none.csv"),
        (
            ["accuracy", "import", "{store}", "--space", "nas-bench-201", "--from", "digits201"],
            "did you mean digits-201",
        ),
        (
            ["accuracy", "import", "{store}", "--space", "nas-bench-210", "--from", "x"],
            "mean 'nas-bench-201' or 'nas-bench-101'",
        ),
        (["intervals", "{store}", "--plot", "{store}/none/x.png"], "/none/x.png. Create its folder first: mkdir -p"),
        (["profile", "{store}", "--dataset", "cifar10"], "--download"),
        (["profile", "{store}", "--space", "nas-bench-20"], "Did you mean 'nas-bench-201'"),
    ],
)
def test_main__an_error_is_one_message_and_status_1(arguments, message, store, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweetgrad", *(argument.format(store=store) for argument in arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors


def test_text__of_a_full_disk_says_that_nothing_is_lost():
    text = cli._message(OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left" in text
    assert "run the same command again to resume" in text


def test_text__of_a_folder_that_may_not_be_written_says_what_to_do():
    text = cli._message(PermissionError(errno.EACCES, "Permission denied", "ro/x.png"))
    assert text.startswith("Permission denied: ro/x.png. Use a place that you have access to")


def test_program__without_torch_says_what_to_install(store):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['prefect'] = None\n"
        "from sweetgrad.flows.cli import main\n"
        "sys.argv = ['sweetgrad', *sys.argv[1:]]; main()"
    )
    ask = [sys.executable, "-c", code]
    found = subprocess.run([*ask, "profile", str(store)], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "this command needs" in found.stderr
    assert how_to_install("profile") in found.stderr
    found = subprocess.run([*ask, "intervals", str(store)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "Best interval" in found.stdout
