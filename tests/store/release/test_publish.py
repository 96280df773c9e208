import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from sweetgrad.analysis import Interval, interval_counts
from sweetgrad.store import (
    COUNTS,
    CorruptShardError,
    LockedError,
    NotAStoreError,
    Profile,
    StoreError,
    create_profile,
    import_accuracy,
    info,
    list_profiles,
    merge,
    open_accuracy,
    open_estimators,
    open_profile,
    open_store,
    profile_block,
    publish,
    verify,
)

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "format-1.zarr"
FILES = [
    "CHANGELOG.md",
    "README.md",
    "SHA256SUMS",
    "croissant.json",
    "datacite.json",
    "load.py",
    "nb.zarr",
    "nb.zarr.zip",
]
BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "prefect", "distributed", "sklearn"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def store(tmp_path, toy):
    """One complete profile, one that is half done, and accuracies."""
    toy.name = toy.store(tmp_path / "nb.zarr")
    table = pd.DataFrame({"arch": toy.archs, "dataset": "cifar10", "split": "test", "epochs": 12, "accuracy": 50.0})
    import_accuracy(tmp_path / "nb.zarr", space="toy", table=table, source="accuracies.csv")
    return tmp_path / "nb.zarr"


@pytest.fixture
def release(store, tmp_path):
    publish(store, tmp_path / "release")
    return tmp_path / "release"


@pytest.fixture
def zip_release(store, tmp_path):
    publish(store, tmp_path / "zipped", zip_only=True)
    return tmp_path / "zipped"


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def load(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", BLOCKED, str(folder / "load.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_publish__writes_everything_that_a_release_needs(release, store):
    assert sorted(path.name for path in release.iterdir()) == FILES
    assert list(release.parent.glob("release.*")) == []
    assert verify(release) == []
    assert verify(release / "nb.zarr") == verify(release / "nb.zarr.zip") == []


def test_publish__copies_every_chunk_byte_by_byte_and_nothing_else(store, tmp_path, toy):
    (store / toy.name / "status" / "claims").mkdir()
    (store / toy.name / "status" / "claims" / "0.json").write_text("{}")
    (store / toy.name / "loss" / "c" / "0.abc.partial").write_bytes(b"half")
    (store / "old.claim").write_text("{}")
    publish(store, tmp_path / "release")
    expected = {key: value for key, value in toy.contents(store).items() if "claim" not in key and "partial" not in key}
    assert toy.contents(tmp_path / "release" / "nb.zarr") == expected
    assert info(tmp_path / "release" / "nb.zarr").profiles[0].content_digest == info(store).profiles[0].content_digest


def test_publish__zip_is_the_folder_in_one_file_and_does_not_depend_on_time(release, store, tmp_path):
    with zipfile.ZipFile(release / "nb.zarr.zip") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist() == sorted(archive.namelist())
        assert {name: archive.read(name) for name in archive.namelist()} == tree(release / "nb.zarr")
    for path in (release / "nb.zarr").rglob("*"):
        os.utime(path, (1, 1))
    publish(store, tmp_path / "other", note="another day")
    assert (tmp_path / "other" / "nb.zarr.zip").read_bytes() == (release / "nb.zarr.zip").read_bytes()


def test_publish__metadata_is_consolidated_at_the_root_and_in_each_profile(release, toy):
    for group in ("", toy.name):
        metadata = json.loads((release / "nb.zarr" / group / "zarr.json").read_text())
        assert any(key.endswith("grad_count") for key in metadata["consolidated_metadata"]["metadata"])
    profile = xr.open_zarr(release / "nb.zarr" / toy.name, consolidated=True)
    assert int((profile["status"] == 1).sum()) == 10


def test_publish__sums_are_those_of_sha256sum(release):
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=release, check=False).returncode == 0
    (release / "load.py").write_text("print()")
    assert subprocess.run(check, cwd=release, capture_output=True, check=False).returncode == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # mlcroissant's own
def test_publish__croissant_is_valid_and_lists_the_profiles(release, toy):
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="mlcroissant is not installed: croissant.json is not validated"
    )
    dataset = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))  # raises where it is not valid
    assert dataset.metadata.ctx.issues.report() == ""
    (record,) = dataset.records("profiles")
    assert record["profiles/profile"] in (toy.name, toy.name.encode())
    assert record["profiles/num_ok"] == 10
    (file,) = dataset.metadata.distribution
    assert f"{file.sha256}  nb.zarr.zip\n" in (release / "SHA256SUMS").read_text()


def test_publish__datacite_says_who_what_when_and_how_it_may_be_used(store, tmp_path):
    options = {"creators": ["Doe, Jane", "Some Lab"], "doi": "10.5281/zenodo.1", "note": "First."}
    release = publish(store, tmp_path / "release", **options)
    record = json.loads((tmp_path / "release" / "datacite.json").read_text())
    assert record["schemaVersion"] == "http://datacite.org/schema/kernel-4"
    assert record["doi"] == "10.5281/zenodo.1"
    assert record["creators"][0]["familyName"] == "Doe"
    assert record["creators"][1] == {"name": "Some Lab", "nameType": "Organizational"}
    assert record["publicationYear"] == str(release.date.year)
    assert record["types"]["resourceTypeGeneral"] == "Dataset"
    assert record["rightsList"][0]["rightsIdentifier"] == "CC-BY-4.0"
    for key in ("titles", "publisher", "descriptions", "version"):
        assert record[key]


def test_publish__data_card_says_what_a_stranger_asks(store, tmp_path, toy):
    release = publish(store, tmp_path / "release", creators=["Doe, Jane"], url="https://example.org/data/")
    card = (tmp_path / "release" / "README.md").read_text()
    for section in (
        "Content",
        "Load it",
        "How it was made",
        "Layout",
        "Known limits",
        "Check it",
        "Licence",
        "Cite it",
    ):
        assert f"\n## {section}\n" in card
    (profile,) = release.profiles
    for text in (
        profile.content_digest,
        toy.name,
        "CC-BY-4.0",
        "10.1016/j.neunet.2023.09.012",
        "Doe, Jane",
        "accuracies.csv",
    ):
        assert text in card
    assert "zip::https://example.org/data/nb.zarr.zip" in card
    assert "`grad_count_network`" in card
    assert "batch_sha256" in card
    assert "Not complete" not in card


@pytest.mark.parametrize("zip_only", [False, True])
def test_publish__code_of_the_data_card_runs(zip_only, store, toy, tmp_path, monkeypatch):
    publish(store, tmp_path / "release", zip_only=zip_only)
    monkeypatch.chdir(tmp_path / "release")
    *blocks, recipe = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    expected = interval_counts(open_profile(store, toy.name), Interval("1e-4", "5e-4")).values[..., 0]
    assert expected.any()
    for block in blocks:
        names = {}
        exec(block, names)
        assert names["profile"].sizes["arch"] == 10
        exec(recipe, names)
        assert (names["counts"].values == expected).all()


def test_load__is_five_lines_and_needs_neither_torch_nor_prefect(release):
    code = [line for line in (release / "load.py").read_text().splitlines() if not line.startswith("#")]
    assert len(code) == 5
    for arguments in ([], [str(release / "nb.zarr.zip")]):
        result = load(release, *arguments)
        assert result.returncode == 0, result.stderr
        assert "(arch: 10, layer: 3, kind: 2, bin: 345)" in result.stdout


def test_open_store__of_a_release_folder_says_which_path_to_open(release):
    with pytest.raises(NotAStoreError, match=r"Open the store in it: .*release/nb\.zarr"):
        open_store(release)


def test_publish__zip_only_is_the_same_zip_and_no_text_speaks_of_a_folder(zip_release, release, tmp_path, toy):
    assert sorted(path.name for path in zip_release.iterdir()) == [name for name in FILES if name != "nb.zarr"]
    assert (zip_release / "nb.zarr.zip").read_bytes() == (release / "nb.zarr.zip").read_bytes()
    for path in zip_release.iterdir():
        if path.suffix != ".zip":
            assert not re.search(r"nb\.zarr(?!\.zip)", path.read_text()), path.name
    sums = (zip_release / "SHA256SUMS").read_text()
    assert [line.split("  ")[1] for line in sums.splitlines()] == [
        n for n in FILES if n not in ("nb.zarr", "SHA256SUMS")
    ]
    assert (
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=zip_release, check=False).returncode == 0
    )
    result = load(zip_release)
    assert result.returncode == 0, result.stderr
    assert "(arch: 10, layer: 3, kind: 2, bin: 345)" in result.stdout
    with pytest.raises(NotAStoreError, match=r"Open the store in it: .*zipped/nb\.zarr\.zip"):
        open_store(zip_release)


def test_publish__knows_what_changed_since_a_release_in_either_form(tmp_path, toy):
    store, dest = tmp_path / "nb.zarr", tmp_path / "release"
    name = toy.store(store, rows=range(6))
    Profile.open(store, name).add_blocks([profile_block("snip")])
    publish(store, dest, zip_only=True, allow_incomplete=True)
    again = publish(store, dest, allow_incomplete=True)
    assert (again.number, again.unchanged) == (2, True)
    toy.run(store, name, range(10))
    Profile.open(store, name).finalise()
    (change,) = publish(store, dest, zip_only=True).changes
    assert change.startswith(f"`{name}`: content changed, ")
    assert verify(dest) == []


def test_publish__a_damaged_zip_of_the_release_before_is_named_and_kept(store, zip_release):
    (zip_release / "nb.zarr.zip").write_bytes(b"PK")
    before = tree(zip_release)
    with pytest.raises(StoreError, match=r"zipped contains a damaged release .*`sweetgrad verify .*zipped` says"):
        publish(store, zip_release, zip_only=True)
    assert tree(zip_release) == before


def test_publish__again_adds_an_entry_and_says_that_nothing_changed(store, release):
    first = (release / "CHANGELOG.md").read_text()
    assert "## Release 1 (" in first
    again = publish(store, release, note="Only words.")
    assert (again.number, again.unchanged, again.changes) == (2, True, ())
    text = (release / "CHANGELOG.md").read_text()
    assert (
        text.index("## Release 2 (")
        < text.index("Unchanged: all content has the digests of release 1")
        < text.index("## Release 1")
    )
    assert "Only words." in text
    assert text.endswith(first[first.index("## Release 1") :])
    assert verify(release) == []


def test_publish__again_names_what_changed(tmp_path, toy):
    name = toy.store(tmp_path / "nb.zarr", rows=range(6))
    publish(tmp_path / "nb.zarr", tmp_path / "release", allow_incomplete=True)
    before = info(tmp_path / "nb.zarr").profiles[0].content_digest
    toy.run(tmp_path / "nb.zarr", name, range(10))
    Profile.open(tmp_path / "nb.zarr", name).add_blocks([profile_block("snip")])
    Profile.open(tmp_path / "nb.zarr", name).finalise()
    release = publish(tmp_path / "nb.zarr", tmp_path / "release")
    after = release.profiles[0].content_digest
    assert release.changes == (f"`{name}`: content changed, {before[:12]}… became {after[:12]}…",)
    assert release.changes[0] in (tmp_path / "release" / "CHANGELOG.md").read_text()


def test_publish__only_the_profiles_asked_for(tmp_path, toy):
    store = tmp_path / "nb.zarr"
    name = toy.store(store)
    other = create_profile(store, toy.spec(seed=1), arch=toy.archs, layers=toy.layers).name
    with pytest.raises(StoreError, match=r"bs2-seed1: 10 of 10 architectures were not run"):
        publish(store, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    publish(store, tmp_path / "release", profiles=[name])
    assert list_profiles(tmp_path / "release" / "nb.zarr") == [name]
    with pytest.raises(NotAStoreError, match="bs2-seed1"):
        publish(store, tmp_path / "release", profiles=["toy/synthetic/bs2-seed2"])
    publish(store, tmp_path / "release", allow_incomplete=True)
    card = (tmp_path / "release" / "README.md").read_text()
    assert f"**Not complete**: `{other}`" in card


def test_publish__stamps_rows_that_a_killed_run_left_unstamped(tmp_path, toy):
    name = toy.store(tmp_path / "nb.zarr", rows=range(6))
    toy.run(tmp_path / "nb.zarr", name, range(10))  # killed before its stamp
    publish(tmp_path / "nb.zarr", tmp_path / "release")
    assert open_profile(tmp_path / "release" / "nb.zarr", name).attrs["complete"] is True
    toy.store(tmp_path / "straight.zarr")
    straight, published = (
        info(path).profiles[0] for path in (tmp_path / "straight.zarr", tmp_path / "release" / "nb.zarr")
    )
    assert published.content_digest == straight.content_digest


def test_publish__keeps_estimators_and_accuracies(tmp_path):
    name = "toy/synthetic/bs4-seed42"
    publish(GOLDEN, tmp_path / "release", name="golden", allow_incomplete=True)
    store = tmp_path / "release" / "golden.zarr"
    xr.testing.assert_identical(open_estimators(store, name), open_estimators(GOLDEN, name))
    ask = ("toy", "cifar10/test")
    xr.testing.assert_identical(open_accuracy(store, *ask), open_accuracy(GOLDEN, *ask))


def test_publish__of_a_zip_is_that_of_the_folder(release, tmp_path):
    publish(release / "nb.zarr.zip", tmp_path / "again")
    assert (tmp_path / "again" / "nb.zarr.zip").read_bytes() == (release / "nb.zarr.zip").read_bytes()


def test_publish__refuses_a_store_with_problems_and_names_them(store, release, tmp_path, toy):
    before = tree(release)
    file = store / toy.name / "grad_count" / "c" / "1" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"has 1 problem, so nothing was written:\n.*shard 1.*grad_count") as raised:
        publish(store, release)
    assert "--repair" in str(raised.value)
    assert tree(release) == before


def test_publish__a_crash_half_way_leaves_the_release_before(store, release, monkeypatch):
    before = tree(release)

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["sweetgrad.store.release._publish"], "write_zip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(store, release)
    assert tree(release) == before
    assert list(release.parent.glob("release.*")) == []


def test_publish__two_at_once_into_one_folder_are_told_apart(store, release):
    said = []

    def second(what, done, total):
        if what == "copying" and not said:
            with pytest.raises(
                LockedError, match=rf"is being written by process {os.getpid()} on .*wait for that process"
            ):
                publish(store, release)
            said.append(what)

    assert publish(store, release, progress=second).number == 2
    assert said == ["copying"]
    assert verify(release) == []
    assert list(release.parent.glob("release.*")) == []


def test_publish__takes_over_from_a_process_that_was_killed(store, release):
    code = (
        "import os, pathlib, sys; from sweetgrad.store.locks import lock_folder\n"
        "with lock_folder(pathlib.Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(release)], check=False)
    assert [path.name for path in release.parent.glob("release.*")] == ["release.claim"]
    assert publish(store, release).number == 2
    assert list(release.parent.glob("release.*")) == []


def test_publish__goes_on_after_a_kill_at_any_moment(store, release, tmp_path):
    (tmp_path / "release.publishing" / "nb.zarr").mkdir(parents=True)  # killed while it copied
    assert publish(store, release).number == 2
    shutil.copytree(release, tmp_path / "release.publishing")  # killed between the two renames
    release.rename(tmp_path / "release.replaced-by-publish")
    assert publish(store, release).number == 3
    shutil.copytree(release, tmp_path / "release.replaced-by-publish")  # killed after them
    assert publish(store, release).number == 4
    assert sorted(path.name for path in tmp_path.glob("release*")) == ["release"]
    assert verify(release) == []


def test_publish__never_deletes_files_of_others(store, release, tmp_path):
    (release / "my notes.txt").write_text("precious")
    with pytest.raises(StoreError, match=r"contains files that are not part of a release: my notes\.txt"):
        publish(store, release)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        publish(store, tmp_path / "full")
    with pytest.raises(ValueError, match="inside the store"):
        publish(store, store / "release")
    assert (tmp_path / "full" / "thesis.tex").exists()


def test_publish__says_how_much_room_is_missing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(StoreError, match=r"needs \d+ MB in .*, which has 0 MB free"):
        publish(store, tmp_path / "release")
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../nb"}, "name must consist of letters"),
        ({"doi": "https://doi.org/10.1/x"}, r"expected a DOI such as 10\.5281"),
        ({"dest": "s3://bucket/release"}, "written to a local folder"),
    ],
)
def test_publish__refuses_what_makes_no_sense(options, message, store, tmp_path):
    with pytest.raises(ValueError, match=message):
        publish(store, **{"dest": tmp_path / "release", **options})


def test_publish__reports_what_it_does(store, tmp_path):
    seen = []
    publish(store, tmp_path / "release", progress=lambda what, done, total: seen.append((what, done, total)))
    assert list(dict.fromkeys(what for what, _, _ in seen)) == ["verifying", "copying", "zipping", "summing"]
    assert all(done <= total for _, done, total in seen)
    last = {what: (done, total) for what, done, total in seen}
    assert all(done == total for done, total in last.values())


@pytest.fixture
def lean_release(store, tmp_path):
    publish(store, tmp_path / "lean", lean=2)
    return tmp_path / "lean"


@pytest.mark.parametrize("name", ["nb.zarr", "nb.zarr.zip"])
def test_publish__lean_leaves_out_counts_by_layer_alone(lean_release, store, toy, name):
    """All else is there, and what was left out is no zero."""
    lean, size = lean_release / name, toy.shard_size
    whole, found = open_profile(store, toy.name, chunks=None), open_profile(lean, toy.name, chunks=None)
    for variable in whole.variables:
        rows = slice(size) if variable == "grad_count" else slice(None)
        some = {"arch": rows} if "arch" in whole[variable].dims else {}
        np.testing.assert_array_equal(found[variable].isel(some).values, whole[variable].isel(some).values)
    with pytest.raises(ValueError, match=rf"rows {size} to .* is not part of this lean release.*before {size}"):
        found["grad_count"].isel(arch=size).load()
    with pytest.raises(CorruptShardError, match="is not part of this lean release"):
        Profile.open(lean, toy.name).read(COUNTS)
    assert verify(lean) == []
    described = info(lean).profiles[0]
    assert described.rows_by_layer == size < described.status.num_archs
    assert described.content_digest == info(store).profiles[0].content_digest
    assert f"of the rows before {size} only" in (lean_release / "README.md").read_text()


def test_publish__lean_keeps_as_many_rows_as_are_asked_for(store, tmp_path, toy):
    publish(store, tmp_path / "more", lean=toy.shard_size + 1)
    assert info(tmp_path / "more" / "nb.zarr").profiles[0].rows_by_layer == 2 * toy.shard_size
    publish(store, tmp_path / "all", lean=10**6)
    described = info(tmp_path / "all" / "nb.zarr").profiles[0]
    assert described.rows_by_layer == described.status.num_archs
    with pytest.raises(ValueError, match="at least one row, got lean=0"):
        publish(store, tmp_path / "none", lean=0)


def test_verify__of_a_lean_release_still_finds_a_lost_file_and_wrong_counts(lean_release, toy):
    group = zarr.open_group(lean_release / "nb.zarr", mode="r+", use_consolidated=False)[toy.name]
    group["grad_count_network"][-1, 0, 5] += 1
    (problem,) = [each for each in verify(lean_release / "nb.zarr") if "sum over the bins" in each.what]
    assert problem.rows == (group["status"].shape[0] - 1,)
    (lean_release / "nb.zarr" / toy.name / "grad_count" / "c" / "0" / "0" / "0" / "0").unlink()
    assert any("grad_count" in each.what and each.shard == 0 for each in verify(lean_release / "nb.zarr"))


def test_merge__refuses_a_lean_release_beside_another_store(lean_release, store, tmp_path):
    with pytest.raises(StoreError, match=r"is a lean release.*merge the full data sets"):
        merge([store, lean_release / "nb.zarr"], tmp_path / "merged.zarr")
    assert not (tmp_path / "merged.zarr").exists()


def test_profile__of_a_lean_release_is_not_measured_again(lean_release, toy):
    profile = Profile.open(lean_release / "nb.zarr", toy.name)
    assert profile.plan(range(profile.num_archs)) == []
    last = profile.shards()[-1]
    assert profile.recover(last) == last
    assert profile.status(shard=last).all()
