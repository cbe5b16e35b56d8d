"""What the control socket tells of an instance: status, positions, stops, as plain values; decimals are text."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.launch import Launch
from pipeline.messages import (
    ATR,
    BID_ASK,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    STOP_KIND_NAMES,
    STOP_STATE_NAMES,
    TAKE_PROFIT,
    TICK_REASONS,
    TIME,
    TRADING_STATES,
    WATCH_NAMES,
)
from pipeline.stop_rows import PPM
from pipeline.stop_terms import PERCENT_SCALE, watch_text
from pipeline.summary import positions
from pipeline.view import View
from shm.wait import Strategy

#: Stops in one answer: more than these, and building it would keep the supervisor from its work.
STOPS_MAX = 500
#: What people read of each latency.
QUANTILES = ("count", "p50", "p99", "max")


def status(view: View, launch: Launch, is_halted: bool) -> dict[str, Any]:
    """Return how the instance is."""
    ingest, risk, execution = (view.counters(name) for name in ("ingest", "risk", "execution"))
    words = view.segment.array("supervisor.state")
    stops = view.stop_counts()
    latency = view.latency_ns()
    return {
        "instance": launch.name,
        "version": view.about["version"],
        "feed": launch.feed_text,
        "uptime_s": round((time.monotonic_ns() - int(words[topology.STARTED_NS])) / 1e9, 3),
        "stream_time": stream_time(int(view.segment.array("risk.state")[topology.RISK_NOW_NS])),
        "entries_allowed": view.entries_allowed,
        "halted": is_halted,
        "trading": trading_states(view),
        "metrics": launch.metrics_url,
        "database": launch.config.sidecar.database if launch.config.sidecar.enabled else "",
        "processes": list(processes(view)),
        "ticks": {
            "received": ingest["received"],
            "accepted": ingest["accepted"],
            "rejected": {reason: ingest[reason] for reason in TICK_REASONS[1:] if ingest[reason]},
            "conflated": ingest["conflated"],
        },
        "orders": {
            "entries": risk["entries_submitted"],
            "exits": risk["exits_submitted"],
            "filled": execution["filled"],
            "working": len(view.working_orders()),
        },
        "requests": {"received": risk["requests"], "refused": view.reasons("refused")},
        "stops": {"armed": stops.armed, "exiting": stops.exiting, "owed": stops.owed, "fired": risk["stops_triggered"]},
        "positions": {"open": int(np.count_nonzero(view.positions()["quantity_lots"]))},
        "latency_ns": {name: {key: hop[key] for key in QUANTILES} for name, hop in latency.items() if hop["count"]},
    }


def trading_states(view: View) -> dict[str, str]:
    """Return the account's trading state, and that of each other scope that is not active, by scope."""
    state = view.account()
    return {"account": TRADING_STATES[state.account.state]} | {
        scope.name: TRADING_STATES[scope.state] for scope in state.strict
    }


def processes(view: View) -> Iterator[dict[str, Any]]:
    """Yield how each process is."""
    now_ns = time.monotonic_ns()
    for name in view.workers:
        worker = view.worker(name)
        yield {
            "name": name,
            "state": worker.state.name.lower(),
            "pid": worker.pid,
            "core": view.about["placement"][name]["core"],
            "wait": Strategy(worker.wait).name.lower() if worker.wait else "",
            "starts": worker.restarts + 1,
            "beat_ms": round(max(0, now_ns - worker.beat_ns) / 1e6, 1) if worker.beat_ns else None,
        }


def position_rows(view: View, symbol: str | None, strategy: int | None) -> list[dict[str, Any]]:
    """Return the positions that were ever opened, those that are open first.

    Args:
        view: The instance.
        symbol, strategy: Only those; None = all.
    """
    found = [
        row for row in positions(view)
        if symbol in (None, row["symbol"]) and strategy in (None, row["strategy"])
    ]  # fmt: skip
    return sorted(found, key=lambda row: Decimal(row["quantity"]) == 0)


def stop_rows(view: View, symbol: str | None, strategy: int | None, after: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the stops that are armed or have fired and not ended, in order of their ids.

    Args:
        view: The instance.
        symbol, strategy: Only those; None = all.
        after: Only those with higher ids.
    Returns:
        At most STOPS_MAX rows, and whether there are more.
    """
    stops = view.stops()
    wanted = stops["stop_id"] > after
    if symbol is not None:
        wanted &= stops["instrument"] == view.instruments.index(symbol)
    if strategy is not None:
        wanted &= stops["position"] // view.sizes.instruments == strategy
    found, marks = stops[wanted], view.marks()
    return [_stop_row(view, stop, marks) for stop in found[:STOPS_MAX]], len(found) > STOPS_MAX


def _stop_row(view: View, stop: np.void, marks: np.ndarray) -> dict[str, Any]:
    instruments, index, watch = view.instruments, int(stop["instrument"]), int(stop["watch"])
    is_long, level = bool(stop["side"] == LONG), int(stop["level_ticks"])
    price = _watched(marks[index], watch, is_long)
    # How far the price may still go before the stop fires; a target lies on the other side.
    ahead = (price - level if is_long else level - price) * (-1 if stop["kind"] == TAKE_PROFIT else 1)
    return {
        "stop_id": int(stop["stop_id"]),
        "symbol": instruments[index].symbol,
        "strategy": int(stop["position"]) // view.sizes.instruments,
        "side": "long" if is_long else "short",
        "kind": STOP_KIND_NAMES[stop["kind"]],
        "watch": WATCH_NAMES[watch],
        "state": "owed" if stop["owed"] else STOP_STATE_NAMES[stop["state"]],
        "distance": _distance(view, stop),
        "provisional": bool(stop["is_provisional"]),
        "entry": watch_text(instruments, index, watch, int(stop["entry_ticks"])),
        "best": watch_text(instruments, index, watch, int(stop["best_ticks"])),
        "level": watch_text(instruments, index, watch, level),
        "price": watch_text(instruments, index, watch, price),
        "away_percent": round(100 * ahead / price, 3) if price and level else None,
        "deadline": stream_time(int(stop["deadline_ns"])) if stop["kind"] == TIME else None,
        "activation_percent": _scaled(stop["activation_ppm"], PERCENT_SCALE),
        "breakeven_percent": _scaled(stop["breakeven_ppm"], PERCENT_SCALE),
        "fraction_percent": _scaled(stop["fraction_ppm"], PERCENT_SCALE),
        "limit_offset": watch_text(instruments, index, BID_ASK, int(stop["limit_ticks"])),
    }


def _distance(view: View, stop: np.void) -> str:
    """Write what a stop was set with: a percentage, an offset, a price, a multiple of the ATR; empty where it is a time."""
    index, watch = int(stop["instrument"]), int(stop["watch"])
    if stop["kind"] in (ATR, CHANDELIER):
        return f"{_scaled(stop['atr_ppm'], PPM)} ATR"
    if stop["percent_ppm"]:
        return f"{_scaled(stop['percent_ppm'], PERCENT_SCALE)}%"
    return watch_text(view.instruments, index, watch, int(stop["offset_ticks"] or stop["price_ticks"]))


def _watched(mark: np.void, watch: int, is_long: bool) -> int:
    """Return the price that a stop watches, in units of its watch; 0 = not known."""
    bid, ask = int(mark["bid_ticks"]), int(mark["ask_ticks"])
    if watch == LAST:
        return int(mark["last_ticks"])
    if watch == MID:
        return bid + ask if bid and ask else 0
    return bid if is_long else ask


def _scaled(value: int, scale: int) -> str:
    return format((Decimal(int(value)) / scale).normalize(), "f") if value else ""


def stream_time(stream_ns: int) -> str | None:
    """Write stream time as ISO 8601 in UTC, None before the first tick."""
    if stream_ns <= 0:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stream_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
