"""Credentials: taken out of every text, and so of errors, what they are chained to, logs, stores and releases."""

import logging
import pickle
import string
import traceback

import pandas as pd
import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st

from sweetgrad.store import (
    LockedError,
    NotAStoreError,
    Profile,
    RemoteStore,
    StoreError,
    UnreachableStoreError,
    import_accuracy,
    info,
    merge,
    open_store,
    publish,
    verify,
)
from sweetgrad.store.redaction import redacted, redacted_cause, redacted_facts, secrets_of
from sweetgrad.store.root import consolidate

IMPATIENT = {"tries": 1, "pause": 0, "connect_timeout": 1, "read_timeout": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ftp://ann:pa@ss@host/x", "ftp://***@host/x"),  # the last @ before the path ends the password
        ("https://ann:pa/s?s@host/x", "https://***@host/x"),  # a password that must be quoted, and was not
        ("https://ghp_0a1b2c@host/x", "https://***@host/x"),
        ("s3://bucket/x?versionId=1&X-Amz-Signature=0a1b", "s3://bucket/x?***"),
        ("zip::https://host/x.zip?sv=1&sig=0a%2F1b==", "zip::https://host/x.zip?***"),
        ("404, url=URL('https://ann:pw@host/x?q=1')", "404, url=URL('https://***@host/x?***')"),
        ("(see https://host/x?token=0a1b).", "(see https://host/x?***)."),
        ("GET /x?X-Amz-Signature=0a1b&X-Amz-Date=1", "GET /x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("Authorization: Bearer 0a1b2c3d4e5f", "Authorization: Bearer ***"),
        ("https://host/x#access_token=0a1b", "https://host/x#***"),
        (
            "AWS_SECRET_ACCESS_KEY=0a1b AWS_SESSION_TOKEN=2c api_key=3d",
            "AWS_SECRET_ACCESS_KEY=*** AWS_SESSION_TOKEN=*** api_key=***",
        ),
    ],
)
def test_redacted__leaves_no_credentials(text, expected):
    assert redacted(text) == expected
    assert redacted(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a b@c.org: what? 1#2",
        "s3://bucket/folder@2/nb201.zarr",
        "http://127.0.0.1:9000/a@b",
        "http://[::1]:9000/a@b",
        "tcp://host:8786, 2 workers",
        "C:\\data\\s.zarr and /data/what?.zarr",
        "nas-bench-201/cifar10/bs64-seed42",
    ],
)
def test_redacted__leaves_all_other_text_as_it_is(text):
    assert redacted(text) == text


_PLAIN = st.text(string.ascii_letters + string.digits + "-._~%!$&*+=", min_size=1)


@given(
    user=_PLAIN, password=_PLAIN, query=_PLAIN, text=st.sampled_from(["{}", "no {} here", "['{}']", "<{}>", "a\n{}\nb"])
)
@example("u", "1", "q", "{}")
def test_redacted__no_part_of_any_url(user, password, query, text):
    shown = redacted(text.format(f"https://@{user}:{password}@HOST/PATH?{query}Z"))
    assert shown == text.format("https://***@HOST/PATH?***")


def test_secrets_of__finds_them_by_name_and_inside_other_options():
    options = {
        "key": "AKIA0",
        "anon": False,
        "endpoint_url": "http://host:9000",
        "client_kwargs": {"region_name": "eu-west-1", "aws_session_token": "0a1b2c", "headers": {"X": ["cookie-1"]}},
    }
    assert set(secrets_of(options)) == {"AKIA0", "0a1b2c", "cookie-1"}
    assert RemoteStore("s3://b", options).redacted("0a1b2c at eu-west-1 by AKIA0") == "*** at eu-west-1 by ***"


def test_remote_store__shows_itself_without_credentials_and_keeps_them():
    store = RemoteStore("https://ann:pw@host/x.zarr?sig=0a1b", {"key": "AKIA0"})
    assert str(store) == "https://***@host/x.zarr?***"
    assert f"{store!r} {store}".count("pw") == 0
    assert "AKIA0" not in repr(store)
    assert store.url == "https://ann:pw@host/x.zarr?sig=0a1b"


def test_store_error__has_no_credentials_and_travels():
    error = pickle.loads(pickle.dumps(LockedError("s3://a:b@c/x is held", {"host": "h"})))  # noqa: S301
    assert str(error) == "s3://***@c/x is held"
    assert error.holder == {"host": "h"}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://ann:S3CRET@127.0.0.1:1/x.zarr", {}),
        ("https://127.0.0.1:1/x.zarr.zip?sig=S3CRET/2", {}),
        ("zip::https://ann:S3CRET@127.0.0.1:1/x.zarr.zip?sig=S3CRET", {}),
        ("https://ann:S3CRET/2@127.0.0.1:1/x.zarr", {}),
        ("s3://bucket/x", {"key": "ann", "secret": "S3CRET", "endpoint_url": "http://127.0.0.1:1/?S3CRET"}),
        ("s3://bucket/x", {"bogus_token": "S3CRET"}),
        ("S3CRET://ann:S3CRET@host/x".replace("S3CRET:", "what:"), {}),
    ],
)
def test_readers__show_no_credentials_of_a_store_that_they_cannot_reach(url, options, caplog):
    caplog.set_level(logging.INFO)
    for read in (open_store, info, verify):
        with pytest.raises((StoreError, ValueError)) as caught:
            read(url, storage_options={**IMPATIENT, "tries": 2, **options})
        assert "S3CRET" not in "".join(traceback.format_exception(caught.value))
        pickle.dumps(caught.value)
    assert "S3CRET" not in "".join(record.getMessage() for record in caplog.records if "sweetgrad" in record.name)


def test_redacted_cause__is_the_error_itself_unless_that_or_its_own_cause_shows_something():
    plain, chained = ValueError("no answer"), ValueError("no answer")
    chained.__cause__ = OSError("https://ann:pw@host refused")
    assert redacted_cause(plain) is plain
    assert str(redacted_cause(chained)) == "ValueError: no answer"
    assert redacted_cause(chained).__cause__ is None


def test_unreachable__still_says_the_status_of_the_response():
    error = OSError("403 of https://ann:pw@host/x")
    error.status = 403
    assert redacted_cause(error).status == 403


def test_store__keeps_no_credentials_that_it_is_told(toy, tmp_path):
    store = tmp_path / "s.zarr"
    name = toy.store(store)
    Profile.open(store, name).record_run(
        {"data_source": "https://ann:S3CRET@host/images.npz", "more": ["ftp://a:S3CRET@b"]}
    )
    Profile.open(store, name).record_training("spos", {"from": "https://host/x?sig=S3CRET"})
    table = pd.DataFrame({"arch": toy.archs, "dataset": "d", "split": "test", "epochs": 1, "accuracy": range(10, 20)})
    table.attrs["settings"] = {"images": "https://host/x?sig=S3CRET"}
    import_accuracy(store, space="toy", table=table, source="https://ann:S3CRET@host/table.csv?sig=S3CRET")
    assert Profile.open(store, name).trained_estimators()["spos"] == {"from": "https://host/x?***"}
    assert info(store).accuracies[0].sources[0]["source"] == "https://***@host/table.csv?***"
    assert not [path for path in store.rglob("zarr.json") if "S3CRET" in path.read_text()]


@pytest.fixture
def tattling(toy, tmp_path):
    """A store as an older version wrote it, which kept what it was told, at an address with a signature."""
    store = tmp_path / "tattling.zarr?sig=S3CRET"
    name = toy.store(store)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    group.attrs["history"] = "merged from https://ann:S3CRET@host/a.zarr"
    group[name].attrs["runs"] = [{"started": "2025", "data_source": "https://host/x?sig=S3CRET"}]
    consolidate(group)
    return store


def test_publish__leaves_credentials_of_an_older_store_out(tattling, tmp_path):
    publish(f"file://{tattling}", tmp_path / "release", name="nb")
    files = [path for path in (tmp_path / "release").rglob("*") if path.is_file()]
    assert not [path for path in files if b"S3CRET" in path.read_bytes()]
    assert "https://***@host/a.zarr" in (tmp_path / "release" / "nb.zarr" / "zarr.json").read_text()
    assert verify(tmp_path / "release") == []


def test_publish__refuses_an_address_that_nobody_else_should_have(toy, tmp_path):
    toy.store(tmp_path / "s.zarr")
    with pytest.raises(ValueError, match="has credentials or a query"):
        publish(tmp_path / "s.zarr", tmp_path / "release", url="https://ann:pw@host/data")


def test_merge__writes_no_credentials_into_the_history(tattling, toy, tmp_path):
    toy.store(tmp_path / "b.zarr", [])
    report = merge([f"file://{tattling}", tmp_path / "b.zarr"], tmp_path / "merged.zarr")
    assert "S3CRET" not in str(report)
    assert not [path for path in (tmp_path / "merged.zarr").rglob("zarr.json") if "S3CRET" in path.read_text()]
    history = zarr.open_group(tmp_path / "merged.zarr", mode="r").attrs["history"]
    assert f"from file://{tmp_path}/tattling.zarr?***" in history


def test_redacted_facts__keeps_what_is_no_text():
    facts = {"a": [1, None, ("ftp://a:b@c", 2.5)], "b": True}
    assert redacted_facts(facts) == {"a": [1, None, ("ftp://***@c", 2.5)], "b": True}


def test_store_errors__of_every_kind_are_redacted():
    for kind in (NotAStoreError, UnreachableStoreError):
        assert str(kind("at s3://a:b@c")) == "at s3://***@c"
