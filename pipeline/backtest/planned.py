"""Positions and stops that a backtest begins with, in integers, and as risk takes them."""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ATR, CHANDELIER, MID
from pipeline.tables import STOP_TERMS
from pipeline.topology import Sizes

NS_PER_SECOND = 1_000_000_000
#: Books are numbered by 16 bits in orders and reports.
BOOKS_MAX = 1 << 16
#: Ticks between ingest and the stages; few, so that they are still in the nearest cache when they are taken.
RING_TICKS = 512
#: What one tick causes may be more than a ring holds: it is taken again when there is room.
RING_MAX = 1 << 16
#: What a single input may need is far less.
EVENTS_MIN = 1024
#: abs(price * quantity) of a position lies below this in units of its watch, so that no sum of a run overflows.
EXPOSURE_LIMIT = 1 << 58

#: A position and the one stop that guards it; 0 = not given unless said otherwise. Prices are in units of the stop's watch:
#: ticks, or half ticks where it watches the mid.
PLANNED = np.dtype(
    [
        ("instrument", "u4"),  #: index in the recording's table
        ("side", "i4"),  #: LONG, SHORT
        ("kind", "u1"),  #: messages.STATIC, ...
        ("watch", "u1"),  #: BID_ASK, LAST, MID
        ("entry_units", "i8"),  #: entry price; 0 = the first watched price at or after the entry
        ("quantity_lots", "i8"),  #: > 0
        ("entry_ns", "i8"),  #: UTC; 0 = from the first tick
        ("price_units", "i8"),  #: given level or target
        ("offset_units", "i8"),  #: trailing distance
        ("percent_ppm", "u4"),  #: distance
        ("activation_ppm", "u4"),
        ("breakeven_ppm", "u4"),
        ("atr_ppm", "u4"),  #: multiplier of the ATR times 10**6; of an ATR stop never 0
        ("atr_period", "u4"),  #: bars; likewise
        ("bar_seconds", "u4"),  #: likewise
        ("holding_ns", "i8"),  #: longest holding
        ("fraction_ppm", "u4"),  #: share of the position that the stop exits; 0 = all
        ("limit_ticks", "u4"),  #: collar of a limit exit; 0 = market
        ("escalate_ms", "u4"),  #: stream time after which a limit exit becomes a market order
    ],
    align=True,
)


class Shape(NamedTuple):
    """What one ATR series is made of."""

    instrument: int
    period: int
    bar_ns: int


def books_of(planned: np.ndarray) -> np.ndarray:
    """Return the book of each position, int64: its ordinal among those of its instrument, so that each has one of its own."""
    order = np.argsort(planned["instrument"], kind="stable")
    instruments = planned["instrument"][order]
    starts = np.flatnonzero(np.diff(instruments, prepend=-1))
    books = np.empty(len(planned), np.int64)
    books[order] = np.arange(len(planned)) - np.repeat(starts, np.diff(starts, append=len(planned)))
    return books


def shapes_of(planned: np.ndarray) -> dict[Shape, np.ndarray]:
    """Return the ATR series that the stops need, each with the indices of those that share it."""
    has_atr = np.flatnonzero((planned["kind"] == ATR) | (planned["kind"] == CHANDELIER))
    keys = np.stack([planned[name][has_atr].astype(np.int64) for name in ("instrument", "atr_period", "bar_seconds")], axis=1)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    return {
        Shape(int(key[0]), int(key[1]), int(key[2]) * NS_PER_SECOND): has_atr[inverse.reshape(-1) == k]
        for k, key in enumerate(unique)
    }


def terms_of(planned: np.ndarray, rows: np.ndarray, fallback_ppm: int) -> np.ndarray:
    """Return the stops as risk's `place` takes them, all but their ATR series.

    Args:
        planned: PLANNED, with every entry known.
        rows: int64, row of each position in the positions table.
        fallback_ppm: Distance of an ATR stop that names none, until there is an ATR.
    """
    terms = np.zeros(len(planned), STOP_TERMS)
    same = (
        "instrument", "side", "kind", "watch", "entry_ns", "percent_ppm", "activation_ppm", "breakeven_ppm", "atr_ppm",
        "fraction_ppm", "limit_ticks", "escalate_ms",
    )  # fmt: skip
    for name in same:
        terms[name] = planned[name]
    terms["entry_ticks"], terms["price_ticks"] = planned["entry_units"], planned["price_units"]
    terms["offset_ticks"] = planned["offset_units"]
    # `place` adds the position's entry time.
    terms["deadline_ns"] = planned["holding_ns"]
    terms["position"] = rows
    has_atr = (planned["kind"] == ATR) | (planned["kind"] == CHANDELIER)
    terms["percent_ppm"][has_atr & (planned["percent_ppm"] == 0)] = fallback_ppm
    return terms


def fill_positions(positions: np.ndarray, planned: np.ndarray, books: np.ndarray) -> None:
    """Fill POSITION rows with the planned positions, open since their entry."""
    lots = planned["side"].astype(np.int64) * planned["quantity_lots"]
    # An entry at a mid may lie on half a tick: nobody but the outcomes reckons with it, and they know it exactly.
    ticks = np.where(planned["watch"] == MID, planned["entry_units"] // 2, planned["entry_units"])
    positions["quantity_lots"], positions["cost_tick_lots"] = lots, lots * ticks
    positions["entry_ticks"], positions["entry_ns"] = ticks, planned["entry_ns"]
    positions["generation"] = 1
    positions["strategy"], positions["instrument"] = books, planned["instrument"]


def sizes_for(planned: np.ndarray, instrument_count: int, series_count: int, strategy_count: int) -> Sizes:
    """Return the sizes of an instance for these positions: a book for each, room for every exit that may work at once.

    No strategy is there; their slots are as many as in a live instance, so that both have the same compiled kernels.
    """
    at_once = _power_of_two(max(2 * len(planned), 64))
    return Sizes(
        instruments=instrument_count,
        strategies=strategy_count,
        ticks=RING_TICKS,
        requests=64,
        orders=min(at_once, RING_MAX),
        reports=min(at_once, RING_MAX),
        events=max(min(2 * at_once, RING_MAX), EVENTS_MIN),
        stops=max(len(planned), 1),
        working_orders=at_once,
        venue_orders=at_once,
        series=instrument_count + series_count,
        books=int(books_of(planned).max(initial=0)) + 1,
    )


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
