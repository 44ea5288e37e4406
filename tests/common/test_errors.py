import inspect

from common import errors
from common.errors import EXIT_CODES, INTERNAL, INTERRUPTED, OperatorError, PeerError, RookeryError, TrainingError


def classes() -> list[type[RookeryError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RookeryError)]


def test_each_error_has_an_exit_code_that_is_documented():
    assert {kind.exit_code for kind in classes()} == set(EXIT_CODES) - {0, INTERNAL, INTERRUPTED}


def test_the_exit_code_says_who_has_to_act():
    for kind in classes():
        who = next(
            (root for root in (OperatorError, PeerError, TrainingError) if issubclass(kind, root)), RookeryError
        )
        assert kind.exit_code == {OperatorError: 2, PeerError: 1, TrainingError: 3, RookeryError: 1}[who]


def test_the_tree_at_the_top_has_every_error():
    assert errors.__doc__ is not None
    assert not [kind.__name__ for kind in classes() if kind.__name__ not in errors.__doc__]


def test_each_documented_code_fits_a_line_of_help():
    assert all(len(text) <= 72 for text in EXIT_CODES.values())
