"""The sidecar: everything that people see of an instance. It may die at any time, and trading does not notice.

    ticks ···lossy···┐
    orders ──────────┤
    reports ─────────┼──► one transaction per flush ──► DuckDB        cursors move after the commit
    events, notes ───┘
    counters, histograms, tables, heartbeats ··read at scrape··► /metrics, /healthz

Here stage and shell are one: it has time, and what it must not do is hold anybody up.
"""

import logging
import time
from pathlib import Path

import numpy as np
from prometheus_client.registry import CollectorRegistry

from pipeline.config import Config
from pipeline.errors import LaunchError, UserError
from pipeline.sidecar.metrics import InstanceCollector, package_version
from pipeline.sidecar.server import MetricsServer
from pipeline.sidecar.store import Run, Store, StoreError
from pipeline.sidecar.streams import Batch, GatingStream, TickStream
from pipeline.sidecar.view import open_view
from pipeline.topology import SIDECAR_COUNTERS, STARTED_UTC_NS, WORKERS, read_about, reader_index
from shm import counters, heartbeat
from shm.heartbeat import BEAT_NS, COMMAND, PORT, PROGRESS, STATE, Command, State
from shm.segment import Segment
from shm.wait import Waiter

log = logging.getLogger("stopline.sidecar")

#: Rows that do not wait for the clock.
FLUSH_ROWS = 65_536
#: How long to sleep where nothing came.
IDLE_NS = 5_000_000
#: Waits between flushes that fail.
RETRY_NS, RETRY_NS_MAX = 250_000_000, 5_000_000_000
#: run() did what there was to do.
RUN_OK = 0

#: Rings of which no record may be lost.
GATING = ("orders", "reports", "events", "notes")
NOTHING = np.zeros(0, np.int64)

_RUNNING = (State.RUNNING, State.DRAINED)
_COUNTER = {name: index for index, name in enumerate(SIDECAR_COUNTERS)}


class SidecarStage:
    """Stores history and serves metrics; a stage in plain Python.

    Args:
        segment: The instance.
        config: Its settings.
        waiter: Not used: it sleeps instead, so that no producer ever has to wake it.
    Raises:
        UserError: The port or the database cannot be used; one line says why.
    """

    name = "sidecar"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        self._settings = config.sidecar
        self._hang_after_ns = config.workers.hang_after_ns
        self._view = open_view(segment)
        self._heartbeat = heartbeat.open_heartbeat(segment, self.name)
        self._words = self._heartbeat.words
        self._turns = int(self._words[PROGRESS])
        self._counters = counters.open_counters(segment, self.name)
        rings = {row.name: ring.ring for row, ring in self._view.rings}
        ends = {name: reader_index(name, self.name, len(self._view.strategies)) for name in ("ticks", *GATING)}
        self._ticks = TickStream(rings["ticks"], ends["ticks"], self._settings.store_ticks)
        self._gating = [GatingStream(name, rings[name], ends[name]) for name in GATING]
        self._streams: list[TickStream | GatingStream] = [self._ticks, *self._gating]
        started_ns = int(self._view.supervisor[STARTED_UTC_NS])
        about = read_about(segment).get("config", {})
        self._run = Run(config.instance.name, started_ns, package_version(), about)
        self._server = self._listen(config.instance.name)
        try:
            path, slots = Path(self._settings.database), len(self._view.strategies)
            self._store = Store(path, segment.epoch, self._view.instruments, self._view.money, slots)
            self._resume()
        except StoreError as error:
            self._server.stop()
            raise LaunchError(f"the database cannot be written: {error.reason}", error.where, error.remedy) from error
        except UserError:
            self._server.stop()
            raise
        self._pending_since_ns = 0
        self._retry_at_ns = 0
        self._retry_ns = RETRY_NS
        self._in_doubt = False

    def warm_up(self) -> None:
        """Compile what reads the rings and the tables, then serve."""
        for _ in self._server.registry.collect():
            pass
        for stream in self._gating:
            stream.read()
        self._ticks.warm_up()
        heartbeat.beat(self._heartbeat, self._turns)
        counters.add(self._counters, _COUNTER["flushes"], 0)
        self._server.start()

    def run(self, until_ns: int) -> int:
        """Read, flush when it is time, sleep where there is nothing to do, until monotonic `until_ns`."""
        while True:
            self._turns += 1
            heartbeat.beat(self._heartbeat, self._turns)
            came = self._ticks.fill()
            now_ns = time.monotonic_ns()
            if self._flush_is_due(now_ns):
                self._flush()
                now_ns = time.monotonic_ns()
            if now_ns >= until_ns:
                return RUN_OK
            if came == 0:
                time.sleep(min(IDLE_NS, until_ns - now_ns) / 1e9)

    def drained(self) -> bool:
        """Whether the database has everything that was published."""
        return self._ticks.pending == 0 and all(stream.pending == 0 for stream in self._gating)

    def close(self) -> None:
        """Store what is left, stop serving, and let go of the database."""
        self._ticks.fill()
        while not self.drained() and self._flush():
            self._ticks.fill()
        left = sum(stream.pending for stream in self._gating)
        if left:
            log.error("%d records are not in the database (%s)", left, self._settings.database)
        self._server.stop()
        self._words[PORT] = 0
        self._store.close()

    def _listen(self, instance: str) -> MetricsServer:
        """Open the metrics port; a sidecar that is restarted takes the port that the one before had chosen."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(InstanceCollector(self._view, instance, lambda: self._store.size_bytes))
        host, port = self._settings.metrics_host, self._settings.metrics_port
        wanted = [int(self._words[PORT]), 0] if port == 0 and self._words[PORT] else [port]
        for attempt, chosen in enumerate(wanted):
            try:
                server = MetricsServer(host, chosen, registry, self._faults, self._scraped)
            except LaunchError:
                if attempt + 1 == len(wanted):
                    raise
                continue
            self._words[PORT] = server.port
            return server
        raise AssertionError("the last attempt returns or raises")

    def _faults(self) -> list[str]:
        """Say what is wrong with the workers right now."""
        faults = []
        now_ns = time.monotonic_ns()
        for worker in WORKERS:
            state, beat_ns = self._view.word(worker, STATE), self._view.word(worker, BEAT_NS)
            if state not in _RUNNING:
                faults.append(f"{worker} is {State(state).name.lower()}")
            elif now_ns - beat_ns > self._hang_after_ns:
                faults.append(f"{worker} has not moved for {(now_ns - beat_ns) / 1e9:.1f} s")
        return faults

    def _scraped(self) -> None:
        counters.add(self._counters, _COUNTER["scrapes"], 1)

    def _resume(self) -> None:
        """Go on where the database ends, and show what it holds in the counters."""
        self._store.begin_run(self._run)
        known = self._store.progress()
        for stream in self._streams:
            stream.resume(known.get(stream.name, stream.progress))
        if len(known) < len(self._streams):
            # From now on the file knows where each stream began: a kill before the first flush loses no tick either.
            self._store.write([Batch(stream.name, NOTHING, NOTHING, stream.progress) for stream in self._streams])
        self._show()

    def _show(self) -> None:
        """Set the counters to what is stored: exact, whatever died in between."""
        for stream in self._streams:
            counters.put(self._counters, _COUNTER[f"{stream.name}_stored"], stream.stored)
        counters.put(self._counters, _COUNTER["ticks_missed"], self._ticks.missed)

    def _flush_is_due(self, now_ns: int) -> bool:
        pending = self._ticks.waiting + sum(stream.pending for stream in self._gating)
        if pending == 0 or now_ns < self._retry_at_ns:
            return False
        if self._pending_since_ns == 0:
            self._pending_since_ns = now_ns
        draining = self._words[COMMAND] >= Command.DRAIN
        old = now_ns - self._pending_since_ns >= self._settings.flush_ns
        full = pending >= FLUSH_ROWS or any(stream.is_full for stream in self._gating)
        return bool(draining) or old or full

    def _flush(self) -> bool:
        """Store what is there in one transaction; return whether it worked."""
        try:
            if self._in_doubt:
                # The last commit may have happened or not: only the file knows.
                self._store.reopen()
                self._resume()
                self._in_doubt = False
            batches = [stream.read() for stream in self._streams]
            self._store.write(batches)
        except (StoreError, UserError) as error:
            self._failed(error)
            return False
        for stream, batch in zip(self._streams, batches, strict=True):
            stream.committed(batch)
        self._show()
        counters.add(self._counters, _COUNTER["flushes"], 1)
        if self._retry_ns != RETRY_NS:
            log.warning("the database takes rows again")
        self._pending_since_ns, self._retry_at_ns, self._retry_ns = 0, 0, RETRY_NS
        return True

    def _failed(self, error: Exception) -> None:
        """Count a failed flush and wait longer each time; the rows stay in the rings."""
        self._in_doubt = True
        counters.add(self._counters, _COUNTER["flush_errors"], 1)
        log.error("flush failed, next try in %.2f s: %s", self._retry_ns / 1e9, error)
        self._retry_at_ns = time.monotonic_ns() + self._retry_ns
        self._retry_ns = min(2 * self._retry_ns, RETRY_NS_MAX)
