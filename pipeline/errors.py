"""The exceptions that people see, each one line: what is wrong, where, and what would do.

    StoplineError                 whatever the pipeline raises on purpose
      UserError                   one line for people
        ConfigurationError        a setting, or several at once
        InstrumentError, InstanceError, LaunchError
        OperatingError            while orders and prices flow: has symbol, order_id, value and limit
          MarketDataError         RecordingError
          OrderValidationError    an order that cannot be meant; nothing was sent
          RiskCheckError          refused by risk: has the check
          ExecutionError          the venue's side: has retries
          NetworkError, DatabaseError

A tool catches `UserError` in its main(), prints `error: ` before each of its lines and exits with code 2. Anything else that
comes out of a tool is a defect of ours and keeps its traceback. Programs read `as_dict()`, and `retryable` tells whether the
same call may work later; pipeline.log writes all of it, with the chain of causes.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Self


class StoplineError(Exception):
    """Root of every exception that the pipeline raises on purpose."""

    #: Whether the same call may work later though nobody mends anything.
    retryable: bool = False


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

    def as_dict(self) -> dict[str, Any]:
        """Return what a program wants to know, as plain values."""
        return {"what": self.what, "where": self.where, "remedy": self.remedy}


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


class InstanceError(UserError):
    """An instance that runs already, is not there, or does not match these sources."""


class LaunchError(UserError):
    """The machine does not give what a launch needs: a port, a core, memory, a permission."""


class OperatingError(UserError):
    """What goes wrong while orders and prices flow, with what it is about.

    Args:
        what, where, remedy: As of UserError.
        symbol: The instrument; empty = none.
        order_id: The order; 0 = none.
        value: What was found, as the message tells it or as a number; None = nothing to tell.
        limit: What is allowed, likewise.
    """

    #: Attributes that `as_dict` shows where they tell anything.
    details: tuple[str, ...] = ("symbol", "order_id", "value", "limit")

    def __init__(
        self,
        what: str,
        where: str,
        remedy: str,
        *,
        symbol: str = "",
        order_id: int = 0,
        value: Any = None,
        limit: Any = None,
    ) -> None:
        super().__init__(what, where, remedy)
        self.symbol = symbol
        self.order_id = order_id
        self.value = value
        self.limit = limit

    def as_dict(self) -> dict[str, Any]:
        """Return what a program wants to know, as plain values; an instrument, order or value that is not told is left out."""
        told = {name: getattr(self, name) for name in self.details}
        nothing = {"order_id": 0, "value": None, "limit": None}
        shown = {name: value for name, value in told.items() if value != nothing.get(name, "")}
        return super().as_dict() | {"retryable": self.retryable} | shown


class MarketDataError(OperatingError):
    """Market data that is missing, stale, or cannot be what it claims to be."""


class RecordingError(MarketDataError):
    """A recording that is missing, damaged, of another format, or in the way of a new one."""


class OrderValidationError(OperatingError):
    """An order that cannot be meant: nothing was sent."""


class RiskCheckError(OperatingError):
    """An order or request that risk refused before any venue saw it; nothing has changed.

    Args:
        what, where, remedy, details: As of OperatingError.
        check: Name of the check, as in messages.REJECT_REASONS.
        scope: Whose limit or state it is: "account", "strategy 1", "AAPL"; empty = nobody's.
        limit_name: The limit's name, as in config.toml; empty = none.
    """

    details = ("check", "scope", "limit_name", *OperatingError.details)

    def __init__(
        self, what: str, where: str, remedy: str, *, check: str = "", scope: str = "", limit_name: str = "", **details: Any
    ) -> None:
        super().__init__(what, where, remedy, **details)
        self.check = check
        self.scope = scope
        self.limit_name = limit_name


class OutsideError(OperatingError):
    """What another party answers for, and may answer otherwise later.

    Args:
        what, where, remedy, details: As of OperatingError.
        retryable: Whether to try again; None = as its kind usually is.
        retries: How often it was tried again already.
    """

    details = (*OperatingError.details, "retries")

    def __init__(
        self, what: str, where: str, remedy: str, *, retryable: bool | None = None, retries: int = 0, **details: Any
    ) -> None:
        super().__init__(what, where, remedy, **details)
        if retryable is not None:
            self.retryable = retryable
        self.retries = retries


class ExecutionError(OutsideError):
    """The venue refused an order, or did not answer for it."""


class NetworkError(OutsideError):
    """A connection that cannot be made or was lost."""

    retryable = True


class DatabaseError(OutsideError):
    """The database file cannot be opened or used as it is, or did not take rows."""


def one_line(text: str) -> str:
    """Return the text with everything unprintable escaped: no value in a message may break the line or the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known words most like `word`, best first; case does not matter. Empty when none is near."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    return [by_folded[match] for match in get_close_matches(word.casefold(), by_folded, n=count, cutoff=0.6)]
