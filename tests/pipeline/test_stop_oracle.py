"""The slow twins of the stop engine on examples that a person can follow: each of them gives what DESIGN section 7 says."""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipeline.messages import (
    ATR,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    SHORT,
    STATIC,
    TAKE_PROFIT,
    TICK_BAD_TIME,
    TICK_REASONS,
    TIME,
    TRAILING,
)
from tests import oracle, stop_oracle, stop_twin_numpy
from tests.stop_examples import SECOND, TWO_BARS, Twin, asks, atr_stop, bids, fired, stop
from tests.stop_formulas import loss_level, profit_price, share
from tests.stop_oracle import Stop, StopTerms, Trigger, differences
from tests.tick_rows import Row, at, quote, status, stream, timer, trade


@pytest.fixture(params=[stop_oracle, stop_twin_numpy], ids=["oracle", "numpy"])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Return each of the twins in turn: an example holds for both."""
    return request.param.triggers


def test_static_two_percent_below_hundred_fires_at_98(twin: Twin) -> None:
    """2% below 100.00 is 98.00, to the tick."""
    assert [(2, 9_800, 9_800)] == fired(twin, bids(9_900, 9_801, 9_800, 9_700), replace(stop(STATIC), percent_ppm=20_000))


def test_static_short_two_percent_above_hundred_fires_at_102(twin: Twin) -> None:
    """A short watches the ask, and 2% above 100.00 is 102.00."""
    one = replace(stop(STATIC, SHORT), percent_ppm=20_000)
    assert [(1, 10_200, 10_200)] == fired(twin, asks(10_199, 10_200, 10_300), one)


@pytest.mark.parametrize(("side", "level"), [(LONG, 9_799), (SHORT, 10_199)])
def test_static_percent_between_ticks_rounds_away_from_entry(twin: Twin, side: int, level: int) -> None:
    """2% of 99.99 is no whole tick: the level is the next one on the losing side."""
    one = replace(stop(STATIC, side, entry=9_999), percent_ppm=20_000)
    assert [(1, level, level)] == fired(twin, (bids if side == LONG else asks)(level + side, level), one)


@pytest.mark.parametrize(("side", "level"), [(LONG, 9_800), (SHORT, 9_801)])
def test_static_price_between_ticks_rounds_to_losing_side(twin: Twin, side: int, level: int) -> None:
    """A given price of 98.004 is 98.00 for a long and 98.01 for a short."""
    one = replace(stop(STATIC, side), price=Fraction(98_004, 10))
    assert [(1, level, level)] == fired(twin, (bids if side == LONG else asks)(level + side, level), one)


def test_static_beyond_market_fires_at_first_price(twin: Twin) -> None:
    """A stop that is crossed when it is armed fires at once."""
    assert [(0, 9_900, 9_950)] == fired(twin, bids(9_900, 9_900), replace(stop(STATIC), price=9_950))


def test_mid_of_odd_spread_counts_half_ticks(twin: Twin) -> None:
    """A mid of 97.995 is 19599 half ticks, and at or below 98.00 it fires: E, level and price are doubled."""
    ticks = stream(quote(1, 9_800, 9_801), quote(2, 9_799, 9_800))
    assert [(1, 19_599, 19_600)] == fired(twin, ticks, replace(stop(STATIC, watch=MID), percent_ppm=20_000))


def test_mid_with_given_price_between_half_ticks_rounds_to_one(twin: Twin) -> None:
    """98.0074 is 19601.48 half ticks: 19601 for a long, 19602 for a short."""
    ticks, price = stream(quote(1, 9_801, 9_801), quote(2, 9_800, 9_801)), Fraction(980_074, 100)
    assert [(1, 19_601, 19_601)] == fired(twin, ticks, replace(stop(STATIC, watch=MID), price=price))
    assert [(0, 19_602, 19_602)] == fired(twin, ticks, replace(stop(STATIC, SHORT, MID), price=price))


def test_last_watch_with_quotes_below_level_waits_for_trade(twin: Twin) -> None:
    """A stop on the last price sees trades only."""
    ticks = stream(quote(1, 9_700, 9_701), trade(2, 9_801), quote(3, 9_700, 9_701), trade(4, 9_790))
    assert [(3, 9_790, 9_800)] == fired(twin, ticks, replace(stop(STATIC, watch=LAST), percent_ppm=20_000))


def test_trailing_percent_after_high_follows_it_down_never(twin: Twin) -> None:
    """From a high of 110.00 a 2% level is 107.80 and stays there."""
    one = replace(stop(TRAILING), percent_ppm=20_000)
    assert [(4, 10_780, 10_780)] == fired(twin, bids(9_900, 11_000, 10_900, 10_781, 10_780), one)


def test_trailing_short_after_low_mirrors_long(twin: Twin) -> None:
    """From a low of 90.00 a 2% level is 91.80 and stays there."""
    one = replace(stop(TRAILING, SHORT), percent_ppm=20_000)
    assert [(4, 9_180, 9_180)] == fired(twin, asks(10_100, 9_000, 9_100, 9_179, 9_180), one)


def test_trailing_below_entry_from_start_trails_entry(twin: Twin) -> None:
    """The best price is the entry price until a better one comes."""
    assert [(1, 9_800, 9_800)] == fired(twin, bids(9_900, 9_800), replace(stop(TRAILING), percent_ppm=20_000))


def test_trailing_offset_from_best_is_in_ticks(twin: Twin) -> None:
    """An offset of 25 ticks trails by 25 ticks; on a mid by 50 half ticks, and half a tick is one."""
    ticks = stream(quote(1, 10_000, 10_001), quote(2, 10_100, 10_101), quote(3, 10_075, 10_076))
    assert [(2, 10_075, 10_075)] == fired(twin, ticks, replace(stop(TRAILING), offset_ticks=25))
    assert [(2, 20_151, 20_151)] == fired(twin, ticks, replace(stop(TRAILING, watch=MID), offset_ticks=25))
    assert [(2, 20_151, 20_152)] == fired(twin, ticks, replace(stop(TRAILING, watch=MID), offset_ticks=Fraction(49, 2)))


def test_trailing_with_given_price_starts_there_and_tightens(twin: Twin) -> None:
    """A given price holds as long as it is tighter than what is trailed."""
    one = replace(stop(TRAILING), percent_ppm=50_000, price=Fraction(19_701, 2))
    assert [(1, 9_850, 9_850)] == fired(twin, bids(10_000, 9_850), one)
    assert [(2, 10_450, 10_450)] == fired(twin, bids(10_000, 11_000, 10_450), one)
    assert [(0, 9_500, 9_500)] == fired(twin, bids(9_500), replace(one, price=9_000))


def test_take_profit_percent_fires_at_target(twin: Twin) -> None:
    """2% above 100.00 is 102.00 and its level is the target; a short's lies 2% below."""
    one = replace(stop(TAKE_PROFIT), percent_ppm=20_000)
    assert [(2, 10_210, 10_200)] == fired(twin, bids(9_000, 10_199, 10_210), one)
    assert [(2, 9_790, 9_800)] == fired(twin, asks(11_000, 9_801, 9_790), replace(one, side=SHORT))


def test_take_profit_price_between_ticks_is_not_reached_below_it(twin: Twin) -> None:
    """A target of 102.004 is 102.01 for a long and 102.00 for a short: no price short of it will do."""
    one = replace(stop(TAKE_PROFIT), price=Fraction(102_004, 10))
    assert [(1, 10_201, 10_201)] == fired(twin, bids(10_200, 10_201), one)
    assert [(1, 10_200, 10_200)] == fired(twin, asks(10_201, 10_200), replace(one, side=SHORT))


def test_activation_at_profit_wakes_on_that_very_tick(twin: Twin) -> None:
    """Asleep it fires on nothing; 1% of profit wakes it, and the tick that does may fire it."""
    one = replace(stop(STATIC), price=10_500, activation_ppm=10_000)
    assert [(2, 10_100, 10_500)] == fired(twin, bids(9_000, 10_099, 10_100), one)
    short = replace(stop(STATIC, SHORT), price=9_500, activation_ppm=10_000)
    assert [(2, 9_900, 9_500)] == fired(twin, asks(11_000, 9_901, 9_900), short)


def test_activation_once_reached_stays(twin: Twin) -> None:
    """Awake, the stop fires below the profit that woke it, and its level trailed while it slept."""
    one = replace(stop(TRAILING), percent_ppm=20_000, activation_ppm=10_000)
    assert [(3, 9_898, 9_898)] == fired(twin, bids(9_000, 10_050, 10_100, 9_898), one)


def test_breakeven_after_profit_holds_entry(twin: Twin) -> None:
    """Once 1% was won, the level is the entry price at least."""
    one = replace(stop(STATIC), percent_ppm=20_000, breakeven_ppm=10_000)
    assert [(3, 10_000, 10_000)] == fired(twin, bids(9_900, 10_100, 10_001, 10_000), one)
    assert [(1, 9_800, 9_800)] == fired(twin, bids(10_099, 9_800), one)
    assert [(2, 10_003, 10_000)] == fired(twin, asks(9_900, 9_999, 10_003), replace(one, side=SHORT))


def test_breakeven_of_tighter_trailing_changes_nothing(twin: Twin) -> None:
    """A level that lies above the entry price already is not drawn back to it."""
    one = replace(stop(TRAILING), percent_ppm=10_000, breakeven_ppm=10_000)
    assert [(2, 10_890, 10_890)] == fired(twin, bids(10_000, 11_000, 10_890), one)


@pytest.mark.parametrize("last", [timer(5), status(5), quote(5, 9, 9).rejected(8), quote(5, 9, 9, 1), trade(5, 9)])
def test_time_at_deadline_fires_on_whatever_tells_time(twin: Twin, last: Row) -> None:
    """The deadline comes with a timer, a rejected tick, another instrument or another kind; the price is the last valid one."""
    ticks = stream(quote(0.5, 7, 8), quote(1, 9_900, 9_901), timer(4.9), last, timer(6))
    assert [(3, 9_900, None)] == fired(twin, ticks, replace(stop(TIME), holding_ns=4 * SECOND))


def test_time_without_price_of_its_watch_tells_none(twin: Twin) -> None:
    """A position is left in time even where nobody ever saw its price."""
    ticks = stream(quote(1, 9_900, 9_901), trade(1, 5, instrument=1), timer(3))
    assert [Trigger(1, 2, at(3), None, None)] == twin(ticks, [replace(stop(TIME, watch=LAST), holding_ns=SECOND)])


def test_time_with_price_from_before_its_entry_tells_it(twin: Twin) -> None:
    """The last valid price is the market's, whether the position was held then or not, and the tick's own counts."""
    one = replace(stop(TIME, SHORT, entry_seconds=2), holding_ns=SECOND)
    assert [(1, 9_901, None)] == fired(twin, stream(quote(1, 9_900, 9_901), timer(3)), one)
    assert [(1, 9_911, None)] == fired(twin, stream(quote(1, 9_900, 9_901), quote(3, 9_910, 9_911)), one)


def test_time_asleep_past_deadline_fires_when_woken(twin: Twin) -> None:
    """Activation puts a time stop to sleep too: asleep, it fires on nothing."""
    one = replace(stop(TIME), holding_ns=SECOND, activation_ppm=10_000)
    assert [(3, 10_100, None)] == fired(twin, bids(9_900, 9_900, 10_099, 10_100), one)
    assert [] == fired(twin, bids(9_900, 9_900), one)


def test_arming_with_inverted_times_counts_stream_time(twin: Twin) -> None:
    """Once the stream has reached the entry time, a late tick of an earlier time is a price like any other."""
    one = replace(stop(STATIC, entry_seconds=2), percent_ppm=20_000)
    assert [(2, 9_700, 9_800)] == fired(
        twin, stream(quote(1, 9_700, 9_701), quote(2, 9_900, 9_901), quote(1, 9_700, 9_701)), one
    )
    assert [Trigger(1, 1, at(2), 9_700, 9_800)] == twin(stream(timer(2), quote(1, 9_700, 9_701)), [one])


@pytest.mark.parametrize("first", [timer(2), status(2), quote(2, 5, 5).rejected(1), trade(2, 5, instrument=1)])
def test_arming_by_any_tick_starts_with_next_price(twin: Twin, first: Row) -> None:
    """What arms a stop need not carry its price; the price before it does not count."""
    one = replace(stop(STATIC, entry_seconds=2), percent_ppm=20_000)
    assert [(2, 9_800, 9_800)] == fired(twin, stream(quote(1, 9_000, 9_001), first, quote(2, 9_800, 9_801)), one)


def test_arming_tick_with_crossing_price_fires(twin: Twin) -> None:
    """The tick that arms a stop already counts, one nanosecond earlier does not."""
    ticks = bids(9_700, 9_700)
    assert [(0, 9_700, 9_800)] == fired(twin, ticks, replace(stop(STATIC), percent_ppm=20_000))
    assert [(1, 9_700, 9_800)] == fired(twin, ticks, replace(stop(STATIC), percent_ppm=20_000, entry_ns=SECOND + 1))
    assert [] == fired(twin, ticks, replace(stop(STATIC, entry_seconds=3), percent_ppm=20_000))


@pytest.mark.parametrize("reason", range(1, len(TICK_REASONS)), ids=TICK_REASONS[1:])
def test_rejected_tick_beyond_level_fires_nothing(twin: Twin, reason: int) -> None:
    """A rejected price fires no stop, moves no best price and enters no bar."""
    seconds = 2.5 if reason == TICK_BAD_TIME else 2.6
    wild = [quote(seconds, 1, 90_000).rejected(reason), trade(seconds, 90_000).rejected(reason)]
    trailing = replace(stop(TRAILING, watch=LAST, entry=1_000), stop_id=2, offset_ticks=10)
    short = replace(stop(STATIC, SHORT, entry=1_000), stop_id=3, percent_ppm=20_000)
    terms = [atr_stop(ATR, 1_500_000), trailing, short]
    assert [(6, 998, 998)] == fired(twin, stream(*TWO_BARS, *wild, trade(3, 998)), *terms)
    assert [(6, 998, 998), (7, 992, 992)] == fired(twin, stream(*TWO_BARS, *wild, trade(3, 998), trade(3, 992)), *terms)


def test_triggers_of_one_tick_go_by_id_then_deadlines(twin: Twin) -> None:
    """Within one tick price stops fire in order of their ids, then what is due; each guards a position of its own."""
    static = replace(stop(STATIC), percent_ppm=20_000)
    timed = replace(stop(TIME), holding_ns=SECOND)
    terms = [replace(timed, stop_id=2), replace(static, stop_id=7), replace(timed, stop_id=1), replace(static, stop_id=3)]
    assert [3, 7, 1, 2] == [one.stop_id for one in twin(bids(9_900, 9_700), terms)]


def test_stops_of_other_instruments_see_their_own_prices(twin: Twin) -> None:
    """A price of one instrument is none of another."""
    one = replace(stop(STATIC), percent_ppm=20_000)
    ticks = stream(quote(1, 9_000, 9_001, instrument=1), quote(2, 9_790, 9_791))
    assert [Trigger(1, 1, at(2), 9_790, 9_800), Trigger(2, 0, at(1), 9_000, 9_800)] == sorted(
        twin(ticks, [one, replace(one, stop_id=2, instrument=1)])
    )


def test_percent_levels_of_any_price_match_their_definition() -> None:
    """Both forms of DESIGN and of the issue are one: X - ceil(X ppm) is floor(X (1 - ppm))."""
    for price in (1, 7, 9_999, 10_000, 2**41 - 1, 2**43 - 3):
        for ppm in (1, 333, 20_000, 990_000):
            for side in (LONG, SHORT):
                assert oracle.percent_level(side, price, ppm) == loss_level(side, price, ppm)
            assert profit_price(LONG, price, ppm) == loss_level(SHORT, price, ppm)
            assert stop_twin_numpy.part_up(price, ppm) == share(price, ppm)
            assert [share(price, ppm)] == stop_twin_numpy.parts_up(np.array([price]), ppm).tolist()


def walked(level: int) -> Stop:
    """Return an armed static stop at 98.00 whose level was then set by force."""
    walk = stop_oracle.walk(bids(9_900), [replace(stop(STATIC), percent_ppm=20_000)])
    walk.stops[1].level = level
    return walk.stops[1]


def test_loosened_level_of_any_stop_is_reported() -> None:
    """The oracle watches itself: a level that moves away from the price is a fault, one that moves nearer is none."""
    stop_oracle.assert_not_loosened(walked(9_801), 9_800, provisional=False)
    stop_oracle.assert_not_loosened(walked(9_799), 9_800, provisional=True)
    with pytest.raises(AssertionError, match="loosened from 9800 to 9799"):
        stop_oracle.assert_not_loosened(walked(9_799), 9_800, provisional=False)


@pytest.mark.parametrize(
    "terms",
    [
        stop(STATIC),
        replace(stop(STATIC), price=1, percent_ppm=1),
        replace(stop(TRAILING), price=1),
        replace(stop(TRAILING), offset_ticks=1, percent_ppm=1),
        replace(stop(TRAILING), offset_ticks=Fraction(1, 2)),
        replace(stop(ATR), atr_ppm=1, atr_period=1, bar_ns=1),
        replace(atr_stop(CHANDELIER, 1), price=1),
        stop(TIME),
        replace(stop(STATIC, entry=0), percent_ppm=1),
    ],
)
def test_terms_that_make_no_stop_are_refused(twin: Twin, terms: StopTerms) -> None:
    """What is no stop is a fault of the test that made it, and found at once."""
    with pytest.raises(AssertionError):
        twin(bids(9_900), [terms])


def test_stops_with_one_id_are_refused() -> None:
    """A trigger names its stop, so no two share a name."""
    terms: Iterable[StopTerms] = [replace(stop(STATIC), percent_ppm=1)] * 2
    with pytest.raises(AssertionError, match="id of its own"):
        stop_oracle.walk(bids(9_900), terms)


def test_differences_of_two_lists_name_each_stop() -> None:
    """What is missing, unexpected or otherwise is told, and a stop that fired twice is a fault."""
    one, two, three = (Trigger(stop_id, 5, 50, 9_800, 9_800) for stop_id in (1, 2, 3))
    assert [] == differences([one, two], [two, one])
    lines = differences([one, two], [replace(two, level=9_799), three])
    assert ["stop 1: ", "stop 2: ", "stop 3: "] == [line[:8] for line in lines]
    assert lines[0].endswith("got None")
    with pytest.raises(AssertionError, match="twice"):
        differences([one], [one, replace(one, seq=6)])
