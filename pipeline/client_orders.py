"""What a strategy can ask about its orders and its trading state."""

from abc import abstractmethod
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.client_asking import ANSWER_S, Asking
from pipeline.client_errors import RequestError
from pipeline.client_kernels import read_rows
from pipeline.client_tables import Order, order_of
from pipeline.errors import RiskCheckError, nearest
from pipeline.instruments import Instruments
from pipeline.messages import (
    BUY,
    HALTED,
    KILLED,
    PRICE_TICKS_LIMIT,
    QUANTITY_LOTS_LIMIT,
    REDUCING,
    REQUEST_REFUSED,
    SELL,
    TRADING_STATES,
)
from pipeline.money import Money
from pipeline.order_ids import REQUEST_SEQ_BITS
from pipeline.order_refusals import refusal
from pipeline.scopes import Scopes
from pipeline.tables import SENT_ORDER
from pipeline.topology import ACCOUNT, scope_of_strategy
from pipeline.trading_request import cancel_all_request, cancel_order_request, order_request, state_request
from shm.layout import WORD
from shm.rows import Table


def order_id_of(slot: int, seq: int) -> int:
    """Return the order id of the request with sequence `seq` in the ring of strategy `slot`."""
    return ((slot + 1) << REQUEST_SEQ_BITS) | seq


class OrderCommands(Asking):
    """The part of `pipeline.client.Client` that submits and cancels orders, and stops trading.

    `submit` returns at once. The others wait for risk's answer, and raise:
        RiskCheckError: It was refused, and nothing has changed.
        RequestsFull: Risk has not taken the last requests yet; nothing was sent.
        NoAnswer: Risk has not answered in time, and may still do what was asked.
    """

    about: dict[str, Any]
    instruments: Instruments
    scopes: Scopes
    money: Money
    _sent: Table

    def submit(self, symbol: str, side: int, quantity: Decimal | str | int, price: Decimal | str | int | None = None) -> int:
        """Ask for an order, and return at once; what became of it comes in reports, and in events where risk refuses it.

        Args:
            symbol: An instrument of the instance.
            side: BUY or SELL.
            quantity: Units (shares, coins, contracts), a whole multiple of the lot size, > 0.
            price: The limit, a whole multiple of the tick size; None = a market order.
        Returns:
            The order id, as reports and events carry it; `refusal` makes an error of such an event.
        Raises:
            RequestsFull: Risk has not taken the last ones yet; nothing was sent.
            RequestError, InstrumentError: Side, quantity, price or symbol cannot be meant; nothing was sent.
        """
        index = self.instruments.index(symbol)
        lots = self.instruments.lots(index, _exact(quantity))
        return self.submit_lots(index, side, lots, 0 if price is None else self.instruments.price_ticks(index, _exact(price)))

    def submit_lots(self, instrument: int, side: int, quantity_lots: int, price_ticks: int = 0) -> int:
        """Ask for an order in the pipeline's own integers; see `submit`.

        Args:
            instrument: Index in `instruments`.
            side: BUY or SELL.
            quantity_lots: Lots, 0 < quantity_lots < 2**40.
            price_ticks: The limit, 0 < price_ticks < 2**42; 0 = a market order.
        """
        if not 0 <= instrument < len(self.instruments):
            known = f"0 to {len(self.instruments) - 1}"
            raise RequestError(f"there is no instrument {instrument!r}", "submit", f"use an index of {known}")
        symbol = self.instruments[instrument].symbol
        where = f"submit {symbol}"
        if side not in (BUY, SELL):
            raise RequestError(f"side {side!r} is no side", where, f"use BUY ({BUY}) or SELL ({SELL})", symbol=symbol)
        if not 0 < quantity_lots < QUANTITY_LOTS_LIMIT:
            what, remedy = f"quantity of {quantity_lots} lots", "give a quantity above 0 and below 2**40 lots"
            raise RequestError(what, where, remedy, symbol=symbol, value=quantity_lots, limit=QUANTITY_LOTS_LIMIT)
        if not 0 <= price_ticks < PRICE_TICKS_LIMIT:
            what, remedy = (
                f"limit of {price_ticks} ticks",
                "give a price above 0 and below 2**42 ticks, or 0 for a market order",
            )
            raise RequestError(what, where, remedy, symbol=symbol, value=price_ticks, limit=PRICE_TICKS_LIMIT)
        self._look()
        request = order_request(self.slot, instrument, side, quantity_lots, price_ticks)
        return order_id_of(self.slot, self._send(request) - 1)

    def cancel(self, order_id: int, *, timeout_s: float = ANSWER_S) -> None:
        """Have one of this strategy's orders taken back; its CANCELLED report comes when the venue has.

        What fills before the venue hears of it stays filled. An exit that a stop sent is not the strategy's to take back.
        """
        self._look()
        row = next((row for row in self._sent_rows() if row["order_id"] == order_id), None)
        instrument = int(row["position"]) % len(self.instruments) if row is not None else 0
        self._change(cancel_order_request(order_id, self.slot, instrument), f"cancel order {order_id}", timeout_s)

    def cancel_all(self, *, timeout_s: float = ANSWER_S) -> int:
        """Have all of this strategy's working orders taken back; exits of its stops go on.

        Returns:
            How many orders that concerns.
        """
        request = cancel_all_request(scope_of_strategy(self.slot), self.slot)
        return int(self._change(request, "cancel all orders", timeout_s)["value"])

    def pause(self, *, timeout_s: float = ANSWER_S) -> None:
        """Let this strategy only make its positions smaller from now on (REDUCING). A person lets it go on."""
        self._set_state(REDUCING, timeout_s)

    def halt(self, *, timeout_s: float = ANSWER_S) -> None:
        """Let no order of this strategy leave from now on but the exits of its stops (HALTED). A person lets it go on."""
        self._set_state(HALTED, timeout_s)

    def set_state(self, state: str, *, timeout_s: float = ANSWER_S) -> None:
        """Change this strategy's trading state; it may only get stricter.

        Args:
            state: "reducing", "halted" or "killed".
            timeout_s: How long to wait for risk.
        """
        if state not in TRADING_STATES:
            near = nearest(str(state), TRADING_STATES, 1)
            remedy = f"did you mean {near[0]}?" if near else f"use {', '.join(TRADING_STATES[1:])}"
            raise RequestError(f"{state!r} is no trading state", "set state", remedy)
        self._set_state(TRADING_STATES.index(state), timeout_s)

    def kill(self, reason: str = "", flatten: bool = False, *, timeout_s: float = ANSWER_S) -> None:
        """Pull the kill switch of the whole account: every working order is taken back, and nothing new leaves.

        Only a person can resume it: tools/ctl.py resume --reason TEXT.

        Args:
            reason: Why, for the record.
            flatten: Leave all positions as well, those of other strategies too.
            timeout_s: How long to wait for risk.
        """
        self._change(state_request(ACCOUNT, KILLED, self.slot, flatten), "kill the account", timeout_s)
        # After the deed: what records it may be slow, or away.
        self._record(f"strategy {self.slot} killed the account{': ' if reason else ''}{reason}")

    def orders(self) -> list[Order]:
        """Return this strategy's orders at work, the exits of its stops among them, in the order in which they left."""
        self._look()
        rows = self._sent_rows()
        mine = rows[rows["position"] // len(self.instruments) == self.slot]
        return [order_of(self.instruments, row) for row in mine[np.argsort(mine["sent_ns"], kind="stable")]]

    def refusal(self, event: np.void) -> RiskCheckError:
        """Return the error that an event of kind REQUEST_REFUSED tells of: print it, or raise it.

        Args:
            event: One of `events()`.
        """
        return refusal(event, self.scopes, self.money)

    def _set_state(self, state: int, timeout_s: float) -> None:
        request = state_request(scope_of_strategy(self.slot), state, self.slot)
        self._change(request, f"set strategy {self.slot} {TRADING_STATES[state]}", timeout_s)

    def _change(self, request: np.ndarray, where: str, timeout_s: float) -> np.void:
        """Have risk do something; return its event."""
        event = self._answer(request, where, timeout_s)
        if event["kind"] == REQUEST_REFUSED:
            raise self.refusal(event)
        return event

    @abstractmethod
    def _record(self, text: str) -> None:
        """Have the supervisor note down what was done, and why."""

    def _sent_rows(self) -> np.ndarray:
        """Return every order of the instance that is at work: array of SENT_ORDER."""
        rows = np.empty(len(self._sent.commits), SENT_ORDER)
        read_rows(self._sent, 0, rows.view(np.int64).reshape(len(rows), SENT_ORDER.itemsize // WORD))
        return rows[rows["order_id"] != 0]


def _exact(number: Decimal | str | int) -> Decimal | str:
    return Decimal(number) if isinstance(number, int) and not isinstance(number, bool) else number  # type: ignore[return-value]
