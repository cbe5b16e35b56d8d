"""Requests about orders, trading states and limits, ready for a requests ring. Stops have their own (pipeline.stop_request)."""

import numpy as np

from pipeline.messages import (
    AND_FLATTEN,
    CANCEL_ALL,
    CANCEL_ORDER,
    FLATTEN,
    LIMIT,
    MARKET,
    REQUEST,
    SET_LIMIT,
    SET_STATE,
    SUBMIT,
)


def order_request(strategy: int, instrument: int, side: int, lots: int, price_ticks: int = 0) -> np.ndarray:
    """Build the request for one order.

    Args:
        strategy: Slot that asks.
        instrument: Index.
        side: BUY or SELL.
        lots: Quantity.
        price_ticks: The limit; 0 = a market order.
    Returns:
        REQUEST, shape (1,); so do all functions here.
    """
    request = _new(SUBMIT)
    request["instrument"], request["strategy"] = instrument, strategy
    request["order_type"] = LIMIT if price_ticks else MARKET
    request["side"], request["quantity_lots"], request["price_ticks"] = side, lots, price_ticks
    return request


def cancel_order_request(order_id: int, strategy: int, instrument: int = 0) -> np.ndarray:
    """Build the request that takes one order back.

    Args:
        order_id: The order.
        strategy: Slot whose order it is.
        instrument: Of the order, where that is known.
    """
    request = _new(CANCEL_ORDER)
    request["value"], request["strategy"], request["instrument"] = order_id, strategy, instrument
    return request


def cancel_all_request(scope: int, strategy: int = 0) -> np.ndarray:
    """Build the request that takes back every working order of a scope."""
    return _of_scope(CANCEL_ALL, scope, strategy)


def flatten_request(scope: int, strategy: int = 0) -> np.ndarray:
    """Build the request that takes back a scope's orders and leaves its positions."""
    return _of_scope(FLATTEN, scope, strategy)


def state_request(scope: int, state: int, strategy: int = 0, flatten: bool = False) -> np.ndarray:
    """Build the request for another trading state.

    Args:
        scope: Whose.
        state: ACTIVE, REDUCING, HALTED or KILLED.
        strategy: Slot that asks, or whose scope it is.
        flatten: KILLED: leave the positions as well.
    """
    request = _of_scope(SET_STATE, scope, strategy)
    request["value"], request["flags"] = state, AND_FLATTEN if flatten else 0
    return request


def limit_request(scope: int, limit_id: int, value: int, strategy: int = 0) -> np.ndarray:
    """Build the request for another limit.

    Args:
        scope: Whose.
        limit_id: Place in tables.LIMIT_NAMES.
        value: In the limit's own units (pipeline.limit_values).
        strategy: Slot whose scope it is.
    """
    request = _of_scope(SET_LIMIT, scope, strategy)
    request["limit_id"], request["value"] = limit_id, value
    return request


def _of_scope(kind: int, scope: int, strategy: int) -> np.ndarray:
    request = _new(kind)
    request["scope"], request["strategy"] = scope, strategy
    return request


def _new(kind: int) -> np.ndarray:
    request = np.zeros(1, REQUEST)
    request["kind"] = kind
    return request
