"""``sweetgrad profile s3://…`` as a person types it: server, cluster and two workers, over a network that fails now and then."""

import os
import subprocess
import sys

import pytest

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_shard
from sweetgrad.store import Profile, create_profile, info, verify

ROWS = range(619, 631)  # the end of one shard and the start of the next


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """The same architectures on disk, without a flow."""
    store = tmp_path_factory.mktemp("disk") / "s.zarr"
    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=4)
    spec = make_spec(space, batch)
    arch = [space.arch_id(i) for i in range(len(space))]
    name = create_profile(store, spec, arch=arch, layers=space.layer_names).name
    for shard in Profile.open(store, name).plan(ROWS):
        profile_shard(Profile.open(store, name), shard, space, batch, spec)
    Profile.open(store, name).finalise()
    return store


def test_program__profiles_into_a_bucket_what_it_profiles_to_disk(prefect_api, s3, bucket, servers, on_disk):
    store = f"{bucket}/s.zarr"
    program = [sys.executable, "-m", "sweetgrad.flows.cli"]
    with servers.fault_proxy(s3, servers.seeded_plan(seed=7, share=0.02), slow_s=3) as proxy:
        options = [f"endpoint_url={proxy.url}", "tries=8", "pause=0.02", "read_timeout=2"]
        settings = ["--batch-size", "4", "--archs", f"{ROWS.start}:{ROWS.stop}", "--workers", "2", "--device", "cpu"]
        command = [
            *program,
            "profile",
            store,
            *settings,
            *(word for each in options for word in ("--storage-option", each)),
        ]
        # The environment alone would lead to no server at all: the options must reach the workers.
        environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
        found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert found.returncode == 0, found.stderr
        assert sum(proxy.injected[fault] for fault in servers.FAULTS) > 3
    assert "12 architectures profiled" in found.stderr
    assert "Unclosed" not in found.stderr
    assert info(store).profiles[0].content_digest == info(on_disk).profiles[0].content_digest
    assert verify(store) == []
    assert Profile.open(store, info(store).profiles[0].status.name).plan(ROWS) == []
    asked = subprocess.run([*program, "intervals", store, "--split", "7"], capture_output=True, text=True, check=False)
    assert "Best interval" in asked.stdout, asked.stderr
    assert not asked.stderr
