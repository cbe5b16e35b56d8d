"""The pre-trade check of one order: the first check that fails is the reason, and a limit that is not set blocks.

    form        request, order type, quantity; a market price; no exit at work
    states      killed, halted, flattening, reducing; restricted, session, blackout, stale
    size        limits that are not set; least and most quantity and notional; price collar
    exposure    position, open positions, concentration, gross, net, buying power
    losses      of the day and the week, drawdown; volatility, executions
    pace        the same order again, orders per second

Within one check the account's limit comes first, then the strategy's, then the instrument's. What comes after the order counts:
a value may reach its limit and not pass it. An order that only makes its position smaller, working orders counted, is excused
from the exposure and the losses, and from the least sizes. The check changes nothing but what is its own in the Guard.
"""

from pipeline.messages import (
    ACTIVE,
    BUY,
    HALTED,
    KILLED,
    LIMIT,
    MARKET,
    PRICE_TICKS_LIMIT,
    QUANTITY_LOTS_LIMIT,
    REASON_NONE,
    REDUCING,
    REJECT_BAD_REQUEST,
    REJECT_EXIT_WORKING,
    REJECT_FLATTENING,
    REJECT_HALTED,
    REJECT_KILLED,
    REJECT_MIN_NOTIONAL,
    REJECT_MIN_QUANTITY,
    REJECT_NO_LIMIT,
    REJECT_NO_MARKET,
    REJECT_NOTIONAL,
    REJECT_ORDER_RATE,
    REJECT_ORDER_TYPE,
    REJECT_PRICE_COLLAR,
    REJECT_QUANTITY,
    REJECT_REDUCING,
    REJECT_RESTRICTED,
    REJECT_SAME_ORDER,
    REJECT_STALE,
    SELL,
    SUBMIT,
)
from pipeline.risk.amounts import worth
from pipeline.risk.exposure import check_exposure
from pipeline.risk.guard import ask_ahead, scope_word
from pipeline.risk.limits import (
    DUPLICATE_WINDOW_MS,
    MAX_ORDER_NOTIONAL,
    MAX_ORDER_QUANTITY,
    MAX_ORDERS_PER_SECOND,
    MIN_ORDER_NOTIONAL,
    MIN_ORDER_QUANTITY,
    NOT_SET,
    PRICE_COLLAR_PERCENT,
    UNLIMITED,
)
from pipeline.risk.losses import check_losses
from pipeline.risk.proposal import at_least, at_most, at_most_share, find, propose, reference_half_ticks
from pipeline.risk.rate import conforms
from pipeline.tables import LIMIT_NAMES, SCOPE_FLATTENS, SCOPE_RATE_NS, SCOPE_RESTRICTED, SCOPE_STATE
from pipeline.topology import RISK_NOW_NS
from shm.atomics import load_relaxed
from shm.jit import njit_inner, njit_merged

LIMIT_COUNT = len(LIMIT_NAMES)


@njit_merged
def check_order(guard, calendar_reason, strategy, instrument, request):
    """Decide whether one order of a strategy may leave.

    Args:
        guard: Guard; of it `found`, `sums` and `complete` are written, and nothing else.
        calendar_reason: 0, REJECT_SESSION or REJECT_BLACKOUT: what the calendar says of this instrument now.
        strategy: The slot whose order it is, int64.
        instrument: Which is known, int64.
        request: REQUEST, read only.
    Returns:
        REASON_NONE, or the REJECT_* code of the first check that fails; then `guard.found` says value, limit, scope and limit.
    Bounds:
        Whatever comes to AMOUNT_MAX money or quantity units is refused, where no limit refuses it before.
    """
    ask_ahead(guard, strategy, instrument)
    find(guard, 0, 0, 0, 0)
    reason = check_form(request)
    if reason != REASON_NONE:
        return reason
    order = propose(guard, strategy, instrument, request)
    if order.price_ticks <= 0:
        return REJECT_NO_MARKET
    if guard.positions.copies[order.position]["exit_lots"] > 0:
        return REJECT_EXIT_WORKING
    reason = check_states(guard, order)
    if reason == REASON_NONE:
        reason = check_market(guard, order, calendar_reason)
    if reason == REASON_NONE:
        reason = check_size(guard, order)
    if reason == REASON_NONE and not order.reduces:
        reason = check_exposure(guard, order)
        if reason == REASON_NONE:
            reason = check_losses(guard, order)
    return reason if reason != REASON_NONE else check_pace(guard, order)


@njit_merged
def check_form(request):
    """Return why a REQUEST is no order at all, or REASON_NONE."""
    side, order_type, lots = request["side"], request["order_type"], request["quantity_lots"]
    if request["kind"] != SUBMIT or (side != BUY and side != SELL):
        return REJECT_BAD_REQUEST
    is_limit, price = order_type == LIMIT, request["price_ticks"]
    # Whether it is a limit order is as good as chance: no branch on it.
    if is_limit & ((price <= 0) | (price >= PRICE_TICKS_LIMIT)):
        return REJECT_BAD_REQUEST
    if not (is_limit | (order_type == MARKET)):
        return REJECT_ORDER_TYPE
    return REJECT_QUANTITY if lots <= 0 or lots >= QUANTITY_LOTS_LIMIT else REASON_NONE


@njit_merged
def check_states(guard, order):
    """Return REJECT_* where the strictest trading state of the scopes forbids the order; found are that state and its scope."""
    scopes = order.scopes
    state = max(
        scope_word(guard, scopes[0], SCOPE_STATE),
        scope_word(guard, scopes[1], SCOPE_STATE),
        scope_word(guard, scopes[2], SCOPE_STATE),
    )
    flattening = (
        scope_word(guard, scopes[0], SCOPE_FLATTENS)
        | scope_word(guard, scopes[1], SCOPE_FLATTENS)
        | scope_word(guard, scopes[2], SCOPE_FLATTENS)
    )
    if (state | flattening) == ACTIVE or (order.reduces and state < HALTED):
        return REASON_NONE
    if state < HALTED and flattening != 0:
        for k in range(2, -1, -1):
            if scope_word(guard, scopes[k], SCOPE_FLATTENS) != 0:
                find(guard, state, ACTIVE, scopes[k], 0)
        return REJECT_FLATTENING
    for k in range(2, -1, -1):
        if scope_word(guard, scopes[k], SCOPE_STATE) == state:
            find(guard, state, ACTIVE, scopes[k], 0)
    if state == REDUCING:
        return REJECT_REDUCING
    return REJECT_KILLED if state == KILLED else REJECT_HALTED


@njit_merged
def check_market(guard, order, calendar_reason):
    """Return REJECT_* where the instrument is restricted, closed or stale; found are the age in ns and what is allowed."""
    scope = order.scopes[2]
    if scope_word(guard, scope, SCOPE_RESTRICTED) != 0:
        find(guard, 1, 0, scope, 0)
        return REJECT_RESTRICTED
    if calendar_reason != REASON_NONE:
        return calendar_reason
    mark = guard.marks[order.instrument]
    age_ns = guard.words[RISK_NOW_NS] - max(mark["quote_ns"], mark["trade_ns"])
    if age_ns > guard.limits.stale_ns and not order.reduces:
        find(guard, age_ns, guard.limits.stale_ns, scope, 0)
        return REJECT_STALE
    return REASON_NONE


@njit_merged
def check_size(guard, order):
    """Return REJECT_* where a limit is not set, or the order by itself is too small, too large or too far from the market."""
    if lacks(guard, order, 0) or lacks(guard, order, 1) or lacks(guard, order, 2):
        return REJECT_NO_LIMIT
    instrument, lots = order.instrument, order.lots
    quantity = worth(lots, 1, guard.limits.lot_units[instrument])
    if not order.reduces and not at_least(guard, order, MIN_ORDER_QUANTITY, quantity):
        return REJECT_MIN_QUANTITY
    if not at_most(guard, order, MAX_ORDER_QUANTITY, (quantity, quantity, quantity), False):
        return REJECT_QUANTITY
    notional = worth(lots, order.price_ticks, guard.limits.value_units[instrument])
    if not order.reduces and not at_least(guard, order, MIN_ORDER_NOTIONAL, notional):
        return REJECT_MIN_NOTIONAL
    if not at_most(guard, order, MAX_ORDER_NOTIONAL, (notional, notional, notional), False):
        return REJECT_NOTIONAL
    return REASON_NONE if within_collar(guard, order) else REJECT_PRICE_COLLAR


@njit_merged
def lacks(guard, order, k):
    """Tell whether any limit of the order's scope k is not set; found is the first that is not.

    A row of limits is looked through once in each of its versions.
    """
    scope = order.scopes[k]
    version = load_relaxed(guard.limit_rows.commits, scope)
    return guard.complete[scope] != version and look_through(guard, scope, version)


@njit_inner
def look_through(guard, scope, version):
    """Look whether a version of a scope's limits lacks one, and remember where it lacks none."""
    words = guard.limit_rows.words
    for limit_id in range(LIMIT_COUNT):
        if words[2 * scope + (version & 1), limit_id] <= NOT_SET:
            find(guard, 0, NOT_SET, scope, limit_id)
            return True
    guard.complete[scope] = version
    return False


@njit_merged
def within_collar(guard, order):
    """Tell whether an order buys no dearer and sells no cheaper than the collar allows; found are shares of the reference."""
    reference = reference_half_ticks(guard, guard.marks[order.instrument])
    beyond = order.side * (2 * order.price_ticks - reference)
    return at_most_share(guard, order, PRICE_COLLAR_PERCENT, (beyond, beyond, beyond), reference)


@njit_merged
def check_pace(guard, order):
    """Return REJECT_* where the same order came just before, or too many did; found are ns since, and orders per second."""
    position, now_ns = guard.positions.copies[order.position], guard.words[RISK_NOW_NS]
    same = position["last_order_lots"] == order.side * order.lots and position["last_order_ticks"] == order.limit_ticks
    if same:
        age_ns = now_ns - position["last_order_ns"]
        for k in range(3):
            window_ns = guard.limit_rows.words[order.limits[k], DUPLICATE_WINDOW_MS]
            if window_ns != UNLIMITED and age_ns < window_ns:
                find(guard, age_ns, window_ns, order.scopes[k], DUPLICATE_WINDOW_MS)
                return REJECT_SAME_ORDER
    settings = guard.limits
    for k in range(3):
        rate, full_ns = (
            guard.limit_rows.words[order.limits[k], MAX_ORDERS_PER_SECOND], scope_word(guard, order.scopes[k], SCOPE_RATE_NS)
        )  # fmt: skip
        if rate != UNLIMITED and not conforms(full_ns, now_ns, rate, settings.rate_burst, settings.rate_reserve_ppm):
            find(guard, rate + 1, rate, order.scopes[k], MAX_ORDERS_PER_SECOND)
            return REJECT_ORDER_RATE
    return REASON_NONE
