"""A program that ends with the error of one chunk does not end with lines about all the others."""

import subprocess
import sys

import numpy as np
import zarr

READ = """
import sys, zarr
import sweetgrad.store.access
zarr.open_array(sys.argv[1])[:]
"""


def test_program__that_fails_at_one_chunk_says_nothing_of_those_that_were_not_read(tmp_path):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=(600,), chunks=(2,), dtype="f4", compressors=[zarr.codecs.Crc32cCodec()])
    array[:] = np.arange(600)
    chunk = path / "c" / "7"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    ended = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Stored and computed checksum do not match" in ended.stderr.splitlines()[-1]
    for words in ("Task was destroyed", "never retrieved", "cannot schedule new futures"):
        assert words not in ended.stderr
