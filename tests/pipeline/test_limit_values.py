"""Each limit is written, read, bounded and shown by one table."""

from decimal import Decimal
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config_risk
from pipeline.config_account import AccountSection, RateSection
from pipeline.config_risk import InstrumentLimitsSection, LimitsSection, StrategyLimitsSection
from pipeline.config_rules import split
from pipeline.errors import ConfigurationError
from pipeline.instruments import Instrument, Instruments
from pipeline.limit_values import (
    COUNT,
    INSTRUMENT_LIMITS,
    LIMIT_FORMS,
    MILLISECONDS,
    MONEY,
    PERCENT,
    QUANTITY,
    RATIO,
    amount_text,
    limit_decimal,
    limit_expected,
    limit_fault,
    limit_id,
    limit_text,
    limit_word,
    parse_limit,
)
from pipeline.money import money_of
from pipeline.risk.limits import NOT_SET, UNLIMITED
from pipeline.tables import LIMIT_NAMES

pytestmark = pytest.mark.jitless

MONEY_UNITS = money_of(
    Instruments(
        [
            Instrument("AAPL", Decimal("0.01"), Decimal(1)),
            Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT"),
        ]
    ),
    AccountSection(rates=(RateSection(currency="USDT", rate="1"),)),
)
#: By form: a text, its value inside, and how it reads; of a money unit of a millionth and a quantity unit of a thousandth.
EXAMPLES = {
    MONEY: ("250000", 250_000_000_000, "250,000.00 USD"),
    QUANTITY: ("10000.5", 10_000_500, "10,000.5"),
    PERCENT: ("2.5", 25_000, "2.5 %"),
    COUNT: ("8", 8, "8"),
    RATIO: ("2.25", 2_250_000, "2.25x"),
    MILLISECONDS: ("250", 250_000_000, "250 ms"),
}


def read(name: str, text: str) -> int:
    """Return the value of a limit."""
    return parse_limit(name, text, MONEY_UNITS)


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_limit_of_each_form_is_read_and_shown(name: str) -> None:
    """What is written is what is shown, in the unit of its form."""
    form = LIMIT_FORMS[name]
    text, value, shown = EXAMPLES[form.form]
    if form.form == COUNT:
        shown += form.unit

    assert value == read(name, text)
    assert (shown, text) == (limit_text(name, value, MONEY_UNITS), limit_word(name, value, MONEY_UNITS))
    assert Decimal(text) == limit_decimal(name, value, MONEY_UNITS)


def test_limit_of_orders_per_second_shows_its_unit() -> None:
    """A rate is no count."""
    assert "100/s" == limit_text("max_orders_per_second", 100, MONEY_UNITS)


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_limit_unlimited_and_not_set_have_their_words(name: str) -> None:
    """Unlimited is written and read; not set is shown, and nobody can write it."""
    assert UNLIMITED == read(name, "unlimited")
    assert ("unlimited", "not set") == tuple(limit_text(name, value, MONEY_UNITS) for value in (UNLIMITED, NOT_SET))
    assert "unlimited" == limit_word(name, UNLIMITED, MONEY_UNITS)
    with pytest.raises(ConfigurationError):
        read(name, limit_word(name, NOT_SET, MONEY_UNITS))


@pytest.mark.parametrize("name", [name for name in LIMIT_NAMES if LIMIT_FORMS[name].form not in (MONEY, QUANTITY)])
def test_limit_at_its_bounds_is_read_and_beyond_them_refused(name: str) -> None:
    """The least and the most are allowed, the next step beyond is not, and the message says what is."""
    form = LIMIT_FORMS[name]
    step = Decimal(1) if form.form == COUNT else Decimal("0.0001") if form.form == PERCENT else Decimal("0.000001")
    low, high = Decimal(form.low), Decimal(form.high)

    assert [] == [value for value in (low, low + step, high - step, high) if limit_fault(name, f"{value:f}")]
    for beyond in (low - step, high + step):
        with pytest.raises(ConfigurationError) as caught:
            read(name, f"{beyond:f}")
        assert f"from {form.low} to {form.high}" in caught.value.remedy
        assert caught.value.remedy.endswith("or unlimited")


@pytest.mark.parametrize("name", [name for name in LIMIT_NAMES if LIMIT_FORMS[name].form in (MONEY, QUANTITY)])
def test_amount_of_zero_is_allowed_for_smallest_ones_only(name: str) -> None:
    """A smallest order of 0 is none; a largest of 0 is a slip."""
    assert LIMIT_FORMS[name].is_floor is (limit_fault(name, "0") == "")
    assert "is not allowed" == limit_fault(name, "-1")


def test_amounts_are_rounded_to_the_tighter_side() -> None:
    """Largest amounts go down to a whole unit, smallest ones up."""
    assert (250, 251) == (read("max_order_quantity", "0.2505"), read("min_order_quantity", "0.2505"))
    assert (1, 2) == (read("max_drawdown", "0.0000019"), read("min_order_notional", "0.0000019"))


@pytest.mark.parametrize(
    "text", ["", " 5", "5 ", "5 USD", "5,000", "1_000", "nan", "inf", "-inf", "Unlimited", "5%", "0x10", "१", "1e9999", "5\n"]
)
@pytest.mark.parametrize("name", ["max_order_notional", "max_leverage", "price_collar_percent", "max_open_positions"])
def test_limit_that_is_no_number_is_refused_on_one_line(name: str, text: str) -> None:
    """Only plain digits are a number, and what was written is in the message."""
    with pytest.raises(ConfigurationError) as caught:
        read(name, text)

    (line,) = caught.value.lines
    assert line.startswith(f'{name} = "')
    assert "(command line): write a" in line


def test_limit_too_long_to_be_one_is_refused_without_being_shown_whole() -> None:
    """A message stays readable, whatever was sent."""
    with pytest.raises(ConfigurationError) as caught:
        read("max_order_notional", "9" * 100_000)

    assert len(str(caught.value)) < 250
    assert "is too long" in str(caught.value)


def test_amount_beyond_what_is_counted_is_refused_with_the_most_that_is_not() -> None:
    """It is not silently taken as another limit."""
    with pytest.raises(ConfigurationError) as caught:
        read("max_order_notional", "1e13")

    assert 'max_order_notional = "1e13" is beyond what can be counted here' == caught.value.what
    assert 'write one below 2,305,843,009,213 USD, or "unlimited"' == caught.value.remedy


def test_unknown_limit_names_the_nearest() -> None:
    """A misspelt limit changes nothing and says so."""
    with pytest.raises(ConfigurationError, match=r"unknown limit 'max_draw_down'.*did you mean max_drawdown"):
        read("max_draw_down", "5")
    with pytest.raises(ConfigurationError, match="choose from min_order_quantity, "):
        limit_id("zzz", "command line")
    assert list(range(len(LIMIT_NAMES))) == [limit_id(name, "") for name in LIMIT_NAMES]


@given(st.sampled_from(LIMIT_NAMES), st.integers(0, 10**9))
def test_any_value_read_back_from_its_word_is_the_same(name: str, value: int) -> None:
    """What a command shows may be given to it again."""
    word = limit_word(name, value, MONEY_UNITS)
    if not limit_fault(name, word):
        assert value == read(name, word)


def test_amounts_found_may_be_negative() -> None:
    """What was found beside a limit, such as a profit, is never taken for a word."""
    assert "-0.000001 USD" == amount_text("max_daily_loss", UNLIMITED, MONEY_UNITS)
    assert "-0.0001 %" == amount_text("max_concentration_percent", UNLIMITED, MONEY_UNITS)


def test_sections_of_the_file_have_each_limit_with_its_own_rule() -> None:
    """Account, strategies and single ones: the keys are the limits, and each key is held to its own limit's rule."""
    sections = (
        (LimitsSection, LIMIT_NAMES),
        (StrategyLimitsSection, LIMIT_NAMES),
        (InstrumentLimitsSection, INSTRUMENT_LIMITS),
    )
    for section, names in sections:
        hints = get_type_hints(section, vars(config_risk), include_extras=True)
        assert names == tuple(key for key in hints if key in LIMIT_NAMES)
        for name in names:
            _, rule = split(hints[name])
            assert rule is not None
            assert limit_expected(name, in_file=True) == rule.expects(str)
