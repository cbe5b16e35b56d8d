"""The final report says what shared memory holds, and calls a loss a loss."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pipeline import topology
from pipeline.config import load_config
from pipeline.messages import BUY, BY_PERSON, HALTED, LONG, SELL, TRIGGERED
from pipeline.summary import losses, summarize, write_summary
from pipeline.tables import (
    MARK,
    POSITION,
    SCOPE_FEES,
    SCOPE_REASON,
    SCOPE_STATE,
    SCOPE_WORDS,
    SENT_ORDER,
    STOP,
    STOP_TERMS,
    VENUE_FILL,
)
from pipeline.topology import COUNTERS
from pipeline.view import View
from shm import counters, rows
from shm.segment import Segment
from tests.idle_instance import SIZES, idle_instance


@pytest.fixture
def segment(instance_name: str) -> Iterator[Segment]:
    """Return an instance on which nobody runs."""
    with idle_instance(instance_name, load_config()) as made:
        yield made


def set_counter(segment: Segment, worker: str, name: str, value: int) -> None:
    """Give one counter a value."""
    counters.open_counters(segment, worker).words[counters.STRIDE * COUNTERS[worker].index(name)] = value


def set_position(segment: Segment, strategy: int, instrument: int, quantity_lots: int, entry_ticks: int) -> None:
    """Commit one position that a single fill opened."""
    table = rows.open_table(segment, "positions", POSITION)
    row = strategy * SIZES.instruments + instrument
    copy = table.copies[2 * row + 1]
    copy["strategy"], copy["instrument"] = strategy, instrument
    copy["quantity_lots"], copy["entry_ticks"], copy["fill_count"] = quantity_lots, entry_ticks, 1
    copy["cost_tick_lots"] = quantity_lots * entry_ticks
    table.commits[row] = 1


def set_stop(segment: Segment, slot: int, position: int, state: int, is_owed: bool) -> None:
    """Commit one stop of a position."""
    table = rows.open_table(segment, "stops", STOP)
    copy = table.copies[2 * slot + 1]
    copy["state"], copy["owed"] = state, is_owed
    terms = segment.array("stops.terms", STOP_TERMS)[slot]
    terms["stop_id"], terms["position"], terms["side"] = slot + 1, position, LONG
    table.commits[slot] = 1


def set_fill(segment: Segment, place: int, instrument: int, side: int, quantity_lots: int) -> None:
    """Enter a fill into the venue's record."""
    fill = segment.array("venue.fills", VENUE_FILL)[place]
    fill["fill_id"], fill["instrument"], fill["side"], fill["quantity_lots"] = place + 1, instrument, side, quantity_lots
    segment.array("venue.state")[topology.VENUE_FILLS] = place + 1


def test_summarize_counters_of_all_workers_appear_under_their_names(segment: Segment) -> None:
    """What the workers counted is what the summary says."""
    for name, value in {"received": 100, "accepted": 90, "crossed": 7, "bad_time": 1, "conflated": 2}.items():
        set_counter(segment, "ingest", name, value)
    for name, value in {"entries_submitted": 5, "exits_submitted": 4, "fills": 9, "stops_armed": 10}.items():
        set_counter(segment, "risk", name, value)
    set_counter(segment, "risk", "stops_static_armed", 6)
    set_counter(segment, "risk", "static_triggered", 3)
    set_counter(segment, "execution", "filled", 8)
    summary = summarize(View(segment))
    assert {"crossed": 7, "bad_time": 1} == summary["ticks"]["rejected"]
    assert (100, 90, 2) == tuple(summary["ticks"][key] for key in ("received", "accepted", "conflated"))
    assert (9, 8, {}) == tuple(summary["orders"][key] for key in ("submitted", "filled", "rejected"))
    assert {"armed": 6, "triggered": 3} == summary["stops"]["by_kind"]["static"]
    assert {"count", "p50", "p90", "p99", "p99.9", "max"} == set(summary["latency_ns"]["tick_to_order"])
    assert {"ingest": 0, "risk": 0, "execution": 0, "sidecar": 0} == summary["restarts"]
    assert "park" == summary["workers"]["risk"]["wait"]
    assert [] == losses(summary)


def test_summarize_positions_are_exact_money_at_the_price_at_which_they_can_be_left(segment: Segment) -> None:
    """An open long is worth the bid, as a decimal with no rounding."""
    set_position(segment, 0, 0, 100, 26_750)
    set_fill(segment, 0, 0, BUY, 100)
    segment.array("marks", MARK)["bid_ticks"][0] = 26_751
    (position,) = summarize(View(segment))["positions"]
    assert ("AAPL", "100", "267.50") == tuple(position[key] for key in ("symbol", "quantity", "entry"))
    assert ("0.00", "1.00") == (position["realised"], position["unrealised"])


def test_summarize_account_adds_up_in_its_own_currency(segment: Segment) -> None:
    """USD and USDT positions, fees taken off, come to one P&L; every strategy and whoever is strict is told."""
    bitcoin = 5
    set_position(segment, 0, 0, 100, 26_750)
    set_position(segment, 1, bitcoin, -10, 938_000)
    segment.array("positions.copies", POSITION)["fee_units"][1] = 1_250_000
    segment.array("marks", MARK)["bid_ticks"][0], segment.array("marks", MARK)["ask_ticks"][bitcoin] = 26_751, 938_010
    segment.array("scopes")[SCOPE_WORDS + SCOPE_STATE] = HALTED
    segment.array("scopes")[SCOPE_WORDS + SCOPE_REASON] = BY_PERSON
    sent = segment.array("sent.copies", SENT_ORDER)
    sent["order_id"][0], sent["position"][0] = 9, SIZES.instruments + bitcoin
    summary = summarize(View(segment))
    account = summary["account"]
    # 100 lots won a tick of 0.01; 10 lots of 0.001 lost ten ticks of 0.10; 1.25 paid.
    assert ("1.00", "-0.01000") == tuple(position["unrealised"] for position in summary["positions"])
    assert [("1.25", "-0.25"), ("0.00", "-0.01")] == [(row["fees"], row["pnl"]) for row in summary["positions"]]
    assert ("USD", "-0.26", "0.99", "1.25") == tuple(account[key] for key in ("currency", "pnl", "unrealised", "fees"))
    assert Decimal(account["balance"]) - Decimal("0.26") == Decimal(account["equity"])
    assert [(0, "-0.25", 0, "halted"), (1, "-0.01", 1, "active")] == [
        (row["strategy"], row["pnl"], row["working_orders"], row["trading_state"]) for row in account["strategies"]
    ]
    assert [{"scope": "strategy 0", "state": "halted", "reason": "person"}] == account["strict"]
    assert summary == json.loads(json.dumps(summary))


def test_losses_totals_unlike_the_rows_are_told(segment: Segment) -> None:
    """Risk's own sums and the sum of the positions may not differ by a single unit."""
    table = rows.open_table(segment, "positions", POSITION)
    table.copies["fill_count"][0], table.copies["fee_units"][0] = 1, 5
    words = segment.array("scopes")
    for scope in (0, 1, 1 + SIZES.strategies):
        words[scope * SCOPE_WORDS + SCOPE_FEES] = 5
    set_fill(segment, 0, 0, BUY, 0)
    assert [] == losses(summarize(View(segment)))
    words[SCOPE_FEES] = 6
    assert ["the account's totals differ from the sum of its positions: reconcile them by hand"] == losses(
        summarize(View(segment))
    )


def test_view_working_orders_are_those_of_the_table_in_their_order(segment: Segment) -> None:
    """Free rows are left out; who was sent first comes first."""
    sent = segment.array("sent.copies", SENT_ORDER)
    for place, (order_id, sent_ns) in enumerate(((7, 30), (0, 10), (8, 20))):
        sent["order_id"][2 * place], sent["sent_ns"][2 * place] = order_id, sent_ns
    assert [8, 7] == View(segment).working_orders()["order_id"].tolist()


def test_losses_position_unlike_the_venues_record_is_told(segment: Segment) -> None:
    """A fill that we missed, or counted twice, is a loss."""
    set_position(segment, 0, 0, 100, 26_750)
    set_fill(segment, 0, 0, BUY, 60)
    summary = summarize(View(segment))
    assert summary["venue"]["positions_agree"] is False
    assert ["positions differ from the venue's fills: reconcile them by hand"] == losses(summary)
    set_fill(segment, 1, 0, BUY, 60)
    set_fill(segment, 2, 0, SELL, 20)
    assert summarize(View(segment))["venue"]["positions_agree"] is True


def test_losses_exit_owed_and_tick_unaccounted_are_told(segment: Segment) -> None:
    """A fired stop without an exit, and a tick that vanished, must not pass unseen."""
    set_stop(segment, 0, 0, TRIGGERED, is_owed=True)
    set_stop(segment, 1, 0, TRIGGERED, is_owed=False)
    set_counter(segment, "ingest", "received", 2)
    expected = [
        "1 fired stop has no exit: close those positions by hand",
        "2 ticks were received and 0 are accounted for",
    ]
    assert expected == losses(summarize(View(segment)))


def test_summarize_exit_owed_for_a_while_and_then_sent_is_owed_no_more(segment: Segment) -> None:
    """How often an exit was owed is history; what is owed is what the table says now."""
    set_counter(segment, "risk", "exits_owed", 3)
    set_stop(segment, 0, 0, TRIGGERED, is_owed=False)
    summary = summarize(View(segment))
    assert (0, 3) == (summary["stops"]["owed"], summary["stops"]["owed_times"])
    assert summary == json.loads(json.dumps(summary))
    assert [] == losses(summary)


def test_view_holdings_position_that_closed_meanwhile_is_not_steady(segment: Segment) -> None:
    """Of a position that changes while the tables are read, nothing may be said about its stops."""
    set_position(segment, 0, 0, 100, 26_750)
    set_position(segment, 0, 1, 100, 26_750)

    class Closing(View):
        def stops(self) -> np.ndarray:
            rows.open_table(segment, "positions", POSITION).copies[1]["quantity_lots"] = 0
            return super().stops()

    holdings = Closing(segment).holdings()
    assert (0, 100) == tuple(holdings.positions["quantity_lots"][:2])
    assert (False, True) == tuple(holdings.is_steady[:2])


def test_write_summary_replaces_the_file_whole_and_leaves_no_other(tmp_path: Path) -> None:
    """A reader never sees half a summary."""
    path = tmp_path / "s.json"
    path.write_text("old")
    write_summary(path, {"feed": "µ"})
    assert {"feed": "µ"} == json.loads(path.read_text(encoding="utf-8"))
    with pytest.raises(TypeError):
        write_summary(path, {"feed": object()})
    assert {"feed": "µ"} == json.loads(path.read_text(encoding="utf-8"))
    assert [path] == list(tmp_path.iterdir())
