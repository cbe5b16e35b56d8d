"""The pre-trade check of one order. A limit that is not set blocks."""

import numpy as np

from pipeline.messages import (
    BUY,
    MARKET,
    QUANTITY_LOTS_LIMIT,
    REASON_NONE,
    REJECT_BAD_REQUEST,
    REJECT_EXIT_WORKING,
    REJECT_NO_LIMIT,
    REJECT_NO_MARKET,
    REJECT_NOTIONAL,
    REJECT_ORDER_TYPE,
    REJECT_POSITION_LIMIT,
    REJECT_QUANTITY,
    SELL,
    SUBMIT,
)
from pipeline.risk.limits import NOT_SET, UNLIMITED
from shm.jit import njit


@njit
def check_request(limits, position, mark, request):
    """Decide whether one order of a strategy may leave.

    Args:
        limits: Limits.
        position: POSITION row, read only.
        mark: MARK of the instrument, read only.
        request: REQUEST; its instrument is known.
    Returns:
        REASON_NONE, or the REJECT_* code of the first check that fails.
    Bounds:
        abs(quantity * price) < 2**62: quantity is checked here, the price was at decode.
    """
    instrument = np.int64(request["instrument"])
    side, lots = request["side"], request["quantity_lots"]
    if request["kind"] != SUBMIT or (side != BUY and side != SELL):
        return REJECT_BAD_REQUEST
    if request["order_type"] != MARKET:
        return REJECT_ORDER_TYPE
    if lots <= 0 or lots >= QUANTITY_LOTS_LIMIT:
        return REJECT_QUANTITY
    price = mark["ask_ticks"] if side == BUY else mark["bid_ticks"]
    if price == 0:
        price = mark["last_ticks"]
    if price <= 0:
        return REJECT_NO_MARKET
    if position["exit_lots"] > 0:
        return REJECT_EXIT_WORKING
    order_lots, order_notional = limits.order_lots[instrument], limits.order_tick_lots[instrument]
    position_notional = limits.position_tick_lots[instrument]
    if order_lots == NOT_SET or order_notional == NOT_SET or position_notional == NOT_SET:
        return REJECT_NO_LIMIT
    if order_lots != UNLIMITED and lots > order_lots:
        return REJECT_QUANTITY
    # Compare by division: lots * price could pass 2**62 where no limit holds the quantity.
    if order_notional != UNLIMITED and lots > order_notional // price:
        return REJECT_NOTIONAL
    if lots > (1 << 61) // price:
        return REJECT_NOTIONAL
    open_lots = position["quantity_lots"]
    worst = open_lots + position["working_buy_lots"] + lots if side == BUY else open_lots - position["working_sell_lots"] - lots
    reduces = abs(worst) < abs(open_lots) and (worst >= 0) == (open_lots >= 0)
    if position_notional != UNLIMITED and not reduces and abs(worst) > position_notional // price:
        return REJECT_POSITION_LIMIT
    return REASON_NONE
