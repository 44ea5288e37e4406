"""Search: a tree of positions, grown where the policy points and values hold (PUCT), one network call at a time.

    search = Search(player, board)
    search.spend(200)
    search.result().best

    results = search_many(player, boards, nodes=200)     # a tree for each board, in lockstep

A node is a position that the network judged or the rules ended; one proven drawn and met again counts again.
The root is the first node: with one node the best move is the network's own. PUCT is that of AlphaZero
(arXiv 1712.01815), the prior π, the value V of the side to move at the leaf. The same calls give the same results.

Called wherever somebody plays. Owned by one thread. Knows no clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import chess
import numpy as np

from agent.boards import with_history
from agent.player import Judgement, Player
from agent.tree import (
    DRAW,
    Ending,
    Leaf,
    Node,
    SearchSettings,
    back_up,
    ending_of,
    size_bytes,
    successor,
)

BATCH = 16
"""Leaves that a search of one board gathers for a network call."""

LEAVES_SHARE = 8
"""A network call takes at most this part of the nodes found so far, so that small searches stay sharp."""

PARALLEL = 256
"""Trees that `search_many` grows at a time."""

MEMORY_BYTES = 256 << 20
"""Memory that a tree may take, about."""

SETTINGS = SearchSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What a search found of one move at the root."""

    move: chess.Move
    visits: int
    """Nodes spent on it."""
    value: float
    """Expected score of the side that makes it: the mean over its visits; the network's V + Q if there are none."""
    prior: float
    """Share of the policy π."""
    action_value: float
    """The network's own Q: expected score gained or, below 0, lost by it."""
    pv: tuple[chess.Move, ...]
    """The move and what is expected to follow; the move alone in lines that nobody asked to be followed."""
    ending: Ending | None
    """What it is proven to come to for the side that makes it; plies count from the root."""

    @property
    def mate(self) -> int | None:
        """Moves until the side that makes it mates, or, below 0, is mated; None where neither is proven."""
        if self.ending is None or self.ending.score == DRAW:
            return None
        return (self.ending.plies + 1) // 2 if self.ending.score > DRAW else -(self.ending.plies // 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What a search found: its moves, best first."""

    lines: tuple[Line, ...]
    value: float
    """Expected score of the side to move, by the best move."""
    nodes: int
    depth: int
    """Moves of the principal variation."""
    selective_depth: int
    """Moves of the longest line looked at."""

    @property
    def best(self) -> chess.Move:
        """The best move."""
        return self.lines[0].move


class Search:
    """A tree over one board, to be grown step by step and kept for the next position of the game.

    `moves` restricts the moves at the root. A move already in the board's history counts for repetitions.
    Raises ValueError when there is no move to search.
    """

    def __init__(
        self,
        player: Player,
        board: chess.Board,
        *,
        moves: Sequence[chess.Move] | None = None,
        settings: SearchSettings = SETTINGS,
        batch: int = BATCH,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._player, self._settings, self._memory_bytes = player, settings, memory_bytes
        self._moves = None if moves is None else [move for move in board.legal_moves if move in moves]
        if not (any(board.generate_legal_moves()) if self._moves is None else self._moves):
            raise ValueError(f"no move to search in {board.fen()}")
        self._board, self._batch = with_history(board), batch
        self._root: Node | None = None
        self._bytes = 0
        self.nodes = 0
        self.selective_depth = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing more to find: the root is proven, or the memory is full."""
        return self._root is not None and (self._root.ending is not None or self.full_permille >= 1000)

    @property
    def full_permille(self) -> int:
        """Thousandths of the memory that the tree takes."""
        return min(1000, self._bytes * 1000 // self._memory_bytes)

    @property
    def judged(self) -> bool:
        """Whether the root was judged, so that there is a result."""
        return self._root is not None

    def restart(self) -> None:
        """Count nodes and depth anew; the tree stays."""
        self.nodes = self.selective_depth = 0

    def spend(self, nodes: int) -> None:
        """Search until `nodes` are spent since the start, or there is nothing more to find."""
        while self.nodes < nodes and not self.done:
            self.step(nodes - self.nodes)

    def step(self, most: int) -> int:
        """Spend at most `most` ≥ 1 nodes with one network call; return how many."""
        before = self.nodes
        leaves = self.gather(most)
        if leaves:
            self.absorb(leaves, self._player.judge([leaf.board for leaf in leaves]))
        return self.nodes - before

    def gather(self, most: int) -> list[Leaf]:
        """Spend at most `most` nodes; return those that a network has to judge, for `absorb`."""
        if self._root is None:
            self.nodes += 1
            return [Leaf(self._board)]
        leaves: list[Leaf] = []
        width = max(1, min(self._batch, self.nodes // LEAVES_SHARE))
        end = self.nodes + most
        while self.nodes < end and len(leaves) < width and not self.done:
            path: list[tuple[Node, int]] = []
            found = self._descend(self._root, path)
            if found is None:
                break
            self.nodes += 1
            if isinstance(found, Ending):
                self._end(path, found)
            else:
                leaves.append(Leaf(found, path))
        return leaves

    def absorb(self, leaves: Sequence[Leaf], judgements: Sequence[Judgement]) -> None:
        """Put what a network made of the leaves into the tree."""
        for leaf, judgement in zip(leaves, judgements, strict=True):
            if not leaf.path:
                self._root = Node(leaf.board, _restricted(judgement, self._moves), self._settings)
                self._bytes = size_bytes(self._root)
                continue
            parent, index = leaf.path[-1]
            node = parent.children[index] = Node(leaf.board, judgement, self._settings)
            self._bytes += size_bytes(node)
            back_up(leaf.path, node.value)

    def follow(self, moves: Sequence[chess.Move]) -> bool:
        """Make `moves` in the game and keep what the tree holds of them; False if that is nothing.

        After False the search is of no use.
        """
        node = self._root if self._moves is None else None
        for move in moves:
            node = None if node is None else node.children.get(_index_of(node, move))
        if node is None or self._root is None:
            return False
        self._bytes = self._bytes * (1 + node.visited) // (1 + self._root.visited)
        self._root = node
        return True

    def result(self, variations: int = 1) -> SearchResult:
        """Return what was found so far; the first `variations` lines are followed to their ends."""
        root = self._root
        if root is None:
            raise ValueError("nothing was searched yet")
        ranking = root.ranking()
        lines = tuple(_line(root, index, follow=rank < variations) for rank, index in enumerate(ranking))
        value = lines[0].value if root.visited else root.value
        return SearchResult(
            lines=lines,
            value=value,
            nodes=self.nodes,
            depth=len(lines[0].pv),
            selective_depth=max(self.selective_depth, len(lines[0].pv)),
        )

    def settled_by(self, remaining: int) -> bool:
        """Tell whether the best move stays the best whatever `remaining` more nodes bring (proofs aside)."""
        root = self._root
        if root is None or len(root.moves) == 1:
            return root is not None
        most, second = sorted(root.visits)[-1:-3:-1]
        return most - second > remaining

    def _descend(self, root: Node, path: list[tuple[Node, int]]) -> chess.Board | Ending | None:
        """Go down to a new position and return its board, or how it is ended; None: it is being judged already.

        `path` gets the nodes and moves on the way there.
        """
        node: Node | None = root
        while node is not None:
            parent, index = node, node.select(self._settings)
            parent.enter(index)
            path.append((parent, index))
            if index in parent.settled:  # proven drawn: nothing else is selected once proven
                return parent.settled[index]
            node = parent.children.get(index)
        if parent.visits[index] > 1:
            for entered, number in path:
                entered.leave(number)
            return None
        self.selective_depth = max(self.selective_depth, len(path))
        board = successor(parent.board, parent.moves[index])
        ending = ending_of(board)
        return board if ending is None else ending

    def _end(self, path: list[tuple[Node, int]], ending: Ending) -> None:
        """Carry an ending to the root; one that was proven before proves nothing new."""
        parent, index = path[-1]
        back_up(path, ending.score, None if index in parent.settled else ending)


def search_many(
    player: Player,
    boards: Sequence[chess.Board],
    nodes: int,
    settings: SearchSettings = SETTINGS,
    *,
    parallel: int = PARALLEL,
    variations: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[SearchResult]:
    """Return what a search of at most `nodes` ≥ 1 nodes finds on each of n boards, in order.

    Trees are independent: each network call judges one leaf of each of up to `parallel` of them, and the leaves of
    one tree come one after another. Every board needs a legal move (ValueError). `progress` is called now and then
    with the number of boards that are finished.
    """
    results: list[SearchResult | None] = [None] * len(boards)
    waiting = iter(range(len(boards)))
    underway: dict[int, Search] = {}
    finished = 0
    while True:
        while len(underway) < parallel and (number := next(waiting, None)) is not None:
            underway[number] = Search(player, boards[number], settings=settings, batch=1)
        if not underway:
            return [result for result in results if result is not None]
        _grow(player, underway.values(), nodes)
        ended = [number for number, search in underway.items() if search.nodes >= nodes or search.done]
        for number in ended:
            results[number] = underway.pop(number).result(variations)
        finished += len(ended)
        if progress is not None and ended:
            progress(finished)


def choose(result: SearchResult, temperature: float, random: np.random.Generator) -> chess.Move:
    """Return a move by weights^(1/temperature): of visits, or of the policy where there are none; 0: the best.

    A proven win is always chosen, a proven loss never where there is something else.
    """
    lines = result.lines
    if temperature <= 0.0 or lines[0].mate is not None:
        return result.best
    lines = tuple(line for line in lines if line.mate is None)
    visits = np.array([line.visits for line in lines], np.float64)
    weights = visits if visits.any() else np.array([line.prior for line in lines], np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(weights) / temperature
    shares = np.exp(logits - logits.max())
    return lines[int(random.choice(len(lines), p=shares / shares.sum()))].move


def _grow(player: Player, searches: Iterable[Search], nodes: int) -> None:
    gathered = [(search, search.gather(nodes - search.nodes)) for search in searches]
    leaves = [leaf for _, own in gathered for leaf in own]
    if not leaves:
        return
    judgements = player.judge([leaf.board for leaf in leaves])
    start = 0
    for search, own in gathered:
        search.absorb(own, judgements[start : start + len(own)])
        start += len(own)


def _line(root: Node, index: int, *, follow: bool) -> Line:
    ending = root.settled.get(index)
    return Line(
        move=root.moves[index],
        visits=root.visits[index],
        value=_worth(root, index) if ending is None else ending.score,
        prior=float(root.policy[index]),
        action_value=float(root.action_values[index]),
        pv=_variation(root, index) if follow else (root.moves[index],),
        ending=ending,
    )


def _worth(root: Node, index: int) -> float:
    if root.visits[index]:
        return root.totals[index] / root.visits[index]
    return min(1.0, max(0.0, root.value + float(root.action_values[index])))


def _variation(node: Node, index: int) -> tuple[chess.Move, ...]:
    moves = [node.moves[index]]
    while (child := node.children.get(index)) is not None and (child.visited or child.ending):
        node, index = child, child.best()
        moves.append(node.moves[index])
    return tuple(moves)


def _restricted(judgement: Judgement, moves: Sequence[chess.Move] | None) -> Judgement:
    """Return the judgement with only some of its moves."""
    if moves is None:
        return judgement
    kept = [index for index, move in enumerate(judgement.moves) if move in moves]
    priors, policy = judgement.priors[kept], judgement.policy[kept]
    return Judgement(
        value=judgement.value,
        moves=tuple(judgement.moves[index] for index in kept),
        priors=priors / max(priors.sum(), np.finfo(np.float32).tiny),
        action_values=judgement.action_values[kept],
        policy=policy / max(policy.sum(), np.finfo(np.float32).tiny),
    )


def _index_of(node: Node, move: chess.Move) -> int:
    return node.moves.index(move) if move in node.moves else -1
