"""Releases: what a store becomes when it is given to others."""

from sweetgrad.store.release._release import Release, ReleaseFile
from sweetgrad.store.release.publish import publish

__all__ = ["Release", "ReleaseFile", "publish"]
