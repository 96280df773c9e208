import bz2
import gzip
import lzma

import pytest

from sweetgrad.profiling.spaces._space_table import read_space_table

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_read_space_table__names_a_compressed_file_that_is_cut_off(tmp_path, suffix):
    path = tmp_path / f"table.csv{suffix}"
    packed = PACK[suffix](b"index,arch\n0,a\n" * 100)
    path.write_bytes(packed)
    assert read_space_table(path, ["arch"], expected="a csv").columns.tolist() == ["index", "arch"]
    path.write_bytes(packed[:-20])
    with pytest.raises(
        ValueError, match=rf"table\.csv{suffix} cannot be read as a csv .*; expected a csv\. .*download it again"
    ):
        read_space_table(path, ["arch"], expected="a csv")


@pytest.mark.parametrize("suffix", PACK)
def test_read_space_table__names_a_file_that_is_not_compressed_as_its_name_says(tmp_path, suffix):
    path = tmp_path / f"table.csv{suffix}"
    path.write_bytes(b"index,arch\n0,a\n")
    with pytest.raises(ValueError, match="cannot be read as a csv"):
        read_space_table(path, ["arch"], expected="a csv")
