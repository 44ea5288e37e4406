from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from actor.annotator import UNITS_MAX, AnnotatedUnit, Annotator
from actor.labels import LabelFault, Labelled, Origin
from common.messages import RawGame
from tests.actor.oracle import raw_games


class ScriptedLabels:
    """Labels that give games back in the order of `release`, by ticket."""

    def __init__(self) -> None:
        self.games: list[Any] = []
        self.ready: list[Labelled] = []
        self.hungry = True

    def submit(self, games: Sequence[Any]) -> list[int]:
        tickets = list(range(len(self.games), len(self.games) + len(games)))
        self.games += games
        return tickets

    def poll(self, timeout_s: float) -> list[Labelled]:
        ready, self.ready = self.ready, []
        return ready

    def release(self, *tickets: int) -> None:
        for ticket in tickets:
            scores = np.full(len(self.games[ticket]) + 1, ticket, np.int16)
            self.ready.append(Labelled(ticket=ticket, scores=scores, origin=Origin.ENGINE))


def units(*sizes: int, bad: Sequence[int] = ()) -> Iterator[Sequence[RawGame]]:
    texts = [b"1. e5 *\n" if number in bad else b"1. e4 e5 *\n" for number in range(sum(sizes))]
    games = raw_games(texts)
    for size in sizes:
        yield games[:size]
        del games[:size]


def numbers(found: Sequence[AnnotatedUnit]) -> list[list[int]]:
    return [unit.rows["game"].unique().tolist() for unit in found]


def test_units_come_out_whole_and_in_order_whatever_order_the_scores_come_in() -> None:
    labels = ScriptedLabels()
    annotator = Annotator(units(2, 1, 2), labels, comments=False)  # type: ignore[arg-type]
    assert list(annotator.poll(0)) == []
    labels.release(2, 4, 1)
    assert list(annotator.poll(0)) == []
    labels.release(0)
    first = list(annotator.poll(0))
    assert numbers(first) == [[0, 1], [2]]
    assert first[0].rows["score_cp"].tolist() == [0, 0, 0, 1, 1, 1]
    assert not annotator.done
    labels.release(3)
    assert numbers(list(annotator.poll(0))) == [[3, 4]]
    assert annotator.done


def test_games_that_cannot_be_read_or_scored_are_rejected_in_their_order() -> None:
    labels = ScriptedLabels()
    annotator = Annotator(units(3, 1, bad=[1, 3]), labels, comments=False)  # type: ignore[arg-type]
    list(annotator.poll(0))
    labels.release(1)
    labels.ready.append(Labelled(ticket=0, scores=None, fault=LabelFault.ENGINE_DIED, detail="d" * 600))
    first, second = annotator.poll(0)
    assert numbers([first, second]) == [[2], []]
    assert [(each.number, each.line, each.reason) for each in first.rejections] == [
        (0, 1, "engine-died"), (1, 2, "illegal-move"),
    ]  # fmt: skip
    assert len(first.rejections[0].detail) == 500
    assert (first.games, second.games) == (3, 1)
    assert [each.number for each in second.rejections] == [3]


def test_it_takes_units_only_as_the_engine_needs_them_and_never_many() -> None:
    labels = ScriptedLabels()
    annotator = Annotator(units(*[1] * 200), labels, comments=False)  # type: ignore[arg-type]
    labels.hungry = False
    list(annotator.poll(0))
    assert labels.games == []
    labels.hungry = True
    list(annotator.poll(0))
    assert len(labels.games) == UNITS_MAX
    labels.release(*range(1, UNITS_MAX))
    list(annotator.poll(0))
    assert len(labels.games) == UNITS_MAX
    labels.release(0)
    assert len(list(annotator.poll(0))) == UNITS_MAX
    list(annotator.poll(0))
    assert len(labels.games) == 2 * UNITS_MAX
