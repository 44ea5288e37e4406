import pytest

from common.errors import MessageError, SettingsError
from common.keys import KeyHolder
from common.messages import Role
from common.nats.names import Bucket, NatsNames

NAMES = NatsNames("rookery")
ACTOR = KeyHolder(Role.ACTOR, "actor-0")


def test_a_run_has_its_subjects_under_its_namespace():
    assert NAMES.control(ACTOR) == "rookery.control.actor.actor-0"
    assert NAMES.to(ACTOR, "5e55") == "rookery.to.actor.actor-0.5e55"
    assert NAMES.ask("operator") == "rookery.ask.operator"
    assert NAMES.unit(17) == "rookery.units.17"
    assert NAMES.batch("white", 17) == "rookery.experience.white.17"
    assert NAMES.log(ACTOR) == "rookery.logs.actor.actor-0"
    assert NAMES.inbox(ACTOR) == "_INBOX.rookery.actor.actor-0"


def test_streams_and_buckets_have_it_in_capitals():
    assert (NAMES.units_stream, NAMES.experience_stream) == ("ROOKERY-units", "ROOKERY-experience")
    assert NAMES.logs_stream == "ROOKERY-logs"
    assert (NAMES.weights.stream, NAMES.games.stream) == ("OBJ_ROOKERY-weights", "OBJ_ROOKERY-games")
    assert NAMES.learner("white") == "learner-white"


def test_a_name_with_dots_is_one_token_and_comes_back():
    sender = KeyHolder(Role.ACTOR, "host.example-7@x")
    assert NAMES.control(sender) == "rookery.control.actor.host:example-7@x"
    assert NAMES.sender_of(NAMES.control(sender)) == sender
    assert NAMES.sender_of(NAMES.log(sender)) == sender
    assert NAMES.sender_of(NAMES.ask("a.b")) == KeyHolder(Role.OPERATOR, "a.b")


def test_the_sender_of_a_learner_goes_by_its_agent():
    assert KeyHolder(Role.LEARNER, "white").service == "learner-white"
    assert ACTOR.service == "actor-0"


def test_units_and_batches_are_read_from_their_subjects():
    assert NAMES.unit_of("rookery.units.0") == 0
    assert NAMES.batch_of("rookery.experience.white.31") == ("white", 31)


@pytest.mark.parametrize(
    "subject",
    ["", "rookery", "rookery.units", "rookery.units.x", "rookery.units.-1", "rookery.units.007", "other.units.1",
     "rookery.units.1.2", "rookery.units.99999999999999999", "rookery.units.¹"],
)  # fmt: skip
def test_what_is_no_units_subject_is_refused(subject):
    with pytest.raises(MessageError):
        NAMES.unit_of(subject)


@pytest.mark.parametrize("subject", ["rookery.experience.white", "rookery.experience.white.x", "rookery.units.1"])
def test_what_is_no_batchs_subject_is_refused(subject):
    with pytest.raises(MessageError):
        NAMES.batch_of(subject)


@pytest.mark.parametrize("subject", ["rookery.control.actor", "rookery.to.actor.a.s", "x.control.actor.a", ""])
def test_what_has_no_sender_is_refused(subject):
    with pytest.raises(MessageError):
        NAMES.sender_of(subject)


@pytest.mark.parametrize("namespace", ["", "Rookery", "a.b", "a b", "-a", "a*", ">", "x" * 33, "a\n"])
def test_a_namespace_that_is_none_is_refused(namespace):
    with pytest.raises(SettingsError, match="--namespace"):
        NatsNames(namespace)


def test_two_namespaces_share_nothing():
    other = NatsNames("rookery-2")
    for name in (
        "units_stream",
        "experience_stream",
        "logs_stream",
        "units",
        "experience",
        "logs",
        "controls",
        "asks",
    ):
        assert getattr(NAMES, name) != getattr(other, name)
    assert NAMES.weights != other.weights


def test_an_object_store_is_laid_out_as_nats_own_tools_expect_it():
    bucket = Bucket("ROOKERY-weights")
    assert bucket.subjects == ["$O.ROOKERY-weights.C.>", "$O.ROOKERY-weights.M.>"]
    assert bucket.about("white") == "$O.ROOKERY-weights.M.d2hpdGU="
    assert bucket.pieces("x") == "$O.ROOKERY-weights.C.x"
