"""Sweeps: the grid, the plan of its cells, their way home, the table and the heat map."""

import json
import multiprocessing
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backtest.cells import play_cells
from pipeline.errors import InstanceError, UserError
from pipeline.ingest.recordings import open_recording
from pipeline.messages import BID_ASK, LAST, LONG, MID, SHORT, STATIC, TRAILING
from tests.backtests import MS, SECOND, START_NS, in_memory, on_disk, plan, settings, ticks_of
from tools import sweep
from tools.backtest import main, make_parser
from tools.grid import cells_of, parse_grid
from tools.heat_map import axes_of, names_of, panels_of
from tools.stops_csv import StopsFileError
from tools.sweep_report import best_cell, shown_cells
from tools.sweep_worker import Share, cell_positions

#: A market that falls, rises and falls again, a quote and a trade every 100 ms.
WAVE = [1000 + step for step in (0, 3, -4, -9, -2, 8, 15, 11, 6, 14, 21, 9, -3, -12, -6, 2, 7, 5)]
TICKS = ticks_of(row for k, bid in enumerate(WAVE) for row in ((100 * k, 0, bid, bid + 2), (100 * k + 50, 0, bid + 1)))


def faults(text: str) -> list[str]:
    """Return the lines of the error that a grid is."""
    with pytest.raises(StopsFileError) as caught:
        parse_grid(text)
    return list(caught.value.lines)


def options(*flags: str) -> Any:
    """Parse the flags of a sweep."""
    return make_parser().parse_args(["RECORDING", *flags])


def test_grid_of_ranges_and_lists_gives_every_value_exactly() -> None:
    """Ranges count in exact decimals and take their end along, lists are as written, short names mean their columns."""
    grid = parse_grid("percent=0.1:0.5:0.1,kind=static,trailing,activation=0,1.5,watch=mid")
    assert ["percent", "kind", "activation_percent", "watch"] == [dimension.column for dimension in grid]
    assert ("0.1", "0.2", "0.3", "0.4", "0.5") == grid[0].values
    assert [("static", "trailing"), ("0", "1.5"), ("mid",)] == [dimension.values for dimension in grid[1:]]
    assert ("1", "3", "5") == parse_grid("kind=atr,atr_period=1:6:2")[1].values


def test_grid_cells_are_all_combinations_in_order() -> None:
    """The last dimension changes fastest, and each cell names its columns."""
    cells = list(cells_of(parse_grid("kind=static,trailing,percent=1,2")))
    assert [("static", "1"), ("static", "2"), ("trailing", "1"), ("trailing", "2")] == [tuple(cell.values()) for cell in cells]
    assert {"kind", "percent"} == set(cells[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("percent=1", "kind is missing"),
        ("kind=static,prcent=1", "unknown dimension 'prcent' (--sweep): did you mean percent?"),
        ("static,trailing", "'static' belongs to no dimension"),
        ("kind=static,percent=1:2", "percent = '1:2' is no range"),
        ("kind=static,percent=1:x:1", "percent = '1:x:1' is no range"),
        ("kind=static,percent=2:1:1", "percent = '2:1:1' is empty"),
        ("kind=static,percent=1:2:0", "percent = '1:2:0' is empty"),
        ("kind=static,percent=0:1:0.0001", "is more than 1,000 values"),
        ("kind=static,percent=1,", "an empty value of percent"),
        ("kind=static,percent=1,1", "percent = 1 stands there twice"),
        ("kind=static,kind=trailing", "kind is there twice"),
        ("kind=static,activation=1,activation_percent=2", "activation_percent is there twice"),
        ("kind=static,stop_price=47", "unknown dimension 'stop_price'"),
        ("kind=static,percent=1:90:0.1,activation=1:90:0.1", "cells (--sweep): make it 10,000 at most"),
        ("", "'' belongs to no dimension"),
    ],
)
def test_grid_that_is_wrong_is_told_in_one_line(text: str, told: str) -> None:
    """Each mistake in a grid names what is wrong and what would do."""
    found = faults(text)
    assert 1 == len(found)
    assert told in found[0]


def test_sweep_positions_every_so_often_are_made_for_each_side_and_symbol() -> None:
    """Without a file a position enters in each symbol and on each side at every step from the first tick to the last."""
    recording = in_memory(TICKS, 2)
    made = sweep.positions_of(options("--every", "0.5", "--side", "both", "--quantity", "7"), settings(), recording)
    assert 4 * 2 * 2 == len(made)
    assert [START_NS, START_NS + 500 * MS] == np.unique(made["entry_ns"])[:2].tolist()
    assert {(LONG, 0), (LONG, 1), (SHORT, 0), (SHORT, 1)} == set(made[["side", "instrument"]].tolist())
    assert ([7], [BID_ASK]) == (np.unique(made["quantity_lots"]).tolist(), np.unique(made["watch"]).tolist())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--every", "0.001", "--side", "both"), "--every 0.001 makes 3,502 positions"),
        (("--every", "1", "--quantity", "1.5"), "quantity = '1.5' is no whole number of lots (--quantity, S0)"),
    ],
)
def test_sweep_positions_that_cannot_be_made_are_refused(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], told: str
) -> None:
    """Too many entries, and a quantity that is no whole number of lots, are one line each."""
    monkeypatch.setattr(sweep, "POSITIONS_MAX", 1_000)
    with pytest.raises(UserError, match=r"positions|lots") as caught:
        sweep.positions_of(options(*flags), settings(), in_memory(TICKS))
    assert told in str(caught.value)


def test_sweep_plan_gives_each_position_the_stop_of_its_cell() -> None:
    """Every cell has the same positions; its stop is read as in a file, for either side and each watch."""
    base = plan({"entry_units": 1000, "watch": BID_ASK}, {"entry_units": 0, "side": SHORT, "watch": MID})
    cells = list(cells_of(parse_grid("kind=static,trailing,percent=1,2,watch=last,mid")))
    positions, plans = sweep.plan_cells(cells, base, settings(), in_memory(TICKS))
    assert 8 == len(plans)
    planned = [cell_positions(one, positions) for one in plans]
    assert [(STATIC, 10_000, LAST), (STATIC, 10_000, MID), (STATIC, 20_000, LAST)] == [
        tuple(cell[["kind", "percent_ppm", "watch"]][1]) for cell in planned[:3]
    ]
    assert [[1000, 0], [2000, 0]] == [cell["entry_units"].tolist() for cell in planned[:2]]
    assert {(LONG, 0), (SHORT, 0)} == set(planned[-1][["side", "instrument"]].tolist())
    assert TRAILING == planned[-1]["kind"][0]


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("kind=static,time,percent=1", "percent = '1' means nothing to a time stop (--sweep, kind=time percent=1)"),
        ("kind=static,percent=1,200", "percent = '200' is too large"),
        ("kind=trailing,offset=0.005", "offset = '0.005' is no whole number of ticks"),
        ("kind=static,percent=1,watch=last", "an entry lies on half a tick"),
    ],
)
def test_sweep_plan_with_cells_that_make_no_stop_is_refused(grid: str, told: str) -> None:
    """A cell that would be a wrong line of a stops file is told with its values."""
    base = plan({"entry_units": 2001, "watch": MID if "watch" in grid else BID_ASK})
    with pytest.raises(StopsFileError) as caught:
        sweep.plan_cells(list(cells_of(parse_grid(grid))), base, settings(), in_memory(TICKS))
    assert told in caught.value.lines[0]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return the wave as a recording on the disk."""
    return on_disk(tmp_path / "wave", TICKS)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a sweep run their kernels as plain Python: some dozen ticks are not worth compiling for."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


@pytest.mark.processes
@pytest.mark.usefixtures("plain")
def test_sweep_in_two_processes_brings_every_cell_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command plays all cells in other processes and tells what came of them, as table, JSON and picture."""
    monkeypatch.setattr(sweep, "warm_up", lambda config, tell: None)
    monkeypatch.setattr(sweep, "complete", lambda positions, *_: filled(positions))
    flags = ["--every", "0.4", "--sweep", "kind=static,trailing,percent=0.3:1.2:0.3", "--jobs", "2"]
    out = ["--summary", str(tmp_path / "s.json"), "--png", str(tmp_path / "s.png")]
    assert 0 == main([str(recording), *flags, *out])
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (8, 2, 5) == (len(summary["cells"]), summary["processes"], summary["positions"])
    assert ["0.3", "0.6", "0.9", "1.2"] == summary["grid"]["percent"]
    assert {"kind": "trailing", "percent": "1.2"} == summary["cells"][-1]["cell"]
    assert len({json.dumps(cell["pnl"]) for cell in summary["cells"]}) > 2
    assert b"\x89PNG" == (tmp_path / "s.png").read_bytes()[:4]
    printed = capfd.readouterr().out
    assert "8 cells of 5 positions on 2 processes" in printed
    # The first line names the recording and the last the picture, whose paths are as long as they are.
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 100
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def filled(positions: np.ndarray) -> np.ndarray:
    """Return positions that enter at the wave's first price."""
    done = positions.copy()
    done["entry_units"] = 1000
    return done


@pytest.mark.jitless
@pytest.mark.timeout(300)
def test_sweep_cells_in_one_pass_fire_as_their_distances_say() -> None:
    """The nearer the stop, the more of the same positions it ends."""
    recording = in_memory(TICKS)
    base = plan(*[{"entry_units": 1000, "entry_ns": START_NS + k * SECOND // 5} for k in range(5)])
    cells = list(cells_of(parse_grid("kind=trailing,percent=0.3,0.9,5")))
    positions, plans = sweep.plan_cells(cells, base, settings(), recording)
    found = play_cells(recording, [cell_positions(one, positions) for one in plans], settings())
    fired = [cell["fired"] for cell in found]
    assert fired == sorted(fired, reverse=True)
    assert (5, 0) == (fired[0], fired[-1])
    assert found[-1]["pnl"] == found[-1]["pnl_without_stops"]
    assert None is found[-1]["slippage_ticks_mean"]


def die(share: Share, results: Any) -> None:
    """Be a worker that is killed."""
    os.kill(os.getpid(), 9)


def end_early(share: Share, results: Any) -> None:
    """Be a worker that ends without its results."""


def complain(share: Share, results: Any) -> None:
    """Be a worker that finds a mistake."""
    results.send((None, ("no room", "/dev/shm", "make some")))


@pytest.mark.processes
@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("worker", "told"),
    [(die, "was killed by SIGKILL"), (end_early, "ended without all results"), (complain, "no room (/dev/shm): make some")],
)
def test_sweep_whose_process_fails_tells_and_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, recording: Path, worker: Callable[..., None], told: str
) -> None:
    """A process that is killed, ends early or finds a mistake ends the sweep with one line, and no process stays."""
    monkeypatch.setattr(sweep, "work", worker)
    base = plan({"entry_units": 1000, "entry_ns": START_NS})
    positions, plans = sweep.plan_cells(
        list(cells_of(parse_grid("kind=static,percent=1,2"))), base, settings(), in_memory(TICKS)
    )
    with pytest.raises(UserError) as caught:
        sweep.play(plans, positions, settings(), open_recording(recording), 2, lambda done, total: None)
    assert told in str(caught.value)
    assert [] == multiprocessing.active_children()


def test_sweep_table_of_a_large_grid_shows_the_best_and_the_worst() -> None:
    """Up to a screenful every cell is shown, beyond it only those at both ends."""
    cells = [{"pnl": {"USD": str(Decimal(k * 7919 % 1000))}} for k in range(1000)]
    shown, left_out = shown_cells(cells, "USD")
    assert (120, 880) == (len(shown), left_out)
    assert shown == sorted(shown)
    assert best_cell(cells, "USD") in shown
    assert (list(range(100)), 0) == shown_cells(cells[:100], "USD")


def test_heat_map_puts_the_longest_dimension_to_the_right() -> None:
    """The rows are all combinations of the other dimensions, and each value lies where its cell says."""
    grid = parse_grid("activation=0,1,percent=1:3:1,kind=static,trailing")
    across, down = axes_of(grid)
    assert "percent" == across.name
    rows = ["activation 0, static", "activation 0, trailing", "activation 1, static", "activation 1, trailing"]
    assert rows == names_of(down)
    cells = [
        {
            "pnl": {
                "USD": str(100 * int(cell["activation_percent"]) + 10 * (cell["kind"] == "trailing") + int(cell["percent"]))
            },
            "fired_share": 0.5,
            "slippage_ticks_mean": None if cell["percent"] == "3" else 1.0,
        }
        for cell in cells_of(grid)
    ]
    panels = panels_of({"cells": cells}, grid, across, down)
    assert [[1, 2, 3], [11, 12, 13], [101, 102, 103], [111, 112, 113]] == panels[0][1].tolist()
    assert ["P&L, USD", "stops that fired, %", "mean slippage, ticks"] == [title for title, _, _ in panels]
    assert np.isnan(panels[2][1][:, 2]).all()


def test_heat_map_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A place that is none gives an error that names it, and leaves nothing."""
    from tools.heat_map import draw

    cells = [{"pnl": {"USD": "1"}, "fired_share": 0.5, "slippage_ticks_mean": 1.0}]
    with pytest.raises(InstanceError, match="cannot write the picture"):
        draw(tmp_path / "no" / "such.png", parse_grid("kind=static"), {"cells": cells, "description": "", "recording": "r"})
    assert [] == list(tmp_path.iterdir())
