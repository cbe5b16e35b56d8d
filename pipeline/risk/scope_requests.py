"""Requests about a scope: its trading state, its limits, its working orders, its positions.

The control socket speaks for people and may do all. A strategy may only tighten, and only its own scope; but any strategy may
kill the account: whoever sees that something is wrong must be able to stop it.
"""

import numpy as np

from pipeline.messages import (
    ACTIVE,
    AND_FLATTEN,
    BY_PERSON,
    BY_STRATEGY,
    CANCEL_ALL,
    FLATTEN,
    KILLED,
    LIMIT_CHANGED,
    REASON_NONE,
    REJECT_BAD_REQUEST,
    REJECT_NOT_ALLOWED,
    REQUEST_DONE,
    SET_LIMIT,
    SET_STATE,
)
from pipeline.risk.account import set_scope_word
from pipeline.risk.cancels import count_working
from pipeline.risk.event_pen import new_event, pen_of
from pipeline.risk.limits import UNLIMITED
from pipeline.risk.scopes import has_row
from pipeline.risk.trading_states import change_state, forgive
from pipeline.tables import SCOPE_CANCELS, SCOPE_FLATTENS, SCOPE_STATE, SCOPE_WORDS
from pipeline.topology import ACCOUNT, RISK_COUNTERS
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.rows import current, edit
from shm.transaction import commit

LIMITS_CHANGED = RISK_COUNTERS.index("limits_changed")


@njit_inner
def take_scope_request(review, works, request, requester, is_person):
    """Do one request about a scope, in one transaction with the cursor that the caller has staged.

    Args:
        review: Review.
        works: Works.
        request: REQUEST of kind CANCEL_ALL, SET_STATE, SET_LIMIT or FLATTEN.
        requester: Whose requests ring.
        is_person: Whether that is the control socket's.
    Returns:
        REASON_NONE after the commit; or why it is refused, with nothing staged but what was.
    """
    kind, scope = np.int64(request["kind"]), np.int64(request["scope"])
    if scope >= review.scopes.words.shape[0] // SCOPE_WORDS:
        return REJECT_BAD_REQUEST
    if not is_person and not may_ask(review.scopes, request, requester):
        return REJECT_NOT_ALLOWED
    if kind == SET_STATE:
        return set_state(review, request, requester, is_person)
    if kind == SET_LIMIT:
        return set_limit(review, request, requester)
    event = review.events.ring.slots[new_event(pen_of(review), REQUEST_DONE)]
    event["request_id"], event["requester"], event["scope"] = request["request_id"], requester, scope
    event["value"] = count_working(works, scope) if kind == CANCEL_ALL else count_open(review, scope)
    stage_flags(review, scope, kind == FLATTEN)
    commit(review.transaction)
    return REASON_NONE


@njit_inner
def may_ask(scopes, request, requester):
    """Tell whether a strategy may ask for this."""
    kind, scope = np.int64(request["kind"]), np.int64(request["scope"])
    if kind == SET_LIMIT:
        return False
    if scope == ACCOUNT:
        return kind == SET_STATE and request["value"] == KILLED
    if scope != 1 + requester:
        return False
    return kind != SET_STATE or request["value"] > scopes.words[scope * SCOPE_WORDS + SCOPE_STATE]


@njit_inner
def stage_flags(review, scope, flattens):
    """Stage that a scope's working orders are taken back, and its positions left where that is asked for."""
    set_scope_word(review, scope, SCOPE_CANCELS, 1)
    if flattens:
        set_scope_word(review, scope, SCOPE_FLATTENS, 1)


@njit_inner
def set_state(review, request, requester, is_person):
    """Change a trading state; KILLED may leave the positions. See `take_scope_request`."""
    scope, value = np.int64(request["scope"]), request["value"]
    if value < ACTIVE or value > KILLED:
        return REJECT_BAD_REQUEST
    if is_person and value == ACTIVE:
        forgive(review, scope)
    event = review.events.ring.slots[change_state(review, scope, value, BY_PERSON if is_person else BY_STRATEGY, 0, 0)]
    event["request_id"], event["requester"] = request["request_id"], requester
    if value == KILLED and request["flags"] & AND_FLATTEN != 0:
        stage_flags(review, scope, True)
    commit(review.transaction)
    return REASON_NONE


@njit_inner
def set_limit(review, request, requester):
    """Change one limit of a scope; it holds from the next order on. See `take_scope_request`."""
    limit_id, limit, scope = np.int64(request["limit_id"]), request["value"], np.int64(request["scope"])
    words = review.limit_rows.words
    if limit_id >= words.shape[1] or limit < UNLIMITED:
        return REJECT_BAD_REQUEST
    before = words[current(review.limit_rows, scope), limit_id]
    words[edit(review.transaction, review.limit_rows, scope), limit_id] = limit
    event = review.events.ring.slots[new_event(pen_of(review), LIMIT_CHANGED)]
    event["request_id"], event["requester"], event["scope"] = request["request_id"], requester, scope
    event["limit_id"], event["value"], event["limit"] = limit_id, before, limit
    stage_add(review.transaction, review.counters, LIMITS_CHANGED, 1)
    commit(review.transaction)
    return REASON_NONE


@njit_inner
def count_open(review, scope):
    """Return how many positions of a scope are open."""
    count = 0
    for k in range(review.held.count[0]):
        row = np.int64(review.held.rows[k])
        if review.positions.copies[current(review.positions, row)]["quantity_lots"] != 0:
            count += has_row(review.scopes, scope, row)
    return count
