"""The table of a sweep: one line for each cell, in the order of the grid."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from tools.backtest_report import make_console, make_table, money_text, span_text
from tools.grid import Dimension

#: Lines of the table; of a larger grid the best and the worst are shown.
CELLS_SHOWN = 120


def show_sweep(grid: Sequence[Dimension], summary: Mapping[str, Any]) -> None:
    """Print the table, the best cell of each currency in bold."""
    console = make_console()
    cells = list(summary["cells"])
    currencies = list(cells[0]["pnl"])
    name = f"{summary['recording']}: {summary['description']}" if summary["description"] else summary["recording"]
    console.print(Text(f"  sweep      {name}"), soft_wrap=True)
    entered = max(cell["positions"] for cell in cells)
    facts = f"{len(cells):,} cells of {entered:,} positions on {summary['processes']} processes"
    console.print(Text(f"  grid       {facts}"))
    for currency in currencies:
        console.print(
            Text(f"  held       to the end they make {money_text(cells[0]['pnl_without_stops'][currency])} {currency}")
        )
    table = make_table("", *("" for _ in grid[1:]), "fired", "share", "slippage", "held", *(f"P&L {c}" for c in currencies))
    for column, dimension in zip(table.columns, grid, strict=False):
        column.header, column.justify = dimension.name, "left"
    best = {best_cell(cells, currency) for currency in currencies}
    shown, left_out = shown_cells(cells, currencies[0])
    for number in shown:
        cell = cells[number]
        slippage, held = cell["slippage_ticks_mean"], cell["held_seconds_mean"]
        table.add_row(
            *(cell["cell"][dimension.column] for dimension in grid),
            f"{cell['fired']:,}",
            f"{100 * cell['fired_share']:.0f}%",
            "-" if slippage is None else f"{slippage:,.1f}",
            "-" if held is None else span_text(held),
            *(money_text(cell["pnl"][currency]) for currency in currencies),
            style="bold" if number in best else "",
        )
    console.print(table)
    if left_out:
        print(f"  the best and the worst {CELLS_SHOWN // 2}; {left_out:,} cells between them are in --summary alone")


def best_cell(cells: Sequence[Mapping[str, Any]], currency: str) -> int:
    """Return the number of the cell with the highest P&L; of equals the first."""
    return max(range(len(cells)), key=lambda k: float(cells[k]["pnl"][currency]))


def shown_cells(cells: Sequence[Mapping[str, Any]], currency: str) -> tuple[list[int], int]:
    """Return which cells are shown, in order of the grid, and how many are not."""
    if len(cells) <= CELLS_SHOWN:
        return list(range(len(cells))), 0
    by_pnl = sorted(range(len(cells)), key=lambda k: float(cells[k]["pnl"][currency]))
    half = CELLS_SHOWN // 2
    return sorted(by_pnl[:half] + by_pnl[-half:]), len(cells) - 2 * half
