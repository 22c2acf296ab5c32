"""What the server asks of a lab: to be looked at, and to have a command run on it."""

from collections.abc import Sequence
from typing import Protocol

from tulle.render.lab_view import LabView
from tulle.serve.apart import Done


class LabPort(Protocol):
    """One lab, by its name.  ``cli`` answers with the commands that a person types."""

    @property
    def name(self) -> str: ...

    def is_there(self) -> bool:
        """Is the lab still up?  Costs the reading of one file."""
        ...

    async def look(self) -> LabView:
        """The lab now.  Raises ProcessFailed: it could not be looked at."""
        ...

    async def run(self, words: Sequence[str]) -> Done:
        """Run ``tulle`` with these words."""
        ...

    def typed(self, words: Sequence[str]) -> str:
        """The command as a person types it."""
        ...
