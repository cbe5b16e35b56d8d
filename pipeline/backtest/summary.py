"""What a backtest found, as plain JSON values: counts, slippage, times held, P&L with stops and without."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.backtest.outcomes import (
    FIRED,
    OPEN,
    STATE_NAMES,
    has_slippage,
    profit,
    profit_without_stops,
    slippage,
)
from pipeline.backtest.run import Backtest
from pipeline.instruments import EXACT, Instruments
from pipeline.messages import STOP_KIND_NAMES, TICK_REASONS, TRIGGER_REASONS

NS_PER_SECOND = 1_000_000_000
ALL = "all"


def summarize(run: Backtest, outcomes: np.ndarray) -> dict[str, Any]:
    """Return everything that is worth knowing of a run, but for its speed."""
    planned, instruments = run.planned, run.recording.instruments
    ingest, risk, execution = (run.count(worker) for worker in ("ingest", "risk", "execution"))
    fired = outcomes[outcomes["state"] == FIRED]
    return {
        "recording": str(run.recording.path),
        "description": run.recording.info.get("description", ""),
        "ticks": {
            "received": ingest["received"],
            "accepted": ingest["accepted"],
            "rejected": {reason: ingest[reason] for reason in TICK_REASONS[1:] if ingest[reason]},
        },
        "positions": len(planned),
        "stops": {kind: _states(outcomes[chosen]) for kind, chosen in by_kind(planned)},
        "fired_by": {
            TRIGGER_REASONS[reason]: int(np.count_nonzero(fired["reason"] == reason))
            for reason in np.unique(fired["reason"]).tolist()
        },
        "exits": {
            "sent": risk["exits_submitted"],
            "fills": risk["fills"],
            "rejected": execution["rejected"],
            "escalated": risk["escalated"],
            "unfinished": int(np.count_nonzero((outcomes["state"] == FIRED) & (outcomes["exit_lots"] == 0))),
        },
        "slippage": _slippage(run, outcomes),
        "held_seconds": {kind: _held(outcomes[chosen]) for kind, chosen in by_kind(planned)},
        "pnl": _pnl(planned, outcomes, instruments),
        "latency_us": run.latency_ns // 1000,
    }


def by_kind(planned: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the kinds that occur and then ALL, each with a mask of its positions."""
    for kind in np.unique(planned["kind"]).tolist():
        yield STOP_KIND_NAMES[kind], planned["kind"] == kind
    yield ALL, np.ones(len(planned), np.bool_)


def money_by_currency(half_tick_lots: np.ndarray, planned: np.ndarray, instruments: Instruments) -> dict[str, Decimal]:
    """Add up half tick·lots as exact money, each currency by itself."""
    total: dict[str, Decimal] = {}
    for index in np.unique(planned["instrument"]).tolist():
        # Python's integers: a sum over many positions may leave 64 bits.
        amount = sum(half_tick_lots[planned["instrument"] == index].tolist())
        money = EXACT.divide(instruments.money(index, amount), Decimal(2))
        currency = instruments[index].currency
        total[currency] = EXACT.add(total.get(currency, Decimal(0)), money)
    return total


def _states(outcomes: np.ndarray) -> dict[str, int]:
    counts = np.bincount(outcomes["state"], minlength=len(STATE_NAMES)).tolist()
    return {"set": len(outcomes)} | dict(zip(STATE_NAMES, counts, strict=True))


def _slippage(run: Backtest, outcomes: np.ndarray) -> list[dict[str, Any]]:
    """Tell how much worse than their levels exits were filled, by kind and currency; above 0 is worse."""
    planned, instruments = run.planned, run.recording.instruments
    worse, has_any = slippage(outcomes, planned), has_slippage(outcomes)
    currencies = np.array([item.currency for item in instruments])[planned["instrument"]]
    values = np.array([float(item.tick_lot_value) / 2 for item in instruments])[planned["instrument"]]
    found = []
    for currency in np.unique(currencies).tolist():
        for kind, chosen in by_kind(planned):
            rows = chosen & has_any & (currencies == currency)
            if rows.any():
                ticks = worse[rows] / (2 * outcomes["exit_lots"][rows])
                total = money_by_currency(worse[rows], planned[rows], instruments)[currency]
                money = _spread(worse[rows] * values[rows]) | {"total": format(total, "f")}
                row = {"kind": kind, "currency": currency, "count": int(rows.sum()), "ticks": _spread(ticks), "money": money}
                found.append(row)
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99)).tolist()
    return {"mean": round(float(values.mean()), 6), "p50": round(p50, 6), "p99": round(p99, 6)}


def _held(outcomes: np.ndarray) -> dict[str, float] | None:
    """Tell how long positions that were left were held, from entry to the last fill; None where none was."""
    left = outcomes[(outcomes["fill_ns"] > 0) & (outcomes["left_lots"] == 0)]
    if len(left) == 0:
        return None
    seconds = (left["fill_ns"] - left["entry_ns"]) / NS_PER_SECOND
    return _spread(seconds) | {"max": round(float(seconds.max()), 6)}


def _pnl(planned: np.ndarray, outcomes: np.ndarray, instruments: Instruments) -> dict[str, dict[str, str]]:
    """Tell what the positions made with their stops and without, and what is still open of them, each currency by itself."""
    with_stops = money_by_currency(profit(outcomes, planned), planned, instruments)
    without = money_by_currency(profit_without_stops(outcomes, planned), planned, instruments)
    still_open = np.where((outcomes["state"] == OPEN) | (outcomes["left_lots"] > 0), profit(outcomes, planned), 0)
    unrealised = money_by_currency(still_open, planned, instruments)
    return {
        currency: {
            "with_stops": format(with_stops[currency], "f"),
            "without_stops": format(without[currency], "f"),
            "difference": format(EXACT.subtract(with_stops[currency], without[currency]), "f"),
            "of_open_positions": format(unrealised[currency], "f"),
        }
        for currency in with_stops
    }
