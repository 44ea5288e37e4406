"""What `rookery top` asks and explains on top of its panes: the confirmation of an order, and the help."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

from common.messages import Action

EFFECTS = {
    Action.PAUSE: "finishes the units in hand, takes no more, stays connected",
    Action.RESUME: "takes units again",
    Action.DRAIN: "finishes the units in hand and exits: it is not started again",
    Action.RESET: "gives the units in hand back and starts its engine anew",
}

HELP = """\
tab, shift+tab   the next pane, the one before: it gets the room
↑ ↓ pgup pgdn    move in the pane; home, end: first, last
<  >             sort actors by the column to the left, to the right
i                sort the other way round (so does a click on a title)
/                filter actors, or the log; enter keeps it, esc: all
l                least severe level of the log
p r d x          pause, resume, drain, reset an actor, or all: asks first
q                quit

curves           of agents: loss, TD error, match of the prior's first move
                 with the move played, the same in held-out games (valid.)
v, lag, age      version of the weights, versions that the actors are
                 behind at worst, how long theirs have been there
progress, seen   how long ago work was done, and a message came
"""


class Confirm(ModalScreen[list[str] | None]):
    """Asks whom an order is for; returns their names, [] for all actors, None for nobody."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "one", "the selected actor"),
        Binding("a", "all", "all actors"),
        Binding("n,escape,q", "none", "nobody"),
    ]

    def __init__(self, action: Action, selected: str | None, actors: int) -> None:
        super().__init__()
        self._order, self._selected, self._actors = action, selected, actors

    def compose(self) -> ComposeResult:
        """Lay out the question."""
        text = Text.assemble((self._order.value.capitalize(), "bold"), f": {EFFECTS[self._order]}.\n\n")
        if self._selected is not None:
            text.append_text(Text.assemble(("y", "bold"), f"  {self._selected}\n"))
        text.append_text(Text.assemble(("a", "bold"), f"  all {self._actors} actors\n", ("n", "bold"), "  nobody"))
        yield Static(text, classes="dialog")

    def action_one(self) -> None:
        """Choose the selected actor."""
        if self._selected is not None:
            self.dismiss([self._selected])

    def action_all(self) -> None:
        """Choose all."""
        self.dismiss([])

    def action_none(self) -> None:
        """Choose nobody."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """Explains keys and columns until a key is pressed."""

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        yield Static(Text(HELP + "\nany key closes this", no_wrap=True), classes="dialog")

    def on_key(self, event: events.Key) -> None:
        """Go back; the key does nothing else."""
        event.stop()
        event.prevent_default()
        self.dismiss(None)
