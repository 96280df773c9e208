"""Whether a store, or a release of one, is what it says: metadata and rows against the schema, files against their sums."""

from sweetgrad.store.checks.problem import Problem
from sweetgrad.store.checks.verify import require_sound, verify

__all__ = ["Problem", "require_sound", "verify"]
