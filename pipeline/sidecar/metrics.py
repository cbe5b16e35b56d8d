"""What /metrics shows, read from shared memory at the moment of the scrape: nothing here costs the hot path anything.

Names start with `stopline_`; units are seconds and bytes; counters end in `_total`. This module has the machinery's metrics
(rings, workers, latency, the sidecar itself), `metrics_trading` those of trading.
"""

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.messages import STOP_KIND_NAMES, TICK_REASONS
from pipeline.sidecar import metrics_account, metrics_trading
from pipeline.sidecar.view import InstanceView, age_seconds, seconds
from pipeline.topology import COUNTERS, RESTARTS, WORKERS
from shm import histogram
from shm.counters import snapshot
from shm.heartbeat import BEAT_NS, CPU_NS, PID, START, STATE, State, process_start
from shm.ring import LOSSY

#: `le` of the latency histograms: these powers of two of nanoseconds, 128 ns to 34 s.
LE_EXPONENTS = range(7, 36)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Counters that have a metric of their own, by worker; all others go into stopline_worker_count_total under their names.
_SHOWN = {
    "ingest": {"received", "conflated", *TICK_REASONS},
    "risk": {
        "entries_submitted", "exits_submitted", "stops_ended", "exits_owed", "breaker_trips",
        *(f"{kind}_triggered" for kind in STOP_KIND_NAMES), *(f"stops_{kind}_armed" for kind in STOP_KIND_NAMES),
    },
    "execution": {"filled", "fills"},
    "sidecar": set(COUNTERS["sidecar"]),
}  # fmt: skip


def package_version() -> str:
    """Return the version of Stopline; "source" where it runs from a folder that is not installed."""
    try:
        return version("stopline")
    except PackageNotFoundError:
        return "source"


class InstanceCollector(Collector):
    """A prometheus_client collector over one instance.

    Args:
        view: The instance.
        name: Its name.
        database_bytes: Returns the size of the database, for the scrape.
    """

    def __init__(self, view: InstanceView, name: str, database_bytes: Callable[[], int]) -> None:
        self._view = view
        self._name = name
        self._database_bytes = database_bytes

    def describe(self) -> list[Metric]:
        """Tell the registry nothing in advance, so that registering reads no shared memory."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, each read now."""
        view = self._view
        yield InfoMetricFamily(
            "stopline_build", "Version of the program.", {"version": package_version(), "python": platform.python_version()}
        )
        yield InfoMetricFamily("stopline_instance", "The instance.", {"name": self._name, "epoch": str(view.epoch)})
        yield from metrics_trading.tick_metrics(view)
        yield from metrics_trading.order_metrics(view)
        yield from metrics_trading.stop_metrics(view)
        yield from metrics_trading.position_metrics(view)
        yield from metrics_account.account_metrics(view)
        yield latency_metric(view)
        yield from ring_metrics(view)
        yield from worker_metrics(view)
        yield from sidecar_metrics(view)
        yield GaugeMetricFamily("stopline_database_bytes", "Size of the database and its log.", value=self._database_bytes())


def latency_metric(view: InstanceView) -> Metric:
    """Return the latency of each hop as a Prometheus histogram.

    A bucket `le` counts what is below that power of two of nanoseconds; a value of exactly the power counts in the next one.
    """
    family = HistogramMetricFamily("stopline_latency_seconds", "Latency of each hop through the pipeline.", labels=["hop"])
    bounds_ns = np.array([1 << exponent for exponent in LE_EXPONENTS])
    places = np.searchsorted(histogram.bucket_bounds_ns(), bounds_ns)
    texts = [repr(seconds(int(bound))) for bound in bounds_ns]
    for hop, words in view.histograms.items():
        counted = np.cumsum(words[histogram.COUNTS :])
        below = [0 if place == 0 else int(counted[place - 1]) for place in places]
        buckets = [*zip(texts, map(float, below), strict=True), ("+Inf", float(counted[-1]))]
        family.add_metric([hop], buckets=buckets, sum_value=seconds(int(words[histogram.SUM])))
    return family


def ring_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield how far each ring is, and who is behind."""
    published = CounterMetricFamily("stopline_ring_published", "Records published to the ring.", labels=["ring"])
    capacity = GaugeMetricFamily("stopline_ring_capacity", "Records that the ring holds.", labels=["ring"])
    depth = GaugeMetricFamily("stopline_ring_depth", "Records that the reader has not read yet.", labels=["ring", "reader"])
    missed = CounterMetricFamily(
        "stopline_ring_missed", "Records overwritten before the reader read them.", labels=["ring", "reader"]
    )
    for row, ring in view.rings:
        published.add_metric([row.name], ring.published)
        capacity.add_metric([row.name], ring.capacity)
        for index, (reader, mode) in enumerate(row.readers):
            if mode == LOSSY and reader in view.heartbeats and view.word(reader, PID) == 0:
                # Nobody ever read here: the distance to its cursor means nothing.
                continue
            depth.add_metric([row.name, reader], max(0, min(ring.depth(index), ring.capacity)))
            if mode == LOSSY:
                missed.add_metric([row.name, reader], ring.missed(index))
    yield from (published, capacity, depth, missed)


def worker_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield the life of each process."""
    age = GaugeMetricFamily("stopline_heartbeat_age_seconds", "Time since the worker last showed life.", labels=["worker"])
    state = GaugeMetricFamily("stopline_worker_state", "1 for the state that the worker is in.", labels=["worker", "state"])
    restarts = CounterMetricFamily("stopline_worker_restarts", "Times that the worker was started again.", labels=["worker"])
    cpu = CounterMetricFamily("stopline_worker_cpu_seconds", "Processor time of it and those before it.", labels=["worker"])
    memory = GaugeMetricFamily(
        "stopline_worker_resident_memory_bytes", "Memory of the worker, the shared part included.", labels=["worker"]
    )
    private = GaugeMetricFamily(
        "stopline_worker_private_memory_bytes", "Memory of the worker that it shares with nobody.", labels=["worker"]
    )
    for worker in view.heartbeats:
        if worker not in WORKERS and view.word(worker, PID) == 0:
            continue
        if view.word(worker, BEAT_NS):
            age.add_metric([worker], age_seconds(view.word(worker, BEAT_NS)))
        for known in State:
            state.add_metric([worker, known.name.lower()], int(view.word(worker, STATE) == known))
        cpu.add_metric([worker], seconds(view.word(worker, CPU_NS)))
        resident_bytes, private_bytes = process_memory(view.word(worker, PID), view.word(worker, START))
        if resident_bytes:
            memory.add_metric([worker], resident_bytes)
            private.add_metric([worker], private_bytes)
    for index, worker in enumerate(WORKERS):
        restarts.add_metric([worker], int(view.supervisor[RESTARTS + index]))
    yield from (age, state, restarts, cpu, memory, private)
    others = CounterMetricFamily("stopline_worker_count", "Everything else that workers count.", labels=["worker", "what"])
    for worker, names in COUNTERS.items():
        for name, count in snapshot(view.counters[worker], names).items():
            if name not in _SHOWN[worker]:
                others.add_metric([worker, name], count)
    yield others


def process_memory(pid: int, start: int) -> tuple[int, int]:
    """Return resident and private bytes of a process; zeros where it is gone, or its pid is another's by now."""
    if pid <= 0 or process_start(pid) != start:
        return 0, 0
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0, 0
    return int(resident) * _PAGE_BYTES, (int(resident) - int(shared)) * _PAGE_BYTES


def sidecar_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield what the sidecar itself did."""
    stored = CounterMetricFamily("stopline_rows_stored", "Rows in the database, of this instance.", labels=["stream"])
    for stream in ("ticks", "orders", "reports", "events", "notes"):
        stored.add_metric([stream], view.count("sidecar", f"{stream}_stored"))
    yield stored
    for name, metric, text in (
        ("ticks_missed", "ticks_missed", "Ticks that were overwritten before the sidecar stored them."),
        ("flushes", "database_flushes", "Transactions written to the database."),
        ("flush_errors", "database_flush_errors", "Flushes that failed and were tried again."),
        ("scrapes", "scrapes", "Times that /metrics was read."),
    ):
        yield CounterMetricFamily(f"stopline_{metric}", text, value=view.count("sidecar", name))
