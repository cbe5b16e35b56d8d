"""How far tools/backtest.py agrees with the oracle: `python -m tests.agreement RECORDING ... [--count N] [--seed N]`.

Random stops of every kind and both sides are written to a stops.csv, the tool plays it, and each row of its out.csv is held
against the twin: stop, tick's time, watched price and level.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.config import load_config
from pipeline.ingest.recordings import open_recording
from pipeline.messages import QUOTE, STOP_KIND_NAMES, TICK_CROSSED, TRADE
from tests.hygiene_twin import HygieneTwin
from tests.stop_cases import random_stops
from tests.stop_files import out_rows, read_out_csv, write_csv
from tests.stop_twin_numpy import triggers
from tools import backtest


def judged(ticks: np.ndarray, instrument_count: int, numbered: bool) -> np.ndarray:
    """Return ticks with the flags that hygiene gives them by the shipped settings, by its twin."""
    result = ticks.copy()
    twin = HygieneTwin(instrument_count, load_config().hygiene.max_jump_ppm, numbered)
    result["flags"] = twin.judge_all(result)
    assert ((result["flags"] == TICK_CROSSED) == ((result["kind"] == QUOTE) & (result["a"] > result["b"]))).all()
    return result


def agreement(recording: Path, count: int, seed: int) -> tuple[int, int, Counter[str]]:
    """Play random stops.

    Returns:
        How many triggers the twin has, how many the tool has that are equal to one of them, and the twin's by kind.

    Raises:
        AssertionError: the tool has one that the twin has not.
    """
    source = open_recording(recording)
    ticks = judged(np.asarray(source.ticks), len(source.instruments), bool(source.info.get("trades_numbered", False)))
    terms = random_stops(ticks, source.instruments, count, seed)
    expected = out_rows(triggers(ticks, terms), terms, source.instruments)
    with tempfile.TemporaryDirectory() as folder:
        stops, out = Path(folder) / "stops.csv", Path(folder) / "out.csv"
        write_csv(terms, source.instruments, stops)
        code = backtest.main([str(recording), "--stops", str(stops), "--events", str(out), "--quiet"])
        assert code == 0, f"tools/backtest.py ended with code {code}"
        found = read_out_csv(out)
    more = set(found) - set(expected)
    assert not more and len(found) == len(set(found)), f"not in the twin: {sorted(more)[:3]}"
    return len(expected), len(found), Counter(row.kind for row in expected)


def main() -> None:
    """Print how many triggers agree."""
    parser = argparse.ArgumentParser(description="Hold tools/backtest.py against the oracle.")
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for recording in given.recordings:
        expected, found, kinds = agreement(recording, given.count, given.seed)
        told = ", ".join(f"{kind} {kinds[kind]}" for kind in STOP_KIND_NAMES[1:])
        ticks = open_recording(recording).ticks
        quotes, trades = (int((ticks["kind"] == kind).sum()) for kind in (QUOTE, TRADE))
        print(f"{recording.name}: {quotes:,} quotes, {trades:,} trades, {given.count:,} stops")
        print(f"  {found:,} triggers of the backtest equal {expected:,} of the oracle ({told})")
        assert found == expected, "the backtest misses some"


if __name__ == "__main__":
    main()
