"""How the panes of `rookery top` share the height of a terminal; a pane without room is its title and no more."""

from collections.abc import Sequence
from dataclasses import dataclass

COLLAPSED = 1
"""Lines of a pane of which only the title is seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How many lines a pane would have, its title line included."""

    name: str
    least: int
    """Fewer make no sense."""
    most: int
    """More are of no use."""


def heights(total: int, wishes: Sequence[Wish], focused: str) -> dict[str, int]:
    """Return the lines of each pane: `total` together, unless it is less than a title each.

    `wishes` stand in the order of what matters most. The focused pane comes first, for half of what there is; the
    others then get their least; what is left goes to the focused one, then to the others, and in the end to it.
    """
    found = {wish.name: COLLAPSED for wish in wishes}
    spare = max(0, total - COLLAPSED * len(wishes))

    def give(wish: Wish, lines: int) -> None:
        nonlocal spare
        more = max(0, min(lines, wish.most) - found[wish.name])
        if more <= spare:
            found[wish.name] += more
            spare -= more

    first = sorted(wishes, key=lambda wish: wish.name != focused)
    give(first[0], max(COLLAPSED, min(first[0].most, COLLAPSED + spare // 2)))
    for wish in wishes:
        give(wish, wish.least)
    for wish in first:
        if found[wish.name] > COLLAPSED or spare >= wish.least - COLLAPSED:
            give(wish, min(wish.most, found[wish.name] + spare))
    found[first[0].name] += spare
    return found
