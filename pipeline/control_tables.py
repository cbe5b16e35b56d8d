"""What the control socket tells of an instance: status, positions, stops, as plain values; decimals are text."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.launch import Launch
from pipeline.messages import ARMED, LAST, LONG, MID, STOP_KIND_NAMES, STOP_STATE_NAMES, TICK_REASONS, TRIGGERED, WATCH_NAMES
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
        "metrics": launch.metrics_url,
        "database": launch.config.sidecar.database if launch.config.sidecar.enabled else "",
        "processes": list(processes(view)),
        "ticks": {
            "received": ingest["received"],
            "accepted": ingest["accepted"],
            "rejected": {reason: ingest[reason] for reason in TICK_REASONS[1:] if ingest[reason]},
            "conflated": ingest["conflated"],
        },
        "orders": {"entries": risk["entries_submitted"], "exits": risk["exits_submitted"], "filled": execution["filled"]},
        "requests": {"received": risk["requests"], "refused": view.reasons("refused")},
        "stops": {"armed": stops.armed, "exiting": stops.exiting, "owed": stops.owed, "fired": risk["stops_triggered"]},
        "positions": {"open": int(np.count_nonzero(view.positions()["quantity_lots"]))},
        "latency_ns": {name: {key: hop[key] for key in QUANTILES} for name, hop in latency.items() if hop["count"]},
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
            "beat_ms": round((now_ns - worker.beat_ns) / 1e6, 1) if worker.beat_ns else None,
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
    wanted = ((stops["state"] == ARMED) | (stops["state"] == TRIGGERED)) & (stops["stop_id"] > after)
    if symbol is not None:
        wanted &= stops["instrument"] == view.instruments.index(symbol)
    if strategy is not None:
        wanted &= stops["strategy"] == strategy
    levels, marks = view.stop_levels(stops), view.marks()
    found = np.flatnonzero(wanted)
    found = found[np.argsort(stops["stop_id"][found], kind="stable")]
    return [_stop_row(view, stops[k], int(levels[k]), marks) for k in found[:STOPS_MAX]], len(found) > STOPS_MAX


def _stop_row(view: View, stop: np.void, level: int, marks: np.ndarray) -> dict[str, Any]:
    instruments, index, watch = view.instruments, int(stop["instrument"]), int(stop["watch"])
    is_long = stop["side"] == LONG
    price = _watched(marks[index], watch, bool(is_long))
    level = int(stop["trigger_level_ticks"]) or level
    away = 100 * (price - level if is_long else level - price) / price if price and level else None
    return {
        "stop_id": int(stop["stop_id"]),
        "symbol": instruments[index].symbol,
        "strategy": int(stop["strategy"]),
        "side": "long" if is_long else "short",
        "kind": STOP_KIND_NAMES[stop["kind"]],
        "watch": WATCH_NAMES[watch],
        "state": "owed" if stop["owed"] else STOP_STATE_NAMES[stop["state"]],
        "percent": _percent_text(int(stop["percent_ppm"])),
        "entry": watch_text(instruments, index, watch, int(stop["entry_ticks"])),
        "level": watch_text(instruments, index, watch, level),
        "price": watch_text(instruments, index, watch, price),
        "away_percent": None if away is None else round(away, 3),
    }


def _watched(mark: np.void, watch: int, is_long: bool) -> int:
    """Return the price that a stop watches, in units of its watch; 0 = not known."""
    bid, ask = int(mark["bid_ticks"]), int(mark["ask_ticks"])
    if watch == LAST:
        return int(mark["last_ticks"])
    if watch == MID:
        return bid + ask if bid and ask else 0
    return bid if is_long else ask


def _percent_text(ppm: int) -> str:
    return f"{Decimal(ppm) / PERCENT_SCALE:f}" if ppm else ""


def stream_time(stream_ns: int) -> str | None:
    """Write stream time as ISO 8601 in UTC, None before the first tick."""
    if stream_ns <= 0:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stream_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
