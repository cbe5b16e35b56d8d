"""The instrument table: decimals in and out, exactly or not at all."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InstrumentError
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import PRICE_TICKS_LIMIT, PRODUCT_LIMIT, QUANTITY_LOTS_LIMIT

AAPL = Instrument("AAPL", Decimal("0.01"), Decimal(1), venue="NASDAQ")
BTCUSDT = Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT")
MESZ6 = Instrument("MESZ6", Decimal("0.25"), Decimal(1), Decimal(5))
TABLE = Instruments([AAPL, BTCUSDT, MESZ6])

STEPS = st.builds(lambda digits, places: Decimal(digits).scaleb(-places), st.integers(1, 10**9), st.integers(0, 9))


@given(step=STEPS, ticks=st.integers(1, PRICE_TICKS_LIMIT - 1))
def test_price_text_then_price_ticks_returns_the_same_ticks(step, ticks):
    """Writing a price and reading it back changes nothing, for every tick size and over the whole range."""
    table = Instruments([Instrument("X", step, Decimal(1))])

    assert ticks == table.price_ticks(0, table.price_text(0, ticks))


@given(step=STEPS, lots=st.integers(1 - QUANTITY_LOTS_LIMIT, QUANTITY_LOTS_LIMIT - 1))
def test_quantity_text_then_lots_returns_the_same_lots(step, lots):
    """Writing a quantity and reading it back changes nothing, short positions included."""
    table = Instruments([Instrument("X", Decimal(1), step)])

    assert lots == table.lots(0, table.quantity_text(0, lots))


@given(step=STEPS, price=st.decimals(min_value=Decimal("0.000001"), max_value=Decimal(100_000), places=6))
def test_price_ticks_agrees_with_fractions(step, price):
    """A price is accepted exactly where rational arithmetic says that it is a whole number of ticks."""
    table = Instruments([Instrument("X", step, Decimal(1))])
    ticks = Fraction(price) / Fraction(step)

    if ticks.denominator == 1 and ticks < PRICE_TICKS_LIMIT:
        assert int(ticks) == table.price_ticks(0, price)
    else:
        with pytest.raises(InstrumentError):
            table.price_ticks(0, price)


@given(step=STEPS, limit=st.decimals(min_value=0, max_value=Decimal(10) ** 30, places=4))
def test_limits_in_lots_and_tick_lots_are_rounded_down_and_bounded(step, limit):
    """A limit never grows by rounding, loses less than one step, and stays inside what a kernel can multiply."""
    table = Instruments([Instrument("X", Decimal("0.01"), step, Decimal(50))])
    value = Fraction(step) * 50 / 100

    assert min(int(Fraction(limit) // Fraction(step)), QUANTITY_LOTS_LIMIT - 1) == table.lots_max(0, limit)
    assert min(int(Fraction(limit) // value), PRODUCT_LIMIT - 1) == table.tick_lots_max(0, limit)


def test_price_text_keeps_the_places_of_the_tick_size():
    """A whole price still shows its cents, and no exponent ever appears."""
    assert "100.00" == TABLE.price_text(0, 10_000)
    assert "93800.10" == TABLE.price_text(1, 938_001)
    assert "0.00000001" == Instruments([Instrument("X", Decimal("1E-8"), Decimal(1))]).price_text(0, 1)


def test_money_of_tick_lots_is_exact():
    """Money is tick·lots times tick size, lot size and multiplier, with no binary fraction in it."""
    assert Decimal("1.25") == TABLE.money(2, 1)
    assert Decimal("-0.0003") == TABLE.money(1, -3)


@pytest.mark.parametrize(
    ("price", "what"),
    [
        ("100.005", "price 100.005 is no whole multiple of 0.01"),
        ("0", "price 0 is not above 0"),
        ("-1", "price -1 is not above 0"),
        ("nan", "price 'nan' is no decimal"),
        ("Infinity", "price 'Infinity' is no decimal"),
        (" 100", "price ' 100' is no decimal"),
        ("1_000", "price '1_000' is no decimal"),
        ("٣", "price '٣' is no decimal"),
        ("", "price '' is no decimal"),
        (Decimal("sNaN"), "price Decimal('sNaN') is no decimal"),
        ("43980465111.04", "price 43980465111.04 is out of bounds"),
        ("1e999", "price 1e999 is out of bounds"),
        (Decimal("1e-999999"), "price 1E-999999 is no whole multiple of 0.01"),
        (100.01, "price 100.01 is no decimal"),
    ],
)
def test_price_ticks_of_what_is_no_price_raises_and_names_it(price, what):
    """Nothing is rounded into a price: a rounded price is a wrong stop."""
    with pytest.raises(InstrumentError) as caught:
        TABLE.price_ticks(0, price)

    assert what == caught.value.what
    assert "instrument AAPL" == caught.value.where


def test_lots_at_the_bound_are_refused_and_below_it_accepted():
    """The bound of decode holds for buys and sells alike."""
    highest = QUANTITY_LOTS_LIMIT - 1

    assert (highest, -highest) == (TABLE.lots(0, str(highest)), TABLE.lots(0, str(-highest)))
    for beyond in (highest + 1, -highest - 1):
        with pytest.raises(InstrumentError, match="out of bounds"):
            TABLE.lots(0, str(beyond))


def test_index_of_known_symbol_is_its_position():
    """The index is what ticks carry."""
    assert [0, 1, 2] == [TABLE.index(symbol) for symbol in TABLE.symbols]
    assert MESZ6 is TABLE[2]


def test_index_of_unknown_symbol_names_the_nearest():
    """A slip of the finger is answered with what was meant; a stranger with what is known."""
    with pytest.raises(InstrumentError) as slip:
        TABLE.index("APPL")
    with pytest.raises(InstrumentError) as stranger:
        TABLE.index("ZZZ9")

    assert "unknown symbol 'APPL' (instruments): did you mean AAPL?" == str(slip.value)
    assert "unknown symbol 'ZZZ9' (instruments): known are AAPL, BTCUSDT, MESZ6" == str(stranger.value)


def test_instruments_with_a_symbol_twice_are_refused():
    """A symbol must lead to one index."""
    with pytest.raises(InstrumentError, match="symbol AAPL occurs twice"):
        Instruments([AAPL, BTCUSDT, AAPL])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tick_size", Decimal(0)),
        ("tick_size", Decimal("-0.01")),
        ("lot_size", Decimal("NaN")),
        ("lot_size", Decimal("1e-13")),
        ("multiplier", Decimal("Infinity")),
        ("multiplier", Decimal("1.0000000000000000001")),
        ("tick_size", 0.01),
    ],
)
def test_instrument_with_a_bad_step_is_refused(field, value):
    """A step is a positive finite decimal of few enough digits that every conversion is exact."""
    fields = {"symbol": "X", "tick_size": Decimal("0.01"), "lot_size": Decimal(1), field: value}

    with pytest.raises(InstrumentError, match=f"{field} .*instrument X"):
        Instrument(**fields)


@pytest.mark.parametrize("symbol", ["", "A B", "A\nB", "-A", "A" * 33, None])
def test_instrument_with_a_bad_symbol_is_refused(symbol):
    """A symbol goes into file names, labels and terminals."""
    with pytest.raises(InstrumentError, match="is no symbol"):
        Instrument(symbol, Decimal(1), Decimal(1))


def test_instruments_saved_and_loaded_are_equal(tmp_path):
    """Nothing is lost in instruments.json, and its decimals are text."""
    path = tmp_path / "instruments.json"

    TABLE.save(path)

    assert TABLE == Instruments.load(path)
    assert "0.10" == json.loads(path.read_text())[1]["tick_size"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[", "no JSON"),
        ("{}", "dict instead of a list"),
        ("[1]", "int instead of an object"),
        ('[{"symbol": "X", "tick_size": "1"}]', "lot_size is missing"),
        ('[{"symbol": "X", "tick_size": 0.01, "lot_size": "1"}]', "tick_size 0.01 is no text"),
        ('[{"symbol": "X", "tick_size": "nan", "lot_size": "1"}]', "tick_size 'nan' is no decimal"),
        ('[{"symbol": "X", "tick_size": "0", "lot_size": "1"}]', "tick_size 0 is not between"),
        ('[{"symbol": "X", "tick_size": "1", "lot_size": "1", "color": "red"}]', "unknown field 'color'"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_instruments_load_of_a_damaged_file_names_file_and_fault(tmp_path, text, what):
    """A damaged table is one line with the file in it, never a traceback."""
    path = tmp_path / "instruments.json"
    path.write_text(text)

    with pytest.raises(InstrumentError) as caught:
        Instruments.load(path)

    assert what in caught.value.what
    assert str(path) in caught.value.where


def test_instruments_load_of_a_missing_file_names_it(tmp_path):
    """The path that was tried is in the message."""
    with pytest.raises(InstrumentError, match=r"No such file or directory .*gone\.json"):
        Instruments.load(tmp_path / "gone.json")
