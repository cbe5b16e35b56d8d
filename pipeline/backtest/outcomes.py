"""What became of the positions of a backtest: one record each, folded from events and reports."""

import numpy as np

from pipeline.messages import FILLED, LONG, MID, PARTIALLY_FILLED, STOP_ENDED, STOP_TRIGGERED

# States of an OUTCOME.
NOT_ENTERED, OPEN, FIRED, ENDED_OTHERWISE = 0, 1, 2, 3
STATE_NAMES = ("not_entered", "open", "fired", "ended_otherwise")

OUTCOME = np.dtype(
    [
        ("state", "u1"),  #: NOT_ENTERED, OPEN: its stop never fired, FIRED, ENDED_OTHERWISE
        ("reason", "u1"),  #: TRIGGER_* where it fired
        ("rank", "i8"),  #: how many stops fired before it; -1 where it did not
        ("entry_units", "i8"),  #: entry price in units of its watch
        ("entry_ns", "i8"),  #: stream time of its entry
        ("trigger_ns", "i8"),  #: stream time at which it fired
        ("price_units", "i8"),  #: watched price that fired it, in units of its watch; 0 = none known
        ("level_units", "i8"),  #: level or target then; 0 = none
        ("fill_ns", "i8"),  #: stream time of the last fill of its exit; 0 = none
        ("exit_lots", "i8"),  #: filled
        ("exit_tick_lots", "i8"),  #: price times lots, of all fills
        ("left_lots", "i8"),  #: of the position at the end; 0 where it never entered
        ("end_ticks", "i8"),  #: price at which what is left could be left at the end; 0 = none known
    ],
    align=True,
)


def outcomes_of(planned: np.ndarray, now_ns: int, events: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """Fold a run into one OUTCOME for each position, all but `end_ticks`.

    Args:
        planned: PLANNED; risk numbers their stops from 1 on.
        now_ns: Stream time at the end.
        events: EVENT of the whole run, in order.
        reports: REPORT of the whole run, in order.
    """
    found = np.zeros(len(planned), OUTCOME)
    found["rank"] = -1
    found["entry_units"], found["entry_ns"] = planned["entry_units"], planned["entry_ns"]
    has_entered = planned["entry_ns"] <= now_ns
    found["left_lots"] = np.where(has_entered, planned["quantity_lots"], 0)
    found["state"] = np.where(has_entered, OPEN, NOT_ENTERED)
    found["state"][events["stop_id"][events["kind"] == STOP_ENDED] - 1] = ENDED_OTHERWISE
    fired = events[events["kind"] == STOP_TRIGGERED]
    at = fired["stop_id"] - 1
    found["state"][at], found["reason"][at], found["rank"][at] = FIRED, fired["reason"], np.arange(len(fired))
    found["trigger_ns"][at], found["price_units"][at] = fired["event_ns"], fired["price_ticks"]
    found["level_units"][at] = fired["level_ticks"]
    fills = reports[(reports["kind"] == FILLED) | (reports["kind"] == PARTIALLY_FILLED)]
    at = fills["stop_id"] - 1
    np.add.at(found["exit_lots"], at, fills["quantity_lots"])
    np.add.at(found["exit_tick_lots"], at, fills["quantity_lots"] * fills["price_ticks"])
    np.maximum.at(found["fill_ns"], at, fills["event_ns"])
    found["left_lots"] -= found["exit_lots"]
    return found


def set_end_prices(outcomes: np.ndarray, planned: np.ndarray, marks: np.ndarray) -> None:
    """Set the price at which each position could be left when the recording ended: the touch, else the last trade."""
    mark = marks[planned["instrument"]]
    touch = np.where(planned["side"] == LONG, mark["bid_ticks"], mark["ask_ticks"])
    outcomes["end_ticks"] = np.where(touch > 0, touch, mark["last_ticks"])


def half_ticks(units: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Return prices in units of each stop's watch as half ticks, so that those of all watches can be taken together."""
    return np.where(planned["watch"] == MID, units, 2 * units)


def profit(outcomes: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Return each position's P&L in half tick·lots: what its exit made, and what is left at the end's touch."""
    entry = half_ticks(outcomes["entry_units"], planned)
    # Where no price is known what is left has made nothing so far.
    held = np.where(outcomes["end_ticks"] > 0, outcomes["left_lots"] * (2 * outcomes["end_ticks"] - entry), 0)
    left = 2 * outcomes["exit_tick_lots"] - outcomes["exit_lots"] * entry
    return np.where(outcomes["state"] == NOT_ENTERED, 0, planned["side"] * (held + left))


def profit_without_stops(outcomes: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Return each position's P&L in half tick·lots had it been held to the end."""
    gain = 2 * outcomes["end_ticks"] - half_ticks(outcomes["entry_units"], planned)
    is_known = (outcomes["state"] != NOT_ENTERED) & (outcomes["end_ticks"] > 0)
    return np.where(is_known, planned["side"] * planned["quantity_lots"] * gain, 0)


def slippage(outcomes: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Return how much worse than its level each exit was filled, in half tick·lots; 0 without a level or a fill."""
    level = half_ticks(outcomes["level_units"], planned)
    worse = planned["side"] * (outcomes["exit_lots"] * level - 2 * outcomes["exit_tick_lots"])
    return np.where(has_slippage(outcomes), worse, 0)


def has_slippage(outcomes: np.ndarray) -> np.ndarray:
    """Tell which exits have a level and a fill to compare."""
    return (outcomes["state"] == FIRED) & (outcomes["level_units"] > 0) & (outcomes["exit_lots"] > 0)
