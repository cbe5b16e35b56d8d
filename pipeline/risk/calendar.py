"""When an instrument may be traded: session hours by the week in their time zone, and blackouts by date.

The answer for an instrument is kept with the time in which it holds, so that nearly every question is three loads of one cache
line; it is worked out anew only when an hour strikes, a clock is put forward or back, or a blackout begins or ends.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.messages import REASON_NONE, REJECT_BLACKOUT, REJECT_SESSION
from shm.jit import njit_inline, njit_inner

MINUTE_NS = 60_000_000_000
WEEK_NS = 7 * 24 * 60 * MINUTE_NS
#: The first Monday of the epoch, which began on a Thursday: weeks count from there.
MONDAY_NS = 4 * 24 * 60 * MINUTE_NS
#: `hours_of` of an instrument that trades always.
ALWAYS = -1
#: Ends of what does not end, and begins of what has always been.
NO_END_NS, NO_BEGIN_NS = (1 << 63) - 1, -(1 << 63)

# Columns of `kept`: the answer holds from SINCE up to, and without, UNTIL.
SINCE, UNTIL, REASON = 0, 1, 2


class Calendar(NamedTuple):
    """All hours and blackouts, as kernels take them; int64. Hours h have the places first[h] to first[h + 1] - 1."""

    hours_of: np.ndarray  #: by instrument: number of its hours, or ALWAYS
    range_first: np.ndarray
    range_ns: np.ndarray  #: (ranges, 2): opens, closes, in ns since Monday 00:00 of the zone; in order, none touches another
    offset_first: np.ndarray
    offset_ns: np.ndarray  #: (offsets, 2): from which time, UTC, the zone's clock is so far ahead of UTC; the first from ever
    blackout_first: np.ndarray  #: by instrument, and one more
    blackout_ns: np.ndarray  #: (blackouts of all instruments, 2): begins, ends, UTC; in order, none touches another
    kept: np.ndarray  #: (instruments, 4): SINCE, UNTIL, REASON; private


def make_calendar(
    hours_of: Sequence[int],
    ranges: Sequence[np.ndarray],
    offsets: Sequence[np.ndarray],
    blackouts: Sequence[np.ndarray],
) -> Calendar:
    """Return the calendar of an instance.

    Args:
        hours_of: By instrument: place in `ranges` and `offsets`, or ALWAYS.
        ranges: For each hours: (n, 2) minutes since Monday 00:00 in which it is open (pipeline.sessions.Hours.ranges).
        offsets: For each hours: (n, 2) from when the zone's clock is how far ahead, ns (pipeline.sessions.Hours.offsets).
        blackouts: For each instrument: (n, 2) begin and end in ns UTC (pipeline.sessions.spans_for).
    """
    return Calendar(
        np.array(hours_of, np.int64),
        *packed([MINUTE_NS * of for of in ranges]),
        *packed(offsets),
        *packed(blackouts),
        # Nothing is kept yet: it would hold in no time.
        np.zeros((len(hours_of), 4), np.int64),
    )


def open_calendar(instrument_count: int) -> Calendar:
    """Return a calendar by which everything trades always."""
    return make_calendar([ALWAYS] * instrument_count, [], [], [np.zeros((0, 2), np.int64)] * instrument_count)


def packed(lists: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place of each list of pairs, and one more, and all pairs behind one another."""
    first = np.cumsum([0, *(len(pairs) for pairs in lists)]).astype(np.int64)
    return first, np.concatenate([np.zeros((0, 2), np.int64), *lists])


@njit_inline
def closed_reason(calendar, instrument, now_ns):
    """Tell whether an instrument may be traded.

    Args:
        calendar: Calendar.
        instrument: A known one.
        now_ns: Stream time.
    Returns:
        REASON_NONE, REJECT_SESSION, or REJECT_BLACKOUT within its session.
    """
    kept = calendar.kept
    if kept[instrument, SINCE] <= now_ns < kept[instrument, UNTIL]:
        return kept[instrument, REASON]
    return look_up(calendar, instrument, now_ns)


@njit_inner
def look_up(calendar, instrument, now_ns):
    """Work out what `closed_reason` tells, and keep it for as long as it holds."""
    kept = calendar.kept
    kept[instrument, SINCE], kept[instrument, UNTIL] = NO_BEGIN_NS, NO_END_NS
    first, end = calendar.blackout_first[instrument], calendar.blackout_first[instrument + 1]
    is_blackout = is_within(calendar.blackout_ns, first, end, now_ns, kept[instrument])
    is_open = True
    hours = calendar.hours_of[instrument]
    if hours != ALWAYS:
        is_open = is_session(calendar, hours, now_ns, kept[instrument])
    kept[instrument, REASON] = REASON_NONE
    if not is_open:
        kept[instrument, REASON] = REJECT_SESSION
    elif is_blackout:
        kept[instrument, REASON] = REJECT_BLACKOUT
    return kept[instrument, REASON]


@njit_inner
def is_within(spans_ns, first, end, now_ns, kept):
    """Tell whether a time lies in one of the spans at the places first to end - 1; narrow what is kept to where that holds."""
    for k in range(first, end):
        if now_ns < spans_ns[k, 0]:
            kept[UNTIL] = min(kept[UNTIL], spans_ns[k, 0])
            return False
        if now_ns < spans_ns[k, 1]:
            kept[SINCE], kept[UNTIL] = max(kept[SINCE], spans_ns[k, 0]), min(kept[UNTIL], spans_ns[k, 1])
            return True
        kept[SINCE] = max(kept[SINCE], spans_ns[k, 1])
    return False


@njit_inner
def is_session(calendar, hours, now_ns, kept):
    """Tell whether hours are open; narrow what is kept to the same answer, the same week and the same offset from UTC."""
    offset_ns = calendar.offset_ns
    k, end = calendar.offset_first[hours], calendar.offset_first[hours + 1]
    while k + 1 < end and offset_ns[k + 1, 0] <= now_ns:
        k += 1
    ahead_ns = offset_ns[k, 1]
    kept[SINCE] = max(kept[SINCE], offset_ns[k, 0])
    if k + 1 < end:
        kept[UNTIL] = min(kept[UNTIL], offset_ns[k + 1, 0])
    # What the zone's clocks showed when its week began: a time of the week is so far behind that, by the offset of now.
    monday_ns = (now_ns + ahead_ns - MONDAY_NS) // WEEK_NS * WEEK_NS + MONDAY_NS - ahead_ns
    since, until = max(kept[SINCE], monday_ns), min(kept[UNTIL], monday_ns + WEEK_NS)
    kept[SINCE], kept[UNTIL] = NO_BEGIN_NS, NO_END_NS
    first, end = calendar.range_first[hours], calendar.range_first[hours + 1]
    is_open = is_within(calendar.range_ns, first, end, now_ns - monday_ns, kept)
    if kept[SINCE] != NO_BEGIN_NS:
        since = max(since, kept[SINCE] + monday_ns)
    if kept[UNTIL] != NO_END_NS:
        until = min(until, kept[UNTIL] + monday_ns)
    kept[SINCE], kept[UNTIL] = since, until
    return is_open
