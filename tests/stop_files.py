"""Stops as the files of tools/backtest.py: stops.csv is written from the twins' terms, out.csv is read to compare with them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pipeline.instruments import EXACT, Instruments
from pipeline.messages import LONG, STOP_KIND_NAMES, WATCH_NAMES
from tests.stop_oracle import StopTerms, Trigger

STOP_COLUMNS = (
    "stop_id", "symbol", "side", "kind", "watch", "entry_price", "quantity", "entry_time", "stop_price", "percent", "offset",
    "activation_percent", "breakeven_percent", "atr_multiplier", "atr_period", "bar_seconds", "max_holding_seconds",
)  # fmt: skip
OUT_COLUMNS = ("stop_id", "kind", "trigger_ns", "watched_price", "level")
PPM_OF_PERCENT, PPM, NS = 10_000, 10**6, 10**9


@dataclass(frozen=True, order=True)
class OutRow:
    """One row of out.csv: a stop that fired. Decimals compare by value, whatever their places."""

    stop_id: int
    kind: str
    trigger_ns: int
    watched_price: Decimal | None
    level: Decimal | None


def decimal_of(value: Fraction | int) -> Decimal:
    """Return a fraction as a decimal.

    Raises:
        decimal.Inexact: none can write it.
    """
    exact = Fraction(value)
    return EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def price_of(instruments: Instruments, instrument: int, ticks: Fraction | int) -> Decimal:
    """Return a price of so many ticks, which may lie between them, as money."""
    return decimal_of(Fraction(ticks) * Fraction(instruments[instrument].tick_size))


def stop_row(terms: StopTerms, instruments: Instruments) -> dict[str, str]:
    """Return one row of stops.csv; what is not given is empty. fallback_ppm is the configuration's, and in no file."""
    price = "" if terms.price is None else _text(price_of(instruments, terms.instrument, terms.price))
    offset = _text(price_of(instruments, terms.instrument, terms.offset_ticks)) if terms.offset_ticks else ""
    return {
        "stop_id": str(terms.stop_id),
        "symbol": instruments[terms.instrument].symbol,
        "side": "long" if terms.side == LONG else "short",
        "kind": STOP_KIND_NAMES[terms.kind],
        "watch": WATCH_NAMES[terms.watch],
        "entry_price": instruments.price_text(terms.instrument, terms.entry_ticks),
        "quantity": instruments.quantity_text(terms.instrument, 1),
        "entry_time": str(terms.entry_ns),
        "stop_price": price,
        "percent": _quotient(terms.percent_ppm, PPM_OF_PERCENT),
        "offset": offset,
        "activation_percent": _quotient(terms.activation_ppm, PPM_OF_PERCENT),
        "breakeven_percent": _quotient(terms.breakeven_ppm, PPM_OF_PERCENT),
        "atr_multiplier": _quotient(terms.atr_ppm, PPM),
        "atr_period": str(terms.atr_period or ""),
        "bar_seconds": _quotient(terms.bar_ns, NS),
        "max_holding_seconds": _quotient(terms.holding_ns, NS),
    }


def write_csv(terms: Iterable[StopTerms], instruments: Instruments, path: Path) -> None:
    """Write stops.csv."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, STOP_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(stop_row(one, instruments) for one in terms)


def read_out_csv(path: Path) -> list[OutRow]:
    """Read out.csv, in its own order."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == OUT_COLUMNS
        return [
            OutRow(
                int(row["stop_id"]), row["kind"], int(row["trigger_ns"]), _decimal(row["watched_price"]), _decimal(row["level"])
            )
            for row in reader
        ]


def out_rows(triggers: Iterable[Trigger], terms: Iterable[StopTerms], instruments: Instruments) -> list[OutRow]:
    """Return what out.csv must hold for these triggers, in their order."""
    by_id = {one.stop_id: one for one in terms}
    rows = []
    for trigger in triggers:
        one = by_id[trigger.stop_id]
        price, level = (
            None if units is None else price_of(instruments, one.instrument, Fraction(units, one.unit))
            for units in (trigger.price, trigger.level)
        )
        rows.append(OutRow(trigger.stop_id, STOP_KIND_NAMES[one.kind], trigger.trigger_ns, price, level))
    return rows


def _quotient(value: int, divisor: int) -> str:
    return _text(decimal_of(Fraction(value, divisor))) if value else ""


def _text(value: Decimal) -> str:
    return format(value, "f")


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if text else None
