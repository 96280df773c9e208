import os
import pickle
import tracemalloc

import numpy as np
import pytest

from sweetgrad.store import detect_format, import_accuracy, open_accuracy, read_accuracy_file
from sweetgrad.store.benchmarks import pickle_stream
from sweetgrad.store.benchmarks.unpickle import UnsafePickleError

CONTAINERS = ("zip", "legacy", "tar", "bz2", "folder")


def read(path, **options):
    return read_accuracy_file(path, space="nas-bench-201", **options)


@pytest.mark.parametrize("weights", [0, 5])
@pytest.mark.parametrize("container", CONTAINERS)
def test_read__answers_as_the_api_of_the_benchmark(tmp_path, nb201, container, weights):
    content = nb201.content(weights=weights)
    found = read(nb201.write(tmp_path / "benchmark", content, container))
    expected = nb201.expected(content)
    assert len(found) == len(expected) == 3 * 6 * 2
    for row in found.itertuples():
        accuracy, seconds = expected[row.arch, row.dataset, row.split, row.epochs]
        assert row.accuracy == pytest.approx(accuracy, rel=1e-15)
        assert row.seconds == pytest.approx(seconds, rel=1e-15)
    assert list(dict.fromkeys(found["arch"])) == content["meta_archs"]
    assert len(found.attrs["sha256"]) == 64


@pytest.mark.parametrize(
    ("container", "name"), [*((c, "nas-bench-201-archive") for c in CONTAINERS[:4]), ("folder", "nats-bench-folder")]
)
def test_detect__knows_every_container_by_its_content(tmp_path, nb201, container, name):
    assert detect_format(nb201.write(tmp_path / "x.csv", nb201.content(1), container)) == name


def test_read__the_schedules_of_nats_bench(tmp_path, nb201):
    content = nb201.content(2, schedules=(("12", 12, (777,)), ("200", 200, (777, 888, 999))))
    found = read(nb201.write(tmp_path / "NATS-tss-v1_0-3ffb9-simple", content, "folder"))
    key = (content["meta_archs"][1], "cifar10", "test", 200)
    row = found.set_index(["arch", "dataset", "split", "epochs"]).sort_index().loc[key]
    assert row["accuracy"] == pytest.approx(nb201.expected(content)[key][0])


def test_read__part_of_a_folder(tmp_path, nb201):
    content = nb201.content(3)
    folder = nb201.write(tmp_path / "n", content, "folder")
    (folder / "000001.pickle.pbz2").unlink()
    (folder / "README.txt").write_text("not a result")
    assert set(read(folder)["arch"]) == {content["meta_archs"][0], content["meta_archs"][2]}


@pytest.mark.parametrize("container", CONTAINERS)
def test_read__tells_how_far_it_is(tmp_path, nb201, container):
    seen = []
    read(nb201.write(tmp_path / "b", nb201.content(2), container), progress=lambda *done: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def peak_bytes(path):
    tracemalloc.start()
    try:
        read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("container", ["zip", "legacy", "bz2"])
def test_read__memory_does_not_grow_with_weights(tmp_path, nb201, container):
    short = (("less", 12, (777,)),)
    sizes, peaks = [], []
    for weights in (10, 250_000):
        path = nb201.write(
            tmp_path / f"{container}{weights}", nb201.content(8, weights=weights, schedules=short), container
        )
        sizes.append(8 * 4 * 4 * weights)
        peaks.append(peak_bytes(path))
    assert sizes[1] == 32_000_000
    assert peaks[1] < peaks[0] + 4_500_000  # a few pieces of one MiB, and what bz2 needs


def test_read__memory_hardly_grows_with_architectures(tmp_path, nb201, monkeypatch):
    monkeypatch.setattr(pickle_stream, "_CHUNK", 1 << 12)
    sizes, peaks = [], []
    for num_archs in (2, 8):
        content = nb201.content(num_archs, schedules=(("full", 100, (777,)),))
        path = nb201.write(tmp_path / str(num_archs), content, "legacy")
        sizes.append(path.stat().st_size)
        peaks.append(peak_bytes(path))
    # As numbers of Python, the file would take ten times its size; what stays is the table of numbered objects.
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 2


def poisoned(command):
    class Evil:
        def __reduce__(self):
            return os.system, (command,)

    return Evil()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("where", ["net_state_dict", "epochs"])
def test_read__refuses_and_does_not_run_a_command(tmp_path, nb201, container, where):
    content = nb201.content(1)
    content["arch2infos"][0]["less"]["all_results"]["cifar10", 777][where] = poisoned(f"touch {tmp_path / 'ran'}")
    path = nb201.write(tmp_path / "evil", content, container)
    with pytest.raises(
        UnsafePickleError, match=r"evil.*system, which plain data does not need: refused, and nothing was executed"
    ):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_read__refuses_results_of_another_architecture(tmp_path, nb201):
    content = nb201.content(2)
    content["meta_archs"].reverse()
    for container in ("zip", "folder"):
        with pytest.raises(
            ValueError,
            match=r"its results are those of '.*none~2\|', but the list of architectures has '.*skip_connect~2",
        ):
            read(nb201.write(tmp_path / container, content, container))


def test_read__refuses_what_it_was_not_made_for(tmp_path, nb201):
    with pytest.raises(ValueError, match=r"expected a dictionary with meta_archs and arch2infos.*got one with 'a'"):
        read(nb201.write(tmp_path / "weights.pth", {"a": 1}, "zip"))
    size_space = nb201.content(1)
    size_space["meta_archs"] = ["8:8:8:8:8"]
    size_space["arch2infos"][0]["full"]["arch_str"] = size_space["arch2infos"][0]["less"]["arch_str"] = "8:8:8:8:8"
    with pytest.raises(ValueError, match=r"The size space of NATS-Bench .sss. is not read"):
        read(nb201.write(tmp_path / "sss", size_space, "bz2"))
    with pytest.raises(ValueError, match="table of nas-bench-201-archive, but was to be read for nas-bench-101"):
        read_accuracy_file(nb201.write(tmp_path / "b", nb201.content(1), "zip"), space="nas-bench-101")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"folder without files such as 000000\.pickle\.pbz2"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("container", ["zip", "folder"])
@pytest.mark.parametrize("place", ["meta_archs", "arch_str", "schedule", "results"])
def test_read__an_error_does_not_write_out_what_has_no_end(tmp_path, nb201, container, place):
    endless = ()
    for _ in range(100):
        endless = (endless, endless)  # 2^100 brackets
    content = nb201.content(1)
    schedules = content["arch2infos"][0]
    match place:
        case "meta_archs":
            content["meta_archs"] = [endless]
        case "arch_str":
            schedules["less"]["arch_str"] = endless
        case "schedule":
            schedules["less"] = endless
        case "results":
            schedules["less"]["all_results"] = endless
    with pytest.raises(ValueError, match=r"expected|damaged") as error:
        read(nb201.write(tmp_path / place, content, container))
    assert len(str(error.value)) < 1000


def test_read__an_index_beyond_the_list_is_named(tmp_path, nb201):
    content = nb201.content(1)
    content["arch2infos"][5] = content["arch2infos"].pop(0)
    with pytest.raises(ValueError, match="arch2infos has the index 5, expected 0 to 0"):
        read(nb201.write(tmp_path / "b", content, "zip"))


@pytest.mark.parametrize("container", CONTAINERS[:4])
def test_read__a_file_that_is_cut_off_is_named(tmp_path, nb201, container):
    path = nb201.write(tmp_path / "cut.pth", nb201.content(1, schedules=(("less", 12, (777,)),)), container)
    whole = path.read_bytes()
    # What follows the pickle is not read: storages, the list of them, the end of a tar or bz2 file.
    for size in range(40, len(whole) // 2, 1999):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pth"):
            read(path)


@pytest.mark.parametrize("name", ["x.pickle.pbz2", "x.csv.bz2"])
def test_read__what_is_no_bz2_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"BZh9" + bytes(100))
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)


def test_read__runs_without_a_last_epoch_or_seconds(tmp_path, nb201):
    content = nb201.content(1, schedules=(("full", 200, (777, 888)),))
    results = content["arch2infos"][0]["full"]["all_results"]
    results["cifar10", 777]["train_times"] = None  # as in version 1.0
    for key in ("x-valid@199", "x-valid@198"):
        del results["cifar100", 777]["eval_acc1es"][key], results["cifar100", 888]["eval_acc1es"][key]
    found = read(nb201.write(tmp_path / "b", content, "zip")).set_index(["dataset", "split"])
    assert found.loc[("cifar10", "test"), "seconds"] == pytest.approx(
        sum(results["cifar10", 888]["train_times"].values())
    )
    assert np.isnan(found.loc[("cifar100", "valid"), "accuracy"])
    assert found["accuracy"].isna().sum() == 1


def test_read__an_archive_that_holds_objects_is_refused(tmp_path, nb201):
    content = nb201.content(1)
    content["arch2infos"][0]["less"]["all_results"]["cifar10", 777]["eval_acc1es"] = pickle.PickleBuffer
    with pytest.raises(UnsafePickleError, match="PickleBuffer"):
        read(nb201.write(tmp_path / "b", content, "bz2"))


def test_import__an_archive_of_which_the_store_has_a_rounded_table(tmp_path, nb201):
    """The tables in circulation have six decimals: the same benchmark, and no contradiction."""
    content = nb201.content(3)
    table = read(nb201.write(tmp_path / "b", content, "zip"))
    rounded = table.drop(columns="seconds").assign(accuracy=table["accuracy"].round(6))
    import_accuracy(tmp_path / "s.zarr", space="nas-bench-201", table=rounded, source="table")
    report = import_accuracy(tmp_path / "s.zarr", space="nas-bench-201", table=table, source="archive")
    assert (report.added, report.unchanged) == (0, len(table))
    assert open_accuracy(tmp_path / "s.zarr", "nas-bench-201", "cifar100/test/12").notnull().all()
