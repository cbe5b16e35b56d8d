"""The first backtest of new sources compiles its kernels: one process does so before any other needs them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np

from pipeline.backtest.planned import PLANNED
from pipeline.backtest.run import Backtest
from pipeline.config import Config
from pipeline.ingest.recordings import Recording
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import ATR, LONG, QUOTE, TICK
from pipeline.warm import is_cold, marker


def warm_up(config: Config, tell: Callable[[str], None]) -> None:
    """Compile the kernels, unless they are already: those of a sweep's processes would all compile the same.

    Args:
        config: As of the backtests to come.
        tell: Called with a line for the person who waits, where it takes long.
    """
    # What the kernels of every backtest have in common, as pipeline.warm wants to know it.
    about = {"sizes": {"strategies": config.strategies.slots}, "warm": ["backtest"]}
    if not is_cold(about):
        return
    tell("compiling kernels, first backtest only: a minute or two…")
    ticks = np.zeros(2, TICK)
    ticks["event_ns"], ticks["kind"], ticks["a"], ticks["b"] = (1, 2), QUOTE, 100, 101
    plan = np.zeros(1, PLANNED)
    plan["side"], plan["kind"], plan["entry_units"], plan["entry_ns"] = LONG, ATR, 100, 1
    plan["quantity_lots"], plan["atr_ppm"], plan["atr_period"], plan["bar_seconds"] = 1, 1_000_000, 2, 1
    Backtest(Recording(Path("warm"), ticks, Instruments([Instrument("X", Decimal(1), Decimal(1))]), {}), plan, config).run()
    path = marker(about)
    path.touch(mode=0o600)
