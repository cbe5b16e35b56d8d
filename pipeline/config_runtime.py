"""The settings of running: processes, cores, shared memory, the sidecar. `config_schema` has those of trading."""

from decimal import Decimal
from typing import Annotated

from pipeline.config_rules import Number, Section
from pipeline.config_values import (
    CORE_AUTO,
    CorePool,
    EventSlots,
    FilePath,
    Host,
    InstanceName,
    RingSlots,
    Rows,
    WaitName,
    nanoseconds,
)


class InstanceSection(Section, frozen=True, kw_only=True):
    """[instance]"""

    name: InstanceName = "default"
    fresh: bool = False


class SidecarSection(Section, frozen=True, kw_only=True):
    """[sidecar]"""

    enabled: bool = True
    metrics_host: Host = "127.0.0.1"
    metrics_port: Annotated[int, Number("0", "65535")] = 9108
    database: FilePath = "var/stopline.duckdb"
    store_ticks: bool = True
    flush_ms: Annotated[int, Number("10", "10000", "milliseconds")] = 250

    @property
    def flush_ns(self) -> int:
        """Longest time that a row waits for its batch, in nanoseconds."""
        return self.flush_ms * 1_000_000


class RingsSection(Section, frozen=True, kw_only=True):
    """[rings], in slots"""

    ticks: RingSlots = 65536
    requests: RingSlots = 1024
    orders: RingSlots = 65536
    reports: RingSlots = 65536
    events: EventSlots = 65536


class TablesSection(Section, frozen=True, kw_only=True):
    """[tables], in rows"""

    stops: Rows = 16384
    atr_series: Rows = 1024
    venue_orders: Rows = 65536


class WorkerSection(Section, frozen=True, kw_only=True):
    """One of [workers.ingest], [workers.risk], [workers.execution], [workers.sidecar]"""

    core: Annotated[int, Number("-1", "4095")] = CORE_AUTO
    wait: WaitName = "auto"
    park_after_us: Annotated[int, Number("1", "1000000", "microseconds")] = 5000

    @property
    def park_after_ns(self) -> int:
        """Idle time after which the worker sleeps until it is woken, in nanoseconds."""
        return self.park_after_us * 1000


class WorkersSection(Section, frozen=True, kw_only=True):
    """[workers]"""

    cores: CorePool = "auto"
    hang_after_ms: Annotated[int, Number("100", "600000", "milliseconds")] = 3000
    ingest: WorkerSection = WorkerSection()
    risk: WorkerSection = WorkerSection()
    execution: WorkerSection = WorkerSection()
    sidecar: WorkerSection = WorkerSection()

    @property
    def core_pool(self) -> tuple[int, ...] | None:
        """Cores that workers without a core of their own may get, in order; None: whichever the process may use."""
        return None if self.cores == "auto" else tuple(int(core) for core in self.cores)

    @property
    def hang_after_ns(self) -> int:
        """Age of a heartbeat at which its worker counts as hung, in nanoseconds."""
        return self.hang_after_ms * 1_000_000


class SupervisorSection(Section, frozen=True, kw_only=True):
    """[supervisor]"""

    restart_limit: Annotated[int, Number("0", "1000", "restarts")] = 5
    restart_window_seconds: Annotated[Decimal, Number("1", "86400", "seconds", places=9)] = Decimal("60.0")
    drain_seconds: Annotated[Decimal, Number("0.1", "600", "seconds", places=9)] = Decimal("5.0")
    standby: bool = True
    status_hz: Annotated[int, Number("1", "30", "updates per second")] = 4

    @property
    def restart_window_ns(self) -> int:
        """Time within which `restart_limit` restarts of one worker are forgiven, in nanoseconds."""
        return nanoseconds(self.restart_window_seconds)

    @property
    def drain_ns(self) -> int:
        """Deadline of an ordered drain, in nanoseconds."""
        return nanoseconds(self.drain_seconds)
