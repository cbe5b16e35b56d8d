"""What tools/ctl.py shows of orders, limits, the account and strategies."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STATE_STYLES = {"active": "green", "reducing": "bold yellow", "halted": "bold red", "killed": "bold white on red"}
#: Scopes that stand side by side in the table of limits; more become a list.
SIDE_BY_SIDE_MAX = 9
#: Decimal places of money in the tables.
PLACES = 2


def table_of(*columns: str) -> Table:
    """Return an empty table; a name that begins with ">" is that of a column to be aligned at the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return table


def print_table(console: Console, table: Table, otherwise: str) -> None:
    """Print a table, or a sentence where it is empty."""
    console.print(table if table.row_count else otherwise)


def state_text(state: str) -> Text:
    """Return a trading state in capitals and its colour."""
    return Text(state.upper(), STATE_STYLES.get(state, ""))


def show_orders(console: Console, answer: dict[str, Any]) -> None:
    """Print the orders that work."""
    table = table_of(">order", "symbol", ">strategy", "side", "type", ">quantity", ">price", "for", "state", "sent")
    for row in answer["orders"]:
        table.add_row(
            str(row["order_id"]),
            Text(row["symbol"], "bold"),
            str(row["strategy"]),
            Text(row["side"], "green" if row["side"] == "buy" else "red"),
            row["type"],
            row["quantity"],
            row["price"] or "market",
            f"stop {row['stop_id']}" if row["stop_id"] is not None else "strategy",
            Text(row["state"], "" if row["state"] == "working" else "yellow"),
            row["sent"] or "",
        )
    print_table(console, table, "no order works")


def show_account(console: Console, answer: dict[str, Any]) -> None:
    """Print the account, then each strategy's share."""
    account = answer["account"]
    state = state_text(account["trading_state"])
    if account["state_reason"] != "none":
        state = Text.assemble(state, f" by {account['state_reason'].replace('_', ' ')}")
    power = account["buying_power"]
    rows: list[tuple[str, Any]] = [
        ("trading", state),
        ("equity", f"{_money(account['equity'])} {account['currency']}, balance {_money(account['balance'])}"),
        ("P&L", Text.assemble(_signed(account["pnl"]), ", today ", _signed(account["daily_pnl"]), ", this week ",
                              _signed(account["weekly_pnl"]))),
        ("of that", Text.assemble("realised ", _signed(account["realised"]), ", unrealised ", _signed(account["unrealised"]),
                                  f", fees {_money(account['fees'])}")),
        ("peak equity", f"{_money(account['peak_equity'])}, drawdown {_money(account['drawdown'])}"),
        ("exposure", f"gross {_money(account['gross_exposure'])}, net {_money(account['net_exposure'])}, "
                     f"{account['open_positions']} open position{'' if account['open_positions'] == 1 else 's'}"),
        ("buying power", "unlimited" if power is None else _money(power)),
    ]  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, "dim"), value)
    for row in answer["instruments"]:
        grid.add_row(Text(row["scope"], "dim"), state_text(row["trading_state"]))
    console.print(grid)
    table = table_of(
        "strategy", "trading", ">P&L", ">today", ">realised", ">unrealised", ">fees", ">drawdown", ">gross", ">net"
    )
    for row in answer["strategies"]:
        table.add_row(
            row["scope"].removeprefix("strategy "), state_text(row["trading_state"]), _signed(row["pnl"]),
            _signed(row["daily_pnl"]), _signed(row["realised"]), _signed(row["unrealised"]), _money(row["fees"]),
            _money(row["drawdown"]), _money(row["gross_exposure"]), _money(row["net_exposure"]),
        )  # fmt: skip
    if table.row_count:
        console.print(table)


def show_limits(console: Console, answer: dict[str, Any]) -> None:
    """Print limits, those of several scopes side by side, what instruments have of their own below."""
    rows = answer["limits"]
    full = [
        scope for scope in dict.fromkeys(row["scope"] for row in rows) if _count(rows, scope) == _count(rows, rows[0]["scope"])
    ]
    if len(full) > SIDE_BY_SIDE_MAX:
        full = full[:1]
    table = table_of("limit", "name", *(f">{scope}" for scope in full))
    by_name: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["scope"] in full:
            by_name.setdefault(row["name"], {})[row["scope"]] = row
    for name, cells in by_name.items():
        first = next(iter(cells.values()))
        table.add_row(first["title"], Text(name, "dim"), *(_limit_text(cells[scope]["text"]) for scope in full))
    print_table(console, table, "no limits")
    own = table_of("scope", "limit", "name", ">value")
    for row in rows:
        if row["scope"] not in full:
            own.add_row(Text(row["scope"], "bold"), row["title"], Text(row["name"], "dim"), _limit_text(row["text"]))
    if own.row_count:
        console.print(own)


def show_strategies(console: Console, answer: dict[str, Any]) -> None:
    """Print the strategies' slots."""
    table = table_of(
        ">strategy", "process", ">pid", "trading", ">positions", ">orders", ">exits", ">waiting", ">fills", ">P&L", "currency"
    )
    for row in answer["strategies"]:
        is_there = row["pid"] is not None
        process = Text(row["process"] if is_there else "free", "green" if row["process"] == "running" else "dim")
        state = state_text(row["trading_state"])
        if row["account_state"] != "active":
            state.append(f", account {row['account_state'].upper()}", "bold red")
        table.add_row(
            str(row["strategy"]), process, str(row["pid"]) if is_there else "", state, str(row["positions"]),
            str(row["orders"]), str(row["exits"]), str(row["requests_waiting"]), f"{row['fills']:,}", _signed(row["pnl"]),
            row["currency"],
        )  # fmt: skip
    print_table(console, table, "no slot")


def _count(rows: Sequence[dict[str, Any]], scope: str) -> int:
    return sum(row["scope"] == scope for row in rows)


def _limit_text(text: str) -> Text:
    return Text(text, {"unlimited": "dim", "not set": "bold red"}.get(text, ""))


def _money(text: str) -> str:
    return f"{round(Decimal(text), PLACES):,.{PLACES}f}"


def _signed(text: str) -> Text:
    value = round(Decimal(text), PLACES)
    return Text(f"{value:+,.{PLACES}f}" if value else "0.00", "green" if value > 0 else "red" if value < 0 else "")
