"""out.csv: one row for each stop that fired, in the order in which they fired; prices as exact decimals.

    stop_id,kind,trigger_ns,watched_price,level

A watched price is empty where none was known, a level where the kind has none. A mid between two ticks is written exactly.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.backtest.outcomes import FIRED
from pipeline.errors import RecordingError
from pipeline.instruments import Instruments
from pipeline.messages import STOP_KIND_NAMES

COLUMNS = ("stop_id", "kind", "trigger_ns", "watched_price", "level")


def event_rows(
    stop_ids: Sequence[str], planned: np.ndarray, outcomes: np.ndarray, instruments: Instruments
) -> Iterator[tuple[str, ...]]:
    """Yield the rows.

    Args:
        stop_ids: Of each position.
        planned: PLANNED, likewise.
        outcomes: OUTCOME, likewise.
        instruments: Their table.
    """
    fired = np.flatnonzero(outcomes["state"] == FIRED)
    for index in fired[np.argsort(outcomes["rank"][fired])].tolist():
        plan, outcome = planned[index], outcomes[index]
        instrument, watch = int(plan["instrument"]), int(plan["watch"])
        price, level = (
            instruments.watched_text(instrument, int(units), watch) if units > 0 else ""
            for units in (outcome["price_units"], outcome["level_units"])
        )
        yield stop_ids[index], STOP_KIND_NAMES[plan["kind"]], str(outcome["trigger_ns"]), price, level


def write_events(path: Path, rows: Iterator[tuple[str, ...]]) -> int:
    """Write the file whole or not at all; return how many rows it has.

    Raises:
        RecordingError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in rows:
                writer.writerow(row)
                count += 1
        temporary.replace(path)
    except OSError as error:
        raise RecordingError(f"cannot be written: {error.strerror}", str(path), "choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return count
