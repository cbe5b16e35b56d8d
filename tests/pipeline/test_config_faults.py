"""Every wrong setting is told by its path, its value and what would do."""

import math

import pytest

from pipeline.config import Config, load_config, parse_config, with_overrides
from pipeline.config_checks import RING_BYTES_MAX, ring_bytes
from pipeline.errors import ConfigurationError
from tests.limit_texts import MINIMAL


@pytest.fixture(scope="module")
def shipped() -> Config:
    """The config.toml beside the sources."""
    return load_config()


def message(text: str) -> str:
    """Return what a person reads about a configuration text that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text, "my.toml")
    return str(caught.value)


def override_message(config: Config, overrides: dict) -> str:
    """Return what a person reads about flags that are wrong."""
    with pytest.raises(ConfigurationError) as caught:
        with_overrides(config, overrides)
    return str(caught.value)


# What is wrong with one value


@pytest.mark.parametrize(
    ("path", "value", "what", "remedy"),
    [
        ("instance.name", "Big One", '"Big One" is not allowed', "1 to 32 of a-z"),
        ("instance.name", "a\n", '"a\\n" is not allowed', "1 to 32 of a-z"),
        ("instance.fresh", 1, "1 is not true or false", "true or false"),
        ("feed.kind", "replai", '"replai" is not allowed', 'did you mean "replay"?'),
        ("feed.speed", "10", '"10" is not allowed', '"10x"'),
        ("feed.speed", "0x", '"0x" is not allowed', "0.001x"),
        ("feed.speed", "-1x", '"-1x" is not allowed', "0.001x"),
        ("feed.speed", "infx", '"infx" is not allowed', "0.001x"),
        ("feed.speed", "1e400x", '"1e400x" is not allowed', "0.001x"),
        ("feed.simulator.scenario", "flash crash", '"flash crash" is not allowed', 'did you mean "flash-crash"?'),
        ("feed.simulator.rate", math.nan, "NaN is not finite", "0.001 to 1000000000 ticks per second"),
        ("feed.simulator.rate", math.inf, "Infinity is not finite", "0.001 to 1000000000"),
        ("feed.simulator.rate", 0, "0 is out of range", "0.001 to 1000000000"),
        ("feed.simulator.rate", "fast", '"fast" is no number', "a number"),
        ("feed.simulator.seed", 2**63, "9223372036854775808 is out of range", "9223372036854775807"),
        ("feed.simulator.seed", 1.0, "1.0 is no whole number", "a whole number"),
        ("feed.simulator.start_time", "2026-01-05T14:30:00", '"2026-01-05T14:30:00" is not allowed', "with its zone"),
        ("feed.simulator.start_time", "yesterday", '"yesterday" is not allowed', "2026-01-05T14:30:00Z"),
        ("feed.simulator.start_time", "2500-01-05T14:30:00Z", "is not allowed", "ISO time"),
        ("feed.simulator.scenario_symbols", ["SPY", "SPY"], '["SPY", "SPY"] is not allowed', "different symbols"),
        ("feed.simulator.scenario_symbols", "SPY", '"SPY" is not allowed', "a list of different symbols"),
        ("risk.max_order_notional", 1000, "1000 is no text", '"unlimited"'),
        ("risk.max_order_notional", "0", '"0" is not allowed', "above 0"),
        ("risk.max_order_notional", "-5", '"-5" is not allowed', "above 0"),
        ("risk.max_order_notional", "nan", '"nan" is not allowed', "above 0"),
        ("risk.max_order_notional", "Unlimited", '"Unlimited" is not allowed', '"unlimited"'),
        ("risk.strategy.max_drawdown", True, "true is no text", '"unlimited"'),
        ("risk.max_open_positions", -1, "-1 is no whole number", "a whole number from 0"),
        ("risk.max_open_positions", 2.0, "2.0 is no whole number", "a whole number from 0"),
        ("risk.max_open_positions", True, "true is not allowed", "a whole number from 0"),
        ("risk.max_open_positions", 1 << 1_000, "a huge number is not allowed", "a whole number from 0"),
        ("risk.max_orders_per_second", 0, "0 is out of range", "from 1 to 1000000"),
        ("risk.price_collar_percent", 0, "0 is out of range", "0.0001 to 99 percent"),
        ("risk.price_collar_percent", 5.00001, "5.00001 has more than 4 decimal places", 'or "unlimited"'),
        ("risk.price_collar_percent", math.nan, "nan is no number", "0.0001 to 99 percent"),
        ("risk.max_leverage", 2, "2 is no text", "a number in quotes from 0.000001 to 1000"),
        ("risk.order_burst", 0, "0 is out of range", "1 to 1000 orders"),
        ("risk.session", "", '"" is not allowed', '"always"'),
        ("risk.blackouts", "2026", '"2026" is not allowed', "a list such as"),
        ("risk.breaker.state", "killed", '"killed" is not allowed', '"reducing" or "halted"'),
        ("risk.breaker.review_ms", 0, "0 is out of range", "1 to 60000 milliseconds"),
        ("account.currency", "usd", '"usd" is not allowed', "3 to 8 capital letters"),
        ("account.balance", "0", '"0" is not allowed', "a decimal above 0"),
        ("account.balance", "1.0000001", '"1.0000001" is not allowed', "at most 6 places"),
        ("account.day_start_utc", "24:00", '"24:00" is not allowed', '"00:00"'),
        ("execution.paper.fee_percent", 0.00001, "0.00001 has more than 4 decimal places", "0 to 10 percent"),
        ("execution.paper.fee_per_unit", "-1", '"-1" is not allowed', "from 0 to 1000"),
        ("risk.stops.default_stop_percent", 2.00001, "2.00001 has more than 4 decimal places", "at most 4 decimal places"),
        ("risk.stops.default_stop_percent", 0, "0 is out of range", "0.0001 to 99 percent"),
        ("risk.stops.default_stop_percent", 100, "100 is out of range", "0.0001 to 99 percent"),
        ("risk.stops.default_stop_percent", True, "true is no number", "percent"),
        ("risk.stops.enforce_stops", "no", '"no" is not true or false', "true or false"),
        ("execution.venue", "nyse", '"nyse" is not allowed', '"paper"'),
        ("execution.paper.latency_us", -1, "-1 is out of range", "0 to 10000000 microseconds"),
        ("strategies.slots", 9, "9 is out of range", "1 to 8 strategies"),
        ("strategies.demo.quantity", "1.5", '"1.5" is not allowed', "a whole number of lots"),
        ("strategies.demo.quantity", "0", '"0" is not allowed', "a whole number of lots"),
        ("strategies.demo.hold_seconds", 0.0, "0.0 is out of range", "0.001 to 86400 seconds"),
        ("sidecar.metrics_port", 65536, "65536 is out of range", "0 to 65535"),
        ("sidecar.metrics_port", True, "true is no whole number", "0 to 65535"),
        ("sidecar.metrics_host", "local host", '"local host" is not allowed', "an IP address"),
        ("sidecar.database", " ", '" " is not allowed', "a file path"),
        ("rings.ticks", 65_000, "65000 is not a power of two", "a power of two from 64"),
        ("rings.ticks", 32, "32 is out of range", "a power of two from 64"),
        ("rings.events", 512, "512 is out of range", "a power of two from 1024"),
        ("tables.stops", 1 << 21, "2097152 is out of range", "1048576 rows"),
        ("workers.cores", [], "[] is not allowed", '"auto" or a list of different cores'),
        ("workers.cores", [1, 1], "[1, 1] is not allowed", "different cores"),
        ("workers.cores", [-1], "[-1] is not allowed", "different cores"),
        ("workers.risk.core", -2, "-2 is out of range", "-1 to 4095"),
        ("workers.risk.wait", "sleep", '"sleep" is not allowed', '"park"'),
        ("supervisor.drain_seconds", 0.05, "0.05 is out of range", "0.1 to 600 seconds"),
        ("risk", 3, "3 is no section", "[risk]"),
        ("instruments", ["AAPL"], '["AAPL"] is no list of sections', "[[instruments]]"),
    ],
)
def test_wrong_value_is_told_with_path_value_and_remedy(shipped, path, value, what, remedy):
    """One line holds the key's path, what was written and what would do, and comes from the very rule that refused."""
    text = override_message(shipped, {path: value})

    assert text.startswith(f"{path} = ")
    assert f"{what} (command line): " in text
    assert remedy in text.split("(command line): ")[1]
    assert 1 == len(text.splitlines())


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("tick_size", '"0"', 'instruments[0].tick_size = "0" is not allowed'),
        ("tick_size", "0.01", "instruments[0].tick_size = 0.01 is no text"),
        ("lot_size", '"-1"', 'instruments[0].lot_size = "-1" is not allowed'),
        ("start_price", '"100.005"', "instruments[0].start_price of AAPL: price 100.005 is no whole multiple of 0.01"),
        ("start_price", '"1e30"', "instruments[0].start_price of AAPL: price 1e30 is out of bounds"),
        ("start_price", '"0"', 'instruments[0].start_price = "0" is not allowed'),
        ("symbol", '"A A"', 'instruments[0].symbol = "A A" is not allowed'),
    ],
)
def test_wrong_instrument_is_told_with_its_row(key, value, problem):
    """Rows are counted from 0, in the order of the file."""
    lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in MINIMAL.splitlines()]

    assert message("\n".join(lines)).startswith(f"{problem} (my.toml): ")


def test_huge_number_is_told_without_its_digits(shipped):
    """Python refuses to write the longest integers out; the message does not try."""
    text = override_message(shipped, {"feed.simulator.seed": 1 << 20_000})

    assert text.startswith("feed.simulator.seed = a huge number is out of range")


def test_override_below_a_value_is_refused(shipped):
    """A path through something that is no section leads nowhere."""
    assert "feed.speed.x = 1 is below speed, which is no section (command line): check the path" == override_message(
        shipped, {"feed.speed.x": 1}
    )


# What is unknown or missing


def test_unknown_key_names_the_nearest_of_its_section():
    """A misspelt key is an error: silence would leave the default in its place."""
    text = message(f"{MINIMAL}[risk.stops]\ndefault_stop_percnt = 3.0\n")

    assert "unknown key risk.stops.default_stop_percnt = 3.0 (my.toml): did you mean risk.stops.default_stop_percent?" == text


def test_unknown_key_that_belongs_elsewhere_names_where():
    """A key in the wrong section is answered with the right one."""
    text = message(f"{MINIMAL}[feed]\nscenario = 'gap'\n")

    assert 'unknown key feed.scenario = "gap" (my.toml): did you mean feed.simulator.scenario?' == text


def test_unknown_key_like_no_other_lists_what_is_known():
    """Where nothing is near, all keys of the section are told."""
    text = message(f"{MINIMAL}[tables]\nqqqq = 1\n")

    assert "unknown key tables.qqqq = 1 (my.toml): known keys of [tables] are stops, atr_series, venue_orders" == text


def test_unknown_section_names_the_nearest(shipped):
    """A section is a key too, in the file and on the command line."""
    assert "unknown key sidcar = {...} (my.toml): did you mean sidecar?" == message(f"{MINIMAL}[sidcar]\nenabled = true\n")
    assert "did you mean feed.simulator?" in override_message(shipped, {"feed.simlator.seed": 2})


def test_missing_instrument_key_is_told_with_what_to_write():
    """An instrument without its tick size cannot be guessed."""
    text = message(MINIMAL.replace('tick_size = "0.01"\n', ""))

    assert 'instruments[0].tick_size is missing (my.toml): write a decimal above 0 in quotes, such as "0.01"' == text


def test_minimal_file_takes_every_default(shipped):
    """Limits and one instrument are enough."""
    assert shipped.rings == parse_config(MINIMAL, "my.toml").rings


def test_several_faults_are_told_at_once_in_the_order_of_the_sections():
    """A person mends a file in one go, not fault by fault."""
    lines = message(f"{MINIMAL}[rings]\nticks = 3\n[feed]\nspeed = 'fast'\nsped = 1\n").splitlines()

    starts = ["unknown key feed.sped", "feed.speed =", "rings.ticks ="]
    assert len(starts) == len(lines)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


# What does not go together


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"feed.kind": "replay"}, 'feed.kind = "replay" has no feed.recording'),
        ({"feed.simulator.spread_bps_min": 6}, "feed.simulator.spread_bps_min = 6.0 is above spread_bps_max = 5.0"),
        ({"feed.simulator.scenario_symbols": ["SPX"]}, 'feed.simulator.scenario_symbols names "SPX", which is not in'),
        ({"instruments": []}, "the simulator has no instruments"),
        ({"risk.stops.min_stop_percent": 30}, "risk.stops.min_stop_percent = 30 is above max_stop_percent = 20.0"),
        ({"risk.stops.default_stop_percent": 21}, "risk.stops.default_stop_percent = 21 is out of its bounds"),
        ({"risk.stops.trailing_stop_percent": 0.01}, "risk.stops.trailing_stop_percent = 0.01 is out of its bounds"),
        ({"risk.stops.exit_retry_ms": 6000}, "risk.stops.exit_retry_ms = 6000 is above exit_retry_ms_max = 5000"),
        ({"strategies.demo.symbols": ["AAPL", "BTC"]}, 'strategies.demo.symbols names "BTC", which is not in'),
        ({"rings.events": 1 << 24}, "rings take 2068 MiB of shared memory together"),
        (
            {"workers.risk.core": 1, "workers.ingest.core": 1, "workers.risk.wait": "spin"},
            'workers.risk.wait = "spin" on core 1, which ingest needs too',
        ),
    ],
)
def test_settings_that_disagree_are_told(shipped, overrides, problem):
    """Values that are sound alone may be wrong together."""
    assert override_message(shipped, overrides).startswith(problem)


def test_rings_at_the_memory_bound_are_accepted_and_beyond_it_refused(shipped):
    """The bound counts the slots of every ring, requests once per strategy."""
    smaller = {"rings.orders": 64, "rings.reports": 64, "rings.requests": 64}
    accepted = with_overrides(shipped, {"rings.events": 1 << 23, **smaller})

    assert ring_bytes(accepted) <= RING_BYTES_MAX < ring_bytes(accepted) * 2
    assert "MiB of shared memory" in override_message(accepted, {"rings.events": 1 << 24})


def test_symbol_twice_is_told_with_both_rows():
    """The second row names the first."""
    rows = MINIMAL[MINIMAL.index("[[") :]

    assert 'instruments[1].symbol = "AAPL" is instruments[0] already (my.toml): keep one of them' == message(MINIMAL + rows)


def test_replay_needs_no_instruments_of_the_file(shipped):
    """A recording brings its own, and symbols named for it are looked up there."""
    overrides = {"feed.kind": "replay", "feed.recording": "rec", "instruments": [], "strategies.demo.symbols": ["AIG"]}

    assert () == with_overrides(shipped, overrides).instruments
