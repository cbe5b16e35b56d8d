"""[account] and [risk]: a limit that is missing stops everything, those that are there become rows, one for each scope."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Config, config_from_json, config_to_json, load_config, parse_config, with_overrides, with_symbols
from pipeline.config_risk_checks import BOUNDS
from pipeline.errors import ConfigurationError
from pipeline.instruments import Instruments
from pipeline.launch import plan
from pipeline.limit_rows import limit_rows, restricted_mask
from pipeline.limit_values import INSTRUMENT_LIMITS, parse_limit
from pipeline.messages import HALTED, REDUCING
from pipeline.money import Money, money_of
from pipeline.risk.limits import UNLIMITED
from pipeline.risk.worker import limits_from
from pipeline.tables import LIMIT_NAMES, LIMITS
from pipeline.topology import ACCOUNT, Sizes, scope_of_instrument, scope_of_strategy
from tests.limit_texts import FREE, MINIMAL, limits_toml

pytestmark = pytest.mark.jitless


@pytest.fixture(scope="module")
def shipped() -> Config:
    """The config.toml beside the sources."""
    return load_config()


def sizes_of(config: Config, instruments: Instruments, books: int = 0) -> Sizes:
    """Return the sizes of an instance with these settings."""
    sizes = Sizes(len(instruments), config.strategies.slots, *[1024] * 8)
    return sizes._replace(books=books)


def rows_of(config: Config, books: int = 0) -> tuple[np.ndarray, Sizes, Money]:
    """Return the limits of every scope, and what they were made for."""
    table = config.instrument_table
    money, sizes = money_of(table, config.account), sizes_of(config, table, books)
    return limit_rows(config, table, money, sizes), sizes, money


def message(config: Config, overrides: dict) -> str:
    """Return what a person reads about settings that are wrong."""
    with pytest.raises(ConfigurationError) as caught:
        with_overrides(config, overrides)
    return str(caught.value)


# What is missing


@pytest.mark.parametrize("section", ["risk", "risk.strategy"])
@pytest.mark.parametrize("limit", LIMIT_NAMES)
def test_missing_limit_is_refused_and_says_how_to_lift_it(limit: str, section: str) -> None:
    """Not set never means not limited."""
    before, header, after = MINIMAL.partition(f"[{section}]\n")
    lines = after.splitlines()
    lines.remove(next(line for line in lines if line.startswith(f"{limit} =")))

    with pytest.raises(ConfigurationError) as caught:
        parse_config(before + header + "\n".join(lines), "my.toml")

    (text,) = caught.value.lines
    assert text.startswith(f"{section}.{limit} is missing, and a missing limit blocks every order (my.toml): write a")
    assert text.endswith(', or "unlimited" for no limit')


def test_missing_limits_are_told_all_at_once() -> None:
    """Whoever comes from an older file reads in one go what it lacks."""
    with pytest.raises(ConfigurationError) as caught:
        parse_config('[risk]\nmax_order_quantity = "1"\n', "my.toml")

    assert len(LIMIT_NAMES) == len(caught.value.lines)
    assert "risk.strategy is missing, and a missing limit blocks every order" in caught.value.lines[-1]


# What becomes of it


def test_rows_of_shipped_limits_are_what_the_file_says(shipped: Config) -> None:
    """Each scope's row is its section read by the rules of commands; instruments are limited in nothing."""
    rows, sizes, money = rows_of(shipped)

    assert (sizes.scope_count, LIMITS) == (len(rows), rows.dtype)
    sections = [shipped.risk] + [shipped.risk.strategy] * sizes.strategies
    for row, section in zip(rows, sections, strict=False):
        assert [parse_limit(name, getattr(section, name), money) for name in LIMIT_NAMES] == list(row.item())
    assert {UNLIMITED} == {value for row in rows[scope_of_instrument(sizes, 0) :] for value in row.item()}


def test_override_of_one_strategy_changes_its_scope_alone(shipped: Config) -> None:
    """What the row does not say stays as for every strategy."""
    plain, sizes, _ = rows_of(shipped)
    changes = [{"slot": 2, "max_order_notional": "50000.5", "max_open_positions": 3}]
    rows, _, _ = rows_of(with_overrides(shipped, {"risk.strategies": changes}))

    scope = scope_of_strategy(2)
    assert (50_000_500_000, 3) == (rows["max_order_notional"][scope], rows["max_open_positions"][scope])
    plain["max_order_notional"][scope], plain["max_open_positions"][scope] = 50_000_500_000, 3
    assert (plain == rows).all()
    assert sizes.scope_count == len(rows)


def test_override_of_one_instrument_changes_its_scope_alone(shipped: Config) -> None:
    """An instrument's own limits stand in its own scope, rounded down to its account's units."""
    changes = [{"symbol": "BTCUSDT", "max_position_quantity": "0.0019", "max_volatility_percent": 2.5}]
    rows, sizes, _ = rows_of(with_overrides(shipped, {"risk.instruments": changes}))

    row = rows[scope_of_instrument(sizes, shipped.instrument_table.index("BTCUSDT"))]
    assert (1, 25_000) == (row["max_position_quantity"], row["max_volatility_percent"])
    assert {1, 25_000, UNLIMITED} == {value for row in rows[scope_of_instrument(sizes, 0) :] for value in row.item()}


def test_books_beyond_the_slots_have_the_limits_of_every_strategy(shipped: Config) -> None:
    """A backtest has a book for each planned position; the slot of an override is still that slot alone."""
    config = with_overrides(shipped, {"risk.strategies": [{"slot": 3, "max_drawdown": "1"}]})
    rows, sizes, _ = rows_of(config, books=7)

    strategies = rows["max_drawdown"][scope_of_strategy(0) : scope_of_strategy(7)]
    assert (1 + 7 + 8, 1_000_000) == (sizes.scope_count, strategies[3])
    assert 6 == np.count_nonzero(strategies == strategies[0])


def test_limit_of_an_instrument_alone_is_only_one_that_it_may_have(shipped: Config) -> None:
    """A daily loss of an instrument is unknown: nobody would look at it."""
    unknown = [name for name in LIMIT_NAMES if name not in INSTRUMENT_LIMITS]

    text = message(shipped, {"risk.instruments": [{"symbol": "AAPL"} | dict.fromkeys(unknown, "unlimited")]})
    assert len(unknown) == len(text.splitlines())
    assert 'unknown key risk.instruments[0].max_daily_loss = "unlimited"' in text


def test_restricted_mask_marks_what_either_place_names(shipped: Config) -> None:
    """In the list, or in a row of its own."""
    rows = [{"symbol": "MSFT", "restricted": True}, {"symbol": "NVDA"}]
    config = with_overrides(shipped, {"risk.restricted": ["AAPL"], "risk.instruments": rows})

    assert [True, True, *[False] * 6] == restricted_mask(config, config.instrument_table).tolist()
    assert not restricted_mask(shipped, shipped.instrument_table).any()


def test_amounts_beyond_what_is_counted_are_told_with_their_paths(shipped: Config) -> None:
    """Only with the instruments is it known in which unit money is counted."""
    config = with_overrides(shipped, {"risk.max_drawdown": "1e14", "risk.strategy.max_position_quantity": "1e17"})

    with pytest.raises(ConfigurationError) as caught:
        rows_of(config)

    starts = ['risk.max_drawdown = "1e14" is beyond', 'risk.strategy.max_position_quantity = "1e17" is beyond']
    assert [line.startswith(start) for line, start in zip(caught.value.lines, starts, strict=True)] == [True, True]


def test_settings_of_risk_become_those_of_its_kernels(shipped: Config) -> None:
    """Breaker, rate and account arrive in units, ns and ppm."""
    config = with_overrides(shipped, {
        "risk.breaker": {"state": "halted", "cooldown_seconds": 1.5, "auto_resume": True, "reject_window_seconds": 2,
                         "reject_orders_min": 7, "review_ms": 250},
        "risk.order_burst": 33, "risk.order_rate_reserve_percent": 12.5, "account.day_start_utc": "22:00",
    })  # fmt: skip
    limits = limits_from(config, config.instrument_table)

    assert (HALTED, 1_500_000_000, 1) == (limits.breaker_state, limits.cooldown_ns, limits.auto_resumes)
    assert (2_000_000_000, 7, 250_000_000) == (limits.reject_window_ns, limits.reject_orders_min, limits.review_ns)
    assert (33, 125_000, 79_200_000_000_000) == (limits.rate_burst, limits.rate_reserve_ppm, limits.day_start_ns)
    assert (50 * 10**12, 10_000, 1_000) == (limits.balance_units, limits.value_units[0], limits.lot_units[0])
    assert np.dtype(np.int64) == limits.value_units.dtype == limits.lot_units.dtype
    assert REDUCING == limits_from(shipped, shipped.instrument_table).breaker_state


def test_overrides_cross_a_process_as_json_unchanged(shipped: Config) -> None:
    """What a row leaves out is left out on the other side too, and is no other value."""
    rows = [{"symbol": "MSFT", "max_order_notional": "5", "session": "always"}]
    config = with_overrides(shipped, {"risk.strategies": [{"slot": 0, "max_executions": 5}], "risk.instruments": rows})

    assert config == config_from_json(config_to_json(config))
    assert config == with_overrides(config, {})


def test_numbers_and_their_texts_are_the_same_limit(shipped: Config) -> None:
    """A flag gives text where the file has a number."""
    given = {"risk.max_open_positions": 5, "risk.price_collar_percent": 2.5, "risk.duplicate_window_ms": 0}
    texts = {path: str(value) for path, value in given.items()}

    assert with_overrides(shipped, given) == with_overrides(shipped, texts)


# What does not go together


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            {"account.rates": [{"currency": "USDT", "rate": "1"}] * 2},
            "account.rates[1].currency = USDT is account.rates[0] already",
        ),
        (
            {"account.rates": [{"currency": "USD", "rate": "2"}]},
            "account.rates[0] converts USD, the account's own currency, at 2",
        ),
        (
            {"risk.strategies": [{"slot": 4}]},
            "risk.strategies[0].slot = 4 is no slot: strategies.slots = 4 (command line): did",
        ),
        ({"risk.strategies": [{"slot": 1}, {"slot": 1}]}, "risk.strategies[1].slot = 1 is risk.strategies[0] already"),
        (
            {"risk.instruments": [{"symbol": "SPY"}, {"symbol": "SPY"}]},
            "risk.instruments[1].symbol = SPY is risk.instruments[0] already",
        ),
        ({"risk.instruments": [{"symbol": "SPX"}]}, 'risk.instruments names "SPX", which is not in [[instruments]]'),
        (
            {"risk.restricted": ["APPL"]},
            'risk.restricted names "APPL", which is not in [[instruments]] (command line): did you',
        ),
        ({"risk.blackouts": ["2026-12-24T18:00:00Z/2026-12-26T00:00:00Z SPX"]}, 'risk.blackouts names "SPX", which is not in'),
        ({"risk.session": "Mon-Fri 09:30-16:00"}, "risk.session: session hours 'Mon-Fri 09:30-16:00' name no time zone"),
        (
            {"risk.instruments": [{"symbol": "SPY", "session": "Mon-Fri 09:30-16:00 America/New_Yrk"}]},
            "risk.instruments[0].session: unknown time zone 'America/New_Yrk' (command line): did you mean America/New_York",
        ),
        (
            {"risk.blackouts": ["2026-12-24T18:00:00Z/2026-12-24T18:00:00Z"]},
            "risk.blackouts[0]: blackout '2026-12-24T18:00:00Z/2026-12-24T18:00:00Z' ends before it begins",
        ),
        ({"risk.breaker.auto_resume": True}, "risk.breaker.auto_resume = true has no cooldown_seconds to wait for"),
    ],
)
def test_settings_of_risk_that_disagree_are_told(shipped: Config, overrides: dict, problem: str) -> None:
    """Values that are sound alone may be wrong together."""
    assert message(shipped, overrides).startswith(problem)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_smallest_above_largest_is_told_in_every_section(shipped: Config, low: str, high: str) -> None:
    """No order could pass; equal ones let exactly one size pass."""
    sections = ("risk", "risk.strategy")
    assert with_overrides(shipped, {f"{section}.{key}": "5" for section in sections for key in (low, high)})
    for section in sections:
        text = message(shipped, {f"{section}.{low}": "5.01", f"{section}.{high}": "5"})
        assert text.startswith(f"{section}: {low} = 5.01 is above {high} = 5 (command line)")
    row = {low: "5.01", high: "5"}
    assert message(shipped, {"risk.instruments": [{"symbol": "SPY"} | row]}).startswith("risk.instruments[0]: ")
    above = {f"risk.strategy.{high}": "5", "risk.strategies": [{"slot": 1, low: "6"}]}
    assert message(shipped, above).startswith(f"risk.strategies[0]: {low} = 6 is above {high} = 5")


# Fewer instruments, and others


def test_symbols_chosen_leave_out_what_is_said_of_others(shipped: Config) -> None:
    """A blackout for symbols that are all left out goes whole: without its symbols it would be for all."""
    span = "2026-12-24T18:00:00Z/2026-12-26T00:00:00Z"
    config = with_overrides(shipped, {
        "risk.restricted": ["AAPL", "SPY"],
        "risk.instruments": [{"symbol": "SPY"}, {"symbol": "MSFT", "restricted": True}],
        "risk.blackouts": [f"{span} SPY AAPL", f"{span} MSFT", span],
    })  # fmt: skip
    risk = with_symbols(config, ["AAPL", "NVDA"]).risk

    assert (("AAPL",), (), (f"{span} AAPL", span)) == (risk.restricted, risk.instruments, risk.blackouts)


def test_symbol_that_no_feed_has_is_refused_where_a_recording_brings_the_instruments(shipped: Config) -> None:
    """A limit that is meant for a misspelt symbol would protect nothing; one for a symbol of the file is for another run."""
    table = Instruments([shipped.instrument_table[5]])
    money, overrides = money_of(table, shipped.account), {"feed.kind": "replay", "feed.recording": "rec"}
    config = with_overrides(shipped, overrides | {"risk.instruments": [{"symbol": "SPY"}, {"symbol": "BTCUSDT"}]})
    assert 1 + 4 + 1 == len(limit_rows(config, table, money, sizes_of(config, table)))

    wrong = with_overrides(shipped, overrides | {"risk.instruments": [{"symbol": "BTCUSD"}], "risk.restricted": ["ZZZ"]})
    with pytest.raises(ConfigurationError) as caught:
        limit_rows(wrong, table, money, sizes_of(wrong, table))
    first, second = caught.value.lines
    remedy = "which no feed here has (config.toml): did you mean BTCUSDT?"
    assert f'risk.instruments[0].symbol names "BTCUSD", {remedy}' == first
    assert second.startswith('risk.restricted names "ZZZ", which no feed here has (config.toml): choose from BTCUSDT, AAPL')


def test_start_without_a_rate_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which key to write."""
    monkeypatch.chdir(tmp_path)
    config = with_overrides(load_config(), {"account.rates": [], "sidecar.metrics_port": 0})

    with pytest.raises(ConfigurationError, match=r"BTCUSDT, ETHUSDT are in USDT.*config\.toml.*account\.rates"):
        plan(config)


def test_launch_tells_attaching_processes_the_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money in the instance file is read by what the file says of itself."""
    monkeypatch.chdir(tmp_path)
    launch = plan(with_overrides(load_config(), {"sidecar.enabled": False}))

    assert launch.money == Money.from_json(launch.about()["account"])
    assert launch.limit_rows.tolist() == rows_of(launch.config)[0].tolist()


def test_limits_of_a_minimal_file_are_unlimited_where_it_says_so() -> None:
    """The texts of these tests are a configuration."""
    config = parse_config(limits_toml("risk") + limits_toml("risk.strategy") + MINIMAL[MINIMAL.index("[[") :], "my.toml")

    assert set(FREE) == set(LIMIT_NAMES)
    assert {UNLIMITED} == {value for row in rows_of(config)[0] for value in row.item()}
    assert 1 == np.count_nonzero(rows_of(parse_config(MINIMAL, "my.toml"))[0]["max_order_quantity"][ACCOUNT] == 1)
