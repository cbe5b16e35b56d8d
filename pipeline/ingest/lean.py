"""Decode one day of LEAN tick files (QuantConnect, equities) into TICK.

A quote row is `ms, bid, bid size, ask, ask size, exchange, condition, suspicious`, a trade row is `ms, price, size,
exchange, condition, suspicious`: milliseconds since midnight in New York, prices times 10,000. A quote row updates one
side; a side whose price is 0 is not updated (it is not deleted either). So the other side is carried forward, and since
a top of book is per exchange, one exchange's rows make the quotes, or those of all of them the national best bid and offer
(pipeline/ingest/national_book.py). Trades are of all exchanges. Rows marked suspicious are left out.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.errors import RecordingError
from pipeline.ingest.lean_columns import (
    MS,
    MS_PER_DAY,
    MS_PER_HOUR,
    NS_PER_MS,
    Q_ASK,
    Q_ASK_SIZE,
    Q_BID,
    Q_BID_SIZE,
    Q_EXCHANGE,
    Q_SUSPICIOUS,
    T_CONDITIONS,
    T_EXCHANGE,
    T_PRICE,
    T_SIZE,
    T_SUSPICIOUS,
)
from pipeline.ingest.national_book import merge_quotes
from pipeline.messages import QUOTE, TICK, TRADE
from shm.jit import njit

TICK_SIZE, LOT_SIZE = Decimal("0.0001"), Decimal(1)
NEW_YORK = ZoneInfo("America/New_York")

# What a column holds.
INTEGER, MILLISECONDS, LETTER, HEX = 0, 1, 2, 3
QUOTE_COLUMNS = np.array([MILLISECONDS, INTEGER, INTEGER, INTEGER, INTEGER, LETTER, HEX, INTEGER], np.uint8)
TRADE_COLUMNS = np.array([MILLISECONDS, INTEGER, INTEGER, LETTER, HEX, INTEGER], np.uint8)

#: As an exchange: the best of all of them.
ALL_EXCHANGES = "all"

DIGITS_LIMIT, HEX_DIGITS_LIMIT = 18, 15
BLOCK_BYTES = 4 << 20

# Bytes of the text.
NEWLINE, CARRIAGE_RETURN, COMMA, SPACE = 10, 13, 44, 32
ZERO, NINE, UPPER_A, UPPER_F, LOWER_A, LOWER_F = 48, 57, 65, 70, 97, 102

#: Called with (bytes read, bytes in all) of the uncompressed files.
Progress = Callable[[int, int], None]


class LeanDay(NamedTuple):
    """One decoded day.

    Attributes:
        ticks: TICK array in time order; equal times keep quotes before trades, then file order.
        exchange: letter of the exchange whose book gives the quotes; ALL_EXCHANGES; "" without quotes.
        left_out: counts by reason of rows that gave no tick.
        merged: of the best of all exchanges, how many there are and how many of their sides were taken as withdrawn; else 0, 0.
    """

    ticks: np.ndarray
    exchange: str
    left_out: dict[str, int]
    merged: tuple[int, int] = (0, 0)


def decode_day(
    day: date,
    quotes: Path | None = None,
    trades: Path | None = None,
    exchange: str | None = None,
    progress: Progress | None = None,
) -> LeanDay:
    """Decode a day's quote and trade files.

    Args:
        day: the day in New York.
        quotes: zip of the quote rows, or None.
        trades: zip of the trade rows, or None.
        exchange: letter of the quote book; None takes the exchange with the most quote rows, ALL_EXCHANGES the best of all.
        progress: called now and then with (bytes done, bytes in all).
    Raises:
        RecordingError: a file is missing, no zip, or has a wrong row (with its line number); unknown exchange.
    """
    sizes = {path: _csv_size(path, kind, day) for path, kind in ((quotes, "quote"), (trades, "trade")) if path is not None}
    report = _cumulative(progress, sum(sizes.values()))
    starts_ns = hour_starts_ns(day)
    parts, left_out, merged = [], {}, (0, 0)
    if quotes is not None:
        rows = read_rows(quotes, QUOTE_COLUMNS, report)
        kept = _by_time(rows[rows[:, Q_SUSPICIOUS] == 0])
        left_out["suspicious_quotes"] = len(rows) - len(kept)
        exchange = choose_exchange(kept, exchange, quotes)
        ticks = np.zeros(len(kept), TICK)
        if exchange == ALL_EXCHANGES:
            own_count = len(kept)
            count, withdrawn = merge_quotes(kept, starts_ns, ticks)
            merged = (len(np.unique(kept[:, Q_EXCHANGE])), withdrawn)
        else:
            own_count = int(np.count_nonzero(kept[:, Q_EXCHANGE] == ord(exchange)))
            count = carry_quotes(kept, ord(exchange), starts_ns, ticks)
            left_out["quotes_of_other_exchanges"] = len(kept) - own_count
        left_out["one_sided_quotes"] = own_count - count
        parts.append(ticks[:count])
    if trades is not None:
        rows = read_rows(trades, TRADE_COLUMNS, report)
        kept = _by_time(rows[rows[:, T_SUSPICIOUS] == 0])
        left_out["suspicious_trades"] = len(rows) - len(kept)
        parts.append(trade_ticks(kept, starts_ns))
    ticks = np.concatenate(parts)
    # Stable, with the quotes in front: equal times keep quotes before trades, then file order.
    order = np.argsort(ticks["event_ns"], kind="stable")
    return LeanDay(ticks[order], exchange or "" if quotes is not None else "", left_out, merged)


def hour_starts_ns(day: date) -> np.ndarray:
    """Return the UTC time at which each of the 24 wall-clock hours of a New York day starts, int64 ns, shape (24,).

    Rows count wall-clock milliseconds, and the offset to UTC changes within a day only on the hour.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    # Wall-clock arithmetic: an aware datetime plus a timedelta keeps its zone and moves the hands only.
    seconds = [(midnight + timedelta(hours=hour) - epoch) // timedelta(seconds=1) for hour in range(24)]
    return np.array(seconds, np.int64) * 1_000_000_000


def choose_exchange(rows: np.ndarray, exchange: str | None, path: Path) -> str:
    """Return the letter of the quote book: the one asked for (or ALL_EXCHANGES), else the one with the most rows.

    Args:
        rows: parsed quote rows, int64, shape (n, 8).
    Raises:
        RecordingError: no rows at all, or none of the exchange asked for.
    """
    counts = np.bincount(rows[:, Q_EXCHANGE], minlength=1)
    letters = [chr(code) for code in sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-int(counts[code]), code))]
    if not letters:
        raise RecordingError("no usable quote row", str(path), "give a file with quotes, or leave --quotes out")
    if exchange is None:
        return letters[0]
    if exchange != ALL_EXCHANGES and exchange not in letters:
        what = f"no quotes of exchange {exchange!r}"
        raise RecordingError(what, str(path), f"choose one of {', '.join(letters)} (most quotes first), or {ALL_EXCHANGES}")
    return exchange


def trade_ticks(rows: np.ndarray, starts_ns: np.ndarray) -> np.ndarray:
    """Turn parsed trade rows, int64, shape (n, 6), into TRADE ticks, in their order."""
    ticks = np.zeros(len(rows), TICK)
    ticks["event_ns"] = starts_ns[rows[:, MS] // MS_PER_HOUR] + rows[:, MS] % MS_PER_HOUR * NS_PER_MS
    ticks["recv_ns"] = ticks["event_ns"]
    ticks["kind"] = TRADE
    ticks["venue"] = rows[:, T_EXCHANGE]
    ticks["a"] = rows[:, T_PRICE]
    ticks["b"] = rows[:, T_SIZE]
    ticks["d"] = rows[:, T_CONDITIONS]
    return ticks


def read_rows(path: Path, columns: np.ndarray, progress: Callable[[int], None]) -> np.ndarray:
    """Read all rows of a zipped CSV.

    Args:
        path: the zip, with one CSV inside.
        columns: what each column holds, uint8, shape (k,).
        progress: called with the bytes of each block.
    Returns:
        int64 of shape (n, k).
    Raises:
        RecordingError: with the line number of the first wrong row.
    """
    parts, line_count, rest = [], 0, b""
    with _open_zip(path) as (archive, member), archive.open(member) as file:
        while True:
            block = file.read(BLOCK_BYTES)
            progress(len(block))
            # The last line may lack its newline; each block is cut after its last whole line.
            text = rest + block if block else rest + b"\n"
            cut = text.rfind(b"\n") + 1
            text, rest = text[:cut], text[cut:]
            buffer = np.frombuffer(text, np.uint8)
            block_line_count = int(np.count_nonzero(buffer == NEWLINE))
            rows = np.empty((block_line_count, len(columns)), np.int64)
            row_count = int(parse_rows(buffer, columns, rows))
            if row_count < 0:
                raise _row_error(path, text, line_count, -row_count, len(columns))
            parts.append(rows[:row_count])
            line_count += block_line_count
            if not block:
                return np.concatenate(parts)


@njit
def parse_rows(buffer, columns, rows):
    """Parse whole lines of comma-separated fields; blank lines are skipped.

    Args:
        buffer: text, uint8, ends with a newline.
        columns: INTEGER, MILLISECONDS, LETTER or HEX of each column, uint8.
        rows: int64, shape (lines, columns), filled from the top. An unreadable HEX becomes 0.
    Returns:
        The number of rows, or minus the number (from 1) of the first line that is wrong.
    """
    size = len(buffer)
    column_count = len(columns)
    at = 0
    line = 0
    row = 0
    while at < size:
        line += 1
        if buffer[at] == NEWLINE or (buffer[at] == CARRIAGE_RETURN and at + 1 < size and buffer[at + 1] == NEWLINE):
            at += 1 if buffer[at] == NEWLINE else 2
            continue
        for column in range(column_count):
            at, value = parse_field(buffer, at, columns[column])
            if value < 0:
                return -line
            if column < column_count - 1:
                if buffer[at] != COMMA:
                    return -line
            else:
                if buffer[at] == CARRIAGE_RETURN and at + 1 < size:
                    at += 1
                if buffer[at] != NEWLINE:
                    return -line
            at += 1
            rows[row, column] = value
        row += 1
    return row


@njit
def parse_field(buffer, at, column):
    """Parse one field that starts at `at`; return (where it ends, its value or -1).

    Every loop ends at the newline that closes the buffer at the latest.
    """
    start = at
    value = np.int64(0)
    if column == LETTER:
        if buffer[at] <= SPACE or buffer[at] == COMMA or buffer[at] > 126:
            return at, -1
        return at + 1, np.int64(buffer[at])
    if column == HEX:
        readable = True
        while buffer[at] != COMMA and buffer[at] != NEWLINE and buffer[at] != CARRIAGE_RETURN:
            byte = np.int64(buffer[at])
            readable = readable and at - start < HEX_DIGITS_LIMIT
            if not readable:
                value = np.int64(0)
            elif ZERO <= byte <= NINE:
                value = value * 16 + byte - ZERO
            elif UPPER_A <= byte <= UPPER_F:
                value = value * 16 + byte - UPPER_A + 10
            elif LOWER_A <= byte <= LOWER_F:
                value = value * 16 + byte - LOWER_A + 10
            else:
                readable = False
            at += 1
        return at, (value if readable else 0)
    while ZERO <= buffer[at] <= NINE:
        if at - start == DIGITS_LIMIT:
            return at, -1
        value = value * 10 + np.int64(buffer[at]) - ZERO
        at += 1
    if at == start or (column == MILLISECONDS and value >= MS_PER_DAY):
        return at, -1
    return at, value


@njit
def carry_quotes(rows, exchange, starts_ns, ticks):
    """Turn one exchange's quote rows into QUOTE ticks, each side carried forward until its next update.

    Args:
        rows: parsed quote rows of all exchanges in time order, int64, shape (n, 8).
        exchange: code of the exchange whose rows count.
        starts_ns: UTC start of each wall-clock hour, int64, shape (24,).
        ticks: TICK, shape (n,), zeros; filled from the top.
    Returns:
        The number of ticks. Rows before both sides are known, and rows that update no side, give none.
    """
    bid, bid_size, ask, ask_size = 0, 0, 0, 0
    count = 0
    for i in range(len(rows)):
        if rows[i, Q_EXCHANGE] != exchange:
            continue
        if rows[i, Q_BID] == 0 and rows[i, Q_ASK] == 0:
            continue
        if rows[i, Q_BID] != 0:
            bid = rows[i, Q_BID]
            bid_size = rows[i, Q_BID_SIZE]
        if rows[i, Q_ASK] != 0:
            ask = rows[i, Q_ASK]
            ask_size = rows[i, Q_ASK_SIZE]
        if bid == 0 or ask == 0:
            continue
        tick = ticks[count]
        event_ns = starts_ns[rows[i, MS] // MS_PER_HOUR] + rows[i, MS] % MS_PER_HOUR * NS_PER_MS
        tick["event_ns"] = event_ns
        tick["recv_ns"] = event_ns
        tick["kind"] = QUOTE
        tick["venue"] = exchange
        tick["a"] = bid
        tick["b"] = ask
        tick["c"] = bid_size
        tick["d"] = ask_size
        count += 1
    return count


def _by_time(rows: np.ndarray) -> np.ndarray:
    """Return the rows in time order, file order among equals; a file in order is not copied."""
    ms = rows[:, MS]
    if np.all(ms[1:] >= ms[:-1]):
        return rows
    return rows[np.argsort(ms, kind="stable")]


def _cumulative(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return report


def _row_error(path: Path, text: bytes, lines_before: int, line: int, column_count: int) -> RecordingError:
    row = text.split(b"\n", line)[line - 1][:60].decode("ascii", "backslashreplace").rstrip("\r")
    columns = "ms,price,size,exchange,condition,suspicious"
    if column_count == len(QUOTE_COLUMNS):
        columns = "ms,bid,bid size,ask,ask size,exchange,condition,suspicious"
    return RecordingError(f"wrong row {row!r}", f"{path}, line {lines_before + line}", f"a row is {columns}")


@contextmanager
def _open_zip(path: Path) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """Open a zip and find its one CSV; what is wrong with it, now or while it is read, becomes a RecordingError."""
    remedy = "give the path of a LEAN tick zip"
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.lower().endswith(".csv")]
            if len(members) != 1:
                raise RecordingError(f"holds {len(members)} CSV files instead of one", str(path), remedy)
            yield archive, members[0]
    except FileNotFoundError as error:
        raise RecordingError("no such file", str(path), remedy) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise RecordingError(f"not a whole zip: {error}", str(path), f"{remedy}, or fetch it again") from error
    except (RuntimeError, NotImplementedError) as error:
        raise RecordingError(f"cannot be unpacked: {error}", str(path), "give a plain zip") from error
    except OSError as error:
        raise RecordingError(f"cannot be read: {error.strerror or error}", str(path), remedy) from error


def _csv_size(path: Path, kind: str, day: date) -> int:
    """Return the bytes of the CSV, after its name, where it follows LEAN's pattern, was found to fit."""
    with _open_zip(path) as (_, member):
        match = re.search(r"(\d{8})_[^/]*_(Quote|Trade)_Tick\.csv$", member.filename, re.IGNORECASE)
        if match and match[2].lower() != kind:
            remedy = "give quotes as --quotes and trades as --trades"
            raise RecordingError(f"holds {match[2].lower()}s, not {kind}s", str(path), remedy)
        if match and match[1] != day.strftime("%Y%m%d"):
            raise RecordingError(f"holds the day {match[1]}, not {day:%Y%m%d}", str(path), "give the file's own --date")
        return member.file_size
