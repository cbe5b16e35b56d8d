"""tools/record.py as people run it: from any folder, with good and bad input, and interrupted."""

import gzip
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.ingest.recordings import open_recording
from shm.jit import JIT_ENABLED
from tools import record

ROOT = Path(__file__).resolve().parents[2]
QUOTES = ["34200000,475000,200,0,0,P,1,0", "34200000,0,0,484800,3000,P,1,0", "34200001,484800,100,0,0,P,1,0"]
TRADES = ["34200500,480050,143,D,20000020,0", "34200000,480000,1,D,1,1"]
FRAMES = [
    '2000 {"data":{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","E":1001}}',
    '3000 {"data":{"e":"trade","E":1000,"s":"BTCUSDT","t":7,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}',
    '3500 {"data":{"e":"trade","E":1000,"s":"BTCUSDT","t":8,"p":"61800.30","q":"0.001","X":"MARKET","m":true}}',
    '4000 {"data":{"e":"depthUpdate","E":1000,"s":"BTCUSDT"}}',
]
LEAN = ["import", "lean", "--symbol", "AIG", "--date", "2013-10-09"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with small q.zip, t.zip and f.gz."""
    for name, lines in (("q", QUOTES), ("t", TRADES)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("ticks.csv", "\n".join(lines))
    (tmp_path / "f.gz").write_bytes(gzip.compress("\n".join(FRAMES).encode()))
    return tmp_path


def names(folder: Path) -> set[str]:
    """Return all names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def described(capsys: pytest.CaptureFixture[str], path: Path) -> dict:
    """Return what `info --json` tells."""
    capsys.readouterr()
    assert 0 == record.main(["info", "--json", str(path)])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [["tools/record.py"], ["-m", "tools.record"]])
def test_record_runs_as_script_and_as_module(files: Path, command: list[str]) -> None:
    """The script runs from any folder, the module from the root; both import and tell what they wrote."""
    script = command[0] != "-m"
    start = [sys.executable, str(ROOT / command[0])] if script else [sys.executable, *command]
    cwd = files if script else ROOT
    arguments = ["--quotes", str(files / "q.zip"), "--trades", str(files / "t.zip"), str(files / "out")]
    done = subprocess.run([*start, *LEAN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.startswith(f"{files / 'out'}: 3 ticks (2 quote, 1 trade) in ")
    info = [*start, "info", str(files / "out")]
    done = subprocess.run(info, cwd=cwd, capture_output=True, text=True, timeout=100, check=True)
    for text in ("AIG", "2013-10-09T13:30:00.500000000Z", "0.500 s", "47.5000", "48.4800", "1 suspicious_trades"):
        assert text in done.stdout
    assert "\x1b" not in done.stdout


def test_record_info_tells_lean_facts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, times, prices and what was left out are those of the rows."""
    arguments = [*LEAN, "--quotes", str(files / "q.zip"), "--trades", str(files / "t.zip"), str(files / "out")]
    assert 0 == record.main(arguments)
    found = described(capsys, files / "out")
    expected = {
        "symbol": "AIG", "tick_size": "0.0001", "lot_size": "1", "quotes": 2, "trades": 1,
        "price_min": "47.5000", "price_max": "48.4800", "one_sided": 0, "crossed": 0, "locked": 1,
    }  # fmt: skip
    assert [expected] == found["symbols"]
    assert ("2013-10-09T13:30:00.000000000Z", 0.5) == (found["first_event_utc"], found["duration_seconds"])
    assert {"suspicious_trades": 1, "one_sided_quotes": 1} == {k: v for k, v in found["left_out"].items() if v}


def test_record_of_all_exchanges_tells_how_many(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --exchange all the recording holds the best of all, names no venue, and says so."""
    arguments = ["--quotes", str(files / "q.zip"), "--exchange", "all", str(files / "out")]
    assert 0 == record.main([*LEAN, *arguments])
    expected = "AIG 2013-10-09, best bid and offer of 1 exchanges, 0 sides taken as withdrawn"
    assert expected == described(capsys, files / "out")["description"]
    assert "" == open_recording(files / "out").instruments[0].venue


def test_record_info_tells_binance_facts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Event-time inversions (equal times are none) and skipped frames are told; given steps are used."""
    out = str(files / "out")
    assert 0 == record.main(["import", "binance", str(files / "f.gz"), "--tick-size", "0.10", out])
    found = described(capsys, files / "out")
    assert (3, 1, {"depthUpdate": 1}) == (found["tick_count"], found["event_time_inversions"], found["left_out"])
    assert ("0.10", "0.001") == (found["symbols"][0]["tick_size"], found["symbols"][0]["lot_size"])
    assert open_recording(out).info["trades_numbered"]
    assert ("61800.20", "61800.30") == (found["symbols"][0]["price_min"], found["symbols"][0]["price_max"])


def test_record_overwrite_replaces_recording(files: Path) -> None:
    """A second import needs the flag, and with it replaces the first."""
    trades = [*LEAN, "--trades", str(files / "t.zip"), str(files / "out")]
    assert 0 == record.main(trades)
    assert 2 == record.main(trades)
    assert 0 == record.main(["import", "binance", str(files / "f.gz"), "--overwrite", str(files / "out")])
    assert ("BTCUSDT",) == open_recording(files / "out").instruments.symbols
    assert {"q.zip", "t.zip", "f.gz", "out"} == names(files)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing_to_import": ([*LEAN, "OUT"], "give --quotes, --trades or both"),
    "exchange_without_quotes": ([*LEAN, "--trades", "t.zip", "--exchange", "P", "OUT"], "give --quotes too"),
    "bad_date": ([*LEAN[:4], "--date", "2013-13-09", "--trades", "t.zip", "OUT"], "'2013-13-09' is no date"),
    "bad_symbol": ([*LEAN[:2], "--symbol", "A I G", "--date", "2013-10-09", "--trades", "t.zip", "OUT"], "'A I G'"),
    "no_symbol": (["import", "lean", "--date", "2013-10-09", "OUT"], "--symbol"),
    "missing_file": ([*LEAN, "--trades", "absent.zip", "OUT"], "no such file (absent.zip)"),
    "not_a_zip": ([*LEAN, "--trades", "f.gz", "OUT"], "not a whole zip"),
    "swapped": ([*LEAN, "--quotes", "t.zip", "OUT"], "t.zip, line 1"),
    "unknown_exchange": ([*LEAN, "--quotes", "q.zip", "--exchange", "X", "OUT"], "choose one of P"),
    "out_exists": ([*LEAN, "--trades", "t.zip", "."], "--overwrite"),
    "out_no_recording": ([*LEAN, "--trades", "t.zip", "--overwrite", "."], "will not be replaced"),
    "out_below_file": ([*LEAN, "--trades", "t.zip", "f.gz/OUT"], "cannot be written"),
    "not_a_gzip": (["import", "binance", "t.zip", "OUT"], "not a whole gzip"),
    "bad_tick_size": (["import", "binance", "--tick-size", "tiny", "f.gz", "OUT"], "'tiny' is no decimal"),
    "zero_tick_size": (["import", "binance", "--tick-size", "0", "f.gz", "OUT"], "0 is not between"),
    "coarse_tick_size": (["import", "binance", "--tick-size", "0.5", "f.gz", "OUT"], "line 1): give a finer --tick-size"),
    "unknown_format": (["import", "csv", "OUT"], "csv"),
    "info_missing": (["info", "OUT"], "no such recording (OUT)"),
    "info_other_folder": (["info", "."], "not a recording"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_record_user_mistake_is_one_line(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    """Each mistake gives exit code 2, one error line that names the cure, and leaves nothing behind."""
    monkeypatch.chdir(files)
    arguments, text = MISTAKES[mistake]
    code: object
    try:
        code = record.main(arguments)
    except SystemExit as left:
        code = left.code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("%")]
    assert 2 == code
    assert 1 == len(lines)
    assert lines[0].startswith("error: ")
    assert text in lines[0]
    assert {"q.zip", "t.zip", "f.gz"} == names(files)


@pytest.mark.processes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_record_interrupted_while_writing_leaves_nothing(files: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM in the middle of an import end it with its code and remove what it had begun."""
    pipe = files / "pipe.gz"
    os.mkfifo(pipe)
    content = (files / "f.gz").read_bytes()
    command = [sys.executable, str(ROOT / "tools" / "record.py"), "import", "binance", str(pipe), str(files / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        # The first pass reads the whole pipe. Once it told its end, opening waits for the second, when the writer has begun.
        pipe.write_bytes(content)
        assert child.stderr is not None
        assert b"surveying pipe.gz: 100%\n" == child.stderr.readline()
        with pipe.open("wb") as second:
            second.write(content[:20])
            second.flush()
            assert any(name.startswith(".out.") for name in names(files))
            child.send_signal(number)
            child.wait(timeout=60)
    assert code == child.returncode
    assert {"q.zip", "t.zip", "f.gz", "pipe.gz"} == names(files)


@pytest.mark.data
@pytest.mark.skipif(not JIT_ENABLED, reason="two million rows take minutes without the JIT")
def test_record_real_aig_day_tells_its_counts(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real day gives one recording with all trades and the quotes of its busiest exchange."""
    day = data_folder / "lean" / "aig"
    files = ["--quotes", str(day / "20131009_quote.zip"), "--trades", str(day / "20131009_trade.zip")]
    assert 0 == record.main([*LEAN, *files, str(tmp_path / "out")])
    found = described(capsys, tmp_path / "out")
    assert ({"quote": 663_042, "trade": 52_008}, 0) == (found["kinds"], found["event_time_inversions"])
    assert 1_424_012 + 52_008 == found["tick_count"] + sum(found["left_out"].values())


@pytest.fixture
def make_large(tmp_path: Path) -> Callable[[], Path]:
    """Return a function that writes a frames file of many lines."""

    def make() -> Path:
        path = tmp_path / "large.gz"
        path.write_bytes(gzip.compress("\n".join(FRAMES[:1] * 20_000).encode()))
        return path

    return make


def test_record_without_terminal_prints_plain_progress(
    make_large: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where stderr is no terminal, progress is plain lines without control characters."""
    assert 0 == record.main(["import", "binance", str(make_large()), str(tmp_path / "out")])
    shown = capsys.readouterr().err
    assert "decoding large.gz: 100%" in shown
    assert "\x1b" not in shown
