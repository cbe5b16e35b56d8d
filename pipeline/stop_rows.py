"""The stops of an instance for everyone but risk: each row whole, with its level and best price as they are now.

What a stop is made of lies in several arrays (pipeline.risk.stops). Here they are read together, and become one record a stop
with plain, unsigned prices.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ARMED, ATR, CHANDELIER, MID, TRAILING, TRIGGERED
from pipeline.tables import SERIES, STOP, STOP_TERMS
from pipeline.topology import STOP_GROUPS
from shm.atomics import fence_acquire, load_relaxed
from shm.jit import njit
from shm.layout import WORD
from shm.rows import Table, open_table, read
from shm.segment import Segment

PPM = 1_000_000
# As in pipeline.risk.levels and stops: no level; waits for its entry time; moves with the front of its group.
NOTHING, WAITING, FLOATS = -(1 << 62), 0, 1 << 62
_STATE_WORDS, _TERMS_WORDS, _MOVING = STOP.itemsize // WORD, STOP_TERMS.itemsize // WORD, 3


def _fields(dtype: np.dtype) -> list[tuple[str, np.dtype]]:
    return [(name, dtype[name]) for name in dtype.names or () if name != "reserved"]


#: A stop as people and strategies see it: STOP_TERMS, STOP, and what follows from them.
STOP_ROW = np.dtype(
    [
        *_fields(STOP_TERMS),
        *_fields(STOP),
        ("slot", "i8"),
        ("level_ticks", "i8"),  #: its level now, or its target, in units of its watch; where it fired, the level then; 0 = none
        ("best_ticks", "i8"),  #: best price since armed, in units of its watch; 0 = waits for its entry time
        ("is_provisional", "?"),  #: an ATR stop that has no ATR yet
    ]
)


class StopWords(NamedTuple):
    """The arrays of the stops, as the kernel here takes them."""

    table: Table  #: STOP, as words
    terms: np.ndarray  #: int64 (slots, words)
    extremes: np.ndarray
    floors: np.ndarray
    levels: np.ndarray


@njit
def read_stops(stops, output_words):
    """Copy every slot, each whole: its row, its terms, its extreme, floor and level.

    Args:
        stops: StopWords.
        output_words: int64 (slots, row + terms + 3 words), filled.
    """
    state_words, terms_words = stops.table.words.shape[1], stops.terms.shape[1]
    for slot in range(output_words.shape[0]):
        output = output_words[slot]
        while True:
            version = read(stops.table, slot, output)
            for w in range(terms_words):
                output[state_words + w] = stops.terms[slot, w]
            after = state_words + terms_words
            output[after] = load_relaxed(stops.extremes, slot)
            output[after + 1] = load_relaxed(stops.floors, slot)
            output[after + 2] = load_relaxed(stops.levels, slot)
            # Acquire: pairs with fence_release in transaction.apply. A slot that another stop took meanwhile is read again.
            fence_acquire()
            if load_relaxed(stops.table.commits, slot) == version:
                break


class StopRows:
    """The stops of one mapped instance; reads only."""

    def __init__(self, segment: Segment) -> None:
        table = open_table(segment, "stops", STOP)
        terms = segment.array("stops.terms", STOP_TERMS)
        moving = (segment.array(f"stops.{name}") for name in ("extremes", "floors", "levels"))
        words = terms.view(np.int64).reshape(len(terms), _TERMS_WORDS)
        self._words = StopWords(table._replace(copies=table.words), words, *moving)
        self._fronts = segment.array("stops.fronts")
        self._series = segment.array("series.copies", SERIES)
        self._series_commits = segment.array("series.commits")

    def read(self) -> np.ndarray:
        """Return the stops that are armed or fired and not ended, by their ids: array of STOP_ROW."""
        count = len(self._words.levels)
        output = np.empty((count, _STATE_WORDS + _TERMS_WORDS + _MOVING), np.int64)
        read_stops(self._words, output)
        state = np.ascontiguousarray(output[:, :_STATE_WORDS]).view(STOP).reshape(count)
        held = np.flatnonzero((state["state"] == ARMED) | (state["state"] == TRIGGERED))
        terms = np.ascontiguousarray(output[held, _STATE_WORDS:-_MOVING]).view(STOP_TERMS).reshape(len(held))
        rows = np.zeros(len(held), STOP_ROW)
        for name, _ in _fields(STOP_TERMS):
            rows[name] = terms[name]
        for name, _ in _fields(STOP):
            rows[name] = state[name][held]
        rows["slot"] = held
        extremes, floors, levels = output[held, -_MOVING], output[held, -_MOVING + 1], output[held, -1]
        self._fill(rows, extremes, floors, levels)
        return rows[np.argsort(rows["stop_id"], kind="stable")]

    def _fill(self, rows: np.ndarray, extremes: np.ndarray, floors: np.ndarray, levels: np.ndarray) -> None:
        """Work out best price and level of each stop, by DESIGN section 7, from the signed words."""
        side, kind = rows["side"].astype(np.int64), rows["kind"]
        group = STOP_GROUPS * rows["instrument"].astype(np.int64) + 2 * rows["watch"] + (side < 0)
        best = np.where(extremes == FLOATS, self._fronts[group], extremes)
        atr = self.atr_half_ticks(rows["series"].astype(np.int64))
        distance = np.ceil(rows["atr_ppm"] * atr / PPM / np.where(rows["watch"] == MID, 1, 2) - 1e-9)
        has_atr = np.isfinite(distance)
        offset = np.where(
            rows["offset_ticks"] > 0, rows["offset_ticks"], -(-np.abs(best) * rows["percent_ppm"].astype(np.int64) // PPM)
        )
        offset = np.where(kind == CHANDELIER, np.where(has_atr, distance, 0), offset).astype(np.int64)
        # A stop that floats has moved on since its level was worked out.
        trails = (extremes == FLOATS) & ((kind == TRAILING) | ((kind == CHANDELIER) & has_atr))
        level = np.where(trails, np.maximum(levels, best - offset), levels)
        fired = rows["state"] == TRIGGERED
        rows["level_ticks"] = np.where(fired, rows["trigger_level_ticks"], np.where(level == NOTHING, 0, side * level))
        rows["best_ticks"] = np.where(extremes == WAITING, 0, side * best)
        rows["is_provisional"] = ((kind == ATR) | (kind == CHANDELIER)) & (floors == NOTHING) & ~has_atr & ~fired

    def atr_half_ticks(self, series: np.ndarray) -> np.ndarray:
        """Return the ATR of each of these series in half ticks, float64; NaN where there is none yet."""
        series = np.minimum(series, len(self._series_commits) - 1)
        row = self._series[2 * series + (self._series_commits[series] & 1)]
        is_ready = (row["bar_count"] > 0) & (row["bar_count"] >= row["period"])
        return np.where(is_ready, row["atr"], np.nan)

    def series(self) -> np.ndarray:
        """Return every ATR series that is in use: array of SERIES."""
        row = self._series[2 * np.arange(len(self._series_commits)) + (self._series_commits & 1)]
        return row[row["bar_ns"] > 0].copy()
