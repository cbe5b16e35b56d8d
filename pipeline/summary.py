"""The final report of a run, for people and as JSON. Every number is read from shared memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipeline.account_view import ScopeState, position_pnl, unrealised_tick_lots
from pipeline.messages import STATE_REASONS, STOP_KIND_NAMES, STOP_STATE_NAMES, TICK_REASONS, TRADING_STATES
from pipeline.money import SHOWN_PLACES, Money, grouped
from pipeline.view import View
from shm.wait import Strategy

#: Stops by kind: name, counter of those armed, counter of those that fired.
STOP_KINDS = {kind: (f"stops_{kind}_armed", f"{kind}_triggered") for kind in STOP_KIND_NAMES[1:]}


def summarize(view: View) -> dict[str, Any]:
    """Return the numbers of an instance, at rest or not, by the names that the summary file uses."""
    ingest, risk, execution = (view.counters(name) for name in ("ingest", "risk", "execution"))
    return {
        "instance": view.segment.path.name.removeprefix("stopline-"),
        "ticks": {
            "received": ingest["received"],
            "accepted": ingest["accepted"],
            "rejected": {reason: ingest[reason] for reason in TICK_REASONS[1:] if ingest[reason]},
            "conflated": ingest["conflated"],
            "timers": ingest["timers"],
        },
        "requests": {"received": risk["requests"], "refused": view.reasons("refused")},
        "orders": {
            "submitted": risk["entries_submitted"] + risk["exits_submitted"],
            "entries": risk["entries_submitted"],
            "exits": risk["exits_submitted"],
            "filled": execution["filled"],
            "rejected": view.reasons("rejected"),
        },
        "fills": risk["fills"],
        "stops": {
            "armed": risk["stops_armed"],
            "triggered": risk["stops_triggered"],
            "ended": risk["stops_ended"],
            "by_kind": {kind: {"armed": risk[armed], "triggered": risk[fired]} for kind, (armed, fired) in STOP_KINDS.items()},
            "owed": view.stop_counts().owed,
            "owed_times": risk["exits_owed"],
        },
        "account": account(view),
        "positions": positions(view),
        "latency_ns": view.latency_ns(),
        "restarts": {name: view.worker(name).restarts for name in view.workers},
        "workers": {name: _worker(view, name) for name in view.workers},
        "venue": venue(view, risk["fills"], execution),
    }


def account(view: View) -> dict[str, Any]:
    """Return the account, with each strategy's share and the scopes that are not active; money as decimal text.

    Returns:
        `buying_power` is None where leverage is unlimited; `totals_agree` tells whether risk's own sums are those of the rows.
    """
    state = view.account()
    money, orders = state.money, view.working_orders()
    owners = orders["position"] // view.sizes.instruments
    strategies = [
        {"strategy": slot, "working_orders": int(np.count_nonzero(owners == slot))} | _scope(scope, money)
        for slot, scope in enumerate(state.strategies)
        if any(scope.totals) or np.any(owners == slot)
    ]
    return {
        "currency": money.currency,
        "balance": _amount(money, money.balance_units),
        "equity": _amount(money, state.equity),
        "peak_equity": _amount(money, state.peak_equity),
        "buying_power": None if state.buying_power is None else _amount(money, state.buying_power),
        "working_orders": len(orders),
        **_scope(state.account, money),
        "strategies": strategies,
        "strict": [
            {"scope": scope.name, "state": TRADING_STATES[scope.state], "reason": STATE_REASONS[scope.reason]}
            for scope in state.strict
        ],
        "totals_agree": all(scope.is_booked_right for scope in state.scopes),
    }


def positions(view: View) -> list[dict[str, Any]]:
    """Return every position that was ever opened, with its stops; money is decimal text.

    Returns:
        `realised` and `unrealised` are in the instrument's currency, `fees` and `pnl` (all of them together) in the account's.
    """
    marks, stops = view.marks(), view.stops()
    rows = view.positions()
    result = []
    for row in np.flatnonzero(rows["fill_count"]):
        position = rows[row]
        instrument = int(position["instrument"])
        quantity = int(position["quantity_lots"])
        unrealised = unrealised_tick_lots(position, marks[instrument])
        mine = stops[(stops["position"] == row) & (stops["generation"] == position["generation"])]
        result.append(
            {
                "symbol": view.instruments[instrument].symbol,
                "strategy": int(position["strategy"]),
                "quantity": view.instruments.quantity_text(instrument, quantity),
                "entry": view.instruments.price_text(instrument, position["entry_ticks"]) if quantity else None,
                "realised": format(view.money(instrument, position["realised_tick_lots"]), "f"),
                "unrealised": format(view.money(instrument, unrealised), "f"),
                "currency": view.instruments[instrument].currency,
                "fees": _amount(view.units, int(position["fee_units"])),
                "pnl": _amount(view.units, position_pnl(position, marks[instrument], view.units)),
                "fills": int(position["fill_count"]),
                "stops": [STOP_STATE_NAMES[stop["state"]] for stop in mine] if quantity else [],
            }
        )
    return result


def venue(view: View, fills_counted: int, execution: Mapping[str, int]) -> dict[str, Any]:
    """Hold our positions against the venue's own record of fills.

    Returns:
        The venue's counts, and `positions_agree`: None where the venue no longer remembers all of its fills.
    """
    fills, is_all = view.venue_fills()
    agree = None
    if is_all:
        ours = view.positions()
        net = np.zeros(len(ours), np.int64)
        rows = fills["strategy"].astype(np.int64) * view.sizes.instruments + fills["instrument"].astype(np.int64)
        np.add.at(net, rows, fills["side"] * fills["quantity_lots"])
        agree = bool(np.array_equal(net, ours["quantity_lots"]))
    orders = view.venue_orders()
    return {
        "orders": execution["venue_orders"],
        "fills": execution["venue_fills"],
        "rejected": execution["venue_rejected"],
        "duplicates_refused": execution["venue_duplicates"],
        "order_ids_unique": len(np.unique(orders["order_id"])) == len(orders),
        "fills_agree": execution["venue_fills"] == fills_counted,
        "positions_agree": agree,
    }


def losses(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that a run may not end with."""
    found = []
    owed = summary["stops"]["owed"]
    if owed:
        found.append(f"{owed} fired {'stop has' if owed == 1 else 'stops have'} no exit: close those positions by hand")
    if summary["venue"]["positions_agree"] is False:
        found.append("positions differ from the venue's fills: reconcile them by hand")
    if not summary["account"]["totals_agree"]:
        found.append("the account's totals differ from the sum of its positions: reconcile them by hand")
    if not summary["venue"]["order_ids_unique"]:
        found.append("the venue took an order id twice: an exit may have left twice")
    ticks = summary["ticks"]
    accounted = ticks["accepted"] + sum(ticks["rejected"].values()) + ticks["conflated"]
    if ticks["received"] != accounted:
        found.append(f"{ticks['received']} ticks were received and {accounted} are accounted for")
    return found


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _amount(money: Money, units: int) -> str:
    """Write money units as a plain decimal with two places at least: "-1250.00"."""
    return grouped(money.decimal(units), SHOWN_PLACES).replace(",", "")


def _scope(scope: ScopeState, money: Money) -> dict[str, Any]:
    """Return what the account and a strategy have in common."""
    totals = scope.totals
    amounts = {
        "pnl": totals.pnl, "realised": totals.realised, "unrealised": totals.unrealised, "fees": totals.fees,
        "daily_pnl": scope.day_pnl, "weekly_pnl": scope.week_pnl, "drawdown": scope.drawdown, "gross_exposure": totals.gross,
        "net_exposure": totals.net,
    }  # fmt: skip
    return {name: _amount(money, units) for name, units in amounts.items()} | {
        "open_positions": totals.open_count,
        "trading_state": TRADING_STATES[scope.state],
        "state_reason": STATE_REASONS[scope.reason],
    }


def _worker(view: View, name: str) -> dict[str, Any]:
    worker = view.worker(name)
    return {
        "core": view.about["placement"][name]["core"],
        "wait": Strategy(view.about["placement"][name]["wait"]).name.lower(),
        "cpu_seconds": round(worker.cpu_ns / 1e9, 3),
        "state": worker.state.name.lower(),
    }
