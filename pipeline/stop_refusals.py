"""A request about a stop that does not come about: one named exception for each kind of reason, one line each.

Our own checks raise them before anything is sent, and `refusal` makes them of the reason that risk gives in its event.
"""

from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.messages import (
    REJECT_BAD_REQUEST,
    REJECT_EXIT_WORKING,
    REJECT_LAST_STOP,
    REJECT_NO_MARKET,
    REJECT_NO_POSITION,
    REJECT_NO_ROOM,
    REJECT_NO_STOP,
    REJECT_REASONS,
    REJECT_STALE,
    REJECT_STOP_CROSSED,
    REJECT_STOP_PERCENT,
    REJECT_STOP_TABLE_FULL,
    REJECT_STOP_TERMS,
    REJECT_UNKNOWN_INSTRUMENT,
)


class Subject(NamedTuple):
    """What a request is about, for messages and for those who catch them."""

    command: str  #: "set-stop", ...
    symbol: str = ""
    strategy: int = -1  #: the slot; -1 = not told
    stop_id: int = 0  #: 0 = none yet
    field: str = ""  #: the term that decides: "price", "percent", ...
    value: str = ""  #: what was asked for
    limit: str = ""  #: what it is held against

    @property
    def where(self) -> str:
        """The request in a few words: the command, and the stop or the symbol."""
        return f"{self.command} {self.stop_id or self.symbol}".strip()

    @property
    def asked(self) -> str:
        """The term that decides, with its value."""
        return f"{self.field} {self.value}" if self.field else "the stop"


class StopRefused(UserError):
    """A request about a stop was refused; nothing has changed.

    Attributes:
        reason: Name of the reason, as in messages.REJECT_REASONS.
        symbol, strategy, stop_id, field, value, limit: See Subject.
    """

    def __init__(self, what: str, remedy: str, reason: int, subject: Subject) -> None:
        super().__init__(what, subject.where, remedy)
        self.reason = REJECT_REASONS[reason] if reason < len(REJECT_REASONS) else f"reason {reason}"
        self.subject = subject

    @property
    def symbol(self) -> str:
        """The instrument; empty where the request named a stop that is not there."""
        return self.subject.symbol

    @property
    def strategy(self) -> int:
        """The slot whose stop it is; -1 = not told."""
        return self.subject.strategy

    @property
    def stop_id(self) -> int:
        """The stop; 0 = none yet."""
        return self.subject.stop_id

    @property
    def field(self) -> str:
        """The term that was at fault, empty where it is none."""
        return self.subject.field

    @property
    def value(self) -> str:
        """What was asked for, as text."""
        return self.subject.value

    @property
    def limit(self) -> str:
        """What it was held against, as text."""
        return self.subject.limit

    def as_dict(self) -> dict[str, Any]:
        """Return what a program wants to know, as plain values; what is not told is left out."""
        told = {key: value for key, value in self.subject._asdict().items() if value not in ("", -1, 0) and key != "command"}
        if self.strategy == 0:
            told["strategy"] = 0
        return {"code": self.reason, "what": self.what, "where": self.where, "remedy": self.remedy} | told


class InvalidStop(StopRefused):
    """The stop that was asked for cannot be: its terms, its distance, or its side of the market."""


class NoStopFound(StopRefused):
    """There is no such stop that is armed."""


class NoPosition(StopRefused):
    """There is no position for the stop to guard."""


class StopTableFull(StopRefused):
    """The table of stops, or the position's share of it, is full. No stop was dropped to make room."""


class LastStop(StopRefused):
    """It is the last stop that protects a position, and the configuration enforces stops."""


class NoAnswer(UserError):
    """Risk has not answered in time. The request may still be carried out."""

    def __init__(self, where: str, timeout_s: float) -> None:
        super().__init__(
            f"risk has not answered within {timeout_s:g} s", where,
            "it may still carry the request out: see how things stand before you ask again",
        )  # fmt: skip
        self.timeout_s = timeout_s


#: Exception, fact and remedy by reason. The braces are filled from the subject.
_TEXTS: dict[int, tuple[type[StopRefused], str, str]] = {
    REJECT_NO_POSITION: (
        NoPosition, "{holder} holds no position in {symbol}", "open one first: a stop guards a position that is there",
    ),
    REJECT_NO_STOP: (
        NoStopFound, "there is no stop {stop_id} that is armed", "list the stops: it may have fired or ended meanwhile",
    ),
    REJECT_STOP_CROSSED: (
        InvalidStop, "{asked} is crossed by the market already{beside}",
        "set it on the other side of the price, or with fire-now to have it fire at once",
    ),
    REJECT_STOP_PERCENT: (
        InvalidStop, "{asked} is too near or too far", "keep its distance within min_stop_percent and max_stop_percent{beside}",
    ),
    REJECT_STOP_TERMS: (InvalidStop, "these terms do not go together", "give one distance, and only terms that its kind has"),
    REJECT_BAD_REQUEST: (StopRefused, "risk does not know such a request", "run client and instance from the same sources"),
    REJECT_UNKNOWN_INSTRUMENT: (StopRefused, "risk does not know {symbol}", "run client and instance from the same sources"),
    REJECT_STOP_TABLE_FULL: (
        StopTableFull, "no room for another stop, of this position or in the table", "cancel one first, or raise tables.stops",
    ),
    REJECT_LAST_STOP: (
        LastStop, "stop {stop_id} is the last one that protects {holder} in {symbol}",
        "set another one first, or run with enforce_stops = false",
    ),
    REJECT_EXIT_WORKING: (StopRefused, "an exit of {holder} in {symbol} is under way", "wait until it has filled"),
    REJECT_NO_MARKET: (StopRefused, "no price of {symbol} is known yet", "wait for its first tick, then ask again"),
    REJECT_STALE: (StopRefused, "the market of {symbol} is stale", "wait for its next valid tick, then ask again"),
    REJECT_NO_ROOM: (StopRefused, "risk has no room for what it would cause", "ask again in a moment"),
}  # fmt: skip


def refusal(reason: int, subject: Subject) -> StopRefused:
    """Return the exception for a reason that risk gave.

    Args:
        reason: REJECT_*.
        subject: What was asked.
    """
    name = REJECT_REASONS[reason] if reason < len(REJECT_REASONS) else f"reason {reason}"
    kind, what, remedy = _TEXTS.get(reason, (StopRefused, f"risk refused it: {name}", "see its reason in pipeline/messages.py"))
    holder = f"strategy {subject.strategy}" if subject.strategy >= 0 else "nobody"
    beside = f" ({subject.limit})" if subject.limit else ""
    told = {"holder": holder, "asked": subject.asked, "beside": beside, "stop_id": subject.stop_id, "symbol": subject.symbol}
    return kind(what.format_map(told), remedy.format_map(told), reason, subject)
