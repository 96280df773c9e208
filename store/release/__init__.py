"""Releases: stores packaged for publication."""

from sweetgrad.store.release._publish import publish
from sweetgrad.store.release._release import Release, ReleaseFile

__all__ = ["Release", "ReleaseFile", "publish"]
