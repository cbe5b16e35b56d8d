"""The stop engine against its twins: every trigger equal (stop, tick, time, price, level), none more, none less."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest.lean import decode_day
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import QUOTE, STOP_KIND_NAMES, TICK_CROSSED
from pipeline.stop_rows import StopRows
from shm.jit import JIT_ENABLED
from tests import stop_oracle, stop_twin_numpy
from tests.engine import Engine
from tests.stop_cases import StopCase, cases, random_stops

#: The twins are checked against each other far oftener than a kernel can be: opening risk takes longer than walking a case.
EXAMPLES = 150 if JIT_ENABLED else 80
SLOW = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


def placeable() -> st.SearchStrategy[StopCase]:
    """Draw cases whose stops can be set: a price that rounds to nothing is refused before it gets here."""
    return cases().filter(lambda case: all(one.given_level != 0 for one in case.terms))


@pytest.mark.jitless
@pytest.mark.timeout(300)
@SLOW
@given(case=placeable(), seed=st.integers(0, 1 << 16))
def test_engine_on_drawn_cases_fires_as_the_oracle(case: StopCase, seed: int) -> None:
    """Whatever comes at once, and wherever risk is opened anew, the same stops fire at the same ticks, prices and levels."""
    expected = sorted(stop_oracle.triggers(case.ticks, case.terms, case.atr_source))
    engine = Engine(case.ticks, case.terms, case.instrument_count, case.atr_source)
    assert expected == sorted(engine.run(np.random.default_rng(seed), restart_share=0.2))


@pytest.mark.jitless
@pytest.mark.timeout(300)
@settings(SLOW, max_examples=EXAMPLES // 4)
@given(case=placeable())
def test_engine_opened_anew_at_every_tick_changes_no_event(case: StopCase) -> None:
    """Events of a risk that dies after each step are those of one that lives, and in the same order."""
    steady = Engine(case.ticks, case.terms, case.instrument_count, case.atr_source)
    mortal = Engine(case.ticks, case.terms, case.instrument_count, case.atr_source)
    assert steady.run() == mortal.run(np.random.default_rng(1), restart_share=1.0)


@pytest.mark.jitless
@settings(SLOW, max_examples=EXAMPLES // 4)
@given(case=placeable())
def test_stop_rows_after_all_ticks_show_what_the_oracle_has(case: StopCase) -> None:
    """Level and best price that people see are those of the twin, for every stop that is still armed."""
    engine = Engine(case.ticks, case.terms, case.instrument_count, case.atr_source)
    engine.run()
    walk = stop_oracle.walk(case.ticks, case.terms, case.atr_source)
    shown = {engine.stop_ids[int(row["stop_id"])]: row for row in StopRows(engine.segment).read()}
    for stop_id, stop in walk.stops.items():
        if stop.trigger is not None or not stop.armed:
            continue
        row = shown[stop_id]
        assert (stop.level or 0) == row["level_ticks"], f"{STOP_KIND_NAMES[stop.terms.kind]} {stop.terms}"
        assert stop.provisional == row["is_provisional"]


def real_day(data_folder: Path, symbol: str) -> np.ndarray:
    """Return a day of real quotes and trades, the crossed quotes among them marked."""
    folder = data_folder / "lean" / symbol
    ticks = decode_day(date(2013, 10, 9), folder / "20131009_quote.zip", folder / "20131009_trade.zip").ticks
    ticks["flags"][(ticks["kind"] == QUOTE) & (ticks["a"] > ticks["b"])] = TICK_CROSSED
    return ticks


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not JIT_ENABLED, reason="a day of ticks takes a compiled kernel")
@pytest.mark.parametrize("symbol", ["aig", "bac"])
def test_engine_on_a_real_day_fires_as_the_twin(data_folder: Path, symbol: str) -> None:
    """Two thousand random stops of every kind and both sides on a day of real quotes and trades: each trigger equal."""
    ticks = real_day(data_folder, symbol)
    instruments = Instruments([Instrument(symbol.upper(), Decimal("0.0001"), Decimal(1))])
    terms = random_stops(ticks, instruments, 2_000, seed=7)
    assert set(range(1, 7)) == {one.kind for one in terms}
    expected = sorted(stop_twin_numpy.triggers(ticks, terms))
    assert len(terms) // 2 < len(expected)
    assert expected == sorted(Engine(ticks, terms, len(instruments)).run())
