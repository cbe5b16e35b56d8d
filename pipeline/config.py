"""config.toml in, frozen and validated settings out; a wrong file never gets past here.

Every fault of a file is reported at once, one line each: the key's path, the value, the file, and what would do. Command-line
flags go through `with_overrides`, which holds them to the same rules.
"""

import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config_checks import faults
from pipeline.config_rules import Walk, shown
from pipeline.config_schema import Config
from pipeline.errors import ConfigurationError, nearest
from pipeline.limit_values import limit_expected
from pipeline.tables import LIMIT_NAMES

__all__ = [
    "COMMAND_LINE", "DEFAULT_PATH", "Config", "config_from_json", "config_to_json", "load_config",
    "parse_config", "with_overrides", "with_symbols", "without_symbols",
]  # fmt: skip

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "config.toml"
COMMAND_LINE = "command line"

_BLOCKS = "is missing, and a missing limit blocks every order"
_MISSING = {
    "risk": (_BLOCKS, "write [risk] with its limits"),
    "risk.strategy": (_BLOCKS, "write [risk.strategy] with the limits of every strategy"),
    **{
        f"{section}.{name}": (_BLOCKS, f"write {limit_expected(name, in_file=True)} for no limit")
        for section in ("risk", "risk.strategy")
        for name in LIMIT_NAMES
    },
}


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read and validate a configuration file.

    Args:
        path: the file; None for the config.toml beside the sources.
    Raises:
        ConfigurationError: the file cannot be read, is no TOML, or has settings that are wrong; every one of them is told.
    """
    chosen = DEFAULT_PATH if path is None else Path(path)
    try:
        text = chosen.read_bytes().decode("utf-8")
    except OSError as error:
        remedy = "give the path of a file such as config.toml"
        raise ConfigurationError(f"cannot read the configuration: {error.strerror}", str(chosen), remedy) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"byte {error.start} is no UTF-8", str(chosen), "save the file as UTF-8") from None
    return parse_config(text, str(chosen))


def parse_config(text: str, where: str) -> Config:
    """Validate the text of a configuration file.

    Args:
        text: TOML.
        where: name of the file, for messages.
    Raises:
        ConfigurationError: as `load_config`.
    """
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"no TOML: {error}", where, "mend the syntax there") from None
    except ArithmeticError:
        raise ConfigurationError("a number has an exponent beyond all reason", where, "write it out") from None
    except (RecursionError, ValueError) as error:
        raise ConfigurationError(f"no TOML: {error}", where, "mend the value or the nesting") from None
    return _build(table, where)


def with_overrides(config: Config, overrides: Mapping[str, Any], where: str = COMMAND_LINE) -> Config:
    """Return a config with some settings replaced, validated as a file is.

    Args:
        config: a valid config, left as it is.
        overrides: value by dotted path, such as {"feed.speed": "max"}; None leaves the setting alone (a flag not given).
        where: what the values came from, for messages: `config` was sound, so a fault lies with them.
    Raises:
        ConfigurationError: a path is unknown or a value is wrong, alone or beside the others.
    """
    table = msgspec.to_builtins(config, builtin_types=(Decimal,))
    for path, value in overrides.items():
        if value is None:
            continue
        *sections, key = path.split(".")
        section = table
        for name in sections:
            below = section.setdefault(name, {})
            if not isinstance(below, dict):
                raise ConfigurationError(
                    f"{path} = {shown(value)} is below {name}, which is no section", where, "check the path"
                )
            section = below
        section[key] = value
    return _build(table, where)


def with_symbols(config: Config, symbols: Sequence[str], where: str = COMMAND_LINE) -> Config:
    """Return a config with only these instruments, in the order given; lists of symbols elsewhere lose the others.

    Args:
        config: a valid config, left as it is.
        symbols: at least one, each in [[instruments]].
        where: what the symbols came from, for messages.
    Raises:
        ConfigurationError: one is unknown or named twice, or none is given.
    """
    rows = {row.symbol: row for row in config.instruments}
    unknown = [symbol for symbol in symbols if symbol not in rows]
    problems = []
    for symbol in unknown:
        near = nearest(symbol, rows, 1)
        remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(rows)}"
        problems.append(ConfigurationError(f"unknown symbol {shown(symbol)}", where, remedy))
    if problems:
        raise ConfigurationError.gather(problems)
    if not symbols:
        raise ConfigurationError("no symbol is given", where, f"choose from {', '.join(rows)}")
    table = msgspec.to_builtins(config, builtin_types=(Decimal,))
    table["instruments"] = [msgspec.to_builtins(rows[symbol], builtin_types=(Decimal,)) for symbol in symbols]
    lists = (
        (table["feed"]["simulator"], "scenario_symbols", "feed.simulator.scenario_symbols"),
        (table["strategies"]["demo"], "symbols", "strategies.demo.symbols"),
    )
    for section, key, path in lists:
        kept = [symbol for symbol in section[key] if symbol in symbols]
        if section[key] and not kept:
            # An empty list means all: what was meant for none of these instruments must not widen to all of them.
            what = f"{path} names none of {', '.join(symbols)}"
            raise ConfigurationError(what, where, f"add one of {', '.join(section[key])}, or change {path}")
        section[key] = kept
    return _build(_without(table, set(rows) - set(symbols)), where)


def without_symbols(config: Config, symbols: Collection[str], where: str = COMMAND_LINE) -> Config:
    """Return a config whose [risk] says nothing of these instruments.

    Args:
        config: a valid config, left as it is.
        symbols: those that are not traded in this run.
        where: what left them out, for messages.
    """
    return _build(_without(msgspec.to_builtins(config, builtin_types=(Decimal,)), symbols), where)


def _without(table: dict[str, Any], symbols: Collection[str]) -> dict[str, Any]:
    """Leave out of [risk] what is said of some instruments. What is said of no other goes too: it must not come to mean all."""
    risk = table["risk"]
    risk["instruments"] = [row for row in risk["instruments"] if row["symbol"] not in symbols]
    risk["restricted"] = [symbol for symbol in risk["restricted"] if symbol not in symbols]
    blackouts = [text.split() for text in risk["blackouts"]]
    kept = [(span, named, [symbol for symbol in named if symbol not in symbols]) for span, *named in blackouts]
    risk["blackouts"] = [" ".join([span, *left]) for span, named, left in kept if left or not named]
    return table


def config_to_json(config: Config) -> dict[str, Any]:
    """Return a config as what JSON gives back (lists, decimals as text), for the processes of an instance."""
    table: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return table


def config_from_json(table: Mapping[str, Any]) -> Config:
    """Return the config that `config_to_json` was given; it was validated there."""
    return msgspec.convert(table, Config)


def _build(table: Mapping[str, Any], where: str) -> Config:
    config: Config = Walk(where, _MISSING).build(Config, table)
    problems = [ConfigurationError(what, where, remedy) for what, remedy in faults(config)]
    if problems:
        raise ConfigurationError.gather(problems)
    return config
