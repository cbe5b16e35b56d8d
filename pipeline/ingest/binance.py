"""Decode Binance stream frames into TICK: what one JSON payload says, and whole files of recorded frames.

A recorded line is our local clock in nanoseconds, a space, and the frame. `bookTicker` gives a QUOTE, `trade` a TRADE;
other frames are skipped and counted by type. Prices and quantities are decimal texts and become ticks and lots by integer
arithmetic alone. Frames keep the order in which they were received: the venue's own clock runs backwards between its
streams, and a recording shows that as it was.

`decode_payload` and `FrameDecoder` serve a live feed as well; `survey_frames` and `decode_frames` are for files.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from pipeline.errors import RecordingError, StoplineError
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import NON_FINITE, PRICE_TICKS_LIMIT, PRODUCT_LIMIT, QUANTITY_LOTS_LIMIT, QUOTE, TICK, TRADE

#: Bit of a TRADE tick's conditions: the buyer was the maker, so the seller crossed the spread.
BUYER_IS_MAKER = 1
VENUE_NAME = "binance"
NS_PER_MS = 1_000_000
NUMBER_MAX = (1 << 63) - 1
DECIMALS_MAX = 12
CHUNK_TICKS = 65_536
REPORT_LINES = 4_096
#: Above this share of malformed lines a file is taken to be something else.
MALFORMED_PERCENT_MAX = 1
#: Words that stand where a price should, and are none.
NO_NUMBERS = ("nan", "inf", "infinity")
SETTLEMENT_SUFFIXES = ("USDT", "USDC", "FDUSD", "BUSD")

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX // NS_PER_MS)]
Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]

#: Called with (bytes read, bytes in all) of the compressed file.
Progress = Callable[[int, int], None]


class BookTicker(msgspec.Struct, tag_field="e", tag="bookTicker", gc=False):
    """Best bid and ask: update id u, event time E in ms, bid b with size B, ask a with size A."""

    s: str
    u: Number
    E: Milliseconds
    b: str
    B: str
    a: str
    A: str


class Trade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    """One trade: id t, price p, quantity q, m = the buyer is the maker, X = MARKET for a trade of the book."""

    s: str
    t: Number
    E: Milliseconds
    p: str
    q: str
    m: bool
    X: str = "MARKET"


class DepthUpdate(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    """A change of the book's depth, of which nothing is read."""


class _Stream(msgspec.Struct, gc=False):
    data: BookTicker | Trade | DepthUpdate


class _Event(msgspec.Struct, gc=False):
    e: str = ""


class _StreamEvent(msgspec.Struct, gc=False):
    data: _Event | None = None
    e: str = ""


_decode_stream = msgspec.json.Decoder(_Stream).decode
_decode_bare = msgspec.json.Decoder(BookTicker | Trade | DepthUpdate).decode
_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class FrameError(StoplineError):
    """A frame that is no JSON, or lacks what its type must have. It is counted and skipped, never fatal by itself."""


class StepError(StoplineError):
    """A price or quantity that is no whole number of ticks or lots: the step that was given is wrong."""


def decode_payload(payload: bytes) -> BookTicker | Trade | str:
    """Decode one frame, bare or wrapped as {"stream": ..., "data": ...}.

    Returns:
        A BookTicker or Trade, or the type of a frame that gives no tick ("no_type" where it names none).
    Raises:
        FrameError: as said there.
    """
    try:
        message: BookTicker | Trade | DepthUpdate | str = _decode_stream(payload).data
    except msgspec.ValidationError:
        message = _decode_unusual(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"no JSON: {error}") from None
    return "depthUpdate" if isinstance(message, DepthUpdate) else message


def _decode_unusual(payload: bytes) -> BookTicker | Trade | DepthUpdate | str:
    """Decode what is no wrapped frame of a known type: a bare frame, or one to be skipped by its type."""
    try:
        return _decode_bare(payload)
    except msgspec.ValidationError as error:
        reason = str(error)
    try:
        outer = _decode_event(payload)
    except msgspec.ValidationError as error:
        raise FrameError(str(error)) from None
    event = outer.data.e if outer.data is not None else outer.e
    if event in ("bookTicker", "trade", "depthUpdate"):
        raise FrameError(f"{event}: {reason}")
    return event or "no_type"


def split_decimal(text: str) -> tuple[int, int]:
    """Return a plain decimal as (digits as one integer, count of decimals): "61800.20" is (6180020, 2).

    Raises:
        FrameError: the text is no plain decimal, or has more than DECIMALS_MAX decimals.
    """
    whole, point, fraction = text.removeprefix("-").partition(".")
    digits = whole + fraction
    # isdigit alone takes other scripts' digits, int alone takes underscores and blanks.
    if not (digits.isascii() and digits.isdigit() and whole) or (point and not fraction) or len(digits) > 40:
        raise FrameError(f"{text[:40]!r} is no decimal")
    if len(fraction) > DECIMALS_MAX:
        raise FrameError(f"{text!r} has more than {DECIMALS_MAX} decimals")
    return (-int(digits) if text[0] == "-" else int(digits)), len(fraction)


def step_counter(step: Decimal) -> Callable[[str], int]:
    """Return a function that counts the steps in a decimal text, exactly; it remembers the texts seen lately.

    The function returns NON_FINITE for the words that stand for no number, and raises StepError or FrameError.
    """
    _, digits, exponent = step.as_tuple()
    assert isinstance(exponent, int), "a step is finite"
    decimals = max(-exponent, 0)
    units = int("".join(map(str, digits))) * 10 ** max(exponent, 0)

    @lru_cache(maxsize=1 << 16)
    def count_steps(text: str) -> int:
        if text.lower().lstrip("+-") in NO_NUMBERS:
            return NON_FINITE
        value, value_decimals = split_decimal(text)
        count, rest = divmod(value * 10**decimals, units * 10**value_decimals)
        if rest:
            raise StepError(f"{text} is no multiple of {step:f}")
        if abs(count) >= PRODUCT_LIMIT:
            raise FrameError(f"{text} is beyond all bounds")
        return count

    return count_steps


class FrameDecoder:
    """Turn decoded messages into TICK rows.

    Args:
        instruments: the symbols to take; a message of another symbol gives no tick.
    Attributes:
        skipped: counts of messages without a tick, by reason.
    """

    def __init__(self, instruments: Instruments) -> None:
        self.skipped: Counter[str] = Counter()
        self._symbols = {
            instrument.symbol: (index, step_counter(instrument.tick_size), step_counter(instrument.lot_size))
            for index, instrument in enumerate(instruments)
        }

    def row(self, message: BookTicker | Trade | str, recv_ns: int) -> tuple[int, ...] | None:
        """Return the fields of one TICK in their order, or None where the message is no price.

        Raises:
            StepError, FrameError: as in step_counter.
        """
        if isinstance(message, str):
            self.skipped[message] += 1
            return None
        reason = trade_fault(message) if isinstance(message, Trade) else ""
        if reason:
            self.skipped[reason] += 1
            return None
        known = self._symbols.get(message.s)
        if known is None:
            self.skipped["unknown_symbol"] += 1
            return None
        index, ticks, lots = known
        event_ns = message.E * NS_PER_MS
        if isinstance(message, BookTicker):
            sides = ticks(message.b), ticks(message.a), lots(message.B), lots(message.A)
            return event_ns, recv_ns, message.u, index, QUOTE, 0, 0, *sides
        conditions = BUYER_IS_MAKER if message.m else 0
        fields = ticks(message.p), lots(message.q), message.t, conditions
        return event_ns, recv_ns, message.t, index, TRADE, 0, 0, *fields


def trade_fault(trade: Trade) -> str:
    """Say why a trade is no price of the market; empty where it is one.

    Binance also sends trades of the insurance fund and of deleveraging (X), and trades without a price or a quantity.
    """
    if trade.X != "MARKET":
        return f"trade_{trade.X[:24] or 'no_kind'}"
    if any(text.startswith("-") or (text and not text.strip("0.")) for text in (trade.p, trade.q)):
        return "trade_not_positive"
    return ""


@dataclass
class Survey:
    """What a file of frames holds.

    Attributes:
        instruments: symbols with a tick, in the order in which they were first seen.
        line_count, malformed_count: of the file.
    """

    instruments: Instruments = field(default_factory=lambda: Instruments(()))
    line_count: int = 0
    malformed_count: int = 0


def survey_frames(
    path: Path, tick_size: Decimal | None = None, lot_size: Decimal | None = None, progress: Progress | None = None
) -> Survey:
    """Read a file once for its symbols and their decimals.

    Args:
        path: gzip of recorded frames.
        tick_size, lot_size: of all symbols; None takes the finest decimals as printed.
    Raises:
        RecordingError: no such file, no whole gzip, no quote or trade in it, more than 1% of its lines are malformed (with
            the number of the first), or values that the step found does not fit.
    """
    survey = Survey()
    seen: dict[str, list[tuple[int, int]]] = {}
    first = ""
    for number, recv, payload in _read_lines(path, progress):
        survey.line_count = number
        try:
            _local_ns(recv)
            message = decode_payload(payload)
            if isinstance(message, str) or (isinstance(message, Trade) and trade_fault(message)):
                continue
            _widen(seen, message)
        except FrameError as error:
            survey.malformed_count += 1
            first = first or f"line {number}: {error}"
    if survey.malformed_count * 100 > survey.line_count * MALFORMED_PERCENT_MAX:
        what = f"{survey.malformed_count} of {survey.line_count} lines are no frames, the first is {first}"
        raise RecordingError(what, str(path), "a line is: local nanoseconds, a space, a JSON frame")
    if not seen:
        raise RecordingError("holds no bookTicker and no trade", str(path), "record the streams bookTicker and trade")
    survey.instruments = Instruments(_instrument(symbol, sides, tick_size, lot_size, path) for symbol, sides in seen.items())
    return survey


def decode_frames(path: Path, decoder: FrameDecoder, progress: Progress | None = None) -> Iterator[np.ndarray]:
    """Yield a file's ticks in chunks, in the order of the file. Malformed lines are counted as such in `decoder.skipped`.

    Raises:
        RecordingError: the file cannot be read, or a value is no multiple of the instrument's step (with its line number).
    """
    rows: list[tuple[int, ...]] = []
    for number, recv, payload in _read_lines(path, progress):
        try:
            row = decoder.row(decode_payload(payload), _local_ns(recv))
        except FrameError:
            decoder.skipped["malformed"] += 1
            continue
        except StepError as error:
            remedy = "give a finer --tick-size or --lot-size, or neither"
            raise RecordingError(str(error), f"{path}, line {number}", remedy) from None
        if row is None:
            continue
        rows.append(row)
        if len(rows) == CHUNK_TICKS:
            yield np.array(rows, TICK)
            rows.clear()
    yield np.array(rows, TICK)


def _widen(seen: dict[str, list[tuple[int, int]]], message: BookTicker | Trade) -> None:
    """Keep, for each symbol, the largest value and the finest decimals of its prices and of its quantities."""
    prices: tuple[str, ...]
    quantities: tuple[str, ...]
    if isinstance(message, BookTicker):
        prices, quantities = (message.b, message.a), (message.B, message.A)
    else:
        prices, quantities = (message.p,), (message.q,)
    found = seen.get(message.s, [(0, 0), (0, 0)])
    # Both are computed before either is kept, so that a malformed quantity leaves no trace of its price.
    seen[message.s] = [_widest(found[0], prices), _widest(found[1], quantities)]


def _widest(known: tuple[int, int], texts: tuple[str, ...]) -> tuple[int, int]:
    value_max, decimals_max = known
    for text in texts:
        value, decimals = _extent(text)
        value_max, decimals_max = max(value_max, value), max(decimals_max, decimals)
    return value_max, decimals_max


@lru_cache(maxsize=1 << 16)
def _extent(text: str) -> tuple[int, int]:
    """Return a decimal's whole part and its count of decimals; a word that stands for no number has neither."""
    if text.lower().lstrip("+-") in NO_NUMBERS:
        return 0, 0
    value, decimals = split_decimal(text)
    return value // 10**decimals, decimals


def _instrument(
    symbol: str, seen: list[tuple[int, int]], tick_size: Decimal | None, lot_size: Decimal | None, path: Path
) -> Instrument:
    (price, price_decimals), (quantity, quantity_decimals) = seen
    _check_bound(price, price_decimals, PRICE_TICKS_LIMIT, tick_size, f"{path}, {symbol}", "--tick-size")
    _check_bound(quantity, quantity_decimals, QUANTITY_LOTS_LIMIT, lot_size, f"{path}, {symbol}", "--lot-size")
    tick = tick_size if tick_size is not None else Decimal(1).scaleb(-price_decimals)
    lot = lot_size if lot_size is not None else Decimal(1).scaleb(-quantity_decimals)
    currency = next((suffix for suffix in SETTLEMENT_SUFFIXES if symbol.endswith(suffix)), "USD")
    return Instrument(symbol, tick, lot, currency=currency, venue=VENUE_NAME)


def _check_bound(value: int, decimals: int, limit: int, given: Decimal | None, where: str, option: str) -> None:
    """Refuse a step found in the text that would put values beyond the bounds; a given step is the user's own choice."""
    if given is None and value * 10**decimals >= limit:
        what = f"{value} in steps of {decimals} decimals is out of bounds"
        raise RecordingError(what, where, f"say {option} with the market's own step")


def _local_ns(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or (value := int(text)) > NUMBER_MAX:
        raise FrameError(f"{text[:24].decode('ascii', 'backslashreplace')!r} is no time in nanoseconds")
    return value


def _read_lines(path: Path, progress: Progress | None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (line number, local stamp, payload) of each line that is not blank."""
    remedy = "give a gzip of recorded frames"
    try:
        size = path.stat().st_size
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
            for number, line in enumerate(file, start=1):
                stamp, _, payload = line.strip().partition(b" ")
                if stamp:
                    yield number, stamp, payload
                if progress is not None and number % REPORT_LINES == 0:
                    progress(raw.tell(), size)
        if progress is not None:
            progress(size, size)
    except FileNotFoundError as error:
        raise RecordingError("no such file", str(path), remedy) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordingError(f"not a whole gzip: {error}", str(path), f"{remedy}, or fetch it again") from error
    except OSError as error:
        raise RecordingError(f"cannot be read: {error.strerror or error}", str(path), remedy) from error
