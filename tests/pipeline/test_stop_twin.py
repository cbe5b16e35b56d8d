"""The two twins of the stop engine, written apart, give the same triggers; so do the files that carry stops to the backtest."""

import csv
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal, Inexact
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.ingest import lean
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import (
    BID_ASK,
    CHANDELIER,
    LONG,
    MID,
    PRICE_TICKS_LIMIT,
    QUOTE,
    SHORT,
    STATIC,
    TAKE_PROFIT,
    TICK,
    TICK_CROSSED,
    TICK_NOT_POSITIVE,
    TICK_OK,
    TICK_REASONS,
    TIME,
    TRADE,
    TRAILING,
)
from tests import stop_oracle, stop_twin_numpy
from tests.atr_oracle import ATR_SOURCES
from tests.stop_cases import (
    DISTANCE_PPM_MAX,
    DISTANCE_PPM_MIN,
    FALLBACK_PPM,
    KINDS,
    MODIFIED_KINDS,
    START_NS,
    WATCHES,
    StopCase,
    cases,
    random_stops,
)
from tests.stop_files import OUT_COLUMNS, STOP_COLUMNS, OutRow, out_rows, read_out_csv, stop_row, write_csv
from tests.stop_oracle import StopTerms, Trigger

TWO = Instruments([Instrument("AIG", Decimal("0.01"), Decimal(1)), Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"))])


@settings(max_examples=200)
@given(cases())
def test_twins_on_drawn_cases_agree(case: StopCase) -> None:
    """Every trigger is the same in stop, tick, time, price and level, and in order."""
    expected = stop_oracle.triggers(case.ticks, case.terms, case.atr_source)
    assert expected == stop_twin_numpy.triggers(case.ticks, case.terms, case.atr_source)


@settings(max_examples=60)
@given(cases())
def test_cases_as_drawn_are_what_hygiene_hands_on(case: StopCase) -> None:
    """Accepted prices are within bounds and not crossed, and terms make stops."""
    assert len(case.ticks) > 0
    accepted = case.ticks[case.ticks["flags"] == TICK_OK]
    quotes, trades = (accepted[accepted["kind"] == kind] for kind in (QUOTE, TRADE))
    assert (quotes["a"] <= quotes["b"]).all()
    for prices in (quotes["a"], quotes["b"], trades["a"]):
        assert ((prices > 0) & (prices < PRICE_TICKS_LIMIT)).all()
    assert (accepted["instrument"] < case.instrument_count).all()
    assert (case.ticks["event_ns"] > 0).all()
    for terms in case.terms:
        terms.check()
        assert terms.instrument < case.instrument_count
        assert terms.entry_ticks < PRICE_TICKS_LIMIT


def test_cases_over_many_draws_meet_every_kind_and_reason() -> None:
    """Every kind fires, on both sides and all watches; every reason of a rejection, and a time that runs back, occur."""
    fired: Counter[tuple[str, int]] = Counter()
    reasons: Counter[int] = Counter()
    late = 0

    @settings(max_examples=150)
    @given(cases())
    def look(case: StopCase) -> None:
        nonlocal late
        late += int((np.diff(case.ticks["event_ns"]) < 0).sum())
        reasons.update(case.ticks["flags"].tolist())
        for stop in stop_oracle.walk(case.ticks, case.terms, case.atr_source).stops.values():
            if stop.trigger is not None:
                terms = stop.terms
                fired.update([("kind", terms.kind), ("side", terms.side), ("watch", terms.watch)])
                fired["ratchet", terms.kind] += stop.best != terms.entry
                fired["woken", terms.kind] += terms.activation_ppm > 0
                fired["even", 0] += stop.at_even and stop.level == terms.entry
                fired["ready", terms.kind] += terms.kind == CHANDELIER and not stop.provisional

    look()
    wanted = [("kind", kind) for kind in KINDS] + [("side", side) for side in (LONG, SHORT)] + [("even", 0)]
    wanted += [("watch", watch) for watch in WATCHES] + [("ratchet", TRAILING), ("ready", CHANDELIER), ("woken", TRAILING)]
    assert [] == [key for key in wanted if fired[key] == 0]
    assert set(range(len(TICK_REASONS))) == set(reasons)
    assert late > 0


def market(count: int, seed: int) -> np.ndarray:
    """Return a day of two instruments: walks of quotes and trades in odd intervals, some of them rejected."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    ticks["event_ns"] = START_NS + np.cumsum(rng.exponential(2e8, count)).astype(np.int64) - rng.integers(0, 10**9, count)
    ticks["instrument"] = rng.integers(0, 2, count)
    ticks["kind"] = np.where(rng.random(count) < 0.7, QUOTE, TRADE)
    ticks["flags"] = np.where(rng.random(count) < 0.02, TICK_CROSSED, TICK_OK)
    for instrument, price, step in ((0, 4_848, 3), (1, 610_000, 90)):
        mine = ticks["instrument"] == instrument
        prices = price + np.cumsum(rng.integers(-step, step + 1, int(mine.sum())))
        ticks["a"][mine], ticks["b"][mine] = prices, prices + rng.integers(0, 3, len(prices))
    ticks["b"][ticks["kind"] == TRADE] = 1
    return ticks


@pytest.mark.parametrize("atr_source", ATR_SOURCES)
def test_twins_on_random_stops_of_a_market_agree(atr_source: str) -> None:
    """Chunks of the vectorised twin meet: hundreds of stops over thousands of ticks."""
    ticks = market(12_000, seed=3)
    terms = random_stops(ticks, TWO, 60, seed=4)
    expected = stop_oracle.triggers(ticks, terms, atr_source)
    assert expected == stop_twin_numpy.triggers(ticks, terms, atr_source)
    assert {one.kind for one in terms if one.stop_id in {trigger.stop_id for trigger in expected}} == set(KINDS)


def test_twin_with_smallest_chunks_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stop carries from chunk to chunk is all of its state."""
    ticks = market(1_500, seed=5)
    terms = random_stops(ticks, TWO, 300, seed=6)
    expected = stop_twin_numpy.triggers(ticks, terms)
    for size in (1, 7):
        monkeypatch.setattr(stop_twin_numpy, "FIRST_CHUNK", size)
        monkeypatch.setattr(stop_twin_numpy, "LAST_CHUNK", size)
        assert expected == stop_twin_numpy.triggers(ticks, terms)


def test_twins_without_ticks_fire_nothing() -> None:
    """No ticks, no triggers."""
    terms = [
        StopTerms(1, 0, STATIC, LONG, BID_ASK, 100, 1, percent_ppm=1),
        StopTerms(2, 0, TIME, LONG, MID, 100, 1, holding_ns=1),
    ]
    for twin in (stop_oracle, stop_twin_numpy):
        assert [] == twin.triggers(np.empty(0, TICK), terms)


def test_random_stops_of_market_are_many_kinds_and_fire_often() -> None:
    """Kinds come in turn, distances are within the shipped bounds, and most of them fire, but not all."""
    ticks = market(20_000, seed=7)
    terms = random_stops(ticks, TWO, 1_200, seed=8)
    assert list(range(1, 1_201)) == [one.stop_id for one in terms]
    assert terms == random_stops(ticks, TWO, 1_200, seed=8)
    assert terms != random_stops(ticks, TWO, 1_200, seed=9)
    kinds = Counter(one.kind for one in terms)
    assert dict.fromkeys(KINDS, 200) == kinds
    for field, values in (("side", (LONG, SHORT)), ("watch", WATCHES), ("instrument", (0, 1))):
        assert set(values) == {getattr(one, field) for one in terms}
    assert {one.kind for one in terms if one.activation_ppm or one.breakeven_ppm} == set(MODIFIED_KINDS)
    assert all(DISTANCE_PPM_MIN <= one.percent_ppm <= DISTANCE_PPM_MAX for one in terms if one.percent_ppm)
    assert 0.4 < len(stop_twin_numpy.triggers(ticks, terms)) / len(terms) < 0.85


def real_day(folder: Path, symbol: str) -> np.ndarray:
    """Return a day with its flags set for what is plainly no price."""
    day = folder / "lean" / symbol
    ticks = lean.decode_day(date(2013, 10, 9), day / "20131009_quote.zip", day / "20131009_trade.zip").ticks
    quotes = ticks["kind"] == QUOTE
    ticks["flags"][quotes & (ticks["a"] > ticks["b"])] = TICK_CROSSED
    ticks["flags"][(ticks["a"] <= 0) | (quotes & (ticks["b"] <= 0))] = TICK_NOT_POSITIVE
    return ticks


@pytest.mark.parametrize("symbol", ["aig", "bac"])
def test_twins_on_slice_of_real_day_agree(data_folder: Path, symbol: str) -> None:
    """Stops on busy minutes of a real day fire alike."""
    ticks = real_day(data_folder, symbol)
    ticks = ticks[len(ticks) // 3 :][:10_000]
    instruments = Instruments([Instrument(symbol.upper(), lean.TICK_SIZE, lean.LOT_SIZE)])
    terms = random_stops(ticks, instruments, 48, seed=10)
    for atr_source in ATR_SOURCES:
        expected = stop_oracle.triggers(ticks, terms, atr_source)
        assert len(expected) > 5
        assert expected == stop_twin_numpy.triggers(ticks, terms, atr_source)


def test_stops_file_of_terms_has_every_column(tmp_path: Path) -> None:
    """Each term is written as a decimal in its own column, and what is not given is empty."""
    one = StopTerms(7, 1, TRAILING, SHORT, MID, 610_000, 123, Fraction(1_219_999, 2), offset_ticks=Fraction(5, 2))
    one = replace(one, activation_ppm=12_345, breakeven_ppm=1)
    other = StopTerms(8, 0, CHANDELIER, LONG, BID_ASK, 4_848, 456, percent_ppm=20_000, fallback_ppm=FALLBACK_PPM)
    other = replace(other, atr_ppm=2_500_000, atr_period=14, bar_ns=60 * 10**9)
    timed = StopTerms(9, 0, TIME, LONG, BID_ASK, 4_848, 789, holding_ns=1_500_000_000)
    write_csv([one, other, timed], TWO, tmp_path / "stops.csv")
    with (tmp_path / "stops.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert list(STOP_COLUMNS) == header
    written = [dict(zip(header, row, strict=True)) for row in rows]
    given = [{name: text for name, text in row.items() if text} for row in written]
    assert given == [
        {
            "stop_id": "7", "symbol": "BTCUSDT", "side": "short", "kind": "trailing", "watch": "mid", "entry_price": "61000.00",
            "quantity": "0.001", "entry_time": "123", "stop_price": "60999.95", "offset": "0.25",
            "activation_percent": "1.2345", "breakeven_percent": "0.0001",
        },
        {
            "stop_id": "8", "symbol": "AIG", "side": "long", "kind": "chandelier", "watch": "bid_ask", "entry_price": "48.48",
            "quantity": "1", "entry_time": "456", "percent": "2", "atr_multiplier": "2.5", "atr_period": "14",
            "bar_seconds": "60",
        },
        {
            "stop_id": "9", "symbol": "AIG", "side": "long", "kind": "time", "watch": "bid_ask", "entry_price": "48.48",
            "quantity": "1", "entry_time": "789", "max_holding_seconds": "1.5",
        },
    ]  # fmt: skip


def test_stops_file_of_price_that_no_decimal_writes_is_refused() -> None:
    """A third of a tick has no decimal: nothing is rounded unseen."""
    with pytest.raises(Inexact):
        stop_row(StopTerms(1, 0, STATIC, LONG, BID_ASK, 4_848, 1, Fraction(1, 3)), TWO)


def test_out_file_of_triggers_reads_as_they_are(tmp_path: Path) -> None:
    """Half ticks become decimals of half a tick, and what a time stop lacks is empty."""
    terms = [
        StopTerms(1, 0, TIME, LONG, BID_ASK, 4_848, 1, holding_ns=1),
        StopTerms(2, 0, TAKE_PROFIT, LONG, MID, 4_848, 1, percent_ppm=1),
        StopTerms(3, 1, STATIC, LONG, BID_ASK, 610_000, 1, percent_ppm=1),
    ]
    triggers = [Trigger(3, 5, 50, 600_000, 600_001), Trigger(2, 6, 60, 9_697, 9_697), Trigger(1, 7, 70, None, None)]
    path = tmp_path / "out.csv"
    rows = "3,static,50,60000.00,60000.1\n2,take_profit,60,48.485,48.485\n1,time,70,,\n"
    path.write_text(",".join(OUT_COLUMNS) + "\n" + rows)
    read = read_out_csv(path)
    assert read == out_rows(triggers, terms, TWO)
    assert OutRow(2, "take_profit", 60, Decimal("48.485"), Decimal("48.485")) == read[1]
    assert [1, 2, 3] == [row.stop_id for row in sorted(read)]
