"""What an accepted order must never do, whatever the check says of it: plain sums over the account before it and after."""

from __future__ import annotations

from pipeline import messages as m
from pipeline import tables as t
from pipeline.risk.limits import UNLIMITED
from tests.check_twin import Sums, worst_lots
from tests.check_world import World, scopes_of


def assert_safe(before: World, after: World, strategy: int, instrument: int) -> None:
    """Check one accepted order.

    Args:
        before: The account when it was asked for.
        after: The same with the order at work.
        strategy: Whose.
        instrument: Of what.
    """
    place = strategy, instrument
    scopes = scopes_of(strategy, instrument)
    was, now = before.holding(*place), after.holding(*place)
    state = max(before.scopes[scope].get(t.SCOPE_STATE, 0) for scope in scopes)
    assert state < m.HALTED, f"an order left in state {m.TRADING_STATES[state]}"
    # What works at most takes all of the position out: then it makes it smaller, and flips nothing.
    against = now.working_sell > was.working_sell if was.quantity > 0 else now.working_buy > was.working_buy
    rest = abs(was.quantity) - (now.working_sell if was.quantity > 0 else now.working_buy)
    reduces = was.quantity != 0 and against and rest >= 0
    is_leaving = any(before.scopes[scope].get(t.SCOPE_FLATTENS, 0) for scope in scopes)
    assert reduces or not (state == m.REDUCING or is_leaving), f"an order in reducing may open position {place}, or flip it"
    if reduces:
        return
    every = list(after.holdings)
    owned = (every, [key for key in every if key[0] == strategy], [key for key in every if key[1] == instrument])
    for scope, keys in zip(scopes, owned, strict=True):
        sums, limits = Sums(after, keys), after.limits[scope]
        found = {
            "max_gross_exposure": sums.gross, "max_net_exposure": max(abs(sums.bought), abs(sums.sold)),
            "max_open_positions": sums.count,
        }  # fmt: skip
        # A strategy's limit of a position is for each of them, that of the account and the instrument for all together.
        lots = worst_lots(now) if keys is owned[1] else sum(worst_lots(after.holdings[key]) for key in owned[2])
        found["max_position_quantity"] = lots * after.lot_units[instrument]
        for name, value in found.items():
            assert limits[name] == UNLIMITED or value <= limits[name], f"scope {scope}: {name} {limits[name]} passed by {value}"
