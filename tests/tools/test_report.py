"""The final report says what a person must know, and nothing that is not so."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config, with_overrides
from pipeline.launch import Launch, plan
from tools.report import closing


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
