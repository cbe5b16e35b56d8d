"""What risk has in shared memory at the end of a turn must be what its twin has: positions, orders that work, scopes, P&L."""

from __future__ import annotations

from tests.recorder import Turn
from tests.request_twin import RequestTwin

SENT_NAMES = (
    "order_id", "left_lots", "price_ticks", "sent_ns", "request_id", "stop_id", "position", "side", "order_type", "flags",
    "state",
)  # fmt: skip


def assert_books(twin: RequestTwin, turn: Turn) -> None:
    """Check all of it, to the last unit."""
    for row, told in enumerate(turn.positions):
        one = twin.positions[row]
        expected = {
            "quantity_lots": one.quantity, "cost_tick_lots": one.cost, "realised_tick_lots": one.realised,
            "fee_units": one.fees, "working_buy_lots": one.working_buy, "working_sell_lots": one.working_sell,
            "exit_lots": one.leaving, "generation": one.generation, "last_order_ns": one.last_order[0],
            "last_order_lots": one.last_order[1], "last_order_ticks": one.last_order[2],
        }  # fmt: skip
        found = {name: int(told[name]) for name in expected}
        assert expected == found, f"position {row} is {found}, and not {expected}"
    works = sorted(tuple(int(order[name]) for name in SENT_NAMES) for order in turn.sent)
    assert works == sorted(sent.told() for sent in twin.sent.values()), "the table of orders is not what works"
    different = list(twin.scopes.differences(turn.scopes))
    assert not different, f"scopes are not those of the twin: {different}"
    assert twin.scopes.review_due_ns == turn.review_ns, f"a review is due at {turn.review_ns}"
    assert_profit_folds(twin)


def assert_profit_folds(twin: RequestTwin) -> None:
    """Of every scope: realised, less fees, and what is open at its marks, is what all fills paid and took."""
    scopes, count = twin.scopes, len(twin.quotes)
    for scope in range(len(scopes.scopes)):
        held = [(row, one) for row, one in twin.positions.items() if one.quantity and scopes.has_row(scope, row)]
        opened = sum(
            (one.quantity * price_left_at(one.quantity, twin.quotes[row % count]) - one.cost) * scopes.values[row % count]
            for row, one in held
        )
        profit = scopes.realised(scope) - scopes.fees(scope) + opened
        assert scopes.profit(scope, twin.quotes) == profit, f"P&L of scope {scope} is not the fold of its fills"


def price_left_at(quantity: int, quote: tuple[int, int, int]) -> int:
    """Return the price at which an open position could be left."""
    bid, ask, last = quote
    return (bid if quantity > 0 else ask) or last
