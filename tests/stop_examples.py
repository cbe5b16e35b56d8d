"""What the hand-made examples of stops share: a position at 100.00, quotes a second apart, two bars whose ATR is 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.messages import BID_ASK, LAST, LONG
from tests.stop_oracle import StopTerms, Trigger
from tests.tick_rows import at, quote, stream, trade

#: An engine: the triggers of stops on ticks, in order.
Twin = Callable[..., list[Trigger]]
Fired = tuple[int, int | None, int | None]
SECOND = at(1)


def stop(kind: int, side: int = LONG, watch: int = BID_ASK, entry: int = 10_000, entry_seconds: float = 1) -> StopTerms:
    """Return a stop on a position of the first instrument at 100.00, held from the first second; add its distance."""
    return StopTerms(1, 0, kind, side, watch, entry, at(entry_seconds))


def bids(*prices: int) -> np.ndarray:
    """Return a quote a second, one tick wide."""
    return stream(*(quote(second, bid, bid + 1) for second, bid in enumerate(prices, 1)))


def asks(*prices: int) -> np.ndarray:
    """Return a quote a second, one tick wide."""
    return stream(*(quote(second, ask - 1, ask) for second, ask in enumerate(prices, 1)))


def fired(
    twin: Twin, ticks: np.ndarray, *terms: StopTerms, atr_source: str = "last"
) -> list[tuple[int, int | None, int | None]]:
    """Return tick, watched price and level of each trigger."""
    return [(one.seq, one.price, one.level) for one in twin(ticks, terms, atr_source)]


#: Two bars on trades: TR 4, then max(6, |1008 - 1004|, |1002 - 1004|) = 6, so that an ATR of 2 bars is 5 from second 3 on.
TWO_BARS = (trade(1, 1_000), trade(1.5, 1_004), trade(2, 1_002), trade(2.5, 1_008))


def atr_stop(kind: int, multiplier_ppm: int, side: int = LONG, entry_seconds: float = 1) -> StopTerms:
    """Return a stop at a multiple of the ATR of two bars, on trades from 1000, with 2% until that is known."""
    one = stop(kind, side, LAST, 1_000, entry_seconds)
    return replace(one, atr_ppm=multiplier_ppm, atr_period=2, bar_ns=SECOND, fallback_ppm=20_000)
