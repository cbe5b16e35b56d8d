"""Hygiene: each tick is judged as its slow twin says, whatever was judged in vain before, and each reason is counted."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest import binance, lean
from pipeline.ingest.hygiene import UNDO_ROWS, Hygiene, begin_batch, judge
from pipeline.messages import (
    NON_FINITE,
    PRICE_TICKS_LIMIT,
    QUANTITY_LOTS_LIMIT,
    QUOTE,
    STATUS,
    TICK,
    TICK_REASONS,
    TIMER,
    TRADE,
)
from pipeline.tables import HYGIENE, HYGIENE_UNDO_MAX
from pipeline.topology import FEED_POSITION
from shm.jit import JIT_ENABLED, njit
from tests.crash_points import enumerate_points, run_until
from tests.hygiene_twin import HygieneTwin
from tests.promises import assert_ticks_accounted
from tests.rig import Rig

jitless = pytest.mark.jitless

FIVE_PERCENT, HALF = 50_000, 500_000
A_TIME_NS = 1_000_000
FILES = ("shm/", "pipeline/")


@njit
def judge_range(hygiene, ticks, first, end, reasons):
    """Judge ticks[first:end] as one batch behind position `first`."""
    begin_batch(hygiene, first)
    for k in range(first, end):
        reasons[k] = judge(hygiene, ticks[k])


def make_hygiene(instrument_count: int, max_jump_ppm: int, numbered: bool = False) -> Hygiene:
    """Return hygiene that has seen nothing."""
    rows, undo = np.zeros(instrument_count + HYGIENE_UNDO_MAX, HYGIENE), np.zeros(UNDO_ROWS + HYGIENE_UNDO_MAX, np.int64)
    return Hygiene(rows, undo, np.zeros(1, np.int64), instrument_count, max_jump_ppm, numbered)


def quote(bid: int, ask: int, seq: int = 0, instrument: int = 0, size: int = 100) -> tuple[int, ...]:
    """Return the fields of a quote."""
    return A_TIME_NS, 0, seq, instrument, QUOTE, 0, 0, bid, ask, size, size


def trade(price: int, seq: int = 0, instrument: int = 0, size: int = 100) -> tuple[int, ...]:
    """Return the fields of a trade."""
    return A_TIME_NS, 0, seq, instrument, TRADE, 0, 0, price, size, 0, 0


def ticks_of(rows: list[tuple[int, ...]]) -> np.ndarray:
    """Return ticks of these fields."""
    return np.array(rows, TICK)


def reasons_of(rows: list[tuple[int, ...]], max_jump_ppm: int = FIVE_PERCENT, numbered: bool = False) -> list[str]:
    """Return why each of these ticks is rejected, as the kernel says, once the twin has said the same."""
    ticks, reasons = ticks_of(rows), np.zeros(len(rows), np.int64)
    judge_range(make_hygiene(2, max_jump_ppm, numbered), ticks, 0, len(ticks), reasons)
    assert HygieneTwin(2, max_jump_ppm, numbered).judge_all(ticks) == list(reasons)
    return [TICK_REASONS[reason] for reason in reasons]


def take_all(rig: Rig) -> None:
    """Let ingest take its whole feed, and nobody else do anything."""
    while rig.ingest.words[FEED_POSITION] < len(rig.ticks):
        assert rig.step("ingest", 3) > 0


SPIKES = {
    "spike is dropped": ([100, 100, 80, 100, 80], "accepted accepted quarantined accepted quarantined"),
    "move is confirmed": ([100, 80, 80, 100, 100], "accepted quarantined accepted quarantined accepted"),
    "neither takes the place": ([100, 80, 60, 80, 60, 60], "accepted quarantined quarantined quarantined quarantined accepted"),
    "confirmed by one that is near": ([1_000, 800, 840, 1_000], "accepted quarantined accepted quarantined"),
    "confirmation is not the suspect": ([1_000, 800, 840, 882], "accepted quarantined accepted accepted"),
    "edge below is near": ([1_000, 950], "accepted accepted"),
    "beyond the edge below": ([1_000, 949], "accepted quarantined"),
    "beyond the edge above": ([1_000, 1_051, 1_050], "accepted quarantined accepted"),
    "climb in small steps": ([1_000, 1_050, 1_100, 1_150], "accepted accepted accepted accepted"),
}


@jitless
@pytest.mark.parametrize("name", SPIKES)
def test_hygiene_of_trades_that_jump_asks_the_next(name: str) -> None:
    """A jump waits for the next price of its series: that one drops it, confirms it, or takes its place."""
    prices, expected = SPIKES[name]
    assert expected.split() == reasons_of([trade(price) for price in prices])


@jitless
def test_hygiene_of_jump_without_bound_accepts_it() -> None:
    """With no farthest jump, nothing is quarantined."""
    assert ["accepted"] * 3 == reasons_of([trade(100), trade(1), trade(PRICE_TICKS_LIMIT - 1)], max_jump_ppm=0)


@jitless
def test_hygiene_at_the_ends_of_prices_does_not_overflow() -> None:
    """The largest prices and the widest jump are compared exactly."""
    top = PRICE_TICKS_LIMIT - 1
    rows = [trade(top), trade(top // 2 + 1), trade(1), trade(1), trade(top), trade(top)]
    expected = ["accepted", "accepted", "quarantined", "accepted", "quarantined", "accepted"]
    assert expected == reasons_of(rows, max_jump_ppm=HALF)
    assert expected[:3] == reasons_of([trade(top), trade(top - top * 99 // 100), trade(1)], max_jump_ppm=990_000)


@jitless
def test_hygiene_of_quote_with_one_side_jumped_uses_neither() -> None:
    """The good side of such a quote becomes no valid price: what is judged next is judged against the price before."""
    rows = [quote(1_000, 1_002), quote(960, 1_200), quote(925, 1_002), quote(925, 1_002)]
    assert ["accepted", "quarantined", "quarantined", "accepted"] == reasons_of(rows)


@jitless
def test_hygiene_of_quote_with_one_side_jumped_still_decides_the_other() -> None:
    """A side seen near its valid price loses its suspect even in a quote that is not used."""
    rows = [quote(1_000, 1_002), quote(800, 1_002), quote(1_000, 1_200), quote(800, 1_002), quote(800, 1_002)]
    assert ["accepted", "quarantined", "quarantined", "quarantined", "accepted"] == reasons_of(rows)


@jitless
def test_hygiene_of_sides_that_move_one_after_the_other_accepts_both() -> None:
    """A side that is confirmed while the other jumps stays confirmed, at its newest price."""
    rows = [quote(1_000, 1_002), quote(800, 1_002), quote(770, 802), quote(740, 802)]
    assert ["accepted", "quarantined", "quarantined", "accepted"] == reasons_of(rows)


@jitless
def test_hygiene_of_rejected_quote_leaves_the_quarantine_alone() -> None:
    """A quote that is crossed, no price or of no size neither confirms nor drops a suspect."""
    start = [quote(1_000, 1_002), quote(800, 802)]
    bad = {"crossed": quote(800, 700), "not_positive": quote(0, 802), "out_of_bounds": quote(800, 802, size=-1)}
    for reason, row in bad.items():
        assert ["accepted", "quarantined", reason, "accepted"] == reasons_of([*start, row, quote(800, 802)])


@jitless
def test_hygiene_of_series_keeps_them_apart() -> None:
    """Bid, ask and trade, and two instruments, have their own last valid price."""
    rows = [quote(1_000, 1_200), trade(700), quote(100, 120, instrument=1), trade(70, instrument=1), quote(1_001, 1_201)]
    rows.append(trade(701))
    assert ["accepted"] * 6 == reasons_of(rows)


@jitless
def test_hygiene_of_sequence_seen_before_rejects_it() -> None:
    """For each instrument and kind a sequence only grows; 0 is none, and a rejected tick was seen as well."""
    rows = [
        quote(100, 102, 5), quote(100, 102, 5), quote(100, 102, 4), trade(100, 4), trade(100, 5), quote(100, 102, 0),
        quote(100, 102, 6, instrument=1), quote(100, 102, 9), quote(0, 102, 12), quote(100, 102, 11), quote(100, 102, 13),
    ]  # fmt: skip
    old = {1, 2, 9}
    expected = ["old_sequence" if k in old else "accepted" for k in range(len(rows))]
    expected[8] = "not_positive"
    assert expected == reasons_of(rows)


@jitless
def test_hygiene_of_gap_in_numbered_trades_is_stale_until_a_quote() -> None:
    """Trades behind a gap move time only until a quote is accepted; a quote that is rejected does not help."""
    rows = [
        quote(100, 102), trade(101, 7), trade(101, 8), trade(101, 10), trade(101, 11), trade(101, 0), quote(102, 100),
        trade(101, 12), trade(101, 7, instrument=1), quote(100, 102), trade(101, 13), trade(101, 15), quote(100, 102),
    ]  # fmt: skip
    stale = {3, 4, 5, 7, 11}
    expected = ["stale" if k in stale else "accepted" for k in range(len(rows))]
    expected[6] = "crossed"
    assert expected == reasons_of(rows, numbered=True)
    assert "stale" not in reasons_of(rows)


@jitless
def test_hygiene_of_gap_without_any_quote_goes_on() -> None:
    """Where nothing but trades comes, no quote could end the staleness, so a gap is counted and no more."""
    rows = [trade(101, 7), trade(101, 9), trade(101, 12), quote(100, 102), trade(101, 14)]
    assert ["accepted"] * 4 + ["stale"] == reasons_of(rows, numbered=True)
    rig = Rig(ticks_of([trade(101, 7), trade(101, 9), trade(101, 12)]), numbered=True)
    take_all(rig)
    assert 2 == rig.count("ingest")["gaps"]


EVERY_REASON = [
    quote(1_000, 1_002, 1), trade(1_001, 1), trade(NON_FINITE, 2), quote(0, 5, 2), quote(1_000, PRICE_TICKS_LIMIT, 3),
    trade(1_001, 3, size=QUANTITY_LOTS_LIMIT), quote(1_003, 1_002, 4), trade(1_001, 9, instrument=2),
    (A_TIME_NS, 0, 5, 0, 77, 0, 0, 1, 1, 1, 1), (0, 0, 6, 0, QUOTE, 0, 0, 1_000, 1_002, 1, 1), quote(500, 1_002, 5),
    trade(1_001, 3), trade(1_001, 5), trade(1_001, 6), quote(1_000, 1_002, 6), trade(1_001, 7),
]  # fmt: skip


@jitless
@pytest.mark.parametrize("live", [False, True])
def test_ingest_of_ticks_with_every_fault_counts_each_by_its_reason(live: bool) -> None:
    """Each rejected tick is in the stream with its reason, and its reason's counter tells it."""
    ticks = ticks_of(EVERY_REASON)
    rig = Rig(ticks, live=live, max_jump_ppm=FIVE_PERCENT, numbered=True)
    take_all(rig)
    count = rig.count("ingest")
    expected = dict.fromkeys(TICK_REASONS, 1) | {"out_of_bounds": 2, "stale": 2, "accepted": 4}
    assert expected == {name: count[name] for name in TICK_REASONS}
    assert (len(ticks), 1) == (count["received"], count["gaps"])
    if not live:
        assert_ticks_accounted(rig)


@jitless
@pytest.mark.timeout(300)
def test_ingest_of_rejected_ticks_moves_time_only() -> None:
    """A jump, a stale trade and an old quote leave every mark as it was, and risk's time moves on."""
    rows = [quote(1_000, 1_002, 1), trade(1_001, 1), trade(1_001, 3), quote(500, 1_002, 2), quote(700, 702, 2)]
    ticks = ticks_of(rows)
    ticks["event_ns"] += np.arange(len(ticks))
    rig = Rig(ticks, max_jump_ppm=FIVE_PERCENT, numbered=True)
    rig.settle()
    mark = rig.risk.marks[0]
    assert [1_000, 1_002, 1_001] == [mark["bid_ticks"], mark["ask_ticks"], mark["last_ticks"]]
    assert 2 == mark["tick_count"]
    assert rig.risk.words[0] >= A_TIME_NS + len(ticks) - 1


PRICES = st.sampled_from([100, 101, 104, 105, 106, 110, 111, 116, 150, 95, 94, 90, 50, 1, 0, NON_FINITE, PRICE_TICKS_LIMIT])
KINDS = st.sampled_from([QUOTE, QUOTE, QUOTE, TRADE, TRADE, TRADE, TIMER, STATUS, 9])
TIMES = st.sampled_from([A_TIME_NS] * 9 + [0])
ROWS = st.tuples(
    TIMES, st.just(0), st.integers(0, 12), st.sampled_from([0, 0, 0, 1, 2]), KINDS, st.just(0), st.just(0),
    PRICES, PRICES, st.sampled_from([5, 5, 5, 5, -1]), st.just(7),
)  # fmt: skip
#: How many ticks a batch is judged of, how many of them count, and whether the process dies instead.
CUTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.booleans()), max_size=40)


@jitless
@given(st.lists(ROWS, min_size=1, max_size=60), CUTS, st.sampled_from([0, 10_000, FIVE_PERCENT, HALF]), st.booleans())
def test_hygiene_of_random_ticks_in_random_batches_equals_its_twin(
    rows: list[tuple[int, ...]], cuts: list[tuple[int, int, bool]], max_jump_ppm: int, numbered: bool
) -> None:
    """Whatever was judged and did not count, because only a part was taken or the process died, leaves no trace."""
    ticks = ticks_of(rows)
    reasons = np.full(len(ticks), -1, np.int64)
    hygiene = make_hygiene(2, max_jump_ppm, numbered)
    position = 0
    for size, counting, dies in [*cuts, (len(ticks), len(ticks), False)]:
        end = min(position + size, len(ticks))
        judge_range(hygiene, ticks, position, end, reasons)
        if dies:
            # The next process knows nothing but what is shared, and has not judged what follows.
            hygiene = hygiene._replace(words=np.zeros(1, np.int64))
            reasons[position:] = -1
        elif counting < end - position:
            judge_range(hygiene, ticks, position, position + counting, reasons)
            reasons[position + counting :] = -1
            # A batch that counts has at least one tick.
            position += counting
        else:
            position = end
    judge_range(hygiene, ticks, position, len(ticks), reasons)
    assert HygieneTwin(2, max_jump_ppm, numbered).judge_all(ticks) == list(reasons)


@jitless
@pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores")
def test_hygiene_killed_again_while_it_undoes_forgets_nothing() -> None:
    """Killed at a store of a batch, and its successor at any store of undoing that batch, it judges as if neither had been."""
    rows = [*EVERY_REASON[:2], *EVERY_REASON[10:], quote(500, 1_002, 7), quote(500, 1_002, 8), trade(1_001, 9)]
    ticks, reasons = ticks_of(rows), np.zeros(len(rows), np.int64)
    expected = HygieneTwin(2, FIVE_PERCENT, numbered=True).judge_all(ticks)
    hygiene, half = make_hygiene(2, FIVE_PERCENT, numbered=True), 5
    judge_range(hygiene, ticks, 0, half, reasons)
    shared = [(array, array.copy()) for array in (hygiene.rows, hygiene.undo)]
    deaths = 0

    def batch() -> None:
        judge_range(hygiene, ticks, half, len(ticks), reasons)

    for point in range(0, enumerate_points(batch, FILES), 5):
        for again in range(40):
            for array, content in shared:
                array[:] = content
            assert run_until(point, batch, FILES)
            deaths += bool(run_until(again, batch, FILES))
            batch()
            assert expected == list(reasons), f"killed at {point}, and then at {again}"
    assert deaths > 300


def judge_recording(ticks: np.ndarray, max_jump_ppm: int, numbered: bool) -> list[int]:
    """Return why each tick of a recording is rejected, judged in batches as large as they may be."""
    hygiene, reasons = make_hygiene(1, max_jump_ppm, numbered), np.zeros(len(ticks), np.int64)
    for first in range(0, len(ticks), HYGIENE_UNDO_MAX):
        judge_range(hygiene, ticks, first, min(first + HYGIENE_UNDO_MAX, len(ticks)), reasons)
    return [int(reason) for reason in reasons]


def counted(reasons: list[int]) -> dict[str, int]:
    """Return how often each reason is given, by its name."""
    return {TICK_REASONS[reason]: count for reason, count in Counter(reasons).items()}


@pytest.mark.parametrize(
    ("symbol", "accepted", "crossed", "jumped"), [("aig", 713_177, 1_873, 58), ("bac", 369_651, 4_359, 110)]
)
def test_hygiene_of_real_lean_day_equals_its_twin(
    data_folder: Path, symbol: str, accepted: int, crossed: int, jumped: int
) -> None:
    """On a calm day the default jump quarantines nothing and a tenth of a percent little; crossed quotes are the book's own."""
    folder = data_folder / "lean" / symbol
    ticks = lean.decode_day(date(2013, 10, 9), folder / "20131009_quote.zip", folder / "20131009_trade.zip").ticks
    assert {"accepted": accepted, "crossed": crossed} == counted(judge_recording(ticks, FIVE_PERCENT, numbered=False))
    reasons = judge_recording(ticks, 1_000, numbered=False)
    assert jumped == counted(reasons)["quarantined"]
    assert HygieneTwin(1, 1_000).judge_all(ticks) == reasons


def test_hygiene_of_real_binance_frames_equals_its_twin(data_folder: Path) -> None:
    """At the default jump all is accepted and no trade is missing; at 100 ppm and with holes in it the twin agrees."""
    path = data_folder / "binance" / "btcusdt_usdm_20240808.gz"
    decoder = binance.FrameDecoder(binance.survey_frames(path).instruments)
    ticks = np.concatenate(list(binance.decode_frames(path, decoder)))
    assert {"accepted": 87_402} == counted(judge_recording(ticks, FIVE_PERCENT, numbered=True))
    # Without every 50th tick, and with every 70th twice.
    place = np.arange(len(ticks))
    left = place % 50 != 0
    holed = ticks[np.sort(np.concatenate([place[left], place[left & (place % 70 == 0)]]))]
    reasons = judge_recording(holed, 100, numbered=True)
    assert HygieneTwin(1, 100, numbered=True).judge_all(holed) == reasons
    assert {"accepted", "quarantined", "old_sequence", "stale"} == set(counted(reasons))
