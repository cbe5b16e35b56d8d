"""What commands of the control socket work with: the question's fields, the instance, and the steps in which they ask risk."""

from collections.abc import Callable, Generator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipeline.control_protocol import ControlError
from pipeline.errors import StoplineError, one_line
from pipeline.launch import Launch
from pipeline.scopes import Scopes
from pipeline.stop_terms import StopRules, StopTerms
from pipeline.view import View

Answer = dict[str, Any]
#: Characters of a reason.
REASON_MAX = 160


class Step(NamedTuple):
    """One request that a command makes of risk."""

    request: np.ndarray  #: REQUEST, shape (1,)
    where: str  #: the command in a few words, for messages
    refuse: Callable[[np.void], StoplineError]  #: the error that a REQUEST_REFUSED comes to
    note: str  #: what is asked for, and why, for the record


#: A command that asks risk for something: it yields a step, and is sent the events that answer it.
Steps = Generator[Step, np.ndarray, Answer]


class Owner(Protocol):
    """What commands may ask of the supervisor."""

    launch: Launch
    is_halted: bool

    def tell(self, line: str, /) -> None:
        """Show people a line."""

    def pids(self) -> dict[str, int]:
        """Return the pids of all processes that are up."""


class Place(NamedTuple):
    """What a command works on."""

    view: View
    rules: StopRules
    scopes: Scopes
    owner: Owner


class Asked:
    """The fields of one question, each read with its type.

    Args:
        fields: The JSON object.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    @property
    def command(self) -> str:
        """The name of the command."""
        return self.text("command") or ""

    def text(self, name: str) -> str | None:
        """Return a text, None where it is not given."""
        return self._typed(name, str, "a text")

    def count(self, name: str) -> int | None:
        """Return a whole number from 0 on, None where it is not given."""
        value = self._typed(name, int, "a whole number")
        if value is not None and not 0 <= value < 1 << 62:
            raise self.fault(name, "is out of bounds", "give a whole number from 0 on")
        return value

    def switch(self, name: str) -> bool:
        """Return true or false; false where it is not given."""
        return bool(self._typed(name, bool, "true or false"))

    def number_text(self, name: str) -> str | None:
        """Return a text or a number as the text that it was written as, None where it is not given."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal | None):
            raise self.fault(name, "is neither a text nor a number", 'write it as in "2500"')
        return None if value is None else value if isinstance(value, str) else format(Decimal(value), "f")

    def reason(self) -> str:
        """Return why it is asked for, printable and not too long; empty where it is not given."""
        text = one_line((self.text("reason") or "").strip())
        if len(text) > REASON_MAX:
            raise self.fault("reason", "is too long", f"say it in {REASON_MAX} characters")
        return text

    def terms(self) -> dict[str, Any]:
        """Return the terms of a stop that are given."""
        found = {name: self.fields[name] for name in StopTerms.__annotations__ if self.fields.get(name) is not None}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
                raise self.fault(name, "is neither a text nor a number", 'write it as in "1.5"')
        return found

    def needed(self, name: str, value: Any) -> Any:
        """Return a value that must be given."""
        if value is None:
            raise ControlError(f"{name} is missing", f"give {name}", "missing", name, self.command)
        return value

    def strategy(self, place: Place) -> int | None:
        """Return a strategy's slot, None where it is not given."""
        strategy, count = self.count("strategy"), place.view.sizes.strategies
        if strategy is not None and strategy >= count:
            raise self.fault("strategy", "is no strategy slot", f"give 0 to {count - 1}")
        return strategy

    def filters(self, place: Place) -> tuple[str | None, int | None]:
        """Return the symbol and the strategy that a list is to be of."""
        symbol = self.text("symbol")
        if symbol is not None:
            place.rules.instruments.index(symbol)
        return symbol, self.strategy(place)

    def scope(self, place: Place) -> int:
        """Return the one scope that is meant: an instrument's, a strategy's, else the account's."""
        symbol, strategy = self.filters(place)
        if symbol is not None and strategy is not None:
            raise ControlError("strategy and symbol are two scopes", "give one of them", "ambiguous", "strategy", self.command)
        return place.scopes.of(strategy, symbol)

    def fault(self, name: str, what: str, remedy: str) -> ControlError:
        """Return the error of one field."""
        shown = one_line(repr(self.fields.get(name)))
        return ControlError(
            f"{name} {shown[:60]} {what}", remedy, "bad_value", name, str(self.fields.get("command", "control"))
        )

    def _typed(self, name: str, kind: type, words: str) -> Any:
        value = self.fields.get(name)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise self.fault(name, f"is not {words}", f"give {words}")
