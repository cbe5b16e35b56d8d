"""The cells of a sweep: the same positions with one stop each after the other, many cells in one pass over the ticks.

Positions do not know of one another (a book each, and a venue without depth), so what comes of a cell is the same whoever
shares the pass with it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.backtest.outcomes import (
    FIRED,
    NOT_ENTERED,
    has_slippage,
    profit,
    profit_without_stops,
    slippage,
)
from pipeline.backtest.run import Backtest
from pipeline.backtest.summary import money_by_currency
from pipeline.config import Config
from pipeline.ingest.recordings import Recording
from pipeline.instruments import Instruments

#: Stops of one pass, unless a single cell has more: enough to make the pass worth it, few enough to tell how far the sweep is.
STOPS_AT_ONCE = 4_096


def batches(cell_count: int, position_count: int, job_count: int) -> Iterator[range]:
    """Yield the cells of each pass, at least one pass for each process where there are cells enough."""
    at_once = max(min(STOPS_AT_ONCE // max(position_count, 1), -(-cell_count // job_count)), 1)
    for first in range(0, cell_count, at_once):
        yield range(first, min(first + at_once, cell_count))


def play_cells(recording: Recording, cells: Sequence[np.ndarray], config: Config) -> list[dict[str, Any]]:
    """Play some cells in one pass; return what came of each.

    Args:
        recording: What is played.
        cells: PLANNED of each cell, every entry known.
        config: As of a backtest.
    Raises:
        InstanceError: they are too many or too large for one run.
    """
    planned = np.concatenate(cells)
    run = Backtest(recording, planned, config)
    run.run()
    outcomes = run.outcomes()
    found, first = [], 0
    for cell in cells:
        span = slice(first, first + len(cell))
        found.append(outcome_of_cell(planned[span], outcomes[span], recording.instruments))
        first = span.stop
    return found


def outcome_of_cell(planned: np.ndarray, outcomes: np.ndarray, instruments: Instruments) -> dict[str, Any]:
    """Return what came of one cell: how many fired, at what slippage, and the P&L of each currency."""
    entered = outcomes["state"] != NOT_ENTERED
    fired_count = int(np.count_nonzero(outcomes["state"] == FIRED))
    has_any = has_slippage(outcomes)
    ticks = slippage(outcomes, planned)[has_any] / (2 * outcomes["exit_lots"][has_any])
    held = outcomes["fill_ns"] > 0
    with_stops = money_by_currency(profit(outcomes, planned), planned, instruments)
    without = money_by_currency(profit_without_stops(outcomes, planned), planned, instruments)
    return {
        "positions": int(np.count_nonzero(entered)),
        "fired": fired_count,
        "fired_share": round(fired_count / max(int(np.count_nonzero(entered)), 1), 6),
        "slippage_ticks_mean": round(float(ticks.mean()), 6) if len(ticks) else None,
        "held_seconds_mean": (
            round(float((outcomes["fill_ns"] - outcomes["entry_ns"])[held].mean()) / 1e9, 6) if held.any() else None
        ),
        "pnl": {currency: format(amount, "f") for currency, amount in with_stops.items()},
        "pnl_without_stops": {currency: format(amount, "f") for currency, amount in without.items()},
    }
