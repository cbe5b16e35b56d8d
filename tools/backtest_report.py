"""The report of a backtest for people, 100 columns wide."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.backtest.summary import ALL
from pipeline.errors import InstanceError
from pipeline.summary import write_summary
from tools.durations import duration_text

COLUMNS = 100
#: Columns of the stops that are always shown.
USUAL = ("set", "fired", "open")
NS_PER_SECOND = 1_000_000_000


def make_console() -> Console:
    """Return a console of the report's width, wherever it prints to."""
    return Console(width=COLUMNS, highlight=False)


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Print the report."""
    for name, text in _facts(summary):
        line = Text(f"  {name:<11}")
        console.print(line.append(text), soft_wrap=True)
    console.print(_stops_table(summary["stops"], summary["held_seconds"]))
    if summary["slippage"]:
        console.print(_slippage_table(summary["slippage"]))
    console.print(_pnl_table(summary["pnl"]))


def write_json(path: Path | None, summary: dict[str, Any]) -> None:
    """Write a report as JSON, where one is wanted.

    Raises:
        InstanceError: the place cannot be written.
    """
    if path is None:
        return
    try:
        write_summary(path, summary)
    except OSError as error:
        raise InstanceError(f"cannot write the summary: {error.strerror}", str(path), "choose another place") from None


def money_text(amount: str | float, has_sign: bool = True) -> str:
    """Write money with two places and thousands marked."""
    return f"{Decimal(str(amount)):{'+' if has_sign else ''},.2f}"


def listed(counts: Mapping[str, int]) -> str:
    """Write counts by name in one line."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _facts(summary: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    ticks, exits, speed = summary["ticks"], summary["exits"], summary["speed"]
    yield "backtest", f"{summary['recording']}: {summary['description']}" if summary["description"] else summary["recording"]
    rejected = sum(ticks["rejected"].values())
    reasons = f" ({listed(ticks['rejected'])})" if rejected else ""
    yield "ticks", f"{ticks['received']:,} received, {ticks['accepted']:,} accepted, {rejected:,} rejected{reasons}"
    fired = listed(summary["fired_by"]) or "none"
    yield "stops", f"{summary['positions']:,} positions with a stop each; fired by {fired}"
    notes = {name: exits[name] for name in ("rejected", "escalated", "unfinished") if exits[name]}
    more = f" ({listed(notes)})" if notes else ""
    latency = duration_text(1000 * summary["latency_us"])
    yield "exits", f"{exits['sent']:,} sent, {exits['fills']:,} fills{more}, {latency} after the tick that fired them"
    rate, each = speed["ticks_per_second"], speed["ns_per_tick"]
    yield "speed", f"{speed['seconds']:.3f} s, {rate / 1e6:,.1f} M ticks/s, {each:,.0f} ns a tick for all stages together"


def make_table(*columns: str) -> Table:
    """Return an empty table in the style of the report: names to the left, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    for k, name in enumerate(columns):
        table.add_column(name, justify="left" if k == 0 else "right", no_wrap=True)
    return table


def _stops_table(stops: Mapping[str, Mapping[str, int]], held: Mapping[str, Mapping[str, float] | None]) -> Table:
    # Columns that say nothing are left out.
    shown = [name for name in ("set", "fired", "open", "not_entered", "ended_otherwise") if name in USUAL or stops[ALL][name]]
    table = make_table("stops", *(name.replace("_", " ") for name in shown), "held mean", "p50", "p99", "max")
    for kind, counts in stops.items():
        if kind == ALL and len(stops) <= 2:
            continue
        times = held[kind]
        spans = [span_text(times[name]) for name in ("mean", "p50", "p99", "max")] if times else ["-"] * 4
        table.add_row(kind, *(f"{counts[name]:,}" for name in shown), *spans, style="bold" if kind == ALL else "")
    return table


def _slippage_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    rows = list(rows)
    table = make_table("level to fill", "exits", "ticks mean", "p50", "p99", "money mean", "p50", "p99", "total", "")
    many = {row["currency"]: sum(other["currency"] == row["currency"] for other in rows) > 2 for row in rows}
    for row in rows:
        if row["kind"] == ALL and not many[row["currency"]]:
            continue
        ticks, money = row["ticks"], row["money"]
        table.add_row(
            row["kind"],
            f"{row['count']:,}",
            *(f"{ticks[name]:,.1f}" for name in ("mean", "p50", "p99")),
            *(money_text(money[name], False) for name in ("mean", "p50", "p99", "total")),
            row["currency"],
            style="bold" if row["kind"] == ALL else "",
        )
    return table


def _pnl_table(pnl: Mapping[str, Mapping[str, str]]) -> Table:
    table = make_table("P&L", "with stops", "of it still open", "held to the end", "difference")
    for currency, amounts in pnl.items():
        names = ("with_stops", "of_open_positions", "without_stops", "difference")
        table.add_row(currency, *(money_text(amounts[name]) for name in names))
    return table


def span_text(seconds: float) -> str:
    """Write a time of seconds to days with a fitting unit."""
    if seconds < 60:
        return duration_text(int(seconds * NS_PER_SECOND))
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours < 100 else f"{hours / 24:.1f} d"
