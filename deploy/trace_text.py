"""What `rookery trace` says of a unit, a game or a transition, for a person."""

from collections.abc import Iterator

from common.quantities import counted
from common.scores import CENTIPAWNS_MAX, MATE
from deploy.trace_facts import Facts, GameFacts, GameOfAgent, ProbeFacts, StoredFacts, TransitionFacts, UnitFacts

_INDENT = "  "
_UNKNOWN = "not known"


def text_of(facts: Facts) -> str:
    """Return the facts as lines of text."""
    match facts:
        case UnitFacts():
            lines = _unit(facts)
        case GameFacts():
            lines = _game(facts)
        case TransitionFacts():
            lines = _transition(facts)
    return "\n".join(line.translate(_CONTROLS) for line in lines)


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
"""Headers are anybody's text: nothing in them may move a cursor."""


def _transition(facts: TransitionFacts) -> Iterator[str]:
    yield f"{facts.agent}, game {facts.game}, ply {facts.ply}: {facts.side} plays {facts.move} ({facts.uci})"
    yield f"{_INDENT}position   {facts.fen}"
    yield f"{_INDENT}score      {_score(facts.score)} for {facts.side}, w(s) = {facts.expected_score:.4f}"
    yield f"{_INDENT}reward     {facts.reward:+.4f}"
    yield f"{_INDENT}next       {_next(facts)}"
    if facts.outcome is not None:
        yield f"{_INDENT}outcome    {facts.outcome:g} for {facts.side}"
    yield f"{_INDENT}training   " + (
        "kept out of training: the game serves to measure it" if facts.kept_out else "the game is trained on"
    )
    if facts.probe is not None:
        yield f"{_INDENT}probe      {_probe(facts.probe)}"
    stored = next((one for one in facts.of_game.unit.agents if one.agent == facts.agent), None)
    yield from _game_head(facts.of_game)
    if stored is not None:
        yield from _stored(stored)


def _next(facts: TransitionFacts) -> str:
    if facts.next_ply is not None:
        return f"ply {facts.next_ply}, w(s') = {facts.next_expected_score:.4f}"
    return "the end of the game, with a result" if facts.terminated else "the end of the game, without a result"


def _probe(probe: ProbeFacts) -> str:
    reply = f", {probe.reply} expected" if probe.reply is not None else ", which ends the game"
    return (
        f"{probe.move}{reply}; chosen by weights version {probe.version}; "
        f"w = {probe.expected_score:.4f} then, reward {probe.reward:+.4f}"
    )


def _game(facts: GameFacts) -> Iterator[str]:
    yield f"game {facts.game}, of unit {facts.unit.unit}"
    yield from _game_head(facts)
    for agent in facts.agents:
        yield f"{_INDENT}{agent.agent:<10} {_fate(agent)}"
    for stored in facts.unit.agents:
        yield from _stored(stored)
    yield from _missing(facts.unit)


def _game_head(facts: GameFacts) -> Iterator[str]:
    if facts.source is None:
        yield f"{_INDENT}source     {_UNKNOWN}: {facts.note}"
        return
    yield f"{_INDENT}source     {facts.source.file}, line {facts.source.line}"
    for name, value in facts.source.headers.items():
        yield f'{_INDENT}           [{name} "{value}"]'


def _fate(agent: GameOfAgent) -> str:
    if agent.fate in ("rejected", "unselected"):
        return f"{agent.fate}: {agent.why}"
    span = f", plies {agent.plies[0]} to {agent.plies[-1]}" if agent.plies else ""
    return f"{agent.fate}: {counted(len(agent.plies), 'transition')}{span}"


def _unit(facts: UnitFacts) -> Iterator[str]:
    yield f"unit {facts.unit}: games {facts.first_game} to {facts.last_game}"
    for stored in facts.agents:
        yield from _stored(stored)
    yield from _missing(facts)


def _missing(facts: UnitFacts) -> Iterator[str]:
    for name in facts.missing:
        yield f"{_INDENT}{name} does not have unit {facts.unit} yet"


def _stored(stored: StoredFacts) -> Iterator[str]:
    rejected = sum(stored.rejected.values())
    yield (
        f"{_INDENT}{stored.agent} stored its unit at {stored.stored}: "
        f"{counted(stored.transitions, 'transition')} and {counted(stored.probes, 'probe')} "
        f"of {counted(stored.games_used, 'game')}, {stored.games_unselected} unselected, {rejected} rejected"
    )
    yield f"{_INDENT}{_INDENT}made by    {stored.actor or _UNKNOWN} on {stored.host or 'a host that is not known'}"
    yield f"{_INDENT}{_INDENT}engine     {stored.engine or _UNKNOWN}"
    if stored.trained is None:
        yield f"{_INDENT}{_INDENT}trained    not yet"
        return
    trained = stored.trained
    when = f", at {trained.time}" if trained.time else ""
    units = f"units {trained.first_unit} to {trained.last_unit}"
    yield f"{_INDENT}{_INDENT}trained    with {units}, by step {trained.step}{when}"


def _score(score: int) -> str:
    if abs(score) > CENTIPAWNS_MAX:
        moves = MATE - abs(score)
        return f"mate in {moves}" if score > 0 else f"mated in {moves}"
    return f"{score / 100:+.2f}"
