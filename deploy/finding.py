"""A finding: what one of the doctor's checks came to."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It works, but worse than it could, or not for everything."""
    FAIL = "fail"
    """Something that these settings need doesn't work."""


Facts = dict[str, str | int | float | bool | None]
"""What was measured, by name; units are in the names."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's report."""

    check: str
    verdict: Verdict
    summary: str
    """What was found, in one line."""
    advice: str = ""
    """What to do, in one line; mostly empty where all is well."""
    facts: Facts = {}
    """For programs."""


def ok(check: str, summary: str, facts: Facts, advice: str = "") -> Finding:
    """Return the finding that all is well."""
    return Finding(check=check, verdict=Verdict.OK, summary=summary, advice=advice, facts=facts)


def warn(check: str, summary: str, advice: str, facts: Facts) -> Finding:
    """Return the finding that something could be better."""
    return Finding(check=check, verdict=Verdict.WARN, summary=summary, advice=advice, facts=facts)


def fail(check: str, summary: str, advice: str, facts: Facts) -> Finding:
    """Return the finding that something doesn't work."""
    return Finding(check=check, verdict=Verdict.FAIL, summary=summary, advice=advice, facts=facts)
