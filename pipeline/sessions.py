"""Session hours and blackouts as people write them, turned into the numbers that pipeline.risk.calendar takes.

    always
    Mon-Fri 09:30-16:00 America/New_York
    Mon-Fri 09:00-11:30, Mon-Fri 12:30-15:30 Asia/Tokyo
    Sun-Fri 18:00-17:00 America/Chicago

The clock is that of the zone, through every change between summer and winter time. Where a range ends at or before its begin it
runs over midnight: Sun-Fri 18:00-17:00 opens on Sunday and on each day to Thursday, and closes for the last time on Friday. A
range without days has those of the one before it.

A blackout is two times in UTC, and the symbols that it is for, or none for all:

    2026-12-24T18:00:00Z/2026-12-26T00:00:00Z
    2026-12-24T18:00:00Z/2026-12-26T00:00:00Z AAPL MSFT
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np

from pipeline.errors import ConfigurationError, nearest

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
SECOND_NS = 1_000_000_000
#: Changes of a zone's clock are looked up in these years; before and after, the first and the last offset hold.
FIRST_YEAR, LAST_YEAR = 1970, 2100

EXAMPLE = 'write "always", or days, hours and a time zone such as "Mon-Fri 09:30-16:00 America/New_York"'
BLACKOUT_EXAMPLE = 'write "2026-12-24T18:00:00Z/2026-12-26T00:00:00Z", begin and end in UTC, then symbols, or none for all'
RANGE = re.compile(r"(?:(?P<first>[A-Za-z]+)(?:-(?P<last>[A-Za-z]+))?\s+)?(?P<opens>\d\d?:\d\d)-(?P<closes>\d\d?:\d\d)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z")


class Hours(NamedTuple):
    """Hours of the week in a time zone."""

    ranges: np.ndarray  #: int64 (n, 2): opens, closes, in minutes since Monday 00:00 of the zone; in order
    offsets: np.ndarray  #: int64 (n, 2): from when, in ns UTC, the zone's clock is so many ns ahead; the first from ever


class Blackout(NamedTuple):
    """A span of time in which nothing new may be risked."""

    begin_ns: int
    end_ns: int
    symbols: tuple[str, ...]  #: whose; empty = all


def parse_sessions(text: str, where: str) -> Hours | None:
    """Return the hours that a setting describes, or None for "always".

    Args:
        text: As in the module's examples.
        where: Key of the setting, for messages.
    Raises:
        ConfigurationError: it is none of the kind; the message says which part, and what would do.
    """
    text = text.strip()
    if text.casefold() == "always":
        return None
    ranges_text, _, zone = text.rpartition(" ")
    if not ranges_text or ":" in zone:
        raise ConfigurationError(f"session hours {text!r} name no time zone", where, EXAMPLE)
    ranges: list[tuple[int, int]] = []
    days: range | None = None
    for part in ranges_text.split(","):
        match = RANGE.fullmatch(part.strip())
        if match is None:
            raise ConfigurationError(f"session hours {part.strip()!r} are no days and hours", where, EXAMPLE)
        opens = minute_of_day(match["opens"], where)
        closes = minute_of_day(match["closes"], where)
        if match["first"]:
            days = named_days(match["first"], match["last"], closes <= opens, where)
        elif days is None:
            raise ConfigurationError(f"session hours {part.strip()!r} name no days", where, EXAMPLE)
        ranges += [span for day in days for span in spans_of(day, opens, closes)]
    return Hours(np.array(joined(ranges), np.int64), clock_offsets(zone_named(zone, where)))


def minute_of_day(text: str, where: str) -> int:
    """Return the minute of the day of "09:30"; 24:00 is the end of the day."""
    hour, minute = map(int, text.split(":"))
    if minute > 59 or 60 * hour + minute > DAY_MINUTES:
        raise ConfigurationError(f"{text} is no time of the day", where, "write hours from 00:00 to 24:00")
    return 60 * hour + minute


def named_days(first: str, last: str | None, is_overnight: bool, where: str) -> range:
    """Return the days on which a range opens, counted from Monday; a day from 7 on is one of the next week.

    Over midnight the last day of several only closes.
    """
    begin = day_named(first, where)
    if last is None:
        return range(begin, begin + 1)
    end = day_named(last, where)
    if end == begin:
        raise ConfigurationError(f"days {first}-{last} are one day or seven", where, f'write "{first}", or "Mon-Sun"')
    end += 7 if end < begin else 0
    return range(begin, end if is_overnight else end + 1)


def day_named(name: str, where: str) -> int:
    """Return the number of a day, Monday 0."""
    if name.capitalize() not in DAYS:
        raise ConfigurationError(f"{name!r} is no day", where, f"write one of {', '.join(DAYS)}")
    return DAYS.index(name.capitalize())


def spans_of(day: int, opens: int, closes: int) -> list[tuple[int, int]]:
    """Return the minutes of the week that a range of one day covers, in two parts where it runs over the end of the week."""
    begin = (day % 7) * DAY_MINUTES + opens
    end = begin + closes - opens + (DAY_MINUTES if closes <= opens else 0)
    if end <= WEEK_MINUTES:
        return [(begin, end)]
    parts = [(begin, WEEK_MINUTES), (0, end - WEEK_MINUTES)]
    return [(start, stop) for start, stop in parts if start < stop]


def joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that touch joined."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


def zone_named(name: str, where: str) -> ZoneInfo:
    """Return a time zone of the tz database."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, available_timezones())
        remedy = f"did you mean {' or '.join(near)}?" if near else 'write a name such as "America/New_York" or "UTC"'
        raise ConfigurationError(f"unknown time zone {name!r}", where, remedy) from None


@cache
def clock_offsets(zone: ZoneInfo) -> np.ndarray:
    """Return from when, in ns UTC, a zone's clock is how many ns ahead of UTC: int64 (n, 2), the first from ever."""

    def ahead(second: int) -> int:
        offset = datetime.fromtimestamp(second, zone).utcoffset() or timedelta()
        return offset // timedelta(seconds=1)

    week = WEEK_MINUTES * 60
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (FIRST_YEAR, LAST_YEAR))
    offsets = [(-(1 << 63), ahead(begin) * SECOND_NS)]
    for second in range(begin, end, week):
        low, high = second, second + week
        if ahead(low) == ahead(high):
            continue
        after = ahead(high)
        # No zone changes its clock twice within a week, so the change lies where the offset begins to be that of the end.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if ahead(middle) == after else (middle, high)
        offsets.append((high * SECOND_NS, after * SECOND_NS))
    return np.array(offsets, np.int64)


def parse_blackout(text: str, where: str) -> Blackout:
    """Return the blackout that a setting describes.

    Args:
        text: As in the module's examples.
        where: Key of the setting, for messages.
    Raises:
        ConfigurationError: a time that is none or not of UTC, or an end that is not after the begin.
    """
    span, *symbols = text.split() or [""]
    begin_text, slash, end_text = span.partition("/")
    if not slash:
        raise ConfigurationError(f"blackout {text!r} is no begin and end", where, BLACKOUT_EXAMPLE)
    begin_ns, end_ns = utc_ns(begin_text, where), utc_ns(end_text, where)
    if end_ns <= begin_ns:
        raise ConfigurationError(f"blackout {span!r} ends before it begins", where, BLACKOUT_EXAMPLE)
    return Blackout(begin_ns, end_ns, tuple(symbols))


def utc_ns(text: str, where: str) -> int:
    """Return a time such as 2026-12-24T18:00:00Z in ns since the epoch."""
    try:
        if TIME.fullmatch(text) is None:
            raise ValueError
        since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time in UTC", where, BLACKOUT_EXAMPLE) from None
    return since // timedelta(microseconds=1) * 1000


def spans_for(blackouts: Sequence[Blackout], symbol: str) -> np.ndarray:
    """Return begin and end of the blackouts of a symbol in ns UTC, in order, those that touch joined: int64 (n, 2)."""
    spans = [(b.begin_ns, b.end_ns) for b in blackouts if not b.symbols or symbol in b.symbols]
    return np.array(joined(spans), np.int64).reshape(-1, 2)
