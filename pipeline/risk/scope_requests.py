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
from pipeline.risk.cancels import count_working
from pipeline.risk.events import new_event
from pipeline.risk.flatten import count_flags
from pipeline.risk.limits import UNLIMITED
from pipeline.risk.review import review_of
from pipeline.risk.scopes import has_row
from pipeline.risk.trading_states import change_state, forgive
from pipeline.tables import SCOPE_CANCELS, SCOPE_FLATTENS, SCOPE_STATE, SCOPE_WORDS
from pipeline.topology import ACCOUNT, RISK_COUNTERS
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.rows import current, edit
from shm.transaction import commit, stage

LIMITS_CHANGED = RISK_COUNTERS.index("limits_changed")


@njit_inner
def take_scope_request(state, request, requester):
    """Do one request about a scope, in one transaction with the cursor that the caller has staged.

    Returns:
        REASON_NONE after the commit; or why it is refused, with nothing staged but what was.
    """
    kind, scope = np.int64(request["kind"]), np.int64(request["scope"])
    if scope >= state.scopes.words.shape[0] // SCOPE_WORDS:
        return REJECT_BAD_REQUEST
    is_person = requester == state.inbox.at.shape[0] - 1
    if not is_person and not may_ask(state, request, requester):
        return REJECT_NOT_ALLOWED
    if kind == SET_STATE:
        return set_state(state, request, requester, is_person)
    if kind == SET_LIMIT:
        return set_limit(state, request, requester)
    event = state.events.ring.slots[new_event(state, REQUEST_DONE)]
    event["request_id"], event["requester"], event["scope"] = request["request_id"], requester, scope
    event["value"] = count_working(state, scope) if kind == CANCEL_ALL else count_open(state, scope)
    stage_flags(state, scope, kind == FLATTEN)
    commit(state.transaction)
    count_flags(state)
    return REASON_NONE


@njit_inner
def may_ask(state, request, requester):
    """Tell whether a strategy may ask for this."""
    kind, scope = np.int64(request["kind"]), np.int64(request["scope"])
    if kind == SET_LIMIT:
        return False
    if scope == ACCOUNT:
        return kind == SET_STATE and request["value"] == KILLED
    if scope != 1 + requester:
        return False
    return kind != SET_STATE or request["value"] > state.scopes.words[scope * SCOPE_WORDS + SCOPE_STATE]


@njit_inner
def stage_flags(state, scope, flattens):
    """Stage that a scope's working orders are taken back, and its positions left where that is asked for."""
    at = state.scopes.base + scope * SCOPE_WORDS
    stage(state.transaction, at + SCOPE_CANCELS, 1)
    if flattens:
        stage(state.transaction, at + SCOPE_FLATTENS, 1)


@njit_inner
def set_state(state, request, requester, is_person):
    """Change a trading state; KILLED takes back what works, and may leave the positions. See `take_scope_request`."""
    scope, value = np.int64(request["scope"]), request["value"]
    if value < ACTIVE or value > KILLED:
        return REJECT_BAD_REQUEST
    if is_person and value == ACTIVE:
        forgive(review_of(state), scope)
    by = BY_PERSON if is_person else BY_STRATEGY
    event = state.events.ring.slots[change_state(review_of(state), scope, value, by, 0, 0)]
    event["request_id"], event["requester"] = request["request_id"], requester
    if value == KILLED:
        stage_flags(state, scope, request["flags"] & AND_FLATTEN != 0)
    commit(state.transaction)
    count_flags(state)
    return REASON_NONE


@njit_inner
def set_limit(state, request, requester):
    """Change one limit of a scope; it holds from the next order on. See `take_scope_request`."""
    limit_id, limit, scope = np.int64(request["limit_id"]), request["value"], np.int64(request["scope"])
    words = state.limit_rows.words
    if limit_id >= words.shape[1] or limit < UNLIMITED:
        return REJECT_BAD_REQUEST
    before = words[current(state.limit_rows, scope), limit_id]
    words[edit(state.transaction, state.limit_rows, scope), limit_id] = limit
    event = state.events.ring.slots[new_event(state, LIMIT_CHANGED)]
    event["request_id"], event["requester"], event["scope"] = request["request_id"], requester, scope
    event["limit_id"], event["value"], event["limit"] = limit_id, before, limit
    stage_add(state.transaction, state.counters, LIMITS_CHANGED, 1)
    commit(state.transaction)
    return REASON_NONE


@njit_inner
def count_open(state, scope):
    """Return how many positions of a scope are open."""
    count = 0
    for k in range(state.held.count[0]):
        row = np.int64(state.held.rows[k])
        if state.positions.copies[current(state.positions, row)]["quantity_lots"] != 0:
            count += has_row(state.scopes, scope, row)
    return count
