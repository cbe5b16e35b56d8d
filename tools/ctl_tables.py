"""What tools/ctl.py shows to people: aligned tables, as wide as they need to be."""

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.ctl_trading_tables import (
    print_table,
    show_account,
    show_limits,
    show_orders,
    show_strategies,
    state_text,
    table_of,
)
from tools.durations import HOPS, duration_text

#: Where the output is no terminal, nothing may be cut: another program or a file reads it.
PIPE_COLUMNS = 240


def show(command: str, answer: dict[str, Any]) -> None:
    """Print the answer to a command that was done."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False, soft_wrap=True)
    SHOWN.get(command, _text)(console, answer)


def _status(console: Console, answer: dict[str, Any]) -> None:
    ticks, orders, stops, requests = (answer[key] for key in ("ticks", "orders", "stops", "requests"))
    hours, seconds = divmod(int(answer["uptime_s"]), 3600)
    allowed = Text("allowed", "green") if answer["entries_allowed"] else Text("BLOCKED", "bold red")
    if answer["halted"]:
        allowed.append("; the run is HALTED")
    grid = Table.grid(padding=(0, 2))
    rows: list[tuple[str, Any]] = [
        ("instance", f"{answer['instance']}, version {answer['version']}, pid {answer['pid']}"),
        ("feed", answer["feed"]),
        ("running for", f"{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}"),
        ("stream time", answer["stream_time"] or "no tick yet"),
        ("entries", allowed),
        ("trading", _trading(answer["trading"])),
        ("ticks", f"{ticks['received']:,} received, {ticks['accepted']:,} accepted, {_reasons(ticks['rejected'], 'rejected')}"
                  f", {ticks['conflated']:,} conflated"),
        ("orders", f"{orders['entries']:,} entries, {orders['exits']:,} exits, {orders['filled']:,} filled"),
        ("requests", f"{requests['received']:,} received, {_reasons(requests['refused'], 'refused')}"),
        ("positions", f"{answer['positions']['open']:,} open, {answer['orders']['working']:,} working orders"),
        ("stops", _stop_counts(stops)),
    ]  # fmt: skip
    for name, words in HOPS.items():
        if name in answer["latency_ns"]:
            hop = answer["latency_ns"][name]
            rows.append((words, "  ".join(f"{key} {duration_text(hop[key])}" for key in ("p50", "p99", "max"))))
    if answer["metrics"]:
        rows += [("metrics", answer["metrics"]), ("database", answer["database"])]
    for name, value in rows:
        grid.add_row(Text(name, "dim"), value)
    console.print(grid)
    table = table_of("process", "state", ">pid", ">core", "wait", ">starts", ">beat")
    for process in answer["processes"]:
        beat = "–" if process["beat_ms"] is None else f"{process['beat_ms']:,.1f} ms"
        core = "any" if process["core"] < 0 else str(process["core"])
        state = Text(process["state"], "green" if process["state"] == "running" else "yellow")
        table.add_row(process["name"], state, str(process["pid"]), core, process["wait"], str(process["starts"]), beat)
    console.print(table)


def _positions(console: Console, answer: dict[str, Any]) -> None:
    table = table_of("symbol", ">strategy", ">quantity", ">entry", ">realised", ">unrealised", "currency", ">fills", "stops")
    for row in answer["positions"]:
        is_open = row["entry"] is not None
        states = ", ".join(f"{row['stops'].count(state)} {state}" for state in dict.fromkeys(row["stops"]))
        table.add_row(
            Text(row["symbol"], "bold" if is_open else "dim"),
            str(row["strategy"]),
            row["quantity"] if is_open else Text("flat", "dim"),
            row["entry"] or "",
            row["realised"],
            row["unrealised"] if is_open else "",
            row["currency"],
            f"{row['fills']:,}",
            states or (Text("none", "bold red") if is_open else ""),
        )
    print_table(console, table, "no position was ever opened")


def _stops(console: Console, answer: dict[str, Any]) -> None:
    names = (">id", "symbol", ">strategy", "side", "kind", "watch", "state", ">distance", ">entry", ">level", ">price", ">away")
    table = table_of(*names)
    styles = {"armed": "green", "triggered": "yellow", "owed": "bold red"}
    for row in answer["stops"]:
        away = row["deadline"] or ("" if row["away_percent"] is None else f"{row['away_percent']:.3f}%")
        level = f"{row['level']}, provisional" if row["provisional"] else row["level"]
        table.add_row(
            str(row["stop_id"]), Text(row["symbol"], "bold"), str(row["strategy"]), row["side"], row["kind"], row["watch"],
            Text(row["state"], styles.get(row["state"], "")), row["distance"], row["entry"], level, row["price"], away,
        )  # fmt: skip
    print_table(console, table, "no stop is armed")


def _ping(console: Console, answer: dict[str, Any]) -> None:
    console.print(f"{answer['instance']} listens, pid {answer['pid']}")


def _text(console: Console, answer: dict[str, Any]) -> None:
    console.print(answer.get("text", "done"))


SHOWN: dict[str, Callable[[Console, dict[str, Any]], None]] = {
    "status": _status, "positions": _positions, "stops": _stops, "ping": _ping, "orders": show_orders,
    "account": show_account, "limits": show_limits, "strategies": show_strategies,
}  # fmt: skip


def _trading(states: dict[str, str]) -> Text:
    """Write the account's trading state, and each other scope that is not active."""
    text = state_text(states["account"])
    for scope, state in states.items():
        if scope != "account":
            text.append_text(Text(f", {scope} ")).append_text(state_text(state))
    return text


def _stop_counts(stops: dict[str, int]) -> Text:
    text = Text(f"{stops['armed']:,} armed, {stops['exiting']:,} exiting, {stops['fired']:,} fired, ")
    return text.append(f"{stops['owed']:,} owed", "bold red" if stops["owed"] else "")


def _reasons(counts: dict[str, int], what: str) -> str:
    listed = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
    return f"{sum(counts.values()):,} {what}" + (f" ({listed})" if listed else "")
