"""`rookery doctor`: what this host can and can't do with these settings, one line a check."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
import msgspec

from common.colour import coloured
from common.errors import RookeryError
from common.options import settings_from, settings_options
from common.settings import Settings
from deploy.doctor_broker import check_broker
from deploy.doctor_engine import check_engine
from deploy.doctor_keys import check_keys
from deploy.doctor_machine import check_machine
from deploy.doctor_packages import check_packages
from deploy.doctor_torch import check_torch
from deploy.finding import Finding, Verdict, fail

Check = Callable[[Settings], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    check_packages, check_engine, check_machine, check_keys, check_broker, check_torch,
)  # fmt: skip

_COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
_NAME_WIDTH = 14


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print the findings, with what was measured, as JSON.")
def doctor(as_json: bool, **flags: Any) -> None:
    """Check this host for these settings: packages, engine, CPUs, memory, disk, keys, ports or NATS, broker, GPUs.

    Takes a few seconds. Exits 0 if nothing failed (warnings aside), else 1.

    Example:  rookery doctor --run runs/first --actors 4
    """
    found = findings(settings_from(flags))
    told = []
    for finding in found:
        told.append(finding)
        if not as_json:
            click.echo(_line(finding), color=coloured(sys.stdout))
    verdicts = [finding.verdict for finding in told]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"ok": Verdict.FAIL not in verdicts, "checks": told})))
    else:
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)
        click.echo(counts)
    sys.exit(1 if Verdict.FAIL in verdicts else 0)


def findings(settings: Settings, checks: Iterable[Check] = CHECKS) -> Iterator[Finding]:
    """Yield the findings of all checks, as they come; a check that breaks down is a failure and ends none other."""
    for check in checks:
        name = getattr(check, "__name__", "check").removeprefix("check_")
        try:
            yield from check(settings)
        except RookeryError as error:
            yield fail(name, str(error), "", {})
        except Exception as error:  # the doctor must get through on the oddest of hosts
            yield fail(name, f"the check broke down: {type(error).__name__}: {error}", "please report it", {})


def _line(finding: Finding) -> str:
    verdict = click.style(f"{finding.verdict.value:<4}", fg=_COLOURS[finding.verdict], bold=True)
    advice = f"\n{'':<{_NAME_WIDTH + 6}}-> {finding.advice}" if finding.advice else ""
    return f"{verdict}  {finding.check:<{_NAME_WIDTH}}{finding.summary}{advice}"
