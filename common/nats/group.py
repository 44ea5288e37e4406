"""Coroutines that go on together: when one fails, or all of them are told to stop, none is left behind."""

import asyncio
from typing import Any


class Group(asyncio.TaskGroup):
    """A task group that raises the first error of its tasks, rather than a group of them."""

    async def __aexit__(self, *error: Any) -> None:
        """Wait for the tasks."""
        try:
            await super().__aexit__(*error)
        except BaseExceptionGroup as group:
            first: BaseException = group.exceptions[0]
            raise first from None
