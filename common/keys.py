"""Whose key a process goes by, on every transport: its role and its name. Pure."""

from dataclasses import dataclass

from common.messages import Role


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is: all that the broker believes of a peer."""

    role: Role | None
    """None for the broker itself."""
    name: str
    """The process's name; of a learner, its agent's."""

    @property
    def service(self) -> str:
        """The name of the process, as its hello and its log records give it."""
        return f"learner-{self.name}" if self.role is Role.LEARNER else self.name

    def __str__(self) -> str:
        return f"{self.role.value} {self.name}" if self.role is not None else self.name


BROKER = KeyHolder(None, "broker")
