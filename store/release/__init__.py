"""Releases: what a store becomes when it is given to others."""

from sweetgrad.store.release._publish import publish
from sweetgrad.store.release._release import Release, ReleaseFile

__all__ = ["Release", "ReleaseFile", "publish"]
