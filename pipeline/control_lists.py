"""What the control socket tells of orders, the account, limits and strategies, as plain values; decimals are text."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.account_view import ScopeState
from pipeline.client_account import account_of, limits_of, performance_of
from pipeline.client_tables import order_of
from pipeline.control_tables import stream_time
from pipeline.messages import BUY, EXIT, REQUEST, TRADING_STATES
from pipeline.topology import ACCOUNT, scope_of_strategy
from pipeline.view import View
from shm import heartbeat
from shm.heartbeat import State
from shm.ring import RingView, open_ring


def order_rows(view: View, symbol: str | None, strategy: int | None) -> list[dict[str, Any]]:
    """Return the orders that are at work, in the order in which they left.

    Args:
        view: The instance.
        symbol, strategy: Only those; None = all.
    """
    found = (order_of(view.instruments, row) for row in view.working_orders())
    return [
        {
            "order_id": order.order_id,
            "symbol": order.symbol,
            "strategy": order.strategy,
            "side": "buy" if order.side == BUY else "sell",
            "type": "market" if order.price is None else "limit",
            "quantity": _plain(order.quantity),
            "price": None if order.price is None else _plain(order.price),
            "stop_id": order.stop_id if order.is_exit else None,
            "state": "being cancelled" if order.is_taken_back else "working",
            "sent": stream_time(order.sent_ns),
        }
        for order in found
        if symbol in (None, order.symbol) and strategy in (None, order.strategy)
    ]


def account_answer(view: View) -> dict[str, Any]:
    """Return the account, each strategy that ever traded or is not active, and the instruments that are not active."""
    state = view.account()
    shares = [
        _values(asdict(performance_of(scope, state.money))) for scope in state.strategies if any(scope.totals) or scope.state
    ]
    strict = [{"scope": scope.name, "trading_state": TRADING_STATES[scope.state]} for scope in state.instruments if scope.state]
    return {"account": _values(asdict(account_of(state))), "strategies": shares, "instruments": strict}


def limit_rows(view: View, scope: int | None) -> list[dict[str, Any]]:
    """Return limits as they hold now.

    Args:
        view: The instance.
        scope: Only that one's; None = the account's, every strategy's, and what instruments have of their own.
    """
    state = view.account()
    if scope is not None:
        return [_limit_row(limit) for limit in _limits(view, state.scopes[scope])]
    rows = [_limit_row(limit) for one in (state.account, *state.strategies) for limit in _limits(view, one)]
    own = (limit for one in state.instruments for limit in _limits(view, one))
    return rows + [_limit_row(limit) for limit in own if not limit.is_unlimited]


def strategy_rows(view: View) -> list[dict[str, Any]]:
    """Return each strategy's slot: who holds it, and how it does."""
    state, orders, positions = view.account(), view.working_orders(), view.positions()
    owners = orders["position"] // len(view.instruments)
    rows = []
    for slot in range(view.sizes.strategies):
        name = f"strategy{slot}"
        words, scope = view.segment.array(f"{name}.heartbeat"), state.scopes[scope_of_strategy(slot)]
        pid = int(words[heartbeat.PID])
        is_there = is_attached(words)
        requests = RingView(open_ring(view.segment, f"requests.{name}", REQUEST))
        mine = owners == slot
        rows.append(
            {
                "strategy": slot,
                "process": State(int(words[heartbeat.STATE])).name.lower() if is_there else "none",
                "pid": pid if is_there else None,
                "module": view.about["strategies"].get(name, ""),
                "trading_state": TRADING_STATES[scope.state],
                "account_state": TRADING_STATES[state.scopes[ACCOUNT].state],
                "positions": scope.totals.open_count,
                "orders": int(np.count_nonzero(mine & ((orders["flags"] & EXIT) == 0))),
                "exits": int(np.count_nonzero(mine & ((orders["flags"] & EXIT) != 0))),
                "requests_waiting": requests.depth(0),
                "fills": int(positions["fill_count"][positions["strategy"] == slot].sum()),
                "pnl": _plain(state.money.decimal(scope.totals.pnl)),
                "currency": state.money.currency,
            }
        )
    return rows


def is_attached(words: np.ndarray) -> bool:
    """Tell whether the process that a strategy's heartbeat names lives and has not given its slot back.

    Args:
        words: int64 of the slot's heartbeat.
    """
    pid, start = int(words[heartbeat.PID]), int(words[heartbeat.START])
    is_over = words[heartbeat.STATE] in (State.NONE, State.STOPPED, State.FAILED, State.FENCED)
    return pid != 0 and not is_over and heartbeat.process_start(pid) == start


def _limits(view: View, scope: ScopeState) -> list[Any]:
    return list(limits_of(scope, view.units))


def _limit_row(limit: Any) -> dict[str, Any]:
    return {"scope": limit.scope, "name": limit.name, "title": limit.title, "value": limit.word, "text": limit.text}


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


def _plain(value: Decimal) -> str:
    return format(value, "f")
