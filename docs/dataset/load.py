# Opens this release: `python load.py`, or `python load.py URL`. `pip install sweetgrad` is all it needs.
import sys
from pathlib import Path
from sweetgrad.store import open_profile
location = sys.argv[1] if sys.argv[1:] else Path(__file__).with_name('nas-bench-201-cifar10.zarr.zip')
print(open_profile(location, 'nas-bench-201/cifar10/bs64-seed42', chunks=None))  # an xarray.Dataset
