"""Results for people: one table for each bench, its ratios with their goals, and what disturbed the run."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bench.harness import Ratio, Result


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.2f}"


def _columns(result: Result) -> list[str]:
    """Return every value's name of the bench, in the order of first appearance."""
    return list(dict.fromkeys(name for row in result.rows for name in row.values))


def _verdict(ratio: Ratio) -> str:
    if ratio.at_most is None and ratio.at_least is None:
        return ""
    goal = f"≤ {ratio.at_most:g}" if ratio.at_most is not None else f"≥ {ratio.at_least:g}"
    return f"[green]{goal} met[/green]" if ratio.met else f"[red]{goal} missed[/red]"


def show_machine(console: Console, machine: dict[str, object]) -> None:
    """Print what the numbers were measured on."""
    console.print("  ".join(f"{name} [bold]{value}[/bold]" for name, value in machine.items()), highlight=False)


def show_result(console: Console, result: Result) -> None:
    """Print one bench."""
    console.print(f"  {result.topology}", highlight=False)
    if result.skipped:
        console.print(f"  skipped: {result.skipped}")
        return
    columns = _columns(result)
    table = Table("", *columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result.rows:
        table.add_row(row.what, *(_number(row.values[name]) if name in row.values else "" for name in columns))
    console.print(table)
    for ratio in result.ratios:
        console.print(f"  {ratio.what}: [bold]{_number(ratio.value)}[/bold]  {_verdict(ratio)}", highlight=False)
    console.print(
        f"  cores {result.cores}, steal {result.steal_percent:.2f}%, put aside {result.preemption_count} times", highlight=False
    )


def missed(results: Iterable[Result]) -> list[Ratio]:
    """Return the goals that were not reached."""
    return [ratio for result in results for ratio in result.ratios if not ratio.met]
