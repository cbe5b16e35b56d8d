"""A sweep: a grid of stops over the same positions and ticks, on all cores."""

import argparse
import contextlib
import queue
import threading
from collections.abc import Generator, Sequence
from decimal import Decimal
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np

from pipeline.backtest.cells import batches
from pipeline.backtest.entries import NEVER_NS, complete
from pipeline.backtest.planned import PLANNED
from pipeline.backtest.warm import warm_up
from pipeline.child import ending
from pipeline.config import Config, config_to_json
from pipeline.errors import InstanceError, LaunchError, UserError
from pipeline.ingest.recordings import Recording
from pipeline.messages import LONG, MID, SHORT, WATCH_NAMES
from pipeline.placement import cores_at_hand
from tools.backtest_report import write_json
from tools.cells import Cells
from tools.grid import WHERE, cells_of, parse_grid
from tools.progress import Report, progress_bar
from tools.stops_csv import SIDES, StopsFileError, planned_of, read_row, read_stops
from tools.sweep_report import show_sweep
from tools.sweep_worker import CellPlan, Results, Share, make_context, work
from tools.terminal import harmless, say

#: How often it is looked whether every process still lives, in seconds; and how long one is waited for that was told to end.
LOOK_S, END_S = 0.1, 2.0
NS_PER_SECOND = 1_000_000_000
POSITIONS_MAX = 65_536


def run_sweep(arguments: argparse.Namespace, config: Config, recording: Recording) -> bool:
    """Play every cell of a grid and tell what came of it.

    Raises:
        UserError: a wrong grid, wrong positions, or a process that died.
    """
    grid = parse_grid(arguments.sweep)
    base = positions_of(arguments, config, recording)
    cells = list(cells_of(grid))
    positions, plans = plan_cells(cells, base, config, recording)
    # Here, and not in each of the processes at once.
    warm_up(config, (lambda line: None) if arguments.quiet else say)
    with progress_bar("looking up entry prices", arguments.quiet) as report:
        positions = complete(positions, recording, config, report)
    job_count = min(arguments.jobs or len(cores_at_hand()), len(plans))
    with progress_bar(f"{len(cells):,} cells of {len(base):,} positions", arguments.quiet) as report:
        found = play(plans, positions, config, recording, job_count, report)
    summary = {
        "recording": str(recording.path),
        "description": recording.info.get("description", ""),
        "grid": {dimension.column: list(dimension.values) for dimension in grid},
        "positions": len(base),
        "processes": job_count,
        "cells": [{"cell": cell} | outcome for cell, outcome in zip(cells, found, strict=True)],
    }
    write_json(arguments.summary, summary)
    if arguments.png is not None:
        from tools.heat_map import draw

        draw(arguments.png, grid, summary)
    if not arguments.quiet:
        with harmless():
            show_sweep(grid, summary)
            if arguments.png is not None:
                print(f"  drawn in {arguments.png}")
    return True


def positions_of(arguments: argparse.Namespace, config: Config, recording: Recording) -> np.ndarray:
    """Return the positions of a sweep as PLANNED without stops: those of the stops file, or one every so many seconds.

    Raises:
        UserError: what is wrong with the file or the flags.
    """
    if arguments.stops is not None:
        return planned_of(read_stops(arguments.stops, recording.instruments, config.risk.stops))
    every_ns = int(Decimal(str(arguments.every)) * NS_PER_SECOND)
    times = recording.ticks["event_ns"]
    good = times[(times > 0) & (times < NEVER_NS)]
    if len(good) == 0:
        raise LaunchError("no tick has a time", str(recording.path), "choose another recording")
    count = int(good.max() - good[0]) // every_ns + 1
    sides = {"long": (LONG,), "short": (SHORT,), "both": (LONG, SHORT)}[arguments.side or "long"]
    symbols = range(len(recording.instruments))
    if count * len(sides) * len(symbols) > POSITIONS_MAX:
        what = f"--every {arguments.every:g} makes {count * len(sides) * len(symbols):,} positions"
        raise LaunchError(what, "command line", f"enter less often: {POSITIONS_MAX:,} are the most")
    problems: list[UserError] = []
    made = np.zeros(count * len(sides) * len(symbols), PLANNED)
    rows = made.reshape(count, len(sides), len(symbols))
    rows["entry_ns"] = (int(good[0]) + every_ns * np.arange(count))[:, None, None]
    rows["side"] = np.array(sides)[None, :, None]
    for index in symbols:
        cells = Cells({"quantity": arguments.quantity or ""}, f"--quantity, {recording.instruments[index].symbol}", problems)
        rows["instrument"][:, :, index] = index
        lot_size = recording.instruments[index].lot_size
        rows["quantity_lots"][:, :, index] = cells.steps("quantity", lot_size, "lots", otherwise=1, limit=1 << 40)
    if problems:
        raise StopsFileError(problems)
    made["watch"] = WATCH_NAMES.index(config.risk.stops.watch)
    return made


def plan_cells(
    cells: Sequence[dict[str, str]], base: np.ndarray, config: Config, recording: Recording
) -> tuple[np.ndarray, list[CellPlan]]:
    """Return the positions, once for each watch that a cell has, and each cell's stops.

    Raises:
        StopsFileError: every cell that makes no stop.
    """
    problems: list[UserError] = []
    groups, of_group = np.unique(base[["instrument", "side", "watch"]], return_inverse=True)
    copies: dict[str, int] = {}
    positions: list[np.ndarray] = []
    plans = []
    for number, cell in enumerate(cells):
        where = f"{WHERE}, {' '.join(f'{name}={value}' for name, value in cell.items())}"
        stops = np.zeros(len(groups), PLANNED)
        for k, group in enumerate(groups):
            given = {
                "stop_id": "1",
                "symbol": recording.instruments[int(group["instrument"])].symbol,
                "side": next(name for name, side in SIDES.items() if side == group["side"]),
                "watch": WATCH_NAMES[group["watch"]],
            }
            row = read_row(Cells(given | cell, where, problems), recording.instruments, config.risk.stops)
            if row is not None:
                stops[k] = row[1:]
        watch = cell.get("watch", "")
        if watch not in copies:
            copies[watch] = len(positions)
            positions.append(_watching(base, stops["watch"][of_group], where, problems))
        rows = copies[watch] * len(base) + np.arange(len(base))
        plans.append(CellPlan(number, rows, stops[of_group]))
    if problems:
        raise StopsFileError(list({problem.lines: problem for problem in problems}.values()))
    return np.concatenate(positions), plans


def _watching(base: np.ndarray, watch: np.ndarray, where: str, problems: list[UserError]) -> np.ndarray:
    """Return positions whose stops watch other prices: entries in units of those."""
    found = base.copy()
    units = base["entry_units"] * np.where(base["watch"] == MID, 1, 2)
    if ((units % 2 != 0) & (watch != MID)).any():
        problems.append(UserError("an entry lies on half a tick", where, "watch the mid, or give whole ticks"))
    found["entry_units"] = np.where(watch == MID, units, units // 2)
    found["watch"] = watch
    return found


def play(
    plans: Sequence[CellPlan],
    positions: np.ndarray,
    config: Config,
    recording: Recording,
    job_count: int,
    report: Report,
) -> list[dict[str, Any]]:
    """Play all cells in some processes; return what came of each, in their order.

    Raises:
        UserError: a process found a mistake, or died.
    """
    passes = [[plans[number] for number in batch] for batch in batches(len(plans), len(plans[0].rows), job_count)]
    context = make_context()
    results = Results(context)
    shares = [Share(str(recording.path), config_to_json(config), positions, passes[k::job_count]) for k in range(job_count)]
    processes = [context.Process(target=work, args=(share, results), daemon=True) for share in shares]
    found: dict[int, dict[str, Any]] = {}
    wait_s = 0.0
    try:
        for process in processes:
            process.start()
        with contextlib.closing(_come_home(processes, results)) as arriving:
            for number, outcome in arriving:
                found[number] = outcome
                report(len(found), len(plans))
                if len(found) == len(plans):
                    break
        wait_s = END_S
    finally:
        _end(processes, wait_s)
    return [found[number] for number in range(len(plans))]


def _come_home(processes: Sequence[SpawnProcess], results: Results) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Yield (number of the cell, what came of it) as the processes send them.

    A thread waits for them: should a process be killed while it holds the queue's lock, nobody gets it any more (faster-fifo's
    is not robust), and it is the thread that hangs while we see the exit.

    Raises:
        UserError: a process found a mistake, or died.
    """
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    is_over = threading.Event()

    def fetch() -> None:
        while not is_over.is_set():
            for message in results.receive(LOOK_S):
                arrived.put(message)

    fetcher = threading.Thread(target=fetch, daemon=True)
    fetcher.start()
    try:
        looks_after_end = 0
        while True:
            try:
                number, outcome = arrived.get(timeout=LOOK_S)
            except queue.Empty:
                looks_after_end = looks_after_end + 1 if _have_ended(processes) else 0
                if looks_after_end * LOOK_S > END_S:
                    raise InstanceError("the processes ended without all results", "sweep", "run it again") from None
                continue
            if number is None:
                raise UserError(*outcome)
            yield number, outcome
    finally:
        is_over.set()
        fetcher.join(END_S)


def _have_ended(processes: Sequence[SpawnProcess]) -> bool:
    """Tell whether all processes have done their work.

    Raises:
        InstanceError: one died.
    """
    codes = [process.exitcode for process in processes]
    for code in codes:
        if code not in (None, 0):
            raise InstanceError(
                f"a process of the sweep {ending(code)}", "sweep", "run it again, with fewer --jobs if memory is short"
            )
    return None not in codes


def _end(processes: Sequence[SpawnProcess], wait_s: float) -> None:
    """See that no process stays: those that have not ended by themselves after a while are killed."""
    for process in processes:
        if process.pid is None:
            continue
        process.join(wait_s)
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()
