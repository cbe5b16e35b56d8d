"""Money of the account: the unit is as coarse as it may be and as fine as it must be, and nothing is lost in it."""

from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_account import AccountSection, RateSection
from pipeline.errors import ConfigurationError
from pipeline.instruments import Instrument, Instruments
from pipeline.money import PLACES_MAX, PLACES_MIN, UNITS_LIMIT, Money, grouped, money_of

pytestmark = pytest.mark.jitless

AAPL = Instrument("AAPL", Decimal("0.01"), Decimal(1))
MES = Instrument("MESZ6", Decimal("0.25"), Decimal(1), Decimal(5))
BTC = Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT")


def account(balance: str = "1000000", currency: str = "USD", **rates: str) -> AccountSection:
    """Return an account with rates by currency."""
    rows = tuple(RateSection(currency=name, rate=rate) for name, rate in rates.items())
    return AccountSection(currency=currency, balance=balance, rates=rows)


def money(*items: Instrument, **rates: str) -> Money:
    """Return the units of an account in USD."""
    return money_of(Instruments(items), account(**rates))


def exact_unit(values: list[Fraction]) -> int:
    """Slow twin: return the fewest places from PLACES_MIN on with which every value is whole."""
    places = PLACES_MIN
    while any((value * 10**places).denominator != 1 for value in values):
        places += 1
    return places


def test_units_of_shares_futures_and_coins_are_whole() -> None:
    """One tick of one lot: a cent, a dollar and a quarter, and a hundredth of a cent at the rate of its currency."""
    made = money(AAPL, MES, BTC, USDT="0.9995")

    assert (8, Decimal("1e-8")) == (made.places, made.unit)
    assert (1_000_000, 125_000_000, 9_995) == made.value_units
    assert (3, (1000, 1000, 1)) == (made.quantity_places, made.lot_units)
    assert 100_000_000_000_000 == made.balance_units


steps = st.builds(lambda digits, places: Decimal(digits).scaleb(-places), st.integers(1, 9999), st.integers(0, 4))


@given(st.lists(st.tuples(steps, steps, steps, st.sampled_from(["USD", "EUR"])), min_size=1, max_size=5), steps)
def test_units_of_any_instruments_are_exact_and_coarsest(
    rows: list[tuple[Decimal, Decimal, Decimal, str]], rate: Decimal
) -> None:
    """Every value is whole in the unit, and is the true one, and the unit is no finer than that needs."""
    items = [Instrument(f"I{k}", *row) for k, row in enumerate(rows)]
    values = [Fraction(tick) * Fraction(lot) * Fraction(multiplier) * (Fraction(rate) if currency == "EUR" else 1)
              for tick, lot, multiplier, currency in rows]  # fmt: skip
    places = exact_unit(values)
    if places > PLACES_MAX:
        with pytest.raises(ConfigurationError, match="more than 12 decimal places"):
            money(*items, EUR=str(rate))
        return
    if max(values) * 10**places >= UNITS_LIMIT:
        with pytest.raises(ConfigurationError, match="is too large beside the smallest instrument"):
            money(*items, EUR=str(rate))
        return
    made = money(*items, EUR=str(rate))

    assert places == made.places
    assert [value * 10**places for value in values] == list(made.value_units)
    assert [Fraction(lot) * 10**made.quantity_places for _, lot, _, _ in rows] == list(made.lot_units)


def test_currency_without_a_rate_is_refused_with_what_to_write() -> None:
    """All symbols of a currency are told at once, and each currency."""
    euro = Instrument("SAP", Decimal("0.01"), Decimal(1), currency="EUR")
    ether = Instrument("ETHUSDT", Decimal("0.01"), Decimal("0.001"), currency="USDT")

    with pytest.raises(ConfigurationError) as caught:
        money(AAPL, BTC, euro, ether)

    first, second = caught.value.lines
    assert first == (
        "BTCUSDT, ETHUSDT are in USDT, which has no rate to USD ([account]): "
        'write [[account.rates]] with currency = "USDT" and rate = "..." (USD for one USDT)'
    )
    assert second.startswith("SAP is in EUR, which has no rate to USD")


def test_account_in_another_currency_needs_a_rate_of_the_usual_one() -> None:
    """USD is a currency like any other."""
    with pytest.raises(ConfigurationError, match="AAPL is in USD, which has no rate to EUR"):
        money_of(Instruments([AAPL]), account(currency="EUR"))

    made = money_of(Instruments([AAPL]), account(currency="EUR", USD="0.92"))
    assert (9_200,) == made.value_units
    assert "0.0092 EUR" == made.text(9_200)


@pytest.mark.parametrize(
    ("rate", "places"), [("0.9", PLACES_MIN), ("0.123", 7), ("0.12345678", PLACES_MAX), ("0.123456789", None)]
)
def test_rate_with_many_places_makes_the_unit_finer_or_is_refused(rate: str, places: int | None) -> None:
    """At the finest unit still accepted, one place more is refused, and a rate that needs no finer one changes nothing."""
    if places is None:
        with pytest.raises(ConfigurationError, match="write the rate of USDT with fewer decimal places"):
            money(BTC, USDT=rate)
    else:
        assert places == money(BTC, USDT=rate).places


def test_lot_size_with_more_places_than_units_have_is_refused() -> None:
    """A lot finer than the finest quantity unit cannot be counted."""
    fine = Instrument("X", Decimal(1000), Decimal("0.0000000000005") * 2 + Decimal("0.0000000000001") / 10)

    with pytest.raises(ConfigurationError, match="more than 12 decimal places"):
        money(fine)


def test_instruments_too_unlike_for_one_unit_are_refused() -> None:
    """An int64 does not hold a lot of a thousand million in units of the smallest lot."""
    large, small = Instrument("L", Decimal(1), Decimal("1e9")), Instrument("S", Decimal(1), Decimal("1e-12"))

    with pytest.raises(ConfigurationError, match="L is too large beside the smallest instrument"):
        money(large, small)


@pytest.mark.parametrize(
    ("amount", "down", "up"),
    [("0", 0, 0), ("0.000001", 1, 1), ("0.0000015", 1, 2), ("250000", 250_000_000_000, 250_000_000_000), ("1e-300", 0, 1)],
)
def test_amounts_between_units_round_down_or_up(amount: str, down: int, up: int) -> None:
    """A largest amount gets smaller and a smallest one larger, never the other way round."""
    made = money(AAPL)

    assert (down, up) == (made.units(Decimal(amount)), made.units(Decimal(amount), up=True))


def test_balance_beyond_a_fine_unit_is_refused_with_both_ways_out() -> None:
    """A rate with many places leaves room for less money: at the most that there is room for, and one more."""
    most = Decimal(UNITS_LIMIT - 1).scaleb(-PLACES_MAX).quantize(Decimal("0.000001"), ROUND_FLOOR)
    items, rates = Instruments([BTC]), (RateSection(currency="USDT", rate="0.12345678"),)

    assert 2_305_843 == money_of(items, AccountSection(balance=f"{most}", rates=rates)).balance_units // 10**PLACES_MAX
    with pytest.raises(ConfigurationError) as caught:
        money_of(items, AccountSection(balance="2305844", rates=rates))
    assert "account.balance 2,305,844 USD is beyond what can be counted here" == caught.value.what
    assert "write one below 2,305,843 USD, or rates with fewer decimal places" == caught.value.remedy


def test_amounts_at_the_bound_of_units_are_refused() -> None:
    """The largest that can be counted is one unit below the bound."""
    made = money(AAPL)

    assert UNITS_LIMIT - 1 == made.units(made.decimal(UNITS_LIMIT - 1))
    with pytest.raises(ConfigurationError, match="is beyond what can be counted here"):
        made.units(made.decimal(UNITS_LIMIT))
    with pytest.raises(ConfigurationError, match="is beyond what can be counted here"):
        made.quantity_units(Decimal("1e300"))


@given(st.integers(-UNITS_LIMIT + 1, UNITS_LIMIT - 1))
def test_text_of_any_units_says_exactly_what_they_are(units: int) -> None:
    """What a person reads is the amount to the last unit, its thousands grouped, with two places at least."""
    made = money(AAPL)
    number, currency = made.text(units).split()
    whole, fraction = number.split(".")

    assert Fraction(number.replace(",", "")) == Fraction(units, 10**6)
    assert ("USD", True) == (currency, 2 <= len(fraction) <= 6)
    assert whole == f"{int(whole.replace(',', '')):,}" or whole == "-0"


@pytest.mark.parametrize(
    ("value", "places_min", "text"),
    [("-1250", 2, "-1,250.00"), ("-0.5", 2, "-0.50"), ("1E+3", 0, "1,000"), ("10000.00", 0, "10,000"), ("0.2500", 0, "0.25")],
)
def test_grouped_decimals_drop_zeros_that_say_nothing(value: str, places_min: int, text: str) -> None:
    """Zeros at the end go, down to the places that are asked for."""
    assert text == grouped(Decimal(value), places_min)


def test_quantity_text_is_in_shares_or_coins() -> None:
    """Quantity units read as what they are units of."""
    made = money(AAPL, BTC, USDT="1")

    assert ("10,000", "0.001", "-2.5") == tuple(made.quantity_text(units) for units in (10_000_000, 1, -2_500))


def test_fee_for_each_unit_becomes_millionths_for_each_lot_rounded_up() -> None:
    """A fee of a third of a unit is not lost, and none is ever charged too small."""
    made, items = money(AAPL, BTC, USDT="1"), Instruments([AAPL, BTC])

    assert (3_500_000_000, 3_500_000) == made.fee_micros(items, Decimal("0.0035"))
    assert (1_000, 1) == made.fee_micros(items, Decimal("0.000000001"))
    assert (0, 0) == made.fee_micros(items, Decimal(0))


def test_money_crosses_a_process_as_json_unchanged() -> None:
    """What the instance file says of the account is all of it."""
    made = money(AAPL, MES, BTC, USDT="0.99")

    assert made == Money.from_json(made.to_json())
    assert {"currency", "places", "balance_units", "value_units", "quantity_places", "lot_units"} == set(made.to_json())


def test_day_start_is_nanoseconds_from_midnight() -> None:
    """A day that begins in the afternoon, as that of futures does."""
    assert (22 * 60 + 30) * 60_000_000_000 == AccountSection(day_start_utc="22:30").day_start_ns
