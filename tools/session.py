"""One run from the first line on the terminal to the last: start, watch, stop in order, report."""

import argparse
import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import InstanceError
from pipeline.launch import VERSION, plan
from pipeline.log import log, logging_to_file
from pipeline.summary import losses, summarize, write_summary
from pipeline.supervisor import Supervisor
from pipeline.usage import Steal, memory_of
from pipeline.view import View
from shm.errors import SharedMemoryError
from tools import report
from tools.drain import SIGNALS_AT_ONCE, Drain
from tools.status_screen import StatusScreen
from tools.terminal import harmless, say

#: Without a screen: seconds between two lines that tell how it goes.
LINE_S = 5.0


class Session:
    """One run.

    Args:
        config: The settings, flags applied.
        symbols: Replay: only these instruments.
        arguments: The command line.
        began: When it was started, on the monotonic clock, in seconds.
    Raises:
        UserError: the machine does not give what is asked for.
    """

    def __init__(self, config: Config, symbols: tuple[str, ...], arguments: argparse.Namespace, began: float) -> None:
        self.launch = plan(config, symbols)
        self.supervisor = Supervisor(self.launch, self.tell, self._on_turn)
        self._arguments = arguments
        self._began = began
        self._running_since = 0.0
        self._ticks_before = 0
        self._screen: StatusScreen | None = None
        self._view: View | None = None
        self._next_line = 0.0
        self._steal = Steal()

    def run(self) -> bool:
        """Run until something ends it; True when all is well.

        Raises:
            UserError: it could not start.
            KeyboardInterrupt: it was stopped before it was ready.
        """
        with logging_to_file("supervisor", self.launch.log_folder):
            try:
                self._start()
                stopped_by = self._watch()
                return self._finish(stopped_by)
            except BaseException as error:
                log.error("ended by %s: %s", type(error).__name__, error, exc_info=error)
                raise
            finally:
                with contextlib.ExitStack() as last:
                    # Whatever becomes of the screen, no process and no file may stay.
                    last.callback(self.supervisor.close)
                    self._close_screen()

    def tell(self, line: str) -> None:
        """Show a person one line, and log it."""
        log.log(logging.ERROR if line.startswith("ALERT") else logging.INFO, "%s", line.strip())
        self._show(line)

    def _show(self, line: str) -> None:
        """Show a person one line: on the screen where there is one, else as it is."""
        if self._screen is not None:
            self._screen.add(line)
        elif not self._arguments.quiet or line.startswith("ALERT"):
            say(line)

    def _start(self) -> None:
        launch, supervisor = self.launch, self.supervisor
        for line in report.opening(launch):
            self.tell(line)
        try:
            supervisor.open()
        except SharedMemoryError as error:
            raise InstanceError(error.what, error.where, error.remedy) from None
        # Read before anybody runs: what an earlier run counted must not look like the speed of this one.
        self._ticks_before = supervisor.view().counters("ingest")["received"]
        if supervisor.segment.was_warm:
            self.tell("an earlier run ended without a stop: its positions, stops and orders are taken over")
        supervisor.start()
        self._running_since = time.monotonic()
        ready_s = self._running_since - self._began
        self.tell(f"ready after {ready_s:.1f} s; Ctrl-C stops in order")
        self._view = supervisor.view()
        self._next_line = self._running_since + LINE_S
        if sys.stdout.isatty() and not self._arguments.quiet:
            self._screen = StatusScreen(launch, self._view, self._running_since)
            with harmless():
                self._screen.open()

    def _watch(self) -> str:
        """Watch until something asks for the end; return what."""
        supervisor, duration = self.supervisor, self._arguments.duration
        assert self._view is not None, "the start comes first"
        while True:
            supervisor.turn()
            if supervisor.stop_signals:
                return supervisor.stop_signal_name
            if duration is not None and time.monotonic() - self._running_since >= duration:
                return "duration"
            if self._view.counters("ingest")["feed_ended"]:
                return "end of feed"

    def _finish(self, stopped_by: str) -> bool:
        """Stop in order, then report; True when all is well."""
        supervisor, view = self.supervisor, self._view
        assert view is not None, "the start comes first"
        duration_s = time.monotonic() - self._running_since
        pids = supervisor.pids()
        memory = {name: memory_of(pid) for name, pid in pids.items()}
        self.tell(f"stopping in order ({stopped_by}); Ctrl-C {'again ' if supervisor.stop_signals else 'twice '}stops at once")
        drain = Drain(supervisor, view)
        drain.run()
        self._close_screen()
        summary: dict[str, Any] = summarize(view) | {
            "version": VERSION,
            "feed": self.launch.feed_text,
            "duration_s": round(duration_s, 3),
            "ready_s": round(self._running_since - self._began, 3),
            "stopped_by": stopped_by,
            "taken_over": supervisor.segment.was_warm,
            "ticks_before": self._ticks_before,
            "restart_ms_max": round(supervisor.restart_ns_max / 1e6, 1),
            "halted": supervisor.is_halted,
            "memory_mb": {name: round(used.pss_mib, 1) for name, used in memory.items()},
            "memory_rss_mb": {name: round(used.rss_mib, 1) for name, used in memory.items()},
            "memory_mb_total": round(sum(used.pss_mib for used in memory.values()), 1),
            "steal_percent": round(self._steal.percent(), 2),
        }
        lost = [*drain.problems, *losses(summary)]
        if supervisor.is_halted:
            lost.append("the run was halted: a worker died too often")
        if drain.was_cut_short and supervisor.stop_signals >= SIGNALS_AT_ONCE:
            lost.append("stopped at once: what was under way is not finished")
        summary["problems"] = lost
        for line in report.closing(summary, self.launch):
            if line:
                log.info("%s", line.strip())
            if not self._arguments.quiet:
                say(line)
        if self._arguments.summary is not None:
            self._write(self._arguments.summary, summary)
        for line in lost:
            log.error("ALERT %s", line)
            say(f"ALERT {line}", is_error=True)
        return not lost

    def _write(self, path: Path, summary: dict[str, Any]) -> None:
        try:
            write_summary(path, summary)
        except OSError as error:
            raise InstanceError(f"cannot write the summary: {error.strerror}", str(path), "choose another place") from None

    def _on_turn(self) -> None:
        now = time.monotonic()
        if self._view is None:
            return
        if self._screen is not None:
            with harmless():
                self._screen.refresh()
        elif now >= self._next_line:
            self._next_line += LINE_S
            self._show(report.progress(self._view, now - self._running_since))

    def _close_screen(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            with harmless():
                screen.close()
            for line in screen.told:
                self._show(line)
