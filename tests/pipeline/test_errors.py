"""What a person reads when something is wrong."""

import pickle

import pytest

from pipeline import errors
from pipeline.errors import ConfigurationError, UserError, nearest, one_line


def test_user_error_as_text_is_one_line_of_what_where_remedy():
    """The three parts are joined in the order in which a person needs them."""
    error = UserError("port 9108 is in use", "sidecar.metrics_port", "choose another, or 0")

    assert "port 9108 is in use (sidecar.metrics_port): choose another, or 0" == str(error)


@pytest.mark.parametrize("hostile", ["a\nb", "a\rb", "a\x1b[31mb", "a\u2028b", "a\x00b", "a\u202eb"])
def test_user_error_with_unprintable_value_stays_one_printable_line(hostile):
    """A value from a file can neither break the line nor talk to the terminal."""
    error = UserError(hostile, hostile, hostile)

    assert str(error).isprintable()
    assert 1 == len(str(error).splitlines())


def test_one_line_with_ordinary_unicode_leaves_it_alone():
    """Only what cannot be printed is escaped."""
    assert "tick·lots Zürich 東京" == one_line("tick·lots Zürich 東京")


@pytest.mark.parametrize(
    "kind",
    ["ConfigurationError", "InstrumentError", "RecordingError", "MarketDataError", "InstanceError", "LaunchError"],
)
def test_user_errors_all_kinds_survive_pickling(kind):
    """An error can cross from a worker to the supervisor with its three parts."""
    error = pickle.loads(pickle.dumps(getattr(errors, kind)("what", "where", "remedy")))

    assert ("what", "where", "remedy") == (error.what, error.where, error.remedy)
    assert isinstance(error, UserError)


def test_configuration_error_gathering_two_has_a_line_for_each():
    """Several faults are told in one go, in the order given, and the first one speaks for all."""
    first, second = ConfigurationError("a", "f", "x"), ConfigurationError("b", "f", "y")

    gathered = ConfigurationError.gather([first, second])

    assert ("a (f): x", "b (f): y") == gathered.lines
    assert "a (f): x\nb (f): y" == str(gathered)
    assert (first, second) == gathered.problems
    assert "a" == gathered.what


def test_configuration_error_alone_is_its_own_problem():
    """Whoever walks over the problems need not tell one from several."""
    error = ConfigurationError("a", "f", "x")

    assert (error,) == error.problems


def test_nearest_ignores_case_and_leaves_out_the_unlike():
    """A word typed in the wrong case finds its twin; a word like none finds nothing."""
    assert ["AAPL"] == nearest("aapl", ["MSFT", "AAPL", "SPY"])
    assert [] == nearest("zzzz", ["MSFT", "AAPL", "SPY"])
