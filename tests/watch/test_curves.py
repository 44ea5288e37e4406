from itertools import pairwise

from tests.watch.log_files import line
from watch.curves import EVENT, MAX_POINTS, Curve, Curves, Point
from watch.spans import SpanRing


def point(first: int, last: int, step: int) -> Point:
    return {"first_unit": first, "last_unit": last, "step": step}


def steps(curve: Curve) -> list[object]:
    return [found["step"] for found in curve.points()]


def test_a_long_curve_is_thinned_evenly_and_always_ends_with_the_newest_point() -> None:
    curve = Curve(max_points=100)
    for number in range(10_000):
        curve.take(point(number, number, number))
        assert len(curve.points()) <= 101
        assert curve.points()[-1]["step"] == number
    found = steps(curve)
    gaps = {after - before for before, after in pairwise(found[:-1])}
    assert found[0] == 0
    assert len(gaps) == 1


def test_intervals_that_are_trained_on_again_take_the_place_of_the_old_ones() -> None:
    curve = Curve()
    for number in range(6):
        curve.take(point(4 * number, 4 * number + 3, 100 * number))
    curve.take(point(12, 13, 280))
    curve.take(point(14, 17, 350))
    assert steps(curve) == [0, 100, 200, 280, 350]


def test_a_validation_after_the_last_unit_stands_beside_it() -> None:
    curve = Curve()
    curve.take(point(0, 3, 100))
    curve.take(point(3, 3, 125))
    assert steps(curve) == [100, 125]


def test_lines_of_learners_become_points_once_each() -> None:
    curves = Curves()
    said = [
        line(
            at, event=EVENT, fields={"agent": "white", **point(at, at, at), "validation_loss": None if at else 0.5}
        )
        for at in range(3)
    ]
    assert [curves.take(each) is not None for each in (*said, *said)] == [True] * 3 + [False] * 3
    assert curves.take(line(9, event="something else", fields={"agent": "white"})) is None
    assert [found["step"] for found in curves.points()["white"]] == [0, 1, 2]
    assert curves.points()["white"][1]["time"] == "2023-11-14T22:13:21.000000Z"
    assert curves.newest("step") == {"white": 2.0}
    assert curves.newest("validation_loss") == {"white": 0.5}


def test_points_are_told_apart_by_number_and_not_by_a_clock_that_is_set_back() -> None:
    curves = Curves()
    said = [
        line(
            number, at_s=at_s, source=f"learner-white.{start}", event=EVENT, fields={"agent": "white", **point(*p)}
        )
        for number, at_s, start, p in [(3, 9.0, "a", (0, 0, 1)), (4, 2.0, "a", (1, 1, 2)), (0, 1.0, "b", (2, 2, 3))]
    ]
    assert [curves.take(each) is not None for each in (*said, *said)] == [True] * 3 + [False] * 3
    assert [found["step"] for found in curves.points()["white"]] == [1, 2, 3]


def test_points_with_a_validation_outlive_thinning() -> None:
    curves = Curves()
    for at in range(2 * MAX_POINTS):
        loss = 0.5 if at == 1001 else None
        curves.take(line(at, event=EVENT, fields={"agent": "white", **point(at, at, at), "validation_loss": loss}))
    assert len(curves.points()["white"]) <= MAX_POINTS + 2
    assert curves.newest("validation_loss") == {"white": 0.5}
    assert 1001 in [found["step"] for found in curves.points()["white"]]


def test_spans_of_the_last_minutes_are_kept_and_no_more_than_so_many() -> None:
    spans = SpanRing(max_spans=50, kept_s=100.0)
    for at in range(200):
        fields = {"name": "engine", "begin_ns": at * 10**9, "seconds": 0.5, "unit": at}
        assert spans.take(line(at, event="span", logger="trace", fields=fields)) is not None
    assert spans.take(line(200, event="span", fields={"name": "engine"})) is None
    assert len(spans) == 50
    assert len(spans.since(195.0)) == 5
    far = {"name": "engine", "begin_ns": 10**12, "seconds": 0.5}
    spans.take(line(201, event="span", fields=far))
    assert len(spans) == 1
