"""The grid of a sweep: `percent=0.5:5:0.5,kind=static,trailing` is ten percentages for each of two kinds.

A dimension is a column of stops.csv (or, of those that end in _percent, its name without that), an equals sign, and values with
commas between: each a value as it would stand in the file, or a range from:to:step, whose end counts where a step hits it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from pipeline.errors import UserError, nearest
from pipeline.instruments import EXACT, parse_decimal
from tools.stops_csv import COLUMNS, StopsFileError

WHERE = "--sweep"
#: What says which position it is, and so cannot be swept.
POSITION_COLUMNS = ("stop_id", "symbol", "side", "entry_price", "quantity", "entry_time", "stop_price")
NAMES = {name: name for name in COLUMNS if name not in POSITION_COLUMNS} | {
    name.removesuffix("_percent"): name for name in COLUMNS if name.endswith("_percent")
}
VALUES_MAX, CELLS_MAX = 1_000, 10_000


@dataclass(frozen=True)
class Dimension:
    """One dimension: a column of stops.csv and the values that it takes, as text."""

    column: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.column.removesuffix("_percent").replace("_", " ")


def parse_grid(text: str) -> tuple[Dimension, ...]:
    """Return the dimensions of a grid.

    Raises:
        StopsFileError: everything that is wrong with it.
    """
    problems: list[UserError] = []
    found: dict[str, list[str]] = {}
    column = ""
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            column = _column(name.strip(), found, problems)
        elif not found:
            problems.append(UserError(f"{part!r} belongs to no dimension", WHERE, "begin with a name, as in percent=0.5:5:0.5"))
            break
        else:
            value = name
        for one in _values(value.strip(), column, problems):
            if one in found[column]:
                problems.append(UserError(f"{column} = {one} stands there twice", WHERE, "keep one of them"))
            found[column].append(one)
    if not problems:
        _check_grid(found, problems)
    if problems:
        raise StopsFileError(problems)
    return tuple(Dimension(column, tuple(values)) for column, values in found.items())


def cells_of(grid: tuple[Dimension, ...]) -> Iterator[dict[str, str]]:
    """Yield every cell of a grid as columns and values, the last dimension changing fastest."""
    for values in itertools.product(*(dimension.values for dimension in grid)):
        yield {dimension.column: value for dimension, value in zip(grid, values, strict=True)}


def _column(name: str, found: dict[str, list[str]], problems: list[UserError]) -> str:
    """Return the column of a dimension that begins; a wrong name is told, and goes on as it is."""
    column = NAMES.get(name, name)
    if name not in NAMES:
        near = nearest(name, NAMES, 1)
        known = ", ".join(dict.fromkeys(NAMES.values()))
        problems.append(
            UserError(f"unknown dimension {name!r}", WHERE, f"did you mean {near[0]}?" if near else f"known are {known}")
        )
    elif column in found:
        problems.append(UserError(f"{column} is there twice", WHERE, "give all of its values in one place"))
    found.setdefault(column, [])
    return column


def _values(text: str, column: str, problems: list[UserError]) -> Iterator[str]:
    """Yield what one value or range stands for."""
    if not text:
        problems.append(UserError(f"an empty value of {column}", WHERE, "give one, or take the comma out"))
        return
    bounds = text.split(":")
    if len(bounds) == 1:
        yield text
        return
    numbers = [parse_decimal(bound) for bound in bounds]
    if len(numbers) != 3 or None in numbers:
        problems.append(UserError(f"{column} = {text!r} is no range", WHERE, "write from:to:step, as in 0.5:5:0.5"))
        return
    first, last, step = (number for number in numbers if number is not None)
    if step <= 0 or last < first:
        problems.append(
            UserError(f"{column} = {text!r} is empty", WHERE, "give a step above 0, and an end not below the start")
        )
        return
    count = int((last - first) // step) + 1 if last - first < step * VALUES_MAX else VALUES_MAX + 1
    if count > VALUES_MAX:
        problems.append(UserError(f"{column} = {text!r} is more than {VALUES_MAX:,} values", WHERE, "take a larger step"))
        return
    for k in range(count):
        yield format(EXACT.add(first, EXACT.multiply(step, Decimal(k))), "f")


def _check_grid(found: dict[str, list[str]], problems: list[UserError]) -> None:
    if "kind" not in found:
        problems.append(UserError("kind is missing", WHERE, "say which stops, as in kind=static,trailing"))
    count = 1
    for values in found.values():
        count *= len(values)
    if count > CELLS_MAX:
        problems.append(UserError(f"{count:,} cells", WHERE, f"make it {CELLS_MAX:,} at most"))
