"""What the tests of backtests share: recordings in memory and on disk, and plans of one stop or many."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backtest.entries import complete
from pipeline.backtest.planned import PLANNED
from pipeline.backtest.run import Backtest
from pipeline.config import Config, load_config, with_overrides
from pipeline.ingest.recordings import Recording, RecordingWriter
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import BID_ASK, LONG, QUOTE, STATIC, TICK, TRADE

MS, SECOND = 10**6, 10**9
#: Event time of the first tick.
START_NS = 1_700_000_000 * SECOND
#: Latency of the venue in these tests.
LATENCY_US = 1_000


def table(count: int = 1) -> Instruments:
    """Return instruments S0, S1, ... with ticks of 0.01 and lots of 1."""
    return Instruments([Instrument(f"S{k}", Decimal("0.01"), Decimal(1)) for k in range(count)])


def ticks_of(rows: Iterable[tuple[int, ...]]) -> np.ndarray:
    """Return ticks from (ms after the start, instrument, bid, ask) or, of trades, (ms after the start, instrument, price)."""
    given = list(rows)
    ticks = np.zeros(len(given), TICK)
    for k, (ms, instrument, *prices) in enumerate(given):
        kind, second = (QUOTE, prices[1]) if len(prices) == 2 else (TRADE, 10)
        ticks[k] = (START_NS + ms * MS, 0, 0, instrument, kind, 0, 0, prices[0], second, 100 if kind == QUOTE else k, 100)
    return ticks


def in_memory(ticks: np.ndarray, instrument_count: int = 1) -> Recording:
    """Return a recording that lies in no file."""
    return Recording(Path("memory"), ticks, table(instrument_count), {})


def on_disk(folder: Path, ticks: np.ndarray, instrument_count: int = 1) -> Path:
    """Write a recording; return its folder."""
    with RecordingWriter(folder, table(instrument_count), "test", "a test's own ticks") as writer:
        writer.append(ticks)
    return folder


def settings(**overrides: Any) -> Config:
    """Return the shipped configuration with a latency of 1 ms and other settings of these tests' own.

    It has as many slots as tests.rig, so that both have the same compiled kernels.
    """
    return with_overrides(load_config(), {"execution.paper.latency_us": LATENCY_US, "strategies.slots": 2} | overrides)


def plan(*stops: dict[str, int]) -> np.ndarray:
    """Return PLANNED of stops; each a static one of a LONG of 10 lots from the first tick on where nothing else is said."""
    planned = np.zeros(len(stops), PLANNED)
    usual = {
        "side": LONG,
        "kind": STATIC,
        "watch": BID_ASK,
        "quantity_lots": 10,
        "atr_ppm": 10**6,
        "atr_period": 2,
        "bar_seconds": 1,
    }
    for k, stop in enumerate(stops):
        for name, value in (usual | stop).items():
            planned[name][k] = value
    return planned


def played(recording: Recording, planned: np.ndarray, config: Config | None = None) -> tuple[Backtest, np.ndarray]:
    """Complete a plan and play it; return the run, and its outcomes."""
    config = config or settings()
    run = Backtest(recording, complete(planned, recording, config), config)
    run.run()
    return run, run.outcomes()
