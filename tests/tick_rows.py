"""Ticks written by hand: one call for each, and `stream` makes the array of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.messages import QUOTE, STATUS, TICK, TICK_OK, TIMER, TRADE


@dataclass(frozen=True)
class Row:
    """One tick, its time in seconds of the stream."""

    seconds: float
    kind: int
    a: int = 0
    b: int = 0
    instrument: int = 0
    flags: int = TICK_OK

    def rejected(self, reason: int) -> Row:
        """Return it as hygiene marks what it rejects."""
        return replace(self, flags=reason)


def quote(seconds: float, bid: int, ask: int, instrument: int = 0) -> Row:
    """Return a quote in ticks."""
    return Row(seconds, QUOTE, bid, ask, instrument)


def trade(seconds: float, price: int, instrument: int = 0) -> Row:
    """Return a trade of one lot."""
    return Row(seconds, TRADE, price, 1, instrument)


def timer(seconds: float) -> Row:
    """Return a tick that only moves time."""
    return Row(seconds, TIMER)


def status(seconds: float) -> Row:
    """Return a word of the venue, which moves time too."""
    return Row(seconds, STATUS)


def at(seconds: float) -> int:
    """Return the time of the stream in ns."""
    return round(seconds * 10**9)


def stream(*rows: Row) -> np.ndarray:
    """Return the TICK array of rows."""
    ticks = np.zeros(len(rows), TICK)
    for tick, row in zip(ticks, rows, strict=True):
        tick["event_ns"], tick["kind"], tick["flags"] = at(row.seconds), row.kind, row.flags
        tick["instrument"], tick["a"], tick["b"] = row.instrument, row.a, row.b
    return ticks
