"""What a setting may be, and the walk that holds a table of settings against the structs and finds every fault.

A struct's field carries its rule in its type: `Annotated[int, Number(0, 65535, "port")]`. The same rule decides and explains,
so that a message can never promise what the check refuses. msgspec converts single values and builds the structs in the end;
the walk is ours because msgspec stops at the first fault, and a person wants all of them at once.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from pipeline.errors import ConfigurationError, nearest

VALUE_CHARS_MAX = 60
#: Longer integers are not written out: Python refuses to turn the longest into digits at all.
INTEGER_BITS_MAX = 192
#: (what its absence means, what would do), by the path of the key.
MissingRemedy = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, both included.

    Args:
        low, high: bounds as decimal text, so that they are as exact as the values.
        unit: what it counts, for the message.
        places: decimal places at most, or None for any: what becomes an integer of a finer unit must be whole there.
        power_of_two: whether it must be one.
    """

    low: str
    high: str
    unit: str = ""
    places: int | None = None
    power_of_two: bool = False

    def fault(self, value: int | float | Decimal) -> str:
        """Say what is wrong with a number, or nothing."""
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if not exact.is_finite():
            return "is not finite"
        if not Decimal(self.low) <= exact <= Decimal(self.high):
            return "is out of range"
        if self.places is not None and exact % Decimal(10) ** -self.places:
            return f"has more than {self.places} decimal places"
        if self.power_of_two and int(value) & (int(value) - 1):
            return "is not a power of two"
        return ""

    def expects(self, base: Any) -> str:
        """Describe what is allowed."""
        kind = "a power of two" if self.power_of_two else "a whole number" if base is int else "a number"
        places = "" if self.places is None else f", with at most {self.places} decimal places"
        return f"{kind} from {self.low} to {self.high} {self.unit}".rstrip() + places


@dataclass(frozen=True)
class Check:
    """A value that one question decides, and the words for what is allowed."""

    allowed: str
    passes: Callable[[Any], bool]

    def fault(self, value: Any) -> str:
        """Say what is wrong with a value, or nothing."""
        return "" if self.passes(value) else "is not allowed"

    def expects(self, base: Any) -> str:
        """Describe what is allowed."""
        return self.allowed


@dataclass(frozen=True)
class Written:
    """A value that is kept as the text it was written with; a function of it decides, and says why not.

    Args:
        allowed: the words for what is allowed.
        fault_of: what is wrong with a text, or nothing.
        numbers: whether the file writes it as a number, without quotes, where it is one.
    """

    allowed: str
    fault_of: Callable[[str], str]
    numbers: bool = False

    def fault(self, value: Any) -> str:
        """Say what is wrong with a value, or nothing."""
        return self.fault_of(value)

    def expects(self, base: Any) -> str:
        """Describe what is allowed."""
        return self.allowed


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of config.toml: immutable, and closed to keys that it does not know."""


class Walk:
    """One walk over a table of settings; collects problems and leaves a clean copy to build the structs from.

    Args:
        where: file, or "command line", named in each problem.
        missing: words for keys whose absence needs more words than "is missing".
    """

    def __init__(self, where: str, missing: MissingRemedy) -> None:
        self.where = where
        self.missing = missing
        self.problems: list[ConfigurationError] = []
        self.root: type[msgspec.Struct] | None = None

    def build(self, struct: type, table: Mapping[str, Any]) -> Any:
        """Return the struct that the table describes.

        Raises:
            ConfigurationError: with every problem found.
        """
        self.root = struct
        clean = self.table(struct, table, "")
        if self.problems:
            raise ConfigurationError.gather(self.problems)
        return msgspec.convert(clean, struct)

    def problem(self, what: str, remedy: str) -> None:
        """Note one problem."""
        self.problems.append(ConfigurationError(what, self.where, remedy))

    def table(self, struct: type, table: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Check one table against one struct: unknown keys, missing keys, each value."""
        hints = get_type_hints(struct, include_extras=True)
        for key, value in table.items():
            if key not in hints:
                self.problem(f"unknown key {join(path, key)} = {shown(value)}", self._nearest_key(key, hints, path))
        required = {field.name for field in msgspec.structs.fields(struct) if field.required}
        clean: dict[str, Any] = {}
        for key, hint in hints.items():
            if key in table:
                clean[key] = self._value(hint, table[key], join(path, key))
            elif key in required:
                means, remedy = self.missing.get(join(path, key), ("is missing", f"write {expected(hint)}"))
                self.problem(f"{join(path, key)} {means}", remedy)
        return clean

    def _value(self, hint: Any, value: Any, path: str) -> Any:
        """Check one value of any type; return it clean, or anything at all once a problem is noted."""
        if _is_struct(hint):
            if isinstance(value, Mapping):
                return self.table(hint, value, path)
            return self.problem(f"{path} = {shown(value)} is no section", f"write [{path}] and its keys below it")
        row = _row_struct(hint)
        if row is not None:
            if isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value):
                return [self.table(row, item, f"{path}[{index}]") for index, item in enumerate(value)]
            return self.problem(f"{path} = {shown(value)} is no list of sections", f"write [[{path}]] for each")
        return self._leaf(hint, value, path)

    def _leaf(self, hint: Any, value: Any, path: str) -> Any:
        base, rule = split(hint)
        number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        fault, found = "", value
        if isinstance(rule, Written) and rule.numbers and number and not _is_huge(value):
            value = str(value)
        if base is Decimal and not number:
            fault = "is no number"
        elif base in (float, Decimal) and number:
            value = found = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
            fault = rule.fault(value) if rule else ""
        if not fault:
            try:
                converted = msgspec.convert(value, base)
            except msgspec.ValidationError:
                fault = "is not allowed" if isinstance(rule, Written) and rule.numbers else _mismatch(base)
            else:
                fault = rule.fault(converted) if rule and base not in (float, Decimal) else ""
                if not fault:
                    return converted
        words = [word for word in get_args(base) if isinstance(word, str)] if get_origin(base) is Literal else []
        near = nearest(value, words, 1) if isinstance(value, str) else []
        remedy = f"did you mean {shown(near[0])}? Known: {expected(hint)}" if near else f"write {expected(hint)}"
        return self.problem(f"{path} = {shown(found)} {fault}", remedy)

    def _nearest_key(self, key: str, hints: Mapping[str, Any], path: str) -> str:
        """Name the known key that was probably meant: of this section, else of any, else list this section's."""
        here = nearest(key, hints, 1)
        if here:
            return f"did you mean {join(path, here[0])}?"
        paths = list(key_paths(self.root)) if self.root else []
        elsewhere = nearest(key, [known.rsplit(".", 1)[-1] for known in paths], 1)
        if elsewhere:
            meant = next(known for known in paths if known.rsplit(".", 1)[-1] == elsewhere[0])
            return f"did you mean {meant}?"
        return f"known keys {'of [' + path + ']' if path else 'at the top'} are {', '.join(hints)}"


def split(hint: Any) -> tuple[Any, Number | Check | Written | None]:
    """Split a field's type into the bare type and its rule; that a key may be left out unset is no part of its type."""
    rule = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        rule = next((extra for extra in extras if isinstance(extra, Number | Check | Written)), None)
    args = get_args(hint)
    if msgspec.UnsetType in args:
        hint, inner = split(next(arg for arg in args if arg is not msgspec.UnsetType))
        rule = rule or inner
    return hint, rule


def expected(hint: Any) -> str:
    """Describe in words what a field takes."""
    base, rule = split(hint)
    if rule is not None:
        return rule.expects(base)
    if base is bool:
        return "true or false"
    if get_origin(base) is Literal:
        words = [shown(word) for word in get_args(base)]
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if base is str:
        return "text in quotes"
    return "the section" if _is_struct(base) else "a section for each"


def key_paths(struct: type, path: str = "") -> Iterator[str]:
    """Yield the dotted path of every key below a struct; rows of a list stand as `instruments[]`."""
    for key, hint in get_type_hints(struct, include_extras=True).items():
        here = join(path, key)
        row = _row_struct(hint)
        if _is_struct(hint):
            yield from key_paths(hint, here)
        elif row is not None:
            yield from key_paths(row, f"{here}[]")
        else:
            yield here


def shown(value: Any) -> str:
    """Show a value as the file writes it, cut to a length that leaves the message readable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, Mapping):
        return "{...}"
    elif _is_huge(value):
        return "a huge number"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(shown(item) for item in value)}]"
    else:
        text = str(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 3] + "..."


def join(path: str, key: str) -> str:
    """Join a section's path and a key."""
    return f"{path}.{key}" if path else key


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX


def _mismatch(base: Any) -> str:
    names = {bool: "is not true or false", int: "is no whole number", float: "is no number", str: "is no text"}
    return names.get(base, "is not allowed")


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _row_struct(hint: Any) -> type | None:
    """Return the struct of a list of sections, or None for any other type."""
    args = get_args(hint)
    return args[0] if get_origin(hint) is tuple and args and _is_struct(args[0]) else None
