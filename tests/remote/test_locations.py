"""What a user types for a store, and what is said where it cannot be one."""

import subprocess
import sys

import pytest

from sweetgrad.flows.cli.arguments import locate
from sweetgrad.store import NotAStoreError, RemoteStore, list_profiles, open_profile, verify
from sweetgrad.store.access import absolute, with_options
from sweetgrad.store.errors import how_to_install


@pytest.mark.parametrize(
    ("package", "url"), [("aiohttp", "https://127.0.0.1:9/a.zarr"), ("s3fs", "s3://bucket/a.zarr")]
)
def test_open__without_its_package_says_what_to_install(package, url):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import sweetgrad.analysis, sweetgrad.store\n"
        "try:\n"
        f"    sweetgrad.store.list_profiles({url!r})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert how_to_install("cloud") in found.stdout
    assert url in found.stdout


def test_import__of_store_and_analysis_needs_no_package_for_urls():
    code = "import sys, sweetgrad.store, sweetgrad.analysis; print(sorted({'aiohttp', 's3fs', 'botocore'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_list_profiles__at_an_unknown_kind_of_url_names_those_that_are_known():
    with pytest.raises(ValueError, match=r"gopher://a/b.zarr: expected a local path, or a URL such as s3://.*gopher"):
        list_profiles("gopher://a/b.zarr")


def test_with_options__adds_to_those_that_are_there():
    store = with_options(RemoteStore("s3://bucket/a", {"anon": True, "tries": 2}), {"tries": 3})
    assert store == RemoteStore("s3://bucket/a", {"anon": True, "tries": 3})
    assert with_options("s3://bucket/a", {}) == "s3://bucket/a"


def test_absolute__leaves_urls_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("a.zarr") == str(tmp_path / "a.zarr")
    remote = RemoteStore("s3://bucket/a", {"anon": True})
    assert absolute(remote) is remote


def test_locate__reads_values_as_json_but_for_secrets():
    found = locate("s3://bucket/a", ["anon=false", "tries=3", "key=123", "endpoint_url=http://127.0.0.1:9000"])
    assert found.storage_options == {"anon": False, "tries": 3, "key": "123", "endpoint_url": "http://127.0.0.1:9000"}
    assert locate("a.zarr", None) == "a.zarr"
    with pytest.raises(ValueError, match="a storage option is KEY=VALUE"):
        locate("s3://bucket/a", ["anon"])


def test_open_profile__of_a_zip_here_takes_its_url(tmp_path, monkeypatch, toy):
    name = toy.make_store(tmp_path / "toy.zarr")
    archive = tmp_path / "toy.zarr.zip"
    toy.pack(tmp_path / "toy.zarr", archive)
    monkeypatch.chdir(tmp_path)
    for place in (f"zip://{archive}", "zip://toy.zarr.zip", RemoteStore(f"zip://{archive}"), f"zip::file://{archive}"):
        assert open_profile(place, name).load().identical(open_profile(archive, name).load())
        assert verify(place) == []
    with pytest.raises(NotAStoreError, match=r"other\.zip: expected a zip file, found none there"):
        open_profile("zip://other.zip", name)
