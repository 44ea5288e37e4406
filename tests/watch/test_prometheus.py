"""The metrics, and the Grafana dashboard that is made of them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.bottlenecks import BottleneckKind
from common.errors import BrokerUnreachable
from common.messages import Status
from tests.watch import statuses
from tests.watch.log_files import line
from watch.broadcast import Broadcast
from watch.curves import EVENT
from watch.observer import Observer
from watch.prometheus import CURVES, Metrics

GRAFANA = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "rookery.json"
FUNCTIONS = {
    "sum", "avg", "min", "max", "rate", "increase", "avg_over_time", "topk", "bottomk", "by", "label_values",
}  # fmt: skip


class Told:
    """A broker that says what a test gives it."""

    def __init__(self, status: Status | None) -> None:
        self.said = status

    def status(self, timeout_s: float) -> Status:
        if self.said is None:
            raise BrokerUnreachable("nobody there")
        return self.said

    def command(self, action: str, names: object, timeout_s: float) -> tuple[list[str], list[str]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def observed(directory: Path, status: Status | None) -> Observer:
    """An observer that has asked once and taken one interval of each agent; its thread doesn't run."""
    observer = Observer(directory, lambda: Told(status))
    observer._ask(Told(status))
    for agent in ("white", "black"):
        figures = dict.fromkeys(CURVES, 0.5)
        said = line(1, event=EVENT, fields={"agent": agent, "step": 1, "first_unit": 0, "last_unit": 0, **figures})
        observer._take_interval(said)
        observer.records.take(said)
    return observer


def full_status() -> Status:
    return statuses.status([statuses.actor(0), statuses.actor(1, state="away")], dropped={"too long": 3})


def text_of(observer: Observer) -> str:
    return Metrics(observer, Broadcast()).text()[0].decode()


def samples(observer: Observer) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text_of(observer))
        for sample in family.samples
    }


def test_the_run_is_told_in_base_units(tmp_path: Path) -> None:
    found = samples(observed(tmp_path, full_status()))
    assert found["rookery_broker_up",] == 1
    assert found["rookery_actor_engine_positions_total", "actor-1", "host1"] == 900
    assert found["rookery_actor_up", "actor-0", "host0"] == 1
    assert found["rookery_actor_up", "actor-1", "host1"] == 0
    assert found["rookery_actor_engine_busy_ratio", "actor-0", "host0"] == 0.97
    assert found["rookery_actor_weights_age_seconds", "actor-0", "white", "host0"] == 12.0
    assert found["rookery_actor_weights_lag_versions", "actor-0", "white", "host0"] == 2
    assert found["rookery_agent_transitions_stored_total", "white"] == 800
    assert found["rookery_agent_accounting_open_transitions", "white"] == 0
    assert found["rookery_agent_games_rejected_total", "black", "illegal-move"] == 20
    assert found["rookery_broker_dropped_messages_total", "too long"] == 3
    assert found["rookery_bottleneck", "stockfish-bound"] == 1
    assert found["rookery_bottleneck", "learner-bound"] == 0
    assert found["rookery_services", "actor", "away"] == 1
    assert found["rookery_log_severity_records_total", "INFO"] == 2
    assert found["rookery_agent_validation_loss", "white"] == 0.5
    assert found["rookery_source_games",] == 1600


def test_what_does_not_add_up_is_told_in_numbers(tmp_path: Path) -> None:
    agents = [statuses.agent("white", closed=False, stored=790)]
    found = samples(observed(tmp_path, statuses.status(agents=agents)))
    assert found["rookery_agent_accounting_closed", "white"] == 0
    assert found["rookery_agent_accounting_open_transitions", "white"] == 10
    assert found["rookery_agent_accounting_open_games", "white"] == 0


def test_a_broker_that_is_away_is_told_and_what_it_alone_knows_is_left_out(tmp_path: Path) -> None:
    found = samples(observed(tmp_path, None))
    assert found["rookery_broker_up",] == 0
    assert not any(name.startswith(("rookery_actor_", "rookery_agent_")) for name, *_ in found)
    assert found["rookery_log_severity_records_total", "INFO"] == 2


def test_totals_that_are_not_known_yet_are_left_out(tmp_path: Path) -> None:
    found = samples(observed(tmp_path, statuses.status(units_total=None, games_total=None)))
    assert ("rookery_source_units",) not in found
    assert ("rookery_sources_read_ratio",) in found


def test_a_bottleneck_that_the_broker_only_has_words_for_is_no_kind(tmp_path: Path) -> None:
    kinds = [
        value
        for (name, *_), value in samples(observed(tmp_path, statuses.status(bottleneck_kind=None))).items()
        if name == "rookery_bottleneck"
    ]
    assert kinds == [0] * len(BottleneckKind)


def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (package prometheus)")
    text = text_of(observed(tmp_path, full_status()))
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def grafana() -> Any:
    return json.loads(GRAFANA.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    board = grafana()
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return found + [variable["definition"] for variable in board["templating"]["list"] if "definition" in variable]


def test_grafana_asks_only_for_metrics_that_there_are(tmp_path: Path) -> None:
    families = list(text_string_to_metric_families(text_of(observed(tmp_path, full_status()))))
    known = {sample.name for family in families for sample in family.samples} | {
        family.name + ("_total" if family.type == "counter" else "") for family in families
    }
    labels = {label for family in families for sample in family.samples for label in sample.labels} | {"instance"}
    assert len(expressions()) > 40
    for expression in expressions():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)  # without texts and ranges
        words = set(re.findall(r"[a-z_][a-z0-9_]*", bare))
        assert words - FUNCTIONS - labels <= known, expression
        assert any(word in known for word in words), expression


def test_grafanas_expressions_are_balanced_and_rates_are_of_counters() -> None:
    for expression in expressions():
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
        for name in re.findall(r"(?:rate|increase)\((\w+)", expression):
            assert name.endswith("_total"), expression
        for name in re.findall(r"(\w+_total)\{[^}]*\}\[", expression):
            assert re.search(rf"(rate|increase)\({name}", expression), expression


def test_grafanas_panels_stand_beside_each_other_on_the_data_source_that_is_chosen() -> None:
    board = grafana()
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
