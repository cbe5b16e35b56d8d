"""The configured limits as rows of tables.LIMITS, one for each scope, and which instruments are restricted."""

from collections.abc import Iterable

import msgspec
import numpy as np

from pipeline.config_risk import InstrumentLimitsSection, LimitsSection, StrategyLimitsSection
from pipeline.config_rules import shown
from pipeline.config_schema import Config
from pipeline.errors import ConfigurationError, nearest
from pipeline.instruments import Instruments
from pipeline.limit_values import INSTRUMENT_LIMITS, parse_limit
from pipeline.money import Money
from pipeline.risk.limits import free_limits
from pipeline.tables import LIMIT_NAMES
from pipeline.topology import ACCOUNT, Sizes, scope_of_instrument, scope_of_strategy

FILE = "config.toml"


def limit_rows(config: Config, instruments: Instruments, money: Money, sizes: Sizes, where: str = FILE) -> np.ndarray:
    """Return the limits of every scope.

    Args:
        config: the settings.
        instruments: those that are traded.
        money: units of the account, made for these instruments.
        sizes: of the instance; strategies beyond the configured slots (a backtest's) have the limits of every strategy.
        where: file of the settings, for messages.
    Returns:
        LIMITS of shape (sizes.scope_count,): account, strategies, instruments. What is not said of an instrument is UNLIMITED.
    Raises:
        ConfigurationError: a symbol is unknown, or a value is beyond what can be counted; every one of them is told.
    """
    problems = unknown_symbols(config, instruments.symbols)
    rows = free_limits(sizes.scope_count)
    risk, strategies = config.risk, rows[scope_of_strategy(0) : scope_of_strategy(sizes.book_count)]
    _fill(rows[ACCOUNT], risk, "risk", LIMIT_NAMES, money, problems)
    _fill(strategies[0], risk.strategy, "risk.strategy", LIMIT_NAMES, money, problems)
    strategies[1:] = strategies[0]
    for index, slot in enumerate(risk.strategies):
        if slot.slot < sizes.book_count:
            _fill(strategies[slot.slot], slot, f"risk.strategies[{index}]", LIMIT_NAMES, money, problems)
    for index, row in enumerate(risk.instruments):
        if row.symbol in instruments:
            scope = scope_of_instrument(sizes, instruments.index(row.symbol))
            _fill(rows[scope], row, f"risk.instruments[{index}]", INSTRUMENT_LIMITS, money, problems)
    if problems:
        raise ConfigurationError.gather([ConfigurationError(each.what, where, each.remedy) for each in problems])
    return rows


def restricted_mask(config: Config, instruments: Instruments) -> np.ndarray:
    """Return for each instrument whether no order may open or add to a position in it; bool of shape (len(instruments),)."""
    named = {*config.risk.restricted, *(row.symbol for row in config.risk.instruments if row.restricted)}
    return np.array([symbol in named for symbol in instruments.symbols], np.bool_)


def unknown_symbols(config: Config, known: Iterable[str]) -> list[ConfigurationError]:
    """Return a problem for each symbol of [risk] that is unknown: a limit that is meant for it would protect nothing.

    Args:
        config: the settings.
        known: symbols of the feed; those of [[instruments]] are known as well, whether the feed has them or not.
    """
    symbols = list(dict.fromkeys([*known, *(row.symbol for row in config.instruments)]))
    named = [(f"risk.instruments[{index}].symbol", row.symbol) for index, row in enumerate(config.risk.instruments)]
    named += [("risk.restricted", symbol) for symbol in config.risk.restricted]
    named += [
        (f"risk.blackouts[{index}]", symbol) for index, text in enumerate(config.risk.blackouts) for symbol in text.split()[1:]
    ]
    problems = []
    for path, symbol in named:
        if symbol not in symbols:
            near = nearest(symbol, symbols, 1)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(symbols[:12]) or 'none'}"
            problems.append(ConfigurationError(f"{path} names {shown(symbol)}, which no feed here has", FILE, remedy))
    return problems


def _fill(
    row: np.void,
    section: LimitsSection | StrategyLimitsSection | InstrumentLimitsSection,
    path: str,
    names: Iterable[str],
    money: Money,
    problems: list[ConfigurationError],
) -> None:
    """Write those limits into a row that a section sets."""
    for name in names:
        text = getattr(section, name)
        if text is msgspec.UNSET:
            continue
        try:
            row[name] = parse_limit(name, text, money)
        except ConfigurationError as error:
            problems.append(ConfigurationError(f"{path}.{error.what}", error.where, error.remedy))
