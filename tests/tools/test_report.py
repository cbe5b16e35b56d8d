"""The final report says what a person must know, and nothing that is not so."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config, with_overrides
from pipeline.launch import Launch, plan
from tools.report import closing
from tools.status_screen import money_text

#: The account of a run that won a little.
ACCOUNT = {
    "currency": "USD", "equity": "10000348.5", "pnl": "348.5", "realised": "250.00", "unrealised": "100.00", "fees": "1.50",
    "drawdown": "51.50", "working_orders": 0, "strict": [],
}  # fmt: skip


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Return the shipped configuration as it would be started in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return plan(with_overrides(load_config(), {"sidecar.metrics_port": 0}))


def summary_of(**changed: Any) -> dict[str, Any]:
    """Return the summary of a quiet run of two seconds, but for what is changed."""
    usual = {
        "instance": "x",
        "duration_s": 2.0,
        "stopped_by": "duration",
        "taken_over": False,
        "ticks_before": 0,
        "ticks": {"received": 2000, "accepted": 2000, "rejected": {}, "conflated": 0},
        "requests": {"received": 0, "refused": {}},
        "orders": {"submitted": 0, "entries": 0, "exits": 0, "filled": 0, "rejected": {}},
        "fills": 0,
        "stops": {"armed": 0, "triggered": 0, "by_kind": {}, "owed": 0},
        "account": ACCOUNT,
        "positions": [],
        "latency_ns": {name: {"count": 0} for name in ("ingest_to_risk", "risk_to_execution", "tick_to_order")},
        "restarts": {},
        "restart_ms_max": 0.0,
        "venue": {"positions_agree": True, "duplicates_refused": 0},
        "memory_mb": {},
        "memory_mb_total": 0.0,
        "steal_percent": 0.0,
    }
    return usual | changed


def report_of(launch: Launch, **changed: Any) -> str:
    """Return the report of that summary."""
    return "\n".join(closing(summary_of(**changed), launch))


def test_closing_run_taken_over_counts_only_its_own_ticks_as_its_speed(launch: Launch) -> None:
    """What an earlier run received does not make this one fast, and it is told since when the counts run."""
    assert "2,000 received (1,000/s)" in report_of(launch)
    assert "since the instance was made" not in report_of(launch)
    text = report_of(launch, taken_over=True, ticks_before=1500)
    assert "2,000 received (250/s)" in text
    assert "since the instance was made; 1,500 ticks came before this run" in text


def position_of(symbol: str, strategy: int, quantity: str) -> dict[str, Any]:
    """Return a position as the summary has it."""
    money = {"realised": "0.00", "unrealised": "1.00", "currency": "USD"}
    return {"symbol": symbol, "strategy": strategy, "quantity": quantity, "entry": "1.00", "stops": ["armed"], **money}


def test_closing_open_positions_name_their_strategy_and_their_end(launch: Launch) -> None:
    """The same symbol in two strategies is told apart, and nobody goes on believing in a stop that is gone."""
    both = [position_of("AAPL", 0, "100"), position_of("AAPL", 1, "-50")]
    text = report_of(launch, positions=both)
    assert "AAPL (strategy0)" in text
    assert "AAPL (strategy1)" in text
    assert "the positions of this paper run, and their stops, ended with the instance" in text
    assert "ended with the instance" not in report_of(launch, positions=[position_of("AAPL", 0, "0")])


def test_closing_refused_requests_tell_by_whom_and_why(launch: Launch) -> None:
    """A refusal without its reason helps nobody."""
    requests = {"received": 9, "refused": {"no_market": 2, "notional": 1}}
    assert "9 received, 3 refused by risk (no_market 2, notional 1)" in report_of(launch, requests=requests)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("99999.99", "+99,999.99"),
        ("314000.00", "+314,000"),
        ("-9999999.4", "-9,999,999"),
        ("12345678", "+12.35M"),
        ("0", "+0.00"),
    ],
)
def test_money_text_of_any_size_fits_ten_characters(amount: str, expected: str) -> None:
    """An amount that is cut off reads as another amount."""
    assert expected == money_text(Decimal(amount))
    assert len(expected) <= 10


def test_closing_account_is_one_line_with_who_may_not_trade(launch: Launch) -> None:
    """Equity and P&L add up on one line; orders at work and scopes that are not active stand behind it."""
    usual = "  account     equity 10,000,348.50 USD, P&L 348.50 (realised 250.00, unrealised 100.00, fees 1.50, drawdown 51.50)"
    assert usual in report_of(launch).splitlines()
    strict = [
        {"scope": "account", "state": "reducing", "reason": "daily_loss"},
        {"scope": "AAPL", "state": "halted", "reason": "person"},
    ]
    text = report_of(launch, account=ACCOUNT | {"working_orders": 2, "strict": strict})
    assert f"{usual}, 2 orders at work; account REDUCING (daily loss), AAPL HALTED (person)" in text.splitlines()
