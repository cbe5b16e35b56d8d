"""What a person reads when something is wrong."""

import pickle

import pytest

from pipeline import errors
from pipeline.errors import (
    ConfigurationError,
    DatabaseError,
    ExecutionError,
    MarketDataError,
    NetworkError,
    OrderValidationError,
    RecordingError,
    RiskCheckError,
    UserError,
    nearest,
    one_line,
)


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
    ["ConfigurationError", "InstrumentError", "RecordingError", "MarketDataError", "InstanceError", "LaunchError",
     "OrderValidationError", "RiskCheckError", "ExecutionError", "NetworkError", "DatabaseError"],
)  # fmt: skip
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


def test_risk_check_error_as_dict_tells_the_check_and_what_it_is_about():
    """A program finds the check, whose limit it is, the order, the value and the limit; a person reads one line."""
    error = RiskCheckError(
        "position limit: 150,000.00 USD would exceed 100,000.00 USD", "strategy 1", "send less", check="position_limit",
        scope="strategy 1", limit_name="max_position_notional", symbol="AAPL", order_id=7, value="150,000.00 USD",
        limit="100,000.00 USD",
    )  # fmt: skip

    assert "position limit: 150,000.00 USD would exceed 100,000.00 USD (strategy 1): send less" == str(error)
    assert {
        "what": "position limit: 150,000.00 USD would exceed 100,000.00 USD", "where": "strategy 1", "remedy": "send less",
        "retryable": False, "check": "position_limit", "scope": "strategy 1", "limit_name": "max_position_notional",
        "symbol": "AAPL", "order_id": 7, "value": "150,000.00 USD", "limit": "100,000.00 USD",
    } == error.as_dict()  # fmt: skip


def test_operating_error_without_details_leaves_them_out():
    """What is not told is no key; a value of 0 is told."""
    plain, zero = OrderValidationError("no side", "order", "say buy or sell"), OrderValidationError("a", "b", "c", value=0)

    assert {"what": "no side", "where": "order", "remedy": "say buy or sell", "retryable": False} == plain.as_dict()
    assert 0 == zero.as_dict()["value"]


@pytest.mark.parametrize(("kind", "expected"), [(ExecutionError, False), (NetworkError, True), (DatabaseError, False)])
def test_outside_errors_by_kind_say_whether_to_try_again(kind, expected):
    """Each kind has its usual answer, one error may have another, and the count of retries goes along."""
    assert expected is kind("a", "b", "c").retryable
    assert (not expected) is kind("a", "b", "c", retryable=not expected).retryable
    assert 3 == kind("a", "b", "c", retries=3).as_dict()["retries"]


def test_operating_error_through_a_pickle_keeps_its_details():
    """The details cross from process to process with the three parts."""
    error = ExecutionError("venue did not answer", "AAPL", "wait", symbol="AAPL", order_id=5, retryable=True, retries=2)

    assert error.as_dict() == pickle.loads(pickle.dumps(error)).as_dict()


def test_recording_error_in_the_tree_is_one_of_market_data():
    """Who catches errors of market data catches a damaged recording as well."""
    assert issubclass(RecordingError, MarketDataError)
