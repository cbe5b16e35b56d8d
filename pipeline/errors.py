"""The exceptions that people see, each one line: what is wrong, where, and what would do.

A tool catches `UserError` in its main(), prints `error: ` before each of its lines and exits with code 2. Anything else that
comes out of a tool is a defect of ours and keeps its traceback.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Self


class StoplineError(Exception):
    """Root of every exception that the pipeline raises on purpose."""


class UserError(StoplineError):
    """A mistake that the person at the keyboard can mend: input, configuration, machine.

    Args:
        what: the fact, with the value that was found.
        where: the file, key, row, port or device that it concerns.
        remedy: what would do, as an instruction.
    """

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    @property
    def lines(self) -> tuple[str, ...]:
        """One printable line for each problem; one problem unless a subclass gathers several."""
        return (one_line(f"{self.what} ({self.where}): {self.remedy}"),)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class ConfigurationError(UserError):
    """One or more wrong or missing settings. `problems` holds each, in the order of the file's sections."""

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.problems: tuple[ConfigurationError, ...] = (self,)

    @classmethod
    def gather(cls, problems: Sequence["ConfigurationError"]) -> Self:
        """Join several problems into one exception, so that a person mends them all in one go.

        Args:
            problems: at least one.
        """
        first = problems[0]
        gathered = cls(first.what, first.where, first.remedy)
        gathered.problems = tuple(problems)
        return gathered

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(one_line(f"{problem.what} ({problem.where}): {problem.remedy}") for problem in self.problems)


class InstrumentError(UserError):
    """An unknown symbol, or a price or quantity that the instrument cannot have."""


class RecordingError(UserError):
    """A recording that is missing, damaged, of another format, or in the way of a new one."""


class MarketDataError(UserError):
    """A market data file that cannot be read as what it claims to be."""


class InstanceError(UserError):
    """An instance that runs already, is not there, or does not match these sources."""


class LaunchError(UserError):
    """The machine does not give what a launch needs: a port, a core, memory, a permission."""


def one_line(text: str) -> str:
    """Return the text with everything unprintable escaped: no value in a message may break the line or the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known words most like `word`, best first; case does not matter. Empty when none is near."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    return [by_folded[match] for match in get_close_matches(word.casefold(), by_folded, n=count, cutoff=0.6)]
