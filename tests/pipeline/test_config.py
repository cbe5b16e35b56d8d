"""config.toml: what ships is right, what is read of it is exact, and flags and files are held to the same rules."""

import math
import re
import tomllib
from decimal import Decimal
from typing import get_type_hints

import msgspec
import pytest

from pipeline.config import DEFAULT_PATH, Config, load_config, parse_config, with_overrides, with_symbols
from pipeline.config_risk import InstrumentLimitsSection, LimitsSection, StrategyLimitsSection
from pipeline.config_rules import key_paths
from pipeline.config_schema import RiskSection
from pipeline.errors import ConfigurationError
from pipeline.money import money_of
from tests.limit_texts import FREE, MINIMAL

#: Keys that the file only shows in comments: rows of overrides, of which it needs none.
OVERRIDES = ("risk.strategies[].", "risk.instruments[].")


@pytest.fixture(scope="module")
def shipped() -> Config:
    """The config.toml beside the sources."""
    return load_config()


def present_paths(table: dict, path: str = "") -> set[str]:
    """Return the dotted path of every key of a TOML table, rows of a list as `name[]`."""
    paths = set()
    for key, value in table.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            paths |= present_paths(value, here)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            paths |= set.union(*(present_paths(row, f"{here}[]") for row in value))
        else:
            paths.add(here)
    return paths


# What ships


def test_shipped_file_holds_every_key_and_no_other():
    """Whoever opens config.toml sees every setting there is."""
    table = tomllib.loads(DEFAULT_PATH.read_text(encoding="utf-8"))

    paths = {path for path in key_paths(Config) if not path.startswith(OVERRIDES)}
    # Of the lists of overrides only what they would hold is a key.
    assert paths == present_paths(table)


def test_shipped_file_names_every_key_of_an_override():
    """What one strategy or instrument may have of its own is told where such a row would stand."""
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    legend = text[text.index("# Limits of one strategy in place") : text.index("[risk.breaker]")]

    assert {"slot", "session", "restricted"} <= set(
        get_type_hints(StrategyLimitsSection) | get_type_hints(InstrumentLimitsSection)
    )
    assert [] == [key for key in get_type_hints(InstrumentLimitsSection) if key not in legend]
    uncommented = re.sub(r"^#   (\[\[risk|\w+ = )", r"\1", text, flags=re.MULTILINE)
    risk = parse_config(uncommented, "config.toml").risk
    assert (1, "BTCUSDT") == (risk.strategies[0].slot, risk.instruments[0].symbol)


def test_shipped_file_equals_the_defaults(shipped):
    """A key left out means what config.toml shows; only instruments, rates and limits have no default."""
    defaults = Config(risk=RiskSection(strategy=LimitsSection(**FREE), **FREE))
    replace = msgspec.structs.replace

    assert defaults == replace(
        shipped,
        instruments=(),
        account=replace(shipped.account, rates=()),
        risk=replace(shipped.risk, strategy=defaults.risk.strategy, **FREE),
    )


def test_shipped_file_explains_every_key_with_a_comment():
    """No key stands without its meaning: beside it, or in the legend above sections that repeat."""
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    section, bare = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.split(" ")[0]
        elif " = " in line and "#" not in line:
            bare.append((section, line.split(" = ")[0]))

    legends = ("[[instruments]]", "[risk]", "[risk.strategy]")
    assert all(section in legends or section.startswith("[workers.") for section, _ in bare)
    assert [] == [key for _, key in bare if f"\n#   {key} " not in text]


def test_shipped_instruments_are_whole_and_start_on_their_ticks(shipped):
    """The table that ships converts to integers without a fault."""
    table = shipped.instrument_table

    assert ("AAPL", "MSFT", "NVDA", "AMZN", "SPY", "BTCUSDT", "ETHUSDT", "MESZ6") == table.symbols
    for index, ticks in enumerate(shipped.start_price_ticks):
        assert shipped.instruments[index].start_price == table.price_text(index, ticks)


def test_shipped_demo_may_reverse_its_position_in_every_instrument(shipped):
    """The demo's reversing order, twice its position, passes the limits that ship, also a fifth higher, as do all."""
    table = shipped.instrument_table
    money = money_of(table, shipped.account)
    quantity = shipped.strategies.demo.quantity_lots
    notionals = [
        money.decimal(12 * quantity * ticks * money.value_units[index]) / 10
        for index, ticks in enumerate(shipped.start_price_ticks)
    ]
    gross = sum(notionals)

    for limits in (shipped.risk, shipped.risk.strategy):
        assert 2 * quantity <= Decimal(limits.max_order_quantity)
        assert 2 * max(notionals) <= Decimal(limits.max_order_notional)
        assert max(notionals) <= Decimal(limits.max_position_notional)
        assert gross <= min(Decimal(limits.max_gross_exposure), Decimal(limits.max_net_exposure))
        assert gross <= Decimal(limits.max_leverage) * Decimal(shipped.account.balance)
        assert 100 * max(notionals) <= Decimal(limits.max_concentration_percent) * Decimal(shipped.account.balance)
        assert len(table) <= int(limits.max_open_positions)


def test_shipped_limits_leave_room_for_a_fall_by_a_tenth(shipped):
    """Positions of the demo that all lose a tenth at once, as in its flash crash, trip no breaker by their loss."""
    table = shipped.instrument_table
    money = money_of(table, shipped.account)
    lots = shipped.strategies.demo.quantity_lots
    gross = money.decimal(sum(lots * ticks * money.value_units[index] for index, ticks in enumerate(shipped.start_price_ticks)))

    for limits in (shipped.risk, shipped.risk.strategy):
        assert gross / 10 < min(Decimal(limits.max_daily_loss), Decimal(limits.max_drawdown), Decimal(limits.max_weekly_loss))


# What is read of it


def test_derived_values_are_exact_integers(shipped):
    """Percent become parts per million and durations nanoseconds, without a float in between."""
    stops, simulator = shipped.risk.stops, shipped.feed.simulator

    assert (20_000, 2_000, 1_000, 200_000) == (
        stops.default_stop_ppm, stops.trailing_stop_ppm, stops.min_stop_ppm, stops.max_stop_ppm,
    )  # fmt: skip
    assert (250_000_000, 5_000_000_000) == (stops.exit_retry_ns, stops.exit_retry_ns_max)
    assert (1_767_623_400_000_000_000, 5_000_000_000) == (simulator.start_ns, simulator.scenario_start_ns)
    assert (500_000, 4_000_000_000, 100) == (
        shipped.execution.paper.latency_ns, shipped.strategies.demo.hold_ns, shipped.strategies.demo.quantity_lots,
    )  # fmt: skip
    assert (5_000_000, 3_000_000_000) == (shipped.workers.risk.park_after_ns, shipped.workers.hang_after_ns)
    assert (60_000_000_000, 5_000_000_000) == (shipped.supervisor.restart_window_ns, shipped.supervisor.drain_ns)
    assert 250_000_000 == shipped.sidecar.flush_ns
    breaker = shipped.risk.breaker
    assert (0, 60_000_000_000, 100_000_000) == (breaker.cooldown_ns, breaker.reject_window_ns, breaker.review_ns)
    assert (200_000, 0, 0) == (
        shipped.risk.order_rate_reserve_ppm, shipped.execution.paper.fee_ppm, shipped.account.day_start_ns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "ppm"), [("0.1001", 1001), ("1.1", 11_000), ("0.2900", 2_900), ("2.3", 23_000), ("7", 70_000)]
)
def test_stop_percent_becomes_exact_ppm(percent, ppm):
    """Decimals that binary floats miss (1.1 percent is 11000 ppm, not 11000.000000000002) arrive whole."""
    config = parse_config(f"{MINIMAL}[risk.stops]\ndefault_stop_percent = {percent}\n", "my.toml")

    assert ppm == config.risk.stops.default_stop_ppm


def test_stop_percent_from_a_float_flag_is_the_decimal_that_it_shows(shipped):
    """A flag parsed as float means the digits that were typed."""
    config = with_overrides(shipped, {"risk.stops.default_stop_percent": 1.1})

    assert 11_000 == config.risk.stops.default_stop_ppm
    assert Decimal("1.1") == config.risk.stops.default_stop_percent


@pytest.mark.parametrize(("speed", "factor"), [("1x", 1.0), ("10x", 10.0), ("0.5x", 0.5), ("max", math.inf)])
def test_speed_becomes_its_factor(shipped, speed, factor):
    """The factor is stream seconds per second; max waits for nothing."""
    assert factor == with_overrides(shipped, {"feed.speed": speed}).feed.speed_factor


def test_start_time_with_an_offset_becomes_utc(shipped):
    """A zone other than UTC is taken into account."""
    config = with_overrides(shipped, {"feed.simulator.start_time": "2026-01-05T09:30:00.000001-05:00"})

    assert 1_767_623_400_000_001_000 == config.feed.simulator.start_ns


def test_scenario_mask_marks_named_symbols_or_all(shipped):
    """An empty list means every instrument."""
    named = with_overrides(shipped, {"feed.simulator.scenario_symbols": ["SPY", "AAPL"]})

    assert (True,) * 8 == shipped.scenario_mask
    assert (True, False, False, False, True, False, False, False) == named.scenario_mask


def test_core_pool_is_none_for_auto_and_the_cores_otherwise(shipped):
    """Auto leaves the choice to the launch."""
    assert shipped.workers.core_pool is None
    assert (3, 1) == with_overrides(shipped, {"workers.cores": [3, 1]}).workers.core_pool


def test_config_crosses_a_process_as_json_unchanged(shipped):
    """The supervisor may hand its config to a worker as JSON: exact decimals stay exact."""
    config = with_overrides(shipped, {"risk.stops.trailing_stop_percent": 0.3, "workers.cores": [1, 2]})

    assert config == msgspec.json.decode(msgspec.json.encode(config), type=Config)


def test_config_is_frozen(shipped):
    """Nobody changes a setting while the pipeline runs."""
    with pytest.raises(AttributeError):
        shipped.risk.stops.default_stop_percent = Decimal(1)


# Flags


def test_overrides_of_none_change_nothing(shipped):
    """A flag that was not given leaves the file's setting."""
    assert shipped == with_overrides(shipped, {"feed.speed": None, "feed.simulator.seed": None})


def test_overrides_leave_the_original_alone(shipped):
    """The config that was given is not touched."""
    changed = with_overrides(shipped, {"feed.speed": "max", "feed.simulator.rate": 5})

    assert ("1x", 1000.0) == (shipped.feed.speed, shipped.feed.simulator.rate)
    assert ("max", 5.0) == (changed.feed.speed, changed.feed.simulator.rate)
    assert isinstance(changed.feed.simulator.rate, float)


def test_symbols_chosen_keep_their_order_and_narrow_the_lists(shipped):
    """Instruments that are not chosen disappear from the scenario's list too."""
    config = with_overrides(shipped, {"feed.simulator.scenario_symbols": ["SPY", "MSFT"]})

    chosen = with_symbols(config, ["SPY", "AAPL"])

    assert ("SPY", "AAPL") == chosen.instrument_table.symbols
    assert ("SPY",) == chosen.feed.simulator.scenario_symbols


def test_symbols_chosen_that_empty_a_list_are_refused(shipped):
    """An emptied list would mean all: a scenario for SPY must not strike AAPL instead."""
    config = with_overrides(shipped, {"feed.simulator.scenario_symbols": ["SPY"]})

    with pytest.raises(ConfigurationError, match=r"feed\.simulator\.scenario_symbols names none of AAPL"):
        with_symbols(config, ["AAPL"])


@pytest.mark.parametrize(
    ("symbols", "problem"),
    [
        (["APPL"], 'unknown symbol "APPL" (command line): did you mean AAPL?'),
        ([], "no symbol is given (command line): choose from AAPL, MSFT, NVDA, AMZN, SPY, BTCUSDT, ETHUSDT, MESZ6"),
        (["SPY", "SPY"], 'instruments[1].symbol = "SPY" is instruments[0] already (command line): keep one of them'),
    ],
)
def test_symbols_chosen_wrongly_are_told(shipped, symbols, problem):
    """Unknown, none and twice each have their line."""
    with pytest.raises(ConfigurationError) as caught:
        with_symbols(shipped, symbols)

    assert problem == str(caught.value)


# Files that are no configuration


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[feed\n", "no TOML: "),
        (b"[feed]\nspeed = '1x'\nspeed = '2x'\n", "no TOML: Cannot overwrite a value"),
        (b"\xff\xfe", "byte 0 is no UTF-8"),
        (b"x = " + b"[" * 100_000, "no TOML: "),
        (b"x = 1e99999999999999999999999", "a number has an exponent beyond all reason"),
        (b"[tables]\nstops = 0x" + b"f" * 5000, "risk is missing"),
        (b"[tables]\nstops = " + b"9" * 5000, "no TOML: "),
        (b"\x00", "no TOML: "),
    ],
)
def test_damaged_file_is_one_line_with_its_path(tmp_path, content, what):
    """Whatever the bytes, a person reads what is wrong with which file, and no traceback."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load_config(path)

    assert what in caught.value.lines[0]
    assert all(str(path) in line and line.isprintable() for line in caught.value.lines)


def test_missing_file_and_folder_are_named(tmp_path):
    """The path that was tried is in the message."""
    with pytest.raises(ConfigurationError, match=r"No such file or directory \(.*gone\.toml\)"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_config(tmp_path)
