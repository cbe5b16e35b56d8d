"""Session hours and blackouts: as people write them, at their edges, and through every change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.messages import REASON_NONE, REJECT_BLACKOUT, REJECT_SESSION
from pipeline.risk.calendar import (
    ALWAYS,
    NO_END_NS,
    REASON,
    SINCE,
    UNTIL,
    Calendar,
    closed_reason,
    make_calendar,
    open_calendar,
)
from pipeline.sessions import (
    Hours,
    clock_offsets,
    parse_blackout,
    parse_sessions,
    spans_for,
    utc_ns,
)

pytestmark = pytest.mark.jitless

NEW_YORK = "Mon-Fri 09:30-16:00 America/New_York"
GLOBEX = "Sun-Fri 18:00-17:00 America/Chicago"
TOKYO = "Mon-Fri 09:00-11:30, Mon-Fri 12:30-15:30 Asia/Tokyo"
WEEKEND = "Fri 20:00-04:00, Sun 22:15-06:00 Europe/London"
#: Each example: its zone, and (day, opens, closes) in minutes of that day, written out by hand; closes may lie in the next.
BY_HAND = {
    NEW_YORK: ("America/New_York", [(day, 570, 960) for day in range(5)]),
    GLOBEX: ("America/Chicago", [(day, 1080, 1440 + 1020) for day in (6, 0, 1, 2, 3)]),
    TOKYO: ("Asia/Tokyo", [span for day in range(5) for span in ((day, 540, 690), (day, 750, 930))]),
    WEEKEND: ("Europe/London", [(4, 1200, 1440 + 240), (6, 1335, 1440 + 360)]),
}
MINUTE_NS = 60 * 10**9


def calendar_of(*texts: str, blackouts: tuple[str, ...] = ()) -> Calendar:
    """Return the calendar of instruments A, B, ... with these hours."""
    hours = {text: found for text in texts if (found := parse_sessions(text, "session")) is not None}
    places, spans = list(hours), [parse_blackout(text, "blackouts") for text in blackouts]
    return make_calendar(
        [places.index(text) if text in hours else ALWAYS for text in texts],
        [found.ranges for found in hours.values()],
        [found.offsets for found in hours.values()],
        [spans_for(spans, chr(ord("A") + k)) for k in range(len(texts))],
    )


def at(text: str) -> int:
    """Return a time in UTC such as 2026-03-06T14:30 in ns."""
    return utc_ns(f"{text}Z", "test")


def is_open_by_hand(text: str, now_ns: int) -> bool:
    """Tell whether hours are open, from what the zone's clock shows: day by day, today's ranges and yesterday's."""
    zone, spans = BY_HAND[text]
    shown = datetime.fromtimestamp(now_ns // 10**9, ZoneInfo(zone))
    minute = shown.hour * 60 + shown.minute
    today, yesterday = shown.weekday(), (shown.weekday() - 1) % 7
    return any(
        (day == today and opens <= minute < closes) or (day == yesterday and opens <= minute + 1440 < closes)
        for day, opens, closes in spans
    )


@pytest.mark.parametrize("text", ["always", " Always "])
def test_sessions_always_have_no_hours(text: str) -> None:
    """What trades always needs no clock."""
    assert parse_sessions(text, "session") is None


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("Mon 09:30-16:00 UTC", [(570, 960)]),
        ("mon-tue 9:30-16:00 UTC", [(570, 960), (2010, 2400)]),
        ("Mon-Fri 00:00-24:00 UTC", [(0, 7200)]),
        ("Mon-Sun 00:00-24:00 UTC", [(0, 10080)]),
        ("Sat-Mon 10:00-11:00 UTC", [(600, 660), (7800, 7860), (9240, 9300)]),
        ("Mon 09:00-10:00, 11:00-12:00 UTC", [(540, 600), (660, 720)]),
        ("Mon 09:00-10:00, Mon 10:00-11:00, Mon 10:30-12:00 UTC", [(540, 720)]),
        ("Fri 18:00-17:00 UTC", [(6840, 8220)]),
        ("Sun 18:00-17:00 UTC", [(0, 1020), (9720, 10080)]),
        ("Sun-Tue 18:00-17:00 UTC", [(0, 1020), (1080, 2460), (9720, 10080)]),
        ("Sun 18:00-24:00 UTC", [(9720, 10080)]),
    ],
)
def test_sessions_in_words_become_minutes_of_the_week(text: str, ranges: list[tuple[int, int]]) -> None:
    """In order, joined where they touch, and in two parts where they run over the end of Sunday."""
    hours = parse_sessions(text, "session")
    assert hours is not None
    assert ranges == [tuple(span) for span in hours.ranges.tolist()]


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("", "name no time zone", "write"),
        ("Mon-Fri 09:30-16:00", "name no time zone", "America/New_York"),
        ("America/New_York", "name no time zone", "write"),
        ("Mon-Fri America/New_York", "no days and hours", "write"),
        ("Mon-Fri 09:30 America/New_York", "no days and hours", "write"),
        ("09:30-16:00 America/New_York", "name no days", "write"),
        ("Mon-Fri 09:30-24:01 UTC", "24:01 is no time of the day", "24:00"),
        ("Mon-Fri 09:60-16:00 UTC", "09:60 is no time of the day", "24:00"),
        ("Mon-Fry 09:30-16:00 UTC", "'Fry' is no day", "Mon, Tue"),
        ("Mon-Mon 09:30-16:00 UTC", "one day or seven", "Mon-Sun"),
        ("Mon-Fri 09:30-16:00 America/New_Yrok", "unknown time zone", "America/New_York"),
        ("Mon-Fri 09:30-16:00 ../etc/passwd", "unknown time zone", "write a name"),
    ],
)
def test_sessions_that_are_none_are_refused_with_a_remedy(text: str, what: str, remedy: str) -> None:
    """The message says which part is wrong, and what would do."""
    with pytest.raises(ConfigurationError) as raised:
        parse_sessions(text, "risk.session")
    assert what in raised.value.what
    assert remedy in raised.value.remedy
    assert "risk.session" == raised.value.where


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no begin and end"),
        ("2026-12-24T18:00:00Z", "no begin and end"),
        ("2026-12-24T18:00:00/2026-12-26T00:00:00Z", "no time in UTC"),
        ("2026-12-24T18:00:00+01:00/2026-12-26T00:00:00Z", "no time in UTC"),
        ("2026-13-24T18:00:00Z/2026-12-26T00:00:00Z", "no time in UTC"),
        ("2026-12-26T00:00:00Z/2026-12-26T00:00:00Z", "ends before it begins"),
    ],
)
def test_blackout_that_is_none_is_refused_with_a_remedy(text: str, what: str) -> None:
    """A time without its Z could be anybody's."""
    with pytest.raises(ConfigurationError) as raised:
        parse_blackout(text, "risk.blackouts")
    assert what in raised.value.what
    assert "2026-12-24T18:00:00Z" in raised.value.remedy


def test_blackout_names_symbols_or_all() -> None:
    """Blackouts of a symbol are its own and those of all, in order, joined where they touch."""
    texts = (
        "2026-01-03T00:00:00Z/2026-01-04T00:00:00Z A",
        "2026-01-01T00:00Z/2026-01-02T00:00Z",
        "2026-01-02T00:00:00Z/2026-01-02T12:00:00.5Z A B",
    )
    blackouts = [parse_blackout(text, "blackouts") for text in texts]
    assert [[at("2026-01-01T00:00"), at("2026-01-02T12:00:00.5")], [at("2026-01-03T00:00"), at("2026-01-04T00:00")]] == (
        spans_for(blackouts, "A").tolist()
    )
    assert [[at("2026-01-01T00:00"), at("2026-01-02T00:00")]] == spans_for(blackouts, "C").tolist()
    assert (0, 2) == spans_for([], "A").shape


@pytest.mark.parametrize(
    ("edge", "text"),
    [
        ("2026-03-06T14:30", NEW_YORK),  # winter
        ("2026-03-06T21:00", NEW_YORK),
        ("2026-03-09T13:30", NEW_YORK),  # the Monday after the clocks went forward
        ("2026-10-30T13:30", NEW_YORK),
        ("2026-11-02T14:30", NEW_YORK),  # the Monday after they went back
        ("2026-03-08T23:00", GLOBEX),  # Sunday evening of the day on which they went forward
        ("2026-11-02T00:00", GLOBEX),
        ("2026-03-06T23:00", GLOBEX),  # Friday afternoon
        ("2026-03-06T00:00", TOKYO),
        ("2026-03-06T02:30", TOKYO),
        ("2026-03-06T03:30", TOKYO),
        ("2026-03-28T04:00", WEEKEND),
        ("2026-03-29T21:15", WEEKEND),
    ],
)
@pytest.mark.parametrize("offset_ns", [-1, 0, 1])
def test_session_changes_at_its_edge(edge: str, text: str, offset_ns: int) -> None:
    """One ns before the edge it is as it was, at the edge and after it the other way round."""
    now_ns = at(edge) + offset_ns
    before, after = is_open_by_hand(text, at(edge) - 1), is_open_by_hand(text, at(edge))
    assert before != after, "an edge"
    expected = before if offset_ns < 0 else after
    assert (REASON_NONE if expected else REJECT_SESSION) == closed_reason(calendar_of(text), 0, now_ns)


@pytest.mark.parametrize("text", BY_HAND)
@pytest.mark.parametrize("year", [1999, 2026, 2045])
def test_session_through_a_year_is_as_the_clocks_show(text: str, year: int) -> None:
    """Every quarter of an hour of a year, forward and, in another calendar, backward."""
    forward, backward = calendar_of(text), calendar_of(text)
    quarters = range(at(f"{year}-01-01T00:00"), at(f"{year + 1}-01-01T00:00"), 15 * MINUTE_NS)
    expected = [REASON_NONE if is_open_by_hand(text, now_ns) else REJECT_SESSION for now_ns in quarters]
    assert expected == [closed_reason(forward, 0, now_ns) for now_ns in quarters]
    assert expected[::-1] == [closed_reason(backward, 0, now_ns) for now_ns in quarters[::-1]]


times = st.integers(at("2025-01-01T00:00") // MINUTE_NS, at("2029-01-01T00:00") // MINUTE_NS).map(
    lambda minute: minute * MINUTE_NS
)


@given(text=st.sampled_from(sorted(BY_HAND)), moments=st.lists(times, min_size=1, max_size=20), after_ns=st.integers(-1, 1))
@settings(max_examples=200)
def test_answer_that_is_kept_holds_as_long_as_it_says(text: str, moments: list[int], after_ns: int) -> None:
    """Whatever is asked, forward or back: the answer is right, and right at both ends of the time for which it is kept."""
    blackout = "2026-06-01T00:00:00Z/2027-06-01T00:00:00Z"
    begin, end = (at(time[:16]) for time in blackout.split("/"))
    calendar = calendar_of(text, blackouts=(blackout,))

    def by_hand(now_ns: int) -> int:
        if not is_open_by_hand(text, now_ns):
            return REJECT_SESSION
        return REJECT_BLACKOUT if begin <= now_ns < end else REASON_NONE

    for moment in moments:
        now_ns = moment + after_ns
        assert by_hand(now_ns) == closed_reason(calendar, 0, now_ns)
        since, until = int(calendar.kept[0, SINCE]), int(calendar.kept[0, UNTIL])
        assert since <= now_ns < until
        assert by_hand(since) == by_hand(until - 1) == calendar.kept[0, REASON]


@pytest.mark.parametrize(("offset_ns", "reasons"), [(-1, (0, 1)), (0, (1, 0)), (1, (1, 0))])
def test_blackout_holds_from_its_begin_to_before_its_end(offset_ns: int, reasons: tuple[int, int]) -> None:
    """At its begin it holds, at its end no more; and for the symbols that it names only."""
    calendar = calendar_of("always", "always", blackouts=("2026-12-24T18:00:00Z/2026-12-26T00:00:00Z B",))
    for edge, is_closed in zip(("2026-12-24T18:00", "2026-12-26T00:00"), reasons, strict=True):
        assert REJECT_BLACKOUT * is_closed == closed_reason(calendar, 1, at(edge) + offset_ns)
        assert REASON_NONE == closed_reason(calendar, 0, at(edge) + offset_ns)


def test_blackout_outside_of_the_session_tells_of_the_session() -> None:
    """Checks go in order: session, then blackout."""
    calendar = calendar_of("Thu 09:00-17:00 UTC", blackouts=("2026-12-24T00:00:00Z/2026-12-26T00:00:00Z",))
    hours = ("2026-12-24T08:59", "2026-12-24T09:00", "2026-12-24T17:00")
    assert [REJECT_SESSION, REJECT_BLACKOUT, REJECT_SESSION] == [closed_reason(calendar, 0, at(hour)) for hour in hours]


def test_calendar_that_is_open_answers_once_for_ever() -> None:
    """Without hours and blackouts the first answer holds to the end of time."""
    calendar = open_calendar(2)
    assert [REASON_NONE] * 3 == [closed_reason(calendar, 1, now_ns) for now_ns in (0, at("2026-01-01T00:00"), NO_END_NS - 1)]
    assert NO_END_NS == calendar.kept[1, UNTIL]


def test_calendar_of_several_markets_tells_them_apart() -> None:
    """Instruments of one market share its hours, whatever stands between them."""
    calendar = calendar_of(NEW_YORK, "always", TOKYO, NEW_YORK)
    assert calendar.hours_of[0] == calendar.hours_of[3] != calendar.hours_of[2]
    reasons = [closed_reason(calendar, k, at("2026-03-06T15:00")) for k in range(4)]
    assert [REASON_NONE, REASON_NONE, REJECT_SESSION, REASON_NONE] == reasons


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/London", "Africa/Casablanca", "Australia/Lord_Howe"])
def test_clock_offsets_are_those_of_the_zone(zone: str) -> None:
    """At random times of 120 years, and at each change and one second before it."""
    offsets = clock_offsets(ZoneInfo(zone))
    rng = np.random.default_rng(7)
    seconds = rng.integers(at("1975-01-01T00:00") // 10**9, at("2095-01-01T00:00") // 10**9, 500)
    changes = offsets[1:, 0] // 10**9
    for second in [*seconds.tolist(), *changes.tolist(), *(changes - 1).tolist()]:
        ahead_ns = int(offsets[np.searchsorted(offsets[:, 0], second * 10**9, "right") - 1, 1])
        found = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
        assert timedelta(microseconds=ahead_ns // 1000) == found, datetime.fromtimestamp(second, UTC)


def test_hours_of_an_example_are_arrays_of_words() -> None:
    """What goes to the kernels is int64, two words for each."""
    hours = parse_sessions(GLOBEX, "session")
    assert isinstance(hours, Hours)
    for pairs in hours:
        assert ("int64", 2) == (pairs.dtype.name, pairs.shape[1])
