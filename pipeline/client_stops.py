"""What a strategy can ask about its stops. Each call waits for risk's answer, beside the strategy's own stream of events."""

from typing import Any, Unpack

import numpy as np

from pipeline.client_asking import ANSWER_S, Asking
from pipeline.instruments import Instruments
from pipeline.messages import REJECT_NO_STOP, REJECT_STOP_CROSSED, REQUEST_REFUSED
from pipeline.stop_lookup import find_stop
from pipeline.stop_refusals import Subject, refusal
from pipeline.stop_request import StopPlace, cancel_request, market_text, move_request, set_request
from pipeline.stop_rows import StopRows
from pipeline.stop_terms import StopRules, StopTerms, rules_of


class StopCommands(Asking):
    """The part of `pipeline.client.Client` that sets, moves and cancels stops.

    Raises, in each of its methods:
        InvalidStop, NoStopFound, NoPosition, StopTableFull, LastStop: It was refused, nothing has changed; all of them are
            StopRefused and carry reason, symbol, strategy, stop_id, field, value and limit.
        InstrumentError: There is no such symbol.
        RequestsFull: Risk has not taken the last requests yet; nothing was sent.
        NoAnswer: Risk has not answered in time, and may still do what was asked.
    """

    about: dict[str, Any]
    instruments: Instruments
    _stops: StopRows
    _marks: np.ndarray

    def set_stop(
        self, symbol: str, kind: str, *, fire_now: bool = False, timeout_s: float = ANSWER_S, **terms: Unpack[StopTerms]
    ) -> int:
        """Add a stop to this strategy's position in one instrument.

        Args:
            symbol: An instrument in which this strategy holds a position.
            kind: "static", "trailing", "atr", "chandelier", "time" or "take_profit".
            fire_now: Where the stop is crossed already, have it fire at once instead of being refused.
            timeout_s: How long to wait for risk.
            terms: price, percent, offset, watch, activation_percent, breakeven_percent, atr_multiplier, atr_period,
                atr_bar_seconds, max_holding_seconds, fraction_percent, limit_offset, escalate_after_ms: decimals as Decimal,
                text or int, never float. pipeline/stop_terms.py has which kind takes which.
        Returns:
            The stop's id.
        """
        return self._ask(*set_request(self._stop_rules, self.slot, symbol, kind, terms, fire_now), timeout_s)

    def move_stop(
        self, stop_id: int, *, fire_now: bool = False, timeout_s: float = ANSWER_S, **terms: Unpack[StopTerms]
    ) -> int:
        """Give a stop of this strategy another price, percent or offset; see `set_stop`.

        Returns:
            Its id, which stays.
        """
        place = self._own_stop("move-stop", stop_id)
        return self._ask(*move_request(self._stop_rules, place, terms, fire_now), timeout_s)

    def cancel_stop(self, stop_id: int, *, timeout_s: float = ANSWER_S) -> int:
        """Take a stop of this strategy back.

        Returns:
            Its id.
        """
        return self._ask(*cancel_request(self._stop_rules, self._own_stop("cancel-stop", stop_id)), timeout_s)

    # ── How it is done ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _stop_rules(self) -> StopRules:
        return rules_of(self.about, self.instruments)

    def _own_stop(self, command: str, stop_id: int) -> StopPlace:
        self._look()
        place = find_stop(self._stops.read(), stop_id, len(self.instruments))
        if place is None or place.strategy != self.slot:
            raise refusal(REJECT_NO_STOP, Subject(command, strategy=self.slot, stop_id=stop_id))
        return place

    def _ask(self, request: np.ndarray, subject: Subject, timeout_s: float) -> int:
        """Send a request and wait for what becomes of it; return the id of its stop."""
        answer = self._answer(request, subject.where, timeout_s)
        if answer["kind"] != REQUEST_REFUSED:
            return int(answer["stop_id"])
        if answer["reason"] == REJECT_STOP_CROSSED:
            subject = subject._replace(limit=market_text(self.instruments, request, self._marks))
        raise refusal(int(answer["reason"]), subject)
