"""Backtests: positions and stops given beforehand, a recording, and what comes of them, to the last tick."""

import decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings

from pipeline.backtest import planned as planning
from pipeline.backtest.cells import batches, play_cells
from pipeline.backtest.entries import NEVER_NS, complete, judge, stream_ns
from pipeline.backtest.outcomes import (
    FIRED,
    NOT_ENTERED,
    OPEN,
    has_slippage,
    profit,
    profit_without_stops,
    slippage,
)
from pipeline.backtest.run import Backtest
from pipeline.backtest.summary import summarize
from pipeline.errors import InstanceError
from pipeline.messages import (
    BID_ASK,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    SHORT,
    STATIC,
    TAKE_PROFIT,
    TICK_CROSSED,
    TIME,
    TRAILING,
    TRIGGER_DEADLINE,
    TRIGGER_LEVEL,
)
from tests.backtests import MS, SECOND, START_NS, in_memory, plan, played, settings, table, ticks_of
from tests.conftest import SHARED_MEMORY
from tests.stop_cases import FALLBACK_PPM, StopCase, cases
from tests.stop_files import out_rows, read_out_csv, write_csv
from tests.stop_oracle import triggers
from tools.out_csv import event_rows, write_events
from tools.stops_csv import StopsFileError, planned_of, read_stops

#: The first of them compiles all stages in one kernel.
pytestmark = [pytest.mark.jitless, pytest.mark.timeout(300)]

#: A fall and a rise: bid and ask every 10 ms.
PATH = ticks_of((10 * k, 0, bid, bid + 2) for k, bid in enumerate((1000, 1004, 1008, 1001, 996, 990, 985, 992, 1010, 1011)))


@hypothesis_settings(max_examples=40)
@given(case=cases())
def test_backtest_of_drawn_stops_equals_the_oracle(case: StopCase) -> None:
    """From stops.csv to out.csv: each stop that the slow oracle fires has its row, with tick, price and level, and no other."""
    recording = in_memory(case.ticks, case.instrument_count)
    instruments = recording.instruments
    config = settings(**{"risk.stops.atr_source": case.atr_source})
    assert FALLBACK_PPM == config.risk.stops.default_stop_ppm
    judged = case.ticks.copy()
    judged["flags"] = judge(recording, config)
    expected = out_rows(triggers(judged, case.terms, case.atr_source), case.terms, instruments)
    with TemporaryDirectory() as folder:
        try:
            write_csv(case.terms, instruments, Path(folder) / "stops.csv")
            rows = read_stops(Path(folder) / "stops.csv", instruments, config.risk.stops)
        except (decimal.Inexact, StopsFileError):
            # A third of a tick, which no decimal writes, or a price below the first one.
            assume(False)
        run, outcomes = played(recording, planned_of(rows), config)
        write_events(Path(folder) / "out.csv", event_rows([r.stop_id for r in rows], run.planned, outcomes, instruments))
        found = read_out_csv(Path(folder) / "out.csv")
    assert sorted(expected) == sorted(found)
    assert [row.trigger_ns for row in expected] == [row.trigger_ns for row in found]


def test_backtest_exit_is_filled_at_the_first_tick_after_the_latency() -> None:
    """A stop fires on its tick and is filled at the touch of the first tick that is due, even if both are the same."""
    recording = in_memory(PATH)
    planned = plan({"entry_units": 1000, "price_units": 996})
    fills = []
    for latency_us in (0, 1_000, 10_000, 10_001):
        _, outcomes = played(recording, planned, settings(**{"execution.paper.latency_us": latency_us}))
        assert (FIRED, TRIGGER_LEVEL, START_NS + 40 * MS, 996, 996) == tuple(
            outcomes[["state", "reason", "trigger_ns", "price_units", "level_units"]][0]
        )
        fills.append((int(outcomes["fill_ns"][0] - START_NS) // MS, int(outcomes["exit_tick_lots"][0]) // 10))
    assert [(40, 996), (50, 990), (50, 990), (60, 985)] == fills


def test_backtest_outcome_of_either_side_is_exact_money() -> None:
    """P&L with the stop, P&L held to the end, and slippage follow from entry, level, fill and the last touch."""
    stops = (
        {"entry_units": 1000, "price_units": 996},
        {"entry_units": 1000, "price_units": 1005, "side": SHORT, "quantity_lots": 3},
        {"entry_units": 1000, "price_units": 900},
    )
    run, outcomes = played(in_memory(PATH), plan(*stops))
    # The LONG's bid was 990 one tick after it fired at 996; the SHORT fired at an ask of 1006 and paid 1010.
    assert [FIRED, FIRED, OPEN] == outcomes["state"].tolist()
    assert [2 * 10 * -10, 2 * 3 * -10, 2 * 10 * 11] == profit(outcomes, run.planned).tolist()
    assert [2 * 10 * 11, 2 * 3 * -13, 2 * 10 * 11] == profit_without_stops(outcomes, run.planned).tolist()
    assert [2 * 10 * 6, 2 * 3 * 5, 0] == slippage(outcomes, run.planned).tolist()
    summary = summarize(run, outcomes)
    expected = {"with_stops": "-0.20", "without_stops": "1.81", "difference": "-2.01", "of_open_positions": "1.10"}
    assert {"USD": expected} == {"USD": {name: f"{float(text):.2f}" for name, text in summary["pnl"]["USD"].items()}}
    assert {"set": 3, "not_entered": 0, "open": 1, "fired": 2, "ended_otherwise": 0} == summary["stops"]["all"]


def test_backtest_of_a_mid_entry_on_half_a_tick_is_exact() -> None:
    """Entries, levels and P&L of a stop that watches the mid count in half ticks."""
    recording = in_memory(ticks_of(((0, 0, 1000, 1001), (10, 0, 998, 999), (20, 0, 998, 1001), (30, 0, 997, 1001))))
    run, outcomes = played(recording, plan({"watch": MID, "price_units": 1997, "quantity_lots": 1}))
    assert (2001, 1997, 1997) == tuple(outcomes[["entry_units", "price_units", "level_units"]][0])
    assert [2 * 998 - 2001] == profit(outcomes, run.planned).tolist()
    rows = list(event_rows(["a"], run.planned, outcomes, recording.instruments))
    assert [("a", "static", str(START_NS + 10 * MS), "9.985", "9.985")] == rows


def test_backtest_exit_of_a_fraction_leaves_the_rest_open() -> None:
    """A stop that takes a third of its position leaves two thirds, which are worth the last touch."""
    run, outcomes = played(in_memory(PATH), plan({"entry_units": 1000, "price_units": 996, "fraction_ppm": 333_334}))
    assert (FIRED, 3, 7) == tuple(outcomes[["state", "exit_lots", "left_lots"]][0])
    assert [2 * (3 * -10 + 7 * 11)] == profit(outcomes, run.planned).tolist()


def test_backtest_limit_exit_waits_for_its_price_and_escalates() -> None:
    """A limit exit is filled at its limit or better, and else becomes a market order after its time."""
    stops = [{"entry_units": 1000, "price_units": 996, "limit_ticks": 5, "escalate_ms": ms} for ms in (1_000, 15)]
    run, outcomes = played(in_memory(PATH), plan(*stops))
    # 991 is the limit: the bid comes back to 992 ten milliseconds after the other became a market order, at 985.
    assert [9920, 9920] == outcomes["exit_tick_lots"].tolist()
    assert 1 == run.count("risk")["escalated"]


def test_backtest_entries_before_in_and_after_the_data_are_told_apart() -> None:
    """A position enters at the first tick at or after its time, and one whose time comes after the data never does."""
    stops = [{"entry_units": 1000, "price_units": 1002, "entry_ns": START_NS + at * MS} for at in (-5, 30, 35, 91)]
    run, outcomes = played(in_memory(PATH), plan(*stops))
    assert [START_NS, START_NS + 30 * MS, START_NS + 40 * MS, 0] == outcomes["trigger_ns"].tolist()
    assert [FIRED, FIRED, FIRED, NOT_ENTERED] == outcomes["state"].tolist()
    assert 0 == profit(outcomes, run.planned)[3] == profit_without_stops(outcomes, run.planned)[3]


def test_backtest_entry_without_price_takes_the_first_watched_one() -> None:
    """An open entry price is that of the first accepted tick at or after the entry that carries what the stop watches."""
    rows = ((0, 0, 1000, 1002), (10, 0, 1003, 1001), (20, 0, 1007), (30, 1, 50, 51), (40, 0, 1004, 1006))
    recording = in_memory(ticks_of(rows), 2)
    stops = [
        {"watch": watch, "side": side, "price_units": 1, "entry_ns": START_NS + at * MS, "instrument": instrument}
        for watch, side, at, instrument in (
            (BID_ASK, LONG, 0, 0), (BID_ASK, LONG, 5, 0), (BID_ASK, SHORT, 5, 0), (LAST, SHORT, 0, 0), (MID, LONG, 1, 0),
            (BID_ASK, LONG, 0, 1), (LAST, LONG, 21, 0),
        )
    ]  # fmt: skip
    config = settings()
    assert [0, TICK_CROSSED, 0, 0, 0] == judge(recording, config).tolist()
    found = complete(plan(*stops), recording, config)
    assert [1000, 1004, 1006, 1007, 2010, 50, 1] == found["entry_units"].tolist()
    assert [NEVER_NS] == found["entry_ns"][found["entry_ns"] > START_NS + SECOND].tolist()


def test_backtest_entry_without_time_is_held_from_the_first_tick() -> None:
    """An open entry time is that of the first tick, from which a longest holding counts as well."""
    planned = plan({"kind": TIME, "entry_units": 1000, "holding_ns": 35 * MS})
    _, outcomes = played(in_memory(PATH), planned)
    assert (START_NS, START_NS + 40 * MS, TRIGGER_DEADLINE, 996, 0) == tuple(
        outcomes[["entry_ns", "trigger_ns", "reason", "price_units", "level_units"]][0]
    )


def test_backtest_after_the_last_tick_fills_what_is_under_way_and_fires_nothing() -> None:
    """An exit on its way when the data ends is filled at the last touch, and no deadline comes any more."""
    recording = in_memory(PATH[:7])
    stops = ({"entry_units": 1000, "price_units": 985}, {"kind": TIME, "entry_units": 1000, "holding_ns": 60 * MS + 1})
    _, outcomes = played(recording, plan(*stops))
    assert [FIRED, OPEN] == outcomes["state"].tolist()
    assert (9850, 0) == tuple(outcomes[["exit_tick_lots", "left_lots"]][0])


def test_backtest_of_an_instrument_without_a_price_makes_nothing() -> None:
    """A position whose price is never seen is open at the end, and has neither gained nor lost."""
    run, outcomes = played(in_memory(PATH, 2), plan({"instrument": 1, "entry_units": 1000, "price_units": 900}))
    assert [OPEN] == outcomes["state"].tolist()
    assert [0, 0] == [*profit(outcomes, run.planned), *profit_without_stops(outcomes, run.planned)]


def test_backtest_on_a_steady_tick_fires_in_order_of_ids() -> None:
    """Stops of several kinds that one tick fires are ranked by their ids, and the ranks have no gap."""
    kinds = (TRAILING, STATIC, TRAILING, STATIC)
    stops = [
        {"kind": kind, "entry_units": 1000, "percent_ppm": 4_000, "watch": LAST if k == 2 else BID_ASK}
        for k, kind in enumerate(kinds)
    ]
    recording = in_memory(ticks_of(((0, 0, 1000, 1002), (5, 0, 1000), (10, 0, 900, 902), (20, 0, 900))))
    _, outcomes = played(recording, plan(*stops), settings(**{"hygiene.max_jump_percent": decimal.Decimal(50)}))
    assert [0, 1, 3, 2] == outcomes["rank"].tolist()


def test_backtest_with_more_exits_at_once_than_rings_hold_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that fires more stops than a ring has slots is taken again as the rings are emptied, and each fires once."""
    monkeypatch.setattr(planning, "RING_MAX", 64)
    count = 100
    run, outcomes = played(in_memory(PATH), plan(*[{"entry_units": 1000, "price_units": 996 - k % 3} for k in range(count)]))
    assert 64 == run.sizes.orders == run.sizes.reports
    assert [FIRED] * count == outcomes["state"].tolist()
    assert list(range(count)) == sorted(outcomes["rank"].tolist())
    assert count == run.count("risk")["fills"] == run.count("execution")["venue_fills"]
    assert 0 == outcomes["left_lots"].sum()


def test_backtest_instance_while_it_runs_has_no_name() -> None:
    """The instance of a backtest is in no folder, so that nothing of it can stay."""
    before = set(SHARED_MEMORY.iterdir())
    run = Backtest(in_memory(PATH), plan({"entry_units": 1000, "entry_ns": 1, "price_units": 1}), settings())
    assert set(SHARED_MEMORY.iterdir()) <= before
    run.run()
    assert len(PATH) == run.count("ingest")["received"] == run.count("risk")["ticks"]


def test_backtest_twice_gives_the_same_outcomes() -> None:
    """Nothing of a run depends on clocks or on what ran before."""
    stops = [
        {"kind": kind, "entry_units": 1000, "percent_ppm": 5_000, "holding_ns": 45 * MS}
        for kind in (TRAILING, CHANDELIER, TIME)
    ]
    first, second = (played(in_memory(PATH), plan(*stops))[1] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_backtest_tells_its_progress_to_the_end() -> None:
    """Who asks is told how far the run is, last of all that it is done."""
    told: list[tuple[int, int]] = []
    run = Backtest(in_memory(PATH), plan({"entry_units": 1000, "entry_ns": 1, "price_units": 1}), settings())
    run.run(lambda done, total: told.append((done, total)))
    assert (len(PATH), len(PATH)) == told[-1]


def test_backtest_of_too_many_or_too_large_positions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one run cannot hold is refused in one line before anything is made."""
    recording = in_memory(PATH)
    with pytest.raises(InstanceError, match="keep price times quantity below"):
        Backtest(recording, plan({"entry_units": 1 << 30, "quantity_lots": 1 << 30, "entry_ns": 1}), settings())
    monkeypatch.setattr("pipeline.backtest.run.BOOKS_MAX", 2)
    with pytest.raises(InstanceError, match="3 positions in one instrument"):
        Backtest(recording, plan(*[{"entry_units": 1000, "entry_ns": 1, "price_units": 1}] * 3), settings())


def test_backtest_books_are_numbered_within_each_instrument() -> None:
    """Each position has a book of its own among those of its instrument, in their order."""
    planned = plan(*[{"instrument": k} for k in (2, 0, 2, 1, 0, 2)])
    assert [0, 0, 1, 0, 1, 2] == planning.books_of(planned).tolist()
    assert 0 == len(planning.books_of(plan()))


def test_backtest_stream_time_never_runs_back() -> None:
    """Stream time is the latest event time so far, whatever came between."""
    ticks = ticks_of(((0, 0, 10, 11), (30, 0, 10, 11), (20, 0, 10, 11), (40, 0, 10, 11)))
    assert [0, 30, 30, 40] == ((stream_ns(in_memory(ticks), np.zeros(4, np.uint8)) - START_NS) // MS).tolist()


def test_backtest_cells_together_equal_cells_alone() -> None:
    """What comes of a cell does not depend on the cells that share its pass."""
    recording, config = in_memory(PATH), settings()
    cells = [
        plan(
            *[
                {"kind": kind, "side": side, "entry_units": 1000, "entry_ns": START_NS, "percent_ppm": ppm}
                for side in (LONG, SHORT)
            ]
        )
        for kind in (STATIC, TRAILING, TAKE_PROFIT)
        for ppm in (3_000, 10_000)
    ]
    together = play_cells(recording, cells, config)
    assert [play_cells(recording, [cell], config)[0] for cell in cells] == together
    assert len({str(cell) for cell in together}) > 3


@pytest.mark.parametrize(
    ("cells", "positions", "jobs", "expected"),
    [(5, 1, 2, [3, 2]), (3, 5_000, 2, [1, 1, 1]), (10, 1_000, 1, [4, 4, 2]), (1, 1, 8, [1])],
)
def test_backtest_batches_of_cells_keep_every_process_busy(cells: int, positions: int, jobs: int, expected: list[int]) -> None:
    """Passes are large, but there is one for each process, and every cell is in one of them."""
    found = list(batches(cells, positions, jobs))
    assert expected == [len(batch) for batch in found]
    assert list(range(cells)) == [cell for batch in found for cell in batch]


def test_backtest_slippage_of_stops_without_level_or_fill_is_not_counted() -> None:
    """Time stops have no level, and what has not been filled has no price: neither slips."""
    stops = ({"kind": TIME, "entry_units": 1000, "holding_ns": 5 * MS}, {"entry_units": 1000, "price_units": 1})
    _, outcomes = played(in_memory(PATH), plan(*stops))
    assert [False, False] == has_slippage(outcomes).tolist()
    assert 1 == len(table())
