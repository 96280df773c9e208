"""Metadata that are JSON, small and harmless, and yet no sweetgrad store's: every reader says so, `verify` reports it."""

import json
from typing import Any

import pytest

from sweetgrad.store import StoreError, info, list_profiles, open_profile, open_store, status, verify

HOSTILE = [{"name": "bytes"}, {"name": "numcodecs.pickle"}]
ARRAY = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [1],
    "data_type": "int8",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [{"name": "bytes"}],
}


def group(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": document.get("attributes", {}), **changes}


def consolidated(node: Any) -> dict[str, Any]:
    return {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {"x": node}}}


CHANGES = {
    "a group with codecs": lambda d: group(d, codecs=HOSTILE),
    "a group": group,
    "an array": lambda d: {**ARRAY, "attributes": d.get("attributes", {})},
    "version 2": lambda d: {**d, "zarr_format": 2},
    "no version": lambda d: {key: value for key, value in d.items() if key != "zarr_format"},
    "no kind of node": lambda d: {**d, "node_type": ["group"]},
    "a copy of nothing": lambda d: {**d, **consolidated({"zarr_format": 3})},
    "a copy of codecs": lambda d: {**d, **consolidated(group({}, codecs=HOSTILE))},
    "attributes in a list": lambda d: {**d, "attributes": [1]},
    "attributes of nothing": lambda d: {**d, "attributes": dict.fromkeys(d.get("attributes", {}))},
    "attributes of lists": lambda d: {**d, "attributes": {key: [{}] for key in d.get("attributes", {})}},
    "null": lambda d: None,
    "a list": lambda d: [d],
}
READERS = (
    verify,
    status,
    info,
    list_profiles,
    open_store,
    lambda store: open_profile(store, "toy/synthetic/bs2-seed0"),
)


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized")  # zarr's word on what it skips
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("node", ["", "toy", "toy/synthetic/bs2-seed0", "toy/synthetic/bs2-seed0/status"])
def test_readers__of_senseless_metadata_raise_store_errors_only(tmp_path, toy, node, change):
    store = tmp_path / "s.zarr"
    toy.store(store)
    file = store / node / "zarr.json"
    file.write_text(json.dumps(CHANGES[change](json.loads(file.read_text()))))
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for read in READERS:
        error = None
        try:
            read(store)
        except Exception as raised:
            error = raised
        assert error is None or isinstance(error, StoreError), (read, error)
    assert before == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_verify__reports_a_group_where_an_array_must_be(tmp_path, toy):
    store = tmp_path / "s.zarr"
    name = toy.store(store)
    file = store / name / "loss" / "zarr.json"
    for change in ("a group", "a group with codecs"):
        file.write_text(json.dumps(CHANGES[change](json.loads(file.read_text()))))
        (problem,) = verify(store)
        assert problem.what.startswith("loss: ")
    verify(store, repair=True)
    assert verify(store) == []


def test_verify__repairs_a_stamp_that_says_nothing(tmp_path, toy):
    store = tmp_path / "s.zarr"
    name = toy.store(store)
    file = store / name / "zarr.json"
    document = json.loads(file.read_text())
    digest = document["attributes"]["content_digest"]
    document["attributes"] |= {"num_ok": None, "content_digest": 7}
    file.write_text(json.dumps(document))
    assert any("which is invalid" in problem.what for problem in verify(store))
    verify(store, repair=True)
    assert verify(store) == []
    assert info(store).profiles[0].content_digest == digest
