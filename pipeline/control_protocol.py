"""The words of the control socket: one JSON object a line asks, one JSON object a line answers, in order.

    {"command": "set-stop", "symbol": "AAPL", "kind": "trailing", "percent": "1.5", "strategy": 0}
    {"ok": true, "command": "set-stop", "stop_id": 17, ..., "text": "stop 17 set: ..."}
    {"ok": false, "command": "set-stop", "error": {"code": "no_position", "what": ..., "where": ..., "remedy": ...}}

Decimals are text, or numbers, which are read digit by digit and never pass through a float. "id", where it is given, comes back
with the answer. `pipeline.control_commands` has the commands and what each takes.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from pipeline.errors import UserError, one_line
from pipeline.instruments import parse_decimal

#: Bytes of one question, its end of line not counted.
LINE_BYTES_MAX = 8192
#: Characters of an "id".
ID_MAX = 64


class ControlError(UserError):
    """A question that cannot be answered.

    Attributes:
        code: One word for programs.
        field: What in the question is wrong, empty where it is the whole.
    """

    def __init__(self, what: str, remedy: str, code: str = "bad_question", field: str = "", where: str = "control") -> None:
        super().__init__(what, where, remedy)
        self.code = code
        self.field = field


def parse_line(line: bytes) -> dict[str, Any]:
    """Read one question.

    Args:
        line: Without its end of line.
    Returns:
        The object; numbers with a point or an exponent are Decimal.
    Raises:
        ControlError: It is no UTF-8, no JSON, no object, or says something twice.
    """
    try:
        text = line.decode("utf-8")
        found = json.loads(text, parse_float=_decimal, parse_constant=_constant, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise ControlError(f"byte {error.start} of the line is no UTF-8", "send JSON, one object a line") from None
    except (ValueError, RecursionError) as error:
        raise ControlError(f"the line is no JSON: {_short(str(error))}", "send JSON, one object a line") from None
    if not isinstance(found, dict):
        raise ControlError(f"{type(found).__name__} instead of an object", 'send one such as {"command": "status"}')
    return found


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write one answer, with its end of line."""
    return orjson.dumps(answer, default=_plain, option=orjson.OPT_APPEND_NEWLINE)


def failure(error: Exception) -> dict[str, Any]:
    """Return what an answer says of an error: code, what, where, remedy, and what else the error carries."""
    code = getattr(error, "code", "") or getattr(error, "check", "") or _snake(type(error).__name__)
    if not isinstance(error, UserError):
        return {"code": code, "what": one_line(str(error)), "where": "control", "remedy": "ask again in a moment"}
    told = {"code": code} | {key: _printable(value) for key, value in error.as_dict().items()}
    field = getattr(error, "field", "")
    return told | ({"field": field} if field else {})


def id_of(question: Mapping[str, Any]) -> Any:
    """Return the "id" of a question, None where there is none that can come back."""
    given = question.get("id")
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 1 << 53:
        return given
    return given if isinstance(given, str) and len(given) <= ID_MAX and given.isprintable() else None


def _decimal(text: str) -> Decimal:
    found = parse_decimal(text)
    if found is None:
        raise ValueError(f"number {_short(text)} has an exponent beyond all reason")
    return found


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"{_short(repr(twice))} occurs twice")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def _printable(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
