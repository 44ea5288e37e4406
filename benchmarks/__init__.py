"""Rookery's speed, against references in the same minute: `python -m benchmarks`; see docs/benchmarks.md."""
