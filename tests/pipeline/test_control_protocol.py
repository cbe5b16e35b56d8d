"""What is no question is told so, and what is one is read to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.control_protocol import ControlError, encode, failure, id_of, parse_line
from pipeline.errors import InstrumentError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\xff\xfe\x00", "byte 0 of the line is no UTF-8"),
        (b"\x00\x01\x02", "no JSON"),
        (b"{", "no JSON"),
        (b"[1, 2]", "list instead of an object"),
        (b"null", "NoneType instead of an object"),
        (b"[" * 8000, "no JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e99999999}', "exponent beyond all reason"),
        (b'{"a": ' + b"9" * 8000 + b"}", "no JSON"),
        (b'{"price": "1", "price": "2"}', "'price' occurs twice"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    ],
)
def test_line_that_is_no_question_says_why(line: bytes, words: str) -> None:
    """Garbage of each kind is one error with one line."""
    with pytest.raises(ControlError) as error:
        parse_line(line)
    assert words in str(error.value)
    assert 1 == len(error.value.lines)


def test_line_numbers_are_read_digit_by_digit() -> None:
    """A price never passes through a float."""
    found = parse_line(b'{"price": 0.1000000000000000055511151231257827, "percent": 15e-1, "stop_id": 9007199254740993}')
    assert Decimal("0.1000000000000000055511151231257827") == found["price"]
    assert (Decimal("1.5"), 9007199254740993) == (found["percent"], found["stop_id"])


@given(st.binary(max_size=300))
def test_line_of_any_bytes_is_an_object_or_an_error(line: bytes) -> None:
    """No line does anything else."""
    try:
        found = parse_line(line)
    except ControlError as error:
        found = failure(error)
    assert isinstance(found, dict)
    assert "what" not in found or 1 == encode(found).count(b"\n")


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [(7, 7), ("a-7", "a-7"), (True, None), (1 << 60, None), ("x" * 65, None), ("\ud800", None), ("a\nb", None), (1.5, None)],
)
def test_id_that_can_come_back_does(given_id: object, expected: object) -> None:
    """Small integers and printable texts are given back; what could break the answer is not."""
    assert expected == id_of({"id": given_id})


def test_answer_with_text_from_outside_is_one_line() -> None:
    """A value that a peer sent cannot break the line or the terminal on which its error is shown."""
    text = encode({"error": failure(InstrumentError("unknown symbol 'A\n\x1b[2J\ud800'", "instruments", "use another"))})
    assert 1 == text.count(b"\n")
    assert b"\x1b" not in text
