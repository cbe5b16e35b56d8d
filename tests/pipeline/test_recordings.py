"""Recordings: whole or absent, and refused in one line when damaged."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecordingError
from pipeline.ingest.recordings import FILES, RecordingWriter, open_recording
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import QUOTE, TICK, TRADE

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENTS = Instruments(
    [
        Instrument("AIG", Decimal("0.0001"), Decimal(1), venue="N"),
        Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT"),
    ]
)


def random_ticks(count: int, seed: int = 7) -> np.ndarray:
    """Return ticks with every field random, kinds and instruments valid."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    for name in ("event_ns", "recv_ns", "venue_seq", "a", "b", "c", "d"):
        ticks[name] = rng.integers(1, 1 << 60, count)
    ticks["instrument"] = rng.integers(0, len(INSTRUMENTS), count)
    ticks["kind"] = rng.choice([QUOTE, TRADE], count)
    return ticks


def write(path: Path, ticks: np.ndarray, overwrite: bool = False) -> None:
    """Write a recording in one chunk."""
    with RecordingWriter(path, INSTRUMENTS, "test", "random", overwrite) as writer:
        writer.append(ticks)


def entries(folder: Path) -> list[str]:
    """Return all names below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("chunk_count", [1, 2, 17])
def test_recording_written_in_chunks_reads_back_equal(tmp_path: Path, chunk_count: int) -> None:
    """Whatever the chunks were, the mapped ticks hold the same bytes and the tables the same facts."""
    ticks = random_ticks(1_000)
    with RecordingWriter(tmp_path / "out", INSTRUMENTS, "test", "random") as writer:
        for chunk in np.array_split(ticks, chunk_count):
            writer.append(chunk)
        writer.left_out["suspicious_quotes"] = 3
        writer.trades_numbered = True
    recording = open_recording(tmp_path / "out")
    assert ticks.tobytes() == recording.ticks.tobytes()
    assert INSTRUMENTS == recording.instruments
    assert 1_000 == recording.info["tick_count"]
    assert int(ticks["event_ns"].min()) == recording.info["first_event_ns"]
    assert int(ticks["event_ns"].max()) == recording.info["last_event_ns"]
    quote_count = int(np.count_nonzero(ticks["kind"] == QUOTE))
    assert {"quote": quote_count, "trade": 1_000 - quote_count} == recording.info["kinds"]
    assert {"suspicious_quotes": 3} == recording.info["left_out"]
    assert recording.info["trades_numbered"]
    assert sorted(FILES) == entries(tmp_path / "out")


def test_recording_opened_gives_read_only_aligned_ticks(tmp_path: Path) -> None:
    """Kernels are compiled for the aligned type, and nobody may change a recording through the map."""
    write(tmp_path / "out", random_ticks(10))
    ticks = open_recording(tmp_path / "out").ticks
    assert ticks.dtype.isalignedstruct
    assert not ticks.flags.writeable
    assert np.array_equal(np.load(tmp_path / "out" / "ticks.npy", mmap_mode="r"), ticks)


def test_recording_strided_chunk_reads_back_equal(tmp_path: Path) -> None:
    """A chunk that is a stride of a larger array is written as its own elements."""
    ticks = random_ticks(100)
    write(tmp_path / "out", ticks[::3])
    assert ticks[::3].tobytes() == open_recording(tmp_path / "out").ticks.tobytes()


def test_recording_without_ticks_opens_empty(tmp_path: Path) -> None:
    """An empty array cannot be mapped; the recording opens nevertheless."""
    write(tmp_path / "out", random_ticks(0))
    recording = open_recording(tmp_path / "out")
    assert 0 == len(recording.ticks)
    assert recording.info["first_event_ns"] is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_writer_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """An error, Ctrl-C or a termination inside the writer leaves no file and no folder, not even new parents."""

    def write_and_fail() -> None:
        with RecordingWriter(tmp_path / "new" / "deep" / "out", INSTRUMENTS) as writer:
            writer.append(random_ticks(1_000))
            assert entries(tmp_path) != []
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert [] == entries(tmp_path)


def test_writer_on_existing_target_refuses_and_keeps_it(tmp_path: Path) -> None:
    """Without overwrite the old recording stays, and the message names the way out."""
    write(tmp_path / "out", random_ticks(5))
    with pytest.raises(RecordingError, match=r"exists .*--overwrite"):
        write(tmp_path / "out", random_ticks(6))
    assert 5 == len(open_recording(tmp_path / "out").ticks)
    assert 4 == len(entries(tmp_path))


def test_writer_with_overwrite_replaces_recording(tmp_path: Path) -> None:
    """The new recording takes the place of the old one and nothing else remains; open maps keep the old bytes."""
    write(tmp_path / "out", random_ticks(5))
    before = open_recording(tmp_path / "out")
    write(tmp_path / "out", random_ticks(6, seed=8), overwrite=True)
    assert random_ticks(6, seed=8).tobytes() == open_recording(tmp_path / "out").ticks.tobytes()
    assert random_ticks(5).tobytes() == before.ticks.tobytes()
    assert 4 == len(entries(tmp_path))


def test_writer_with_overwrite_failing_keeps_old_recording(tmp_path: Path) -> None:
    """An error on the way to a replacement leaves the old recording as it was."""
    write(tmp_path / "out", random_ticks(5))
    writer = RecordingWriter(tmp_path / "out", INSTRUMENTS, overwrite=True)
    writer.append(random_ticks(6))
    writer.__exit__(ValueError, ValueError("on purpose"), None)
    assert 5 == len(open_recording(tmp_path / "out").ticks)
    assert 4 == len(entries(tmp_path))


def test_writer_with_overwrite_never_replaces_other_folders(tmp_path: Path) -> None:
    """A folder that holds anything but a recording, or a file, is not deleted, whatever was said."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine too")
    for name in ("home", "file"):
        with pytest.raises(RecordingError, match="will not be replaced"):
            write(tmp_path / name, random_ticks(5), overwrite=True)
    assert ["file", "home", "home/thesis.txt"] == entries(tmp_path)


def test_writer_target_appearing_meanwhile_is_kept(tmp_path: Path) -> None:
    """Two imports into one folder: the second to finish refuses instead of mixing or replacing."""
    writer = RecordingWriter(tmp_path / "out", INSTRUMENTS)
    writer.append(random_ticks(6))
    write(tmp_path / "out", random_ticks(5))
    with pytest.raises(RecordingError, match="exists"):
        writer.close()
    assert 5 == len(open_recording(tmp_path / "out").ticks)
    assert 4 == len(entries(tmp_path))


def test_writer_below_a_file_refuses_in_one_line(tmp_path: Path) -> None:
    """A target that the file system does not take is a RecordingError with its reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be written: ") as caught:
        write(tmp_path / "file" / "out", random_ticks(5))
    assert 1 == len(str(caught.value).splitlines())


def test_writer_disk_full_leaves_nothing(tmp_path: Path) -> None:
    """When the system takes no more bytes (here: a limit on file size) one line says so and nothing is left."""
    code = (
        "import resource, sys, numpy as np; from pipeline.errors import RecordingError\n"
        "from tests.pipeline.test_recordings import random_ticks, write; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write(Path(sys.argv[1]), random_ticks(5_000))\n"
        "except RecordingError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert f"cannot be written: File too large ({tmp_path / 'out'}): free space or choose another folder" == done.stdout.strip()
    assert [] == entries(tmp_path)


def _edit_info(folder: Path, **changes: object) -> None:
    path = folder / "recording.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "folder_missing": (lambda f: f.rename(f.with_name("gone")), "no such recording"),
    "ticks_missing": (lambda f: (f / "ticks.npy").unlink(), "ticks.npy is missing"),
    "instruments_missing": (lambda f: (f / "instruments.json").unlink(), "instruments.json is missing"),
    "info_missing": (lambda f: (f / "recording.json").unlink(), "recording.json is missing"),
    "truncated": (lambda f: os.truncate(f / "ticks.npy", 1_000), "truncated"),
    "truncated_header": (lambda f: os.truncate(f / "ticks.npy", 40), "no npy header"),
    "empty": (lambda f: os.truncate(f / "ticks.npy", 0), "no npy header"),
    "too_long": (lambda f: os.truncate(f / "ticks.npy", 100_000), "too long"),
    "wrong_dtype": (lambda f: np.save(f / "ticks.npy", np.zeros(20)), "no one-dimensional array of TICK"),
    "two_dimensions": (lambda f: np.save(f / "ticks.npy", np.zeros((4, 5), TICK)), "no one-dimensional array of TICK"),
    "no_npy": (lambda f: (f / "ticks.npy").write_bytes(b"ticks, honestly" * 10), "no npy header"),
    "info_no_json": (lambda f: (f / "recording.json").write_text("{"), "is not JSON"),
    "info_no_object": (lambda f: (f / "recording.json").write_text("[]"), "no tick_count"),
    "info_other_format": (lambda f: _edit_info(f, format=99), "format is 99"),
    "info_other_layout": (lambda f: _edit_info(f, dtype_hash="0"), "layout"),
    "info_other_count": (lambda f: _edit_info(f, tick_count=19), "tells 19 ticks, ticks.npy holds 20"),
    "instruments_no_json": (lambda f: (f / "instruments.json").write_text("x"), "no symbol table"),
    "instruments_empty": (lambda f: (f / "instruments.json").write_text("[]"), "names no instrument"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_recording_damaged_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    """Each damage is named in one line with the place and what would do."""
    write(tmp_path / "out", random_ticks(20))
    apply, text = DAMAGES[damage]
    apply(tmp_path / "out")
    with pytest.raises(RecordingError) as caught:
        open_recording(tmp_path / "out")
    assert text in str(caught.value)
    assert str(tmp_path / "out") in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


def test_recording_path_of_a_file_is_refused(tmp_path: Path) -> None:
    """Giving a file instead of the folder is told apart from a missing one."""
    (tmp_path / "ticks.npy").write_bytes(b"")
    with pytest.raises(RecordingError, match="it is a file"):
        open_recording(tmp_path / "ticks.npy")
