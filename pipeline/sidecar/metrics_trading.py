"""Metrics of trading: ticks, orders, fills, stops, positions, P&L."""

from collections.abc import Iterator

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.messages import ARMED, REJECT_REASONS, STOP_KIND_NAMES, TICK_REASONS, TRIGGERED
from pipeline.sidecar.view import InstanceView, age_seconds
from pipeline.topology import ENTRIES_ALLOWED, RISK_COUNTERS
from shm.rows import snapshot


def tick_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield what came in, and how old it is."""
    for name, text in (
        ("received", "Ticks that the feed delivered."),
        ("accepted", "Ticks that passed hygiene."),
        ("conflated", "Ticks merged into others because the ring was full."),
    ):
        yield CounterMetricFamily(f"stopline_ticks_{name}", text, value=view.count("ingest", name))
    rejected = CounterMetricFamily("stopline_ticks_rejected", "Ticks that hygiene rejected, by reason.", labels=["reason"])
    for reason in TICK_REASONS[1:]:
        rejected.add_metric([reason], view.count("ingest", reason))
    yield rejected
    marks = view.marks.copy()
    age = GaugeMetricFamily(
        "stopline_tick_age_seconds", "Time since the symbol's last tick, or since the start where none came.", labels=["symbol"]
    )
    for item, mark in zip(view.instruments, marks, strict=True):
        # The age of a feed that never delivered must grow as well, else a dead feed shows nothing.
        since = int(mark["tick_recv_ns"]) if mark["tick_count"] else view.started_ns
        if since:
            age.add_metric([item.symbol], age_seconds(since))
    yield age
    yield CounterMetricFamily("stopline_tick_gaps", "Gaps in a venue's sequence of trades.", value=view.count("ingest", "gaps"))
    yield from stale_and_atr(view, marks)


def stale_and_atr(view: InstanceView, marks: np.ndarray) -> Iterator[Metric]:
    """Yield which symbols are stale by stream time, and the ATR of each series that has one."""
    stale = GaugeMetricFamily("stopline_symbol_stale", "1 while nothing valid has come for stale_after_ms.", labels=["symbol"])
    latest_ns = np.maximum(marks["quote_ns"], marks["trade_ns"])
    for item, seen_ns in zip(view.instruments, latest_ns.tolist(), strict=True):
        if seen_ns:
            stale.add_metric([item.symbol], int(view.stream_ns - seen_ns > view.stale_ns))
    yield stale
    atr = GaugeMetricFamily(
        "stopline_atr", "Average true range, in the instrument's currency.", labels=["symbol", "period", "bar_seconds"]
    )
    for row in view.stops.series():
        item = view.instruments[int(row["instrument"])]
        if row["bar_count"] >= row["period"]:
            labels = [item.symbol, str(row["period"]), f"{row['bar_ns'] / 1e9:g}"]
            atr.add_metric(labels, float(row["atr"]) / 2 * float(item.tick_size))
    yield atr


def order_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield what went out and what came of it."""
    orders = CounterMetricFamily("stopline_orders", "Orders that risk sent, by kind.", labels=["kind"])
    orders.add_metric(["entry"], view.count("risk", "entries_submitted"))
    orders.add_metric(["exit"], view.count("risk", "exits_submitted"))
    yield orders
    for bank, text in (
        ("rejected", "Orders that the venue rejected, by reason."),
        ("refused", "Requests that risk refused before any venue saw them, by reason."),
    ):
        family = CounterMetricFamily(f"stopline_orders_{bank}", text, labels=["reason"])
        for reason, count in view.reason_counts(bank, REJECT_REASONS).items():
            if reason != "none":
                family.add_metric([reason], count)
        yield family
    yield CounterMetricFamily("stopline_orders_filled", "Orders filled in whole.", value=view.count("execution", "filled"))
    yield CounterMetricFamily("stopline_fills", "Fills reported by execution.", value=view.count("execution", "fills"))
    allowed = int(view.supervisor[ENTRIES_ALLOWED] != 0)
    yield GaugeMetricFamily("stopline_entries_allowed", "1 while orders that open positions may leave.", value=allowed)


def stop_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield what the stops did and how many there are."""
    kinds = [kind for kind in STOP_KIND_NAMES if f"{kind}_triggered" in RISK_COUNTERS]
    armed = CounterMetricFamily("stopline_stops_armed", "Stops armed, by kind.", labels=["kind"])
    triggered = CounterMetricFamily("stopline_stops_triggered", "Stops fired, by kind.", labels=["kind"])
    for kind in kinds:
        armed.add_metric([kind], view.count("risk", f"stops_{kind}_armed"))
        triggered.add_metric([kind], view.count("risk", f"{kind}_triggered"))
    yield armed
    yield triggered
    for name, text in (
        ("stops_ended", "Stops that ended, fired or not."),
        ("exits_owed", "Times that a fired stop had no working exit."),
    ):
        yield CounterMetricFamily(f"stopline_{name}", text, value=view.count("risk", name))
    table = view.stops.read()
    fired = table["state"] == TRIGGERED
    for name, text, chosen in (
        ("open", "Stops that are armed now.", table["state"] == ARMED),
        ("exiting", "Fired stops whose position is not flat yet.", fired),
        ("owed", "Fired stops without a working exit.", fired & (table["owed"] != 0)),
    ):
        yield GaugeMetricFamily(f"stopline_stops_{name}", text, value=int(np.sum(chosen)))


def position_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield positions and P&L; only of what was ever traded, so that a wide instrument table stays cheap."""
    table = snapshot(view.positions)
    marks = view.marks.copy()
    quantity = GaugeMetricFamily(
        "stopline_position_quantity", "Position in units of the instrument, negative when short.", labels=["symbol", "strategy"]
    )
    realised: dict[int, int] = {}
    unrealised: dict[int, int] = {}
    for row in table[table["fill_count"] > 0]:
        instrument, lots = int(row["instrument"]), int(row["quantity_lots"])
        item = view.instruments[instrument]
        quantity.add_metric([item.symbol, view.strategies[int(row["strategy"])]], float(item.lot_size * lots))
        realised[instrument] = realised.get(instrument, 0) + int(row["realised_tick_lots"])
        price = int(marks[instrument]["bid_ticks" if lots > 0 else "ask_ticks"]) or int(marks[instrument]["last_ticks"])
        open_tick_lots = lots * price - int(row["cost_tick_lots"]) if lots and price else 0
        unrealised[instrument] = unrealised.get(instrument, 0) + open_tick_lots
    yield quantity
    for name, text, amounts in (
        ("realised", "Realised P&L since the instance was made, in the instrument's currency.", realised),
        ("unrealised", "P&L of the open position if it were closed at the touch, in the instrument's currency.", unrealised),
    ):
        family = GaugeMetricFamily(f"stopline_{name}_pnl", text, labels=["symbol", "currency"])
        for instrument, tick_lots in amounts.items():
            item = view.instruments[instrument]
            family.add_metric([item.symbol, item.currency], float(view.instruments.money(instrument, tick_lots)))
        yield family
    not_flat = int(np.sum(table["quantity_lots"] != 0))
    yield GaugeMetricFamily("stopline_positions_open", "Positions that are not flat.", value=not_flat)
