"""Entries that a plan leaves open: the first tick's time, and the price of the first tick at or after an entry."""

import numpy as np

from pipeline.backtest.planned import PLANNED
from pipeline.backtest.run import Backtest, Tell
from pipeline.config import Config
from pipeline.ingest.recordings import Recording
from pipeline.messages import LAST, LONG, MID, QUOTE, TICK_BAD_TIME, TICK_OK, TRADE

#: Entry time of a position whose entry never comes: later than any event.
NEVER_NS = 1 << 61


def complete(planned: np.ndarray, recording: Recording, config: Config, tell: Tell | None = None) -> np.ndarray:
    """Return a plan with every entry known.

    A position without an entry time enters with the first tick. One without a price enters at the first price that its stop
    watches, of an accepted tick at or after its entry time; where none comes, its time becomes NEVER_NS.

    Args:
        planned: PLANNED, left as it is.
        recording: What will be played.
        config: Hygiene decides which ticks are accepted.
        tell: Told how far it is, where the recording has to be judged first.
    """
    plan = planned.copy()
    lacks_time, lacks_price = plan["entry_ns"] == 0, plan["entry_units"] == 0
    if lacks_time.any():
        plan["entry_ns"][lacks_time] = _first_ns(recording)
    if lacks_price.any():
        flags = judge(recording, config, tell)
        _fill_prices(plan, np.flatnonzero(lacks_price), recording, flags)
    return plan


def judge(recording: Recording, config: Config, tell: Tell | None = None) -> np.ndarray:
    """Return hygiene's reason for each tick of a recording, uint8, by playing it without any position."""
    flags = np.zeros(len(recording.ticks), np.uint8)
    Backtest(recording, np.zeros(0, PLANNED), config).run(tell, flags)
    return flags


def stream_ns(recording: Recording, flags: np.ndarray) -> np.ndarray:
    """Return stream time at each tick, int64: the latest event time so far, of ticks that have a good one."""
    return np.maximum.accumulate(np.where(flags == TICK_BAD_TIME, 0, recording.ticks["event_ns"]))


def _first_ns(recording: Recording) -> int:
    """Return the first event time above 0, or NEVER_NS."""
    times = recording.ticks["event_ns"]
    good = np.flatnonzero((times > 0) & (times < NEVER_NS))
    return int(times[good[0]]) if len(good) else NEVER_NS


def _fill_prices(plan: np.ndarray, indices: np.ndarray, recording: Recording, flags: np.ndarray) -> None:
    """Set entry prices, the positions of each instrument, watch and side together."""
    ticks = recording.ticks
    now_ns = stream_ns(recording, flags)
    instruments, watches, sides = plan["instrument"][indices], plan["watch"][indices], plan["side"][indices]
    is_good = flags == TICK_OK
    for instrument, watch, side in np.unique(np.stack([instruments, watches, sides], axis=1), axis=0).tolist():
        chosen = indices[(instruments == instrument) & (watches == watch) & (sides == side)]
        kind = TRADE if watch == LAST else QUOTE
        rows = np.flatnonzero(is_good & (ticks["kind"] == kind) & (ticks["instrument"] == instrument))
        first = np.searchsorted(now_ns, plan["entry_ns"][chosen], side="left")
        found = np.searchsorted(rows, first, side="left")
        comes = found < len(rows)
        at = rows[found[comes]]
        bid, ask = ticks["a"][at], ticks["b"][at]
        price = bid + ask if watch == MID else ask if watch not in (LAST, MID) and side != LONG else bid
        plan["entry_units"][chosen[comes]] = price
        plan["entry_units"][chosen[~comes]], plan["entry_ns"][chosen[~comes]] = 1, NEVER_NS
