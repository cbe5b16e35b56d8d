"""From words and decimals to the integers of a REQUEST: exact, or refused with the field, the value and what would do."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InstrumentError
from pipeline.messages import (
    ATR,
    BID_ASK,
    CANCEL_STOP,
    FIRE_NOW,
    MID,
    MOVE_STOP,
    PRICE_TICKS_LIMIT,
    REJECT_REASONS,
    REQUEST,
    SET_STOP,
    STATIC,
    STOP_KIND_NAMES,
    TIME,
    TRAILING,
    WATCH_NAMES,
)
from pipeline.risk.commands import change_terms, check_terms
from pipeline.stop_refusals import InvalidStop, StopRefused, Subject, refusal
from pipeline.stop_request import StopPlace, cancel_request, move_request, set_request
from pipeline.stop_terms import KIND_TERMS, rules_of, watch_text
from pipeline.tables import STOP_TERMS
from tests.pipeline.client_instance import AAPL, BTCUSDT, INSTRUMENTS
from tests.rig import limits

RULES = rules_of({"config": {"risk": {"stops": {"min_stop_percent": "0.1", "max_stop_percent": "20.0"}}}}, INSTRUMENTS)

#: A value of each term, and the field and integer that it becomes on AAPL, whose tick is 0.01.
EXACT = {
    "price": ("98.07", "price_ticks", 9807),
    "percent": ("1.2345", "percent_ppm", 12_345),
    "offset": (Decimal("0.30"), "offset_ticks", 30),
    "watch": ("last", "watch", 1),
    "activation_percent": ("0.5", "activation_ppm", 5_000),
    "breakeven_percent": (1, "breakeven_ppm", 10_000),
    "atr_multiplier": ("2.5", "atr_ppm", 2_500_000),
    "atr_period": (14, "atr_period", 14),
    "atr_bar_seconds": ("60", "bar_seconds", 60),
    "max_holding_seconds": ("90.000000001", "holding_ns", 90_000_000_001),
    "fraction_percent": ("33.3333", "fraction_ppm", 333_333),
    "limit_offset": ("0.05", "limit_ticks", 5),
    "escalate_after_ms": (750, "escalate_ms", 750),
}
KINDS = STOP_KIND_NAMES[1:]
STOP_TERMS_ROW, REQUEST_ROW = np.zeros(1, STOP_TERMS), np.zeros(1, REQUEST)


def terms_of(*names: str) -> dict[str, Any]:
    """Return a value for each of these terms."""
    return {name: EXACT[name][0] for name in names}


def smallest(kind: str) -> dict[str, Any]:
    """Return what a kind must have and no more."""
    one_of, _ = KIND_TERMS[KINDS.index(kind) + 1]
    return terms_of(*one_of[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_request_of_each_kind_carries_each_term_exactly(kind: str) -> None:
    """All terms that a kind takes arrive in their fields as the integers that they are, and no other field is set."""
    one_of, also = KIND_TERMS[KINDS.index(kind) + 1]
    always = ("watch", "fraction_percent", "limit_offset", "escalate_after_ms")
    for first in one_of or ("",):
        names = [name for name in (first, *also, *always) if name]
        request, subject = set_request(RULES, 1, "AAPL", kind, terms_of(*names))
        expected = {EXACT[name][1]: EXACT[name][2] for name in names}
        fixed = {"kind": SET_STOP, "instrument": AAPL, "strategy": 1, "stop_kind": KINDS.index(kind) + 1}
        found = {name: int(request[name][0]) for name in REQUEST.names if name != "reserved" and request[name][0]}
        assert {field: value for field, value in (expected | fixed).items() if value} == found
        assert ("set-stop", "AAPL", 1) == subject[:3]


@pytest.mark.jitless
@pytest.mark.parametrize("kind", KINDS)
def test_request_of_each_kind_makes_sense_to_risk(kind: str) -> None:
    """What is let through here, with little or with all, is not refused for its terms there."""
    one_of, also = KIND_TERMS[KINDS.index(kind) + 1]
    wide = limits(2)._replace(min_stop_ppm=1_000, max_stop_ppm=200_000)
    for first in one_of or ("",):
        for more in ((), also):
            terms = terms_of(*[name for name in (first, *more) if name])
            request, _ = set_request(RULES, 0, "AAPL", kind, terms)
            assert "none" == REJECT_REASONS[check_terms(wide, request[0])], terms


@pytest.mark.jitless
@pytest.mark.parametrize("kind", KINDS)
def test_move_of_each_kind_makes_sense_to_risk(kind: str) -> None:
    """Each single term that a stop may be moved by here is one by which risk moves it."""
    code = KINDS.index(kind) + 1
    wide = limits(2)._replace(min_stop_ppm=1_000, max_stop_ppm=200_000)
    for name in ("price", "percent", "offset"):
        row = STOP_TERMS_ROW.copy()
        row["kind"] = code
        try:
            request, _ = move_request(RULES, StopPlace(9, AAPL, 0, code, BID_ASK), terms_of(name))
        except InvalidStop:
            request = REQUEST_ROW.copy()
            request[EXACT[name][1]] = EXACT[name][2]
            assert "none" != REJECT_REASONS[change_terms(wide, row[0], request[0])], name
        else:
            assert "none" == REJECT_REASONS[change_terms(wide, row[0], request[0])], name


@pytest.mark.parametrize(
    ("kind", "terms", "words"),
    [
        ("statik", {"percent": 1}, "kind statik is not known (set-stop AAPL): did you mean static?"),
        ("", {"percent": 1}, "use static, trailing, atr, chandelier, time or take_profit"),
        (7, {"percent": 1}, "kind 7 is not known"),
        ("static", {}, "a static stop needs price or percent (set-stop AAPL): give it"),
        ("static", {"price": "98", "percent": 1}, "takes one of price and percent, not both"),
        ("static", {"offset": "1"}, "offset 1 does not belong to a static stop"),
        ("static", {"perzent": "1"}, "perzent 1 is no term of a stop (set-stop AAPL): did you mean percent?"),
        ("trailing", {"percent": 1, "offset": "1"}, "takes one of percent and offset"),
        ("time", {}, "needs max_holding_seconds"),
        ("time", {"max_holding_seconds": 5, "percent": 1}, "percent 1 does not belong to a time stop"),
        ("atr", {"price": "98"}, "price 98 does not belong to an atr stop"),
        ("take_profit", {"percent": 5, "breakeven_percent": 1}, "does not belong"),
        ("static", {"percent": "25"}, "percent 25 is out of bounds (set-stop AAPL): give 0.1 to 20.0: min_stop_percent"),
        ("static", {"percent": "0"}, "percent 0 is out of bounds (set-stop AAPL): give 0.1 to 20.0"),
        ("static", {"percent": "1.23456"}, "percent 1.23456 is too fine (set-stop AAPL): give at most 4 decimal places"),
        ("static", {"percent": "1,5"}, "percent 1,5 is no decimal"),
        ("static", {"percent": 1.5}, 'percent 1.5 is no decimal (set-stop AAPL): write it as in "1.5"'),
        ("static", {"percent": True}, "percent True is no decimal"),
        ("static", {"percent": " 1"}, "is no decimal"),
        ("static", {"percent": "1e9"}, "percent 1e9 is out of bounds"),
        ("static", {"price": "98.005"}, "price 98.005 is no whole multiple of 0.01 (set-stop AAPL): use steps of 0.01"),
        ("static", {"price": "-1"}, "price -1 is out of bounds"),
        ("static", {"price": "0"}, "price 0 is out of bounds (set-stop AAPL): give one above 0 and below 43980465111.04"),
        ("static", {"price": "43980465111.04"}, "out of bounds"),
        ("static", {"price": 10**5000}, "out of bounds"),
        ("static", {"price": "nan"}, "is no decimal"),
        ("static", {"percent": 1, "watch": "mit"}, "watch mit is not known (set-stop AAPL): did you mean mid?"),
        ("static", {"percent": 1, "watch": 2}, "use bid_ask, last or mid"),
        ("static", {"percent": 1, "fraction_percent": "101"}, "fraction_percent 101 is out of bounds"),
        ("static", {"percent": 1, "limit_offset": "0"}, "limit_offset 0 is out of bounds"),
        ("static", {"percent": 1, "limit_offset": "10000.01"}, "out of bounds"),
        ("static", {"percent": 1, "escalate_after_ms": 5}, "escalate_after_ms 5 has no limit exit to escalate"),
        ("static", {"percent": 1, "activation_percent": "-1"}, "activation_percent -1 is out of bounds"),
        ("atr", {"atr_period": "1.5"}, "atr_period 1.5 is too fine (set-stop AAPL): give a whole number"),
        ("atr", {"atr_period": 1001}, "atr_period 1001 is out of bounds (set-stop AAPL): give 1 to 1000 bars"),
        ("atr", {"atr_bar_seconds": 0}, "out of bounds"),
        ("atr", {"atr_multiplier": "0"}, "out of bounds"),
    ],
)
def test_request_that_cannot_be_meant_names_field_value_and_remedy(kind: str, terms: dict[str, Any], words: str) -> None:
    """Every mistake is one line that says what, where, and what would do."""
    with pytest.raises(InvalidStop) as error:
        set_request(RULES, 0, "AAPL", kind, terms)
    assert words in str(error.value)
    assert 1 == len(error.value.lines)
    assert error.value.reason in ("stop_terms", "stop_percent")


def test_request_out_of_bounds_carries_value_and_limit() -> None:
    """Who catches it finds the parts apart."""
    with pytest.raises(InvalidStop) as error:
        set_request(RULES, 2, "AAPL", "trailing", {"percent": "30"})
    found = error.value
    assert ("stop_percent", "AAPL", 2, 0) == (found.reason, found.symbol, found.strategy, found.stop_id)
    assert ("percent", "30", "0.1 to 20.0") == (found.field, found.value, found.limit)
    assert {"code": "stop_percent", "symbol": "AAPL", "strategy": 2, "field": "percent"}.items() <= found.as_dict().items()


def test_request_for_an_unknown_symbol_names_the_nearest() -> None:
    """A slip of the finger in the symbol is no stop in another one."""
    with pytest.raises(InstrumentError, match="did you mean AAPL"):
        set_request(RULES, 0, "APPL", "static", {"percent": 1})


def test_request_for_the_mid_counts_in_half_ticks() -> None:
    """A price between two ticks can be meant where the mid is watched, and only there; a collar stays in ticks."""
    terms = {"price": "98.005", "watch": "mid", "limit_offset": "0.05"}
    request, _ = set_request(RULES, 0, "AAPL", "static", terms)
    assert (19_601, MID, 5) == (request["price_ticks"][0], request["watch"][0], request["limit_ticks"][0])
    request, _ = set_request(RULES, 0, "AAPL", "trailing", {"offset": "0.3", "watch": "mid"})
    assert 60 == request["offset_ticks"][0]
    assert "98.005" == watch_text(INSTRUMENTS, AAPL, MID, 19_601)
    assert "" == watch_text(INSTRUMENTS, AAPL, MID, 0)


def test_request_for_the_whole_position_is_written_as_none() -> None:
    """There is one way to say all of it."""
    request, _ = set_request(RULES, 0, "AAPL", "static", {"percent": 1, "fraction_percent": "100"})
    assert 0 == request["fraction_ppm"][0]


def test_request_terms_that_are_none_are_not_given() -> None:
    """A caller may hand on what it has."""
    request, _ = set_request(RULES, 0, "AAPL", "static", {"percent": "2", "price": None, "watch": None}, fire_now=True)
    assert (20_000, 0, FIRE_NOW) == (request["percent_ppm"][0], request["price_ticks"][0], request["flags"][0])


@given(st.integers(1, PRICE_TICKS_LIMIT - 1), st.sampled_from([AAPL, BTCUSDT]), st.sampled_from(WATCH_NAMES))
def test_request_price_of_any_ticks_comes_back_the_same(units: int, index: int, watch: str) -> None:
    """Any price that can be written is read as what it is."""
    code = WATCH_NAMES.index(watch)
    price = watch_text(INSTRUMENTS, index, code, units)
    request, _ = set_request(RULES, 0, INSTRUMENTS[index].symbol, "static", {"price": price, "watch": watch})
    assert units == request["price_ticks"][0]


def test_move_request_says_of_the_stop_what_risk_must_know() -> None:
    """Its id, its instrument, its strategy; and its price in the units in which it watches."""
    stop = StopPlace(17, BTCUSDT, 2, STATIC, MID)
    request, subject = move_request(RULES, stop, {"price": "90000.05"}, fire_now=True)
    found = {name: int(request[name][0]) for name in ("kind", "stop_id", "instrument", "strategy", "price_ticks", "flags")}
    expected = {"kind": MOVE_STOP, "stop_id": 17, "instrument": BTCUSDT, "strategy": 2, "price_ticks": 1_800_001}
    assert expected | {"flags": FIRE_NOW} == found
    assert "move-stop 17" == subject.where


@pytest.mark.parametrize(
    ("kind", "terms", "words"),
    [
        (STATIC, {}, "nothing to move stop 5 (static) to (move-stop 5): give price or percent"),
        (STATIC, {"price": "98", "percent": 1}, "takes one of price and percent, not both"),
        (STATIC, {"offset": 1}, "offset 1 does not belong to moving stop 5 (static)"),
        (TRAILING, {"price": "98", "percent": 1}, "takes one of price, percent and offset"),
        (TRAILING, {"fraction_percent": 1}, "does not belong"),
        (ATR, {"price": "98"}, "does not belong"),
        (TIME, {"percent": 1}, "stop 5 (time) has no distance to move (move-stop 5): cancel it and set another"),
        (STATIC, {"percent": "21"}, "percent 21 is out of bounds (move-stop 5)"),
    ],
)
def test_move_request_that_cannot_be_meant_is_refused(kind: int, terms: dict[str, Any], words: str) -> None:
    """A stop is moved in one way, and one that its kind has."""
    with pytest.raises(InvalidStop) as error:
        move_request(RULES, StopPlace(5, AAPL, 0, kind, BID_ASK), terms)
    assert words in str(error.value)
    assert 5 == error.value.stop_id


def test_cancel_request_names_the_stop() -> None:
    """Its id, its instrument and its strategy are all that risk needs."""
    request, _ = cancel_request(RULES, StopPlace(8, BTCUSDT, 1, TRAILING, BID_ASK))
    found = [int(request[name][0]) for name in ("kind", "stop_id", "instrument", "strategy")]
    assert [CANCEL_STOP, 8, BTCUSDT, 1] == found


@pytest.mark.parametrize("reason", range(1, len(REJECT_REASONS)))
def test_refusal_for_each_reason_is_one_line_without_a_gap(reason: int) -> None:
    """Each reason of risk has its words, filled in, and says what would do."""
    subject = Subject("set-stop", "AAPL", 1, 7, "price", "98.00", "bid 99.00")
    found = refusal(reason, subject)
    assert isinstance(found, StopRefused)
    assert REJECT_REASONS[reason] == found.reason
    (line,) = found.lines
    assert "{" not in line
    assert found.remedy


def test_refusal_for_a_reason_of_a_later_version_is_told_as_its_number() -> None:
    """An instance of other sources may know reasons that we do not."""
    assert "reason 200" in str(refusal(200, Subject("cancel-stop", stop_id=3)))
