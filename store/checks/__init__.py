"""Verify a store or a release: metadata and rows against the schema, files against their checksums."""

from sweetgrad.store.checks.problem import Problem
from sweetgrad.store.checks.verify import require_sound, verify

__all__ = ["Problem", "require_sound", "verify"]
