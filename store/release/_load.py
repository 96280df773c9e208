"""The snippet that loads a release."""

from sweetgrad.store.release._release import Release


def load_snippet(release: Release) -> str:
    """Text of ``load.py``: five lines that open the release where they lie, or at the location given."""
    name = release.profiles[0].status.name
    return f"""# Opens this release: `python load.py`, or `python load.py URL`. It needs sweetgrad, and nothing of its extras.
import sys
from pathlib import Path
from sweetgrad.store import open_profile
location = sys.argv[1] if sys.argv[1:] else Path(__file__).with_name({release.store!r})
print(open_profile(location, {name!r}, chunks=None))  # an xarray.Dataset
"""
