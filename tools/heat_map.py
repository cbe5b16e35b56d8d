"""The heat map of a sweep: P&L, share of stops that fired and mean slippage over the grid, one panel each, as a PNG."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InstanceError
from tools.grid import Dimension

#: Cells up to which each has its number written in it.
NUMBERED_MAX = 240
#: Inches: of a cell, of a panel at least, around them.
CELL_WIDTH, CELL_HEIGHT, WIDTH_MIN, WIDTH_MAX, HEIGHT_MIN, HEIGHT_MAX = 0.62, 0.34, 6.0, 24.0, 1.2, 40.0
DOTS_PER_INCH = 144


def draw(path: Path, grid: Sequence[Dimension], summary: Mapping[str, Any]) -> None:
    """Draw a sweep: the longest dimension goes to the right, all others together go down.

    Args:
        path: The PNG to write, whole or not at all.
        grid: The dimensions.
        summary: As `tools.sweep` makes it.
    Raises:
        InstanceError: the place cannot be written.
    """
    # Here, for they take a second to load; and without a display.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    across, down = axes_of(grid)
    panels = panels_of(summary, grid, across, down)
    columns, rows = len(across.values), max(len(names_of(down)), 1)
    width = min(max(CELL_WIDTH * columns + 3.0, WIDTH_MIN), WIDTH_MAX)
    height = min(max(CELL_HEIGHT * rows, HEIGHT_MIN), HEIGHT_MAX)
    figure = Figure(figsize=(width, (height + 1.0) * len(panels) + 0.8), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(summary["description"] or summary["recording"], fontsize=11)
    for axes, (title, values, style) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _draw_panel(figure, axes, title, values, style)
        axes.set_xticks(range(columns), across.values, rotation=0 if columns <= 20 else 90, fontsize=8)
        axes.set_yticks(range(rows), names_of(down) or [""], fontsize=8)
        axes.set_xlabel(across.name, fontsize=9)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(temporary, format="png")
        temporary.replace(path)
    except OSError as error:
        raise InstanceError(f"cannot write the picture: {error.strerror}", str(path), "choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)


def axes_of(grid: Sequence[Dimension]) -> tuple[Dimension, tuple[Dimension, ...]]:
    """Return the dimension that goes to the right, the one with the most values, and those that go down."""
    across = max(grid, key=lambda dimension: len(dimension.values))
    return across, tuple(dimension for dimension in grid if dimension is not across)


def names_of(down: Sequence[Dimension]) -> list[str]:
    """Return the name of each row: the values of the dimensions that go down, the last changing fastest."""
    names = [""]
    for dimension in down:
        many = len(dimension.values) > 1
        named = [
            f"{dimension.name} {value}" if dimension.column not in ("kind", "watch") else value for value in dimension.values
        ]
        names = [f"{name}, {value}".strip(", ") if many else name for name in names for value in named]
    return names if names != [""] else []


def panels_of(
    summary: Mapping[str, Any], grid: Sequence[Dimension], across: Dimension, down: Sequence[Dimension]
) -> list[tuple[str, np.ndarray, str]]:
    """Return title, values (rows, columns) and style of each panel; NaN = nothing to tell."""
    shape = tuple(len(dimension.values) for dimension in grid)
    order = [*(list(grid).index(dimension) for dimension in down), list(grid).index(across)]

    def spread(values: Sequence[float | None]) -> np.ndarray:
        filled = np.array([np.nan if value is None else value for value in values], np.float64)
        return filled.reshape(shape).transpose(order).reshape(-1, len(across.values))

    cells = summary["cells"]
    panels = [
        (f"P&L, {currency}", spread([float(cell["pnl"][currency]) for cell in cells]), "signed") for currency in cells[0]["pnl"]
    ]
    panels.append(("stops that fired, %", spread([100 * cell["fired_share"] for cell in cells]), "share"))
    panels.append(("mean slippage, ticks", spread([cell["slippage_ticks_mean"] for cell in cells]), "signed"))
    return panels


def _draw_panel(figure: Any, axes: Any, title: str, values: np.ndarray, style: str) -> None:
    known = values[np.isfinite(values)]
    if style == "share":
        colours, low, high = "Blues", 0.0, 100.0
    else:
        high = float(np.abs(known).max()) if len(known) else 1.0
        colours, low = ("RdYlGn" if title.startswith("P&L") else "RdYlGn_r"), -high
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high or 1.0, aspect="auto")
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01).ax.tick_params(labelsize=8)
    axes.set_title(title, loc="left", fontsize=10)
    if values.size <= NUMBERED_MAX:
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            value = values[row, column]
            text = f"{value:,.0f}" if abs(value) >= 100 or style == "share" else f"{value:,.1f}"
            is_dark = abs(value) > 0.75 * (high or 1.0)
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if is_dark else "black")
