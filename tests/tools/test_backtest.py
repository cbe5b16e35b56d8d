"""tools/backtest.py as people run it: what it writes and prints, and every mistake in one line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.backtest import warm
from pipeline.backtest.entries import judge
from pipeline.config import Config, load_config, with_overrides
from pipeline.ingest.recordings import open_recording
from shm.jit import JIT_ENABLED
from tests import stop_twin_numpy
from tests.backtests import MS, START_NS, on_disk, ticks_of
from tests.stop_cases import random_stops
from tests.stop_files import out_rows, read_out_csv, write_csv
from tools import backtest, record

#: The first of them compiles all stages in one kernel.
pytestmark = [pytest.mark.jitless, pytest.mark.timeout(300)]

TICKS = ticks_of((10 * k, 0, bid, bid + 2) for k, bid in enumerate((1000, 1004, 1008, 1001, 996, 990, 985, 992, 1010, 1011)))
HEADER = "stop_id,symbol,side,kind,entry_price,quantity,stop_price,percent,max_holding_seconds"
STOPS = [
    "b,S0,long,static,10.00,10,9.96,,",
    "a,S0,short,trailing,10.02,5,,0.5,",
    "c,S0,long,time,,1,,,0.035",
    "d,S0,long,static,10,1,5,,",
]
#: Trials of the real thing: stops on each real recording.
REAL_STOPS = 2_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a recording and a stops file, in which the command runs."""
    on_disk(tmp_path / "rec", TICKS)
    (tmp_path / "stops.csv").write_text("\n".join([HEADER, *STOPS]) + "\n")
    monkeypatch.chdir(tmp_path)
    use_compiled(monkeypatch)
    return tmp_path


def use_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command use the kernels that the other tests have compiled, which are those of two slots."""
    monkeypatch.setattr(warm, "is_cold", lambda about: False)
    monkeypatch.setattr(backtest, "load_config", two_slots)


def two_slots(path: str | None) -> Config:
    """Read a configuration, and give it two slots."""
    return with_overrides(load_config(path), {"strategies.slots": 2})


USUAL = ["rec", "--stops", "stops.csv", "--events", "out.csv", "--latency-us", "1000"]


def test_backtest_command_writes_the_stops_that_fired_in_order(folder: Path) -> None:
    """out.csv has one row for each stop that fired, with exact decimals, and empty where there is no level."""
    assert 0 == backtest.main([*USUAL, "--quiet"])
    expected = [
        ["stop_id", "kind", "trigger_ns", "watched_price", "level"],
        ["a", "trailing", str(START_NS + 20 * MS), "10.10", "10.08"],
        ["b", "static", str(START_NS + 40 * MS), "9.96", "9.96"],
        ["c", "time", str(START_NS + 40 * MS), "9.96", ""],
    ]
    with (folder / "out.csv").open(newline="") as file:
        assert expected == list(csv.reader(file))
    assert {"rec", "stops.csv", "out.csv"} == {path.name for path in folder.iterdir()}


def test_backtest_command_report_fits_a_hundred_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report tells ticks, stops by kind, slippage, P&L and speed, and no line is longer than a terminal."""
    assert 0 == backtest.main(USUAL)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    for text in ("10 received, 10 accepted, 0 rejected", "static", "level to fill", "USD", "ns a tick", "3 rows in out.csv"):
        assert text in printed


def test_backtest_command_summary_holds_the_whole_report(folder: Path) -> None:
    """The JSON adds up: every position is in one state, and every tick has a reason."""
    assert 0 == backtest.main([*USUAL, "--quiet", "--summary", "s.json"])
    summary = json.loads((folder / "s.json").read_text())
    assert (10, 10, {}) == (summary["ticks"]["received"], summary["ticks"]["accepted"], summary["ticks"]["rejected"])
    for counts in summary["stops"].values():
        assert counts["set"] == counts["fired"] + counts["open"] + counts["not_entered"] + counts["ended_otherwise"]
    assert {"set": 4, "not_entered": 0, "open": 1, "fired": 3, "ended_otherwise": 0} == summary["stops"]["all"]
    assert 3 == summary["exits"]["fills"] == sum(summary["fired_by"].values())
    assert {"static", "trailing", "all"} == {row["kind"] for row in summary["slippage"]}
    assert {"with_stops", "without_stops", "difference", "of_open_positions"} == set(summary["pnl"]["USD"])
    assert {"seconds", "ticks_per_second", "ns_per_tick"} == set(summary["speed"])


def test_backtest_command_with_quiet_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet is quiet, on both streams."""
    assert 0 == backtest.main([*USUAL, "--quiet"])
    assert ("", "") == tuple(capsys.readouterr())


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no_stops": (["rec", "--events", "out.csv"], "--stops is missing"),
    "no_events": (["rec", "--stops", "stops.csv"], "--events is missing"),
    "no_recording": (["nowhere", "--stops", "stops.csv", "--events", "o.csv"], "no such recording (nowhere)"),
    "no_file": (["rec", "--stops", "nothing.csv", "--events", "o.csv"], "No such file or directory (nothing.csv)"),
    "no_config": ([*USUAL, "--config", "nothing.toml"], "cannot read the configuration"),
    "latency": ([*USUAL[:5], "--latency-us", "-1"], "execution.paper.latency_us = -1"),
    "latency_text": ([*USUAL[:5], "--latency-us", "x"], "invalid int value: 'x'"),
    "out_folder": (["rec", "--stops", "stops.csv", "--events", "no/o.csv"], "not there or not writable (--events no/o.csv)"),
    "out_is_folder": (["rec", "--stops", "stops.csv", "--events", "rec"], "choose another place"),
    "png": ([*USUAL, "--png", "p.png"], "--png without --sweep"),
    "jobs": (["rec", "--every", "1", "--sweep", "kind=static,percent=1", "--jobs", "0"], "--jobs 0"),
    "both": (["rec", "--every", "1", "--stops", "stops.csv", "--sweep", "kind=static,percent=1"], "positions from one place"),
    "neither": (["rec", "--sweep", "kind=static,percent=1"], "positions from one place"),
    "sweep_events": ([*USUAL, "--sweep", "kind=static,percent=1"], "--events with --sweep"),
    "every": (["rec", "--every", "0", "--sweep", "kind=static,percent=1"], "--every 0"),
    "side": (["rec", "--stops", "stops.csv", "--side", "long", "--sweep", "kind=static,percent=1"], "are of --every"),
    "grid": (["rec", "--every", "1", "--sweep", "percent=1"], "kind is missing (--sweep)"),
    "unknown": ([*USUAL, "--speed", "9"], "unrecognized arguments: --speed 9"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_backtest_command_mistake_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], mistake: str) -> None:
    """Each mistake gives exit code 2 and one error line that names the cure, and leaves nothing behind."""
    arguments, text = MISTAKES[mistake]
    code: object
    try:
        code = backtest.main(arguments)
    except SystemExit as left:
        code = left.code
    told = capsys.readouterr().err.splitlines()
    assert (2, 1) == (code, len(told))
    assert told[0].startswith("error: ")
    assert text in told[0]
    assert {"rec", "stops.csv"} == {path.name for path in folder.iterdir()}


def test_backtest_command_with_a_wrong_stops_file_tells_every_fault(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All faults of the file come at once, one line each."""
    (folder / "stops.csv").write_text("\n".join([HEADER, "1,S9,long,static,10,1,9,,", "2,S0,up,static,10,1,9,,"]) + "\n")
    assert 2 == backtest.main(USUAL)
    told = capsys.readouterr().err.splitlines()
    assert ["error: symbol = 'S9' is not in the recording", "error: side = 'up' is none of them"] == [
        line.partition(" (stops.csv")[0] for line in told
    ]


def test_backtest_command_of_a_recording_without_ticks_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording that holds nothing is no ground for a backtest."""
    on_disk(folder / "empty", TICKS[:0])
    assert 2 == backtest.main(["empty", *USUAL[1:]])
    assert "holds no tick (empty)" in capsys.readouterr().err


@pytest.fixture(scope="session")
def real(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a call that imports a real recording, once."""
    folder = tmp_path_factory.mktemp("real")

    def imported(name: str) -> Path:
        path = folder / name
        lean = ["--quotes", str(data_folder / "lean" / name / "20131009_quote.zip"),
                "--trades", str(data_folder / "lean" / name / "20131009_trade.zip"), "--exchange", "all"]  # fmt: skip
        source = ["lean", "--symbol", name.upper(), "--date", "2013-10-09", *lean]
        if name == "btcusdt":
            source = ["binance", str(data_folder / "binance" / "btcusdt_usdm_20240808.gz")]
        assert path.exists() or 0 == record.main(["import", *source, str(path)])
        return path

    return imported


@pytest.mark.slow
@pytest.mark.skipif(not JIT_ENABLED, reason="a million ticks take an hour without the JIT")
@pytest.mark.parametrize("name", ["aig", "bac", "btcusdt"])
def test_backtest_command_on_a_real_recording_equals_the_twin(
    real: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Thousands of random stops of every kind on a real recording: each trigger equal, none more, none less."""
    use_compiled(monkeypatch)
    recording = open_recording(real(name))
    judged = np.array(recording.ticks)
    judged["flags"] = judge(recording, two_slots(None))
    terms = random_stops(judged, recording.instruments, REAL_STOPS, seed=20131009)
    write_csv(terms, recording.instruments, tmp_path / "stops.csv")
    flags = ["--stops", str(tmp_path / "stops.csv"), "--events", str(tmp_path / "out.csv"), "--quiet"]
    assert 0 == backtest.main([str(recording.path), *flags])
    expected = out_rows(stop_twin_numpy.triggers(judged, terms), terms, recording.instruments)
    found = read_out_csv(tmp_path / "out.csv")
    assert REAL_STOPS == len(terms)
    assert 500 < len(expected) == len(found)
    assert sorted(expected) == sorted(found)
    assert [row.trigger_ns for row in expected] == [row.trigger_ns for row in found]
