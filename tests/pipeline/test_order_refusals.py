"""What risk refuses, in words: one line for every reason, with value and limit in people's units."""

import numpy as np
import pytest

from pipeline import messages
from pipeline.messages import EVENT, REJECT_REASONS, REQUEST_REFUSED
from pipeline.order_refusals import refusal
from pipeline.risk.limits import NOT_SET
from pipeline.scopes import Scopes
from pipeline.tables import LIMIT_NAMES
from pipeline.topology import ACCOUNT, scope_of_instrument, scope_of_strategy
from tests.pipeline.client_instance import AAPL, BTCUSDT, INSTRUMENTS, MONEY, SIZES

pytestmark = pytest.mark.jitless

SCOPES = Scopes(SIZES, INSTRUMENTS)
STRATEGY, INSTRUMENT = scope_of_strategy(1), scope_of_instrument(SIZES, AAPL)
USD = 1_000_000


def event_of(reason: str, limit_name: str = "", **fields: int) -> np.void:
    """Return the refusal of strategy 1's order for 100 AAPL."""
    event = np.zeros(1, EVENT)[0]
    event["kind"], event["reason"] = REQUEST_REFUSED, REJECT_REASONS.index(reason)
    event["order_id"], event["strategy"], event["instrument"], event["quantity_lots"] = 562949953421312, 1, AAPL, 100
    event["limit_id"] = LIMIT_NAMES.index(limit_name) if limit_name else 0
    for name, value in fields.items():
        event[name] = value
    return event


@pytest.mark.parametrize(
    ("reason", "limit", "fields", "expected"),
    [
        ("position_limit", "max_position_notional", {"value": 150_000 * USD, "limit": 100_000 * USD, "scope": STRATEGY},
         "position limit: 150,000.00 USD would exceed 100,000.00 USD (strategy 1, AAPL, order 562949953421312): send"),
        ("position_limit", "max_position_quantity", {"value": 1_500_000, "limit": 1_000_000, "scope": INSTRUMENT},
         "position limit: 1,500 would exceed 1,000 (AAPL, order 562949953421312)"),
        ("quantity", "max_order_quantity", {"value": 100_001, "limit": 100_000, "scope": ACCOUNT},
         "order quantity: 100.001 would exceed 100 (account, AAPL, order"),
        ("min_notional", "min_order_notional", {"value": 9 * USD, "limit": 10 * USD},
         "order value: 9.00 USD is below 10.00 USD (account, AAPL"),
        ("price_collar", "price_collar_percent", {"value": 61_500, "limit": 50_000},
         "price collar: 6.15 % beyond the reference price exceeds 5 %"),
        ("open_positions", "max_open_positions", {"value": 9, "limit": 8}, "open positions: 9 would exceed 8 (account"),
        ("concentration", "max_concentration_percent", {"value": 251_000, "limit": 250_000},
         "concentration: 25.1 % of equity in AAPL would exceed 25 %"),
        ("buying_power", "max_leverage", {"value": 2_100_000, "limit": 2_000_000},
         "buying power: leverage of 2.1x would exceed 2x"),
        ("daily_loss", "max_daily_loss", {"value": 2_500 * USD, "limit": 2_500 * USD, "scope": STRATEGY},
         "daily loss: 2,500.00 USD is at the limit of 2,500.00 USD (strategy 1, AAPL"),
        ("order_rate", "max_orders_per_second", {"value": 101, "limit": 100}, "order rate: more than 100/s (account"),
        ("same_order", "duplicate_window_ms", {"value": 0, "limit": 500_000_000},
         "the same order came within 500 ms of the last one"),
        ("no_limit", "max_gross_exposure", {"value": 0, "limit": NOT_SET, "scope": STRATEGY},
         "max_gross_exposure of strategy 1 is not set, and what is not set blocks (strategy 1, AAPL, order 562949953421312): "
         "set it with tools/ctl.py set-limit"),
        ("halted", "", {"scope": ACCOUNT}, "account is HALTED (account, AAPL, order 562949953421312): only exits of stops"),
        ("reducing", "", {"scope": INSTRUMENT}, "AAPL is REDUCING (AAPL, order 562949953421312): only what makes a position"),
        ("stale", "", {}, "the market of AAPL is stale (strategy 1, AAPL, order 562949953421312): wait"),
        ("restricted", "", {}, "AAPL is restricted (strategy 1, AAPL"),
        ("quantity", "", {"quantity_lots": 1 << 40}, "quantity 1099511627776 is out of bounds (strategy 1, AAPL"),
        ("unknown_instrument", "", {"instrument": 99}, "there is no such instrument (strategy 1, order 562949953421312)"),
    ],
)  # fmt: skip
def test_refusal_says_what_was_found_and_what_is_allowed(reason, limit, fields, expected):
    """The line has the check, value and limit in their own unit, whose limit it is, the symbol, the order and a remedy."""
    error = refusal(event_of(reason, limit, **fields), SCOPES, MONEY)
    assert expected in str(error)
    assert 1 == len(error.lines)
    assert reason == error.check


def test_refusal_carries_its_parts_for_programs():
    """Whoever catches it needs to read no text."""
    fields = {"value": 150_000 * USD, "limit": 100_000 * USD, "scope": STRATEGY}
    error = refusal(event_of("position_limit", "max_position_notional", **fields), SCOPES, MONEY)
    assert {
        "check": "position_limit", "scope": "strategy 1", "limit_name": "max_position_notional", "symbol": "AAPL",
        "order_id": 562949953421312, "value": "150,000.00 USD", "limit": "100,000.00 USD", "retryable": False,
    }.items() <= error.as_dict().items()  # fmt: skip
    assert refusal(event_of("order_rate", "max_orders_per_second", limit=5), SCOPES, MONEY).retryable


@pytest.mark.parametrize("reason", REJECT_REASONS[1:])
@pytest.mark.parametrize("limit_id", [0, len(LIMIT_NAMES) - 1, 255])
def test_refusal_of_every_reason_has_words(reason, limit_id):
    """No reason is without its line, whatever limit the event names, and no brace is left in it."""
    event = event_of(reason, limit_id=limit_id, scope=1 << 20, instrument=BTCUSDT)
    text = str(refusal(event, SCOPES, MONEY))
    assert "{" not in text
    assert "see its reason in" not in text
    assert text.count(": ") >= 1


def test_refusal_of_a_reason_to_come_names_its_number():
    """Where instance and client are of different sources, the number is still told."""
    assert "reason 250" in str(refusal(_unknown(), SCOPES, MONEY))


def _unknown() -> np.void:
    event = event_of("stale")
    event["reason"] = 250
    return event


def test_rejects_of_messages_are_all_named():
    """Each REJECT_ constant has its name at its place."""
    codes = {value for name, value in vars(messages).items() if name.startswith("REJECT_") and isinstance(value, int)}
    assert set(range(1, len(REJECT_REASONS))) == codes
