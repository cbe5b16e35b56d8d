"""The slow ATR on bars computed by hand and on a published example, and the stops that follow it, in both twins."""

from dataclasses import replace
from fractions import Fraction

import pytest

from pipeline.messages import ATR, BID_ASK, CHANDELIER, MID, QUOTE, SHORT, TRADE
from tests import stop_oracle, stop_twin_numpy
from tests.atr_oracle import AtrSeries, atr_distance, bar_price
from tests.stop_examples import SECOND, TWO_BARS, Twin, atr_stop, fired
from tests.tick_rows import quote, status, stream, timer, trade

#: High, low and close of QQQ in cents, and its 14-day ATR from day 14 on, from StockCharts' ChartSchool, "Average True Range".
PUBLISHED_BARS = """
4870 4779 4816  4872 4814 4861  4890 4839 4875  4887 4837 4863  4882 4824 4874  4905 4864 4903  4920 4894 4907  4935 4886 4932
4992 4950 4991  5019 4987 5013  5012 4920 4953  4966 4890 4950  4988 4943 4975  5019 4973 5003  5036 4926 5031  5057 5009 5052
5065 5030 5041  5043 4921 4934  4963 4898 4937  5033 4961 5023  5029 4920 4924  5017 4943 4993  4932 4808 4843  4850 4764 4818
4832 4155 4657  4680 4428 4541  4780 4731 4777  4839 4720 4772  4866 4790 4862  4879 4773 4785
"""
PUBLISHED_ATR = "0.56 0.59 0.59 0.57 0.62 0.62 0.64 0.67 0.69 0.78 0.78 1.21 1.30 1.38 1.37 1.34 1.32"


@pytest.fixture(params=[stop_oracle, stop_twin_numpy], ids=["oracle", "numpy"])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Return each of the twins in turn: an example holds for both."""
    return request.param.triggers


def enter(series: AtrSeries, second: int, *prices: int) -> None:
    """Enter prices of one second, whose bar then is the open one."""
    series.close(second * SECOND)
    for price in prices:
        series.add(second * SECOND, Fraction(price))


def state(series: AtrSeries) -> str:
    """Return how many bars have closed, and the ATR."""
    return f"{series.bars} bars, ATR {series.atr}"


def test_series_of_hand_made_bars_is_wilders() -> None:
    """TR 2 and max(1, 2, 1) are 2 in the mean; then TR max(2, 4, 2) makes (2 + 4) / 2, and a gap down of 11 makes 7.5."""
    series = AtrSeries(2, SECOND)
    enter(series, 10, 9, 10, 8, 9)
    enter(series, 11, 11, 10)
    assert "1 bars, ATR None" == state(series)
    enter(series, 12, 12, 14, 13)
    assert "2 bars, ATR 2" == state(series)
    enter(series, 13, 2, 1)
    assert "3 bars, ATR 3" == state(series)
    assert series.close(14 * SECOND)
    # From 13 to 1 is 12.
    assert "4 bars, ATR 15/2" == state(series)


def test_series_of_published_bars_gives_published_figures() -> None:
    """Thirty days of QQQ give the published ATR, to the cent."""
    series, days = AtrSeries(14, SECOND), PUBLISHED_BARS.split()
    found = []
    for day in range(30):
        high, low, close = (int(text) for text in days[3 * day : 3 * day + 3])
        enter(series, day, high, low, close)
        series.close((day + 1) * SECOND)
        found += [] if series.atr is None else [float(series.atr) / 100]
    expected = [float(text) for text in PUBLISHED_ATR.split()]
    assert len(expected) == len(found)
    # The figures were computed from prices with more places than are printed.
    assert expected == pytest.approx(found, abs=0.0065)


def test_series_without_prices_in_bar_skips_it() -> None:
    """Empty bars are none, and a bar closes once, when its end is reached and not before."""
    series = AtrSeries(1, 2 * SECOND)
    assert not series.close(0)
    enter(series, 3, 5, 8)
    assert not series.close(4 * SECOND - 1)
    assert series.close(4 * SECOND)
    assert not series.close(100 * SECOND)
    assert "1 bars, ATR 3" == state(series)
    enter(series, 101, 8)
    assert series.close(103 * SECOND)
    assert "2 bars, ATR 0" == state(series)


@pytest.mark.parametrize(
    ("atr", "multiplier_ppm", "unit", "distance"),
    [
        (Fraction(5), 1_500_000, 1, 8),
        (Fraction(5), 1_500_000, 2, 15),
        (Fraction(10, 3), 3_000_000, 1, 10),
        (Fraction(1, 3), 1, 1, 1),
        (Fraction(0), 5_000_000, 2, 0),
        (5 + Fraction(1, 10**9), 1_000_000, 1, 5),
        (5 - Fraction(1, 10**9), 1_000_000, 1, 5),
        (5 + Fraction(1, 10**8), 1_000_000, 1, 6),
    ],
)
def test_distance_of_multiple_rounds_up_but_for_nothing(atr: Fraction, multiplier_ppm: int, unit: int, distance: int) -> None:
    """A distance is whole units, rounded up; a part in 10**9 of one is nothing."""
    assert distance == atr_distance(atr, multiplier_ppm, unit)


def test_bar_price_by_source_takes_trades_or_mids() -> None:
    """Bars are made of trades or of mids, whose halves are exact."""
    assert [Fraction(7), None] == [bar_price(kind, 7, 8, "last") for kind in (TRADE, QUOTE)]
    assert [None, Fraction(15, 2)] == [bar_price(kind, 7, 8, "mid") for kind in (TRADE, QUOTE)]


def test_atr_when_series_gets_ready_moves_level(twin: Twin) -> None:
    """1.5 x 5 is 7.5, rounded up 8: 992 from the tick that closes the second bar, which that very tick may cross."""
    one = atr_stop(ATR, 1_500_000)
    assert [(4, 992, 992)] == fired(twin, stream(*TWO_BARS, trade(3, 992)), one)
    assert [] == fired(twin, stream(*TWO_BARS, trade(2.9, 992)), one)
    assert [(4, 1_008, 1_008)] == fired(twin, stream(*TWO_BARS, trade(3, 1_008)), replace(one, side=SHORT))


def test_atr_before_series_is_ready_uses_fallback(twin: Twin) -> None:
    """Until then it lies at its own percent, else at the configured one."""
    one = atr_stop(ATR, 1_500_000)
    assert [(2, 980, 980)] == fired(twin, stream(*TWO_BARS[:2], trade(2, 980)), one)
    assert [(2, 980, 990)] == fired(twin, stream(*TWO_BARS[:2], trade(2, 980)), replace(one, percent_ppm=10_000))


def test_atr_first_level_wider_than_fallback_replaces_it(twin: Twin) -> None:
    """The fallback is provisional: 6 x 5 below 1000 is 970, and 980 fires no more."""
    one = atr_stop(ATR, 6_000_000)
    assert [(5, 970, 970)] == fired(twin, stream(*TWO_BARS, trade(3, 980), trade(3.1, 970)), one)


def test_atr_after_first_level_only_tightens(twin: Twin) -> None:
    """A bar with TR 18 makes the ATR 11.5, and the level stays; narrow bars pull it up."""
    one = atr_stop(ATR, 2_000_000)
    wide = (trade(3, 1_008), trade(3.5, 1_026))
    assert [(6, 990, 990)] == fired(twin, stream(*TWO_BARS, *wide, trade(4, 990)), one)
    # TR 0 twice: the ATR is 2.5, then 1.25, and 2 x 1.25 is 2.5, rounded up 3.
    narrow = (trade(3, 1_008), trade(4, 1_008))
    assert [(6, 997, 997)] == fired(twin, stream(*TWO_BARS, *narrow, trade(5, 997)), one)


def test_atr_armed_after_series_is_ready_starts_there(twin: Twin) -> None:
    """The first level is that of the bars closed when it is armed, and no bar closed before counts."""
    one = atr_stop(ATR, 1_000_000, entry_seconds=3.5)
    ticks = stream(*TWO_BARS, trade(3, 1_008), trade(4, 998), trade(4.5, 997))
    # The third bar, TR 0, closes with the tick that arms it: the ATR is 2.5, so D is 3 and was never 5.
    assert [(6, 997, 997)] == fired(twin, ticks, one)


def test_atr_bar_closed_by_timer_or_other_instrument_moves_level(twin: Twin) -> None:
    """A bar ends with time, whoever tells it: the level of a stop armed later has the newest ATR only."""
    one = atr_stop(ATR, 1_000_000, entry_seconds=3.5)
    for mover in (timer(4), status(4), trade(4, 5, instrument=1), trade(4, 5, instrument=9).rejected(5)):
        ticks = stream(*TWO_BARS, trade(3, 1_026), mover, trade(4.5, 990), trade(4.6, 988))
        # TR 18: the ATR is 11.5 and D 12 when the mover arms the stop; with the ATR before, 5, 990 would fire.
        assert [(7, 988, 988)] == fired(twin, ticks, one)


def test_atr_with_breakeven_keeps_entry_when_first_level_comes(twin: Twin) -> None:
    """What was earned is kept: a wider first level does not undo the breakeven."""
    one = replace(atr_stop(ATR, 6_000_000), breakeven_ppm=5_000)
    assert [(4, 1_000, 1_000)] == fired(twin, stream(*TWO_BARS, trade(3, 1_000)), one)


def test_atr_of_mids_counts_halves(twin: Twin) -> None:
    """With mids for bars ranges may be half ticks: 1.5 and max(0.5, 2.5, 2), so an ATR of 2."""
    mids = (quote(1, 1_000, 1_001), quote(1.5, 1_002, 1_002), quote(2, 1_004, 1_005), quote(2.5, 1_004, 1_004))
    one = replace(atr_stop(ATR, 1_250_000), watch=MID)
    # 1.25 x 2 is 2.5 ticks, 5 half ticks.
    assert [(4, 1_995, 1_995)] == fired(twin, stream(*mids, quote(3, 997, 998)), one, atr_source="mid")
    assert [] == fired(twin, stream(*mids, quote(3, 998, 998)), one, atr_source="mid")


def test_chandelier_below_best_price_follows_it(twin: Twin) -> None:
    """It hangs 1.5 ATR below the best price: 1008 - 8, then 1012 - 8."""
    one = atr_stop(CHANDELIER, 1_500_000)
    assert [(4, 1_000, 1_000)] == fired(twin, stream(*TWO_BARS, trade(3, 1_000)), one)
    assert [(5, 1_004, 1_004)] == fired(twin, stream(*TWO_BARS, trade(3, 1_012), trade(3.5, 1_004)), one)


def test_chandelier_before_series_is_ready_trails_nothing(twin: Twin) -> None:
    """Its fallback is static, from the entry price."""
    assert [(4, 980, 980)] == fired(twin, stream(*TWO_BARS, trade(2.6, 980)), atr_stop(CHANDELIER, 1_500_000))


def test_chandelier_armed_with_ready_series_starts_from_entry(twin: Twin) -> None:
    """Prices from before it was armed are none of its own."""
    one = atr_stop(CHANDELIER, 1_500_000, entry_seconds=3)
    assert [(5, 992, 992)] == fired(twin, stream(*TWO_BARS, trade(3, 993), trade(3.1, 992)), one)


def test_chandelier_between_its_prices_keeps_level_of_each_bar(twin: Twin) -> None:
    """A bar that closes unseen by its watch tightens it, and a wider bar after that does not loosen it."""
    one = replace(atr_stop(CHANDELIER, 1_000_000), watch=BID_ASK)
    quiet = (trade(3, 1_008), trade(4, 1_008), trade(5, 1_050), trade(6, 1_050))
    # ATR 5 at second 3, 2.5 at 4, 1.25 at 5, and 21.625 at 6: the level was 1000 - 2 and is still.
    ticks = stream(quote(1, 1_000, 1_001), *TWO_BARS, *quiet, quote(6.5, 999, 1_000), quote(6.6, 998, 999))
    assert [(10, 998, 998)] == fired(twin, ticks, one)
