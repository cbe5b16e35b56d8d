"""THE table: which ring, who writes it, who reads it, what happens when it is full; and all else an instance file holds.

feed --> ingest ==ticks==> risk ==orders==> execution --> venue
                   :        ^ ^                  |
strategy ==requests+========+ +=====reports======+
supervisor (control socket) ==requests==^
                   :...lossy...> sidecar <==orders, reports, events
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import orjson

from pipeline.messages import EVENT, NOTE, ORDER, REPORT, REQUEST, STOP_KIND_NAMES, TICK, TICK_REASONS
from pipeline.tables import (
    BAR,
    HYGIENE,
    HYGIENE_UNDO_MAX,
    LIMITS,
    MARK,
    ORDER_STATE,
    POSITION,
    SCOPE_WORDS,
    SENT_ORDER,
    SERIES,
    STOP,
    STOP_TERMS,
    VENUE_FILL,
    VENUE_ORDER,
)
from shm import counters, heartbeat, histogram, ring, rows, transaction
from shm.layout import Region
from shm.ring import GATING, LOSSY
from shm.segment import Segment

WORKERS = ("ingest", "risk", "execution", "sidecar")
STRATEGIES_MAX = 8
#: A ring fuller than this refuses entries: the rest is kept for exits (per mille).
ENTRY_ROOM_PER_MILLE = 900


class Sizes(NamedTuple):
    """What the configuration decides about an instance file."""

    instruments: int
    strategies: int
    ticks: int
    requests: int
    orders: int
    reports: int
    events: int
    stops: int
    working_orders: int
    venue_orders: int
    series: int = 64  #: ATR series: the configured one of each instrument first, then those that stops ask for
    books: int = 0  #: positions of one instrument; 0 = as many as strategies. A backtest keeps one for each stop.
    notes: int = 1024

    @property
    def book_count(self) -> int:
        """How many positions there may be in one instrument."""
        return self.books or self.strategies

    @property
    def scope_count(self) -> int:
        """How many scopes have limits and a trading state: the account, each strategy, each instrument."""
        return 1 + self.book_count + self.instruments


#: The first scope. Limits and states stand by scope: the account, then the strategies, then the instruments.
ACCOUNT = 0


def scope_of_strategy(strategy: int) -> int:
    """Return the scope of a strategy's slot."""
    return 1 + strategy


def scope_of_instrument(sizes: Sizes, instrument: int) -> int:
    """Return the scope of an instrument."""
    return 1 + sizes.book_count + instrument


class RingRow(NamedTuple):
    """One ring of the topology."""

    name: str
    writer: str
    dtype: np.dtype
    readers: tuple[tuple[str, int], ...]  #: (worker, mode); a reader's index is its place here
    when_full: str


#: The requests ring of the control socket; the supervisor writes it.
CONTROL = "control"


def strategy_names(count: int) -> tuple[str, ...]:
    """Return the names of the strategies' slots."""
    return tuple(f"strategy{slot}" for slot in range(count))


def ring_rows(strategies: int) -> tuple[RingRow, ...]:
    """Return every ring of an instance with this many strategy slots."""
    names = strategy_names(strategies)
    watching = tuple((name, LOSSY) for name in names)
    gate = "entries are refused at 90%; the rest is kept for exits"
    return (
        RingRow("ticks", "ingest", TICK, (("risk", GATING), ("execution", GATING), ("sidecar", LOSSY), *watching),
                "a live feed conflates, counted; a recording waits"),
        *(RingRow(f"requests.{name}", name, REQUEST, (("risk", GATING),), "the client's call tells") for name in names),
        RingRow(f"requests.{CONTROL}", "supervisor", REQUEST, (("risk", GATING),), "the command is refused"),
        RingRow("orders", "risk", ORDER, (("execution", GATING), ("sidecar", GATING)), gate),
        RingRow("reports", "execution", REPORT, (("risk", GATING), ("sidecar", GATING), *watching),
                "execution takes no new orders"),
        RingRow("events", "risk", EVENT, (("sidecar", GATING), *watching, ("supervisor", LOSSY)), gate),
        RingRow("notes", "supervisor", NOTE, (("sidecar", GATING),), "the supervisor waits for nobody: people read of it only"),
    )  # fmt: skip


#: Capacity of a ring: the field of Sizes.
def capacity_of(name: str, sizes: Sizes) -> int:
    """Return a ring's capacity in records."""
    return int(getattr(sizes, name.partition(".")[0]))


# Counters by writer. A worker's module names each by its place here.
INGEST_COUNTERS = ("received", *TICK_REASONS, "conflated", "timers", "ring_full", "feed_ended", "gaps")
RISK_COUNTERS = (
    "ticks", "requests", "reports", "entries_submitted", "exits_submitted", "refused", "fills", "stops_armed",
    "stops_triggered", "stops_ended", "no_stop_slot", "stalled", "exits_owed", "bad_reports", "stops_moved", "escalated",
    *(f"{kind}_triggered" for kind in STOP_KIND_NAMES[1:]), *(f"stops_{kind}_armed" for kind in STOP_KIND_NAMES[1:]),
    "cancels", "orders_ended", "late_fills", "duplicate_fills", "limits_changed", "states_changed", "breaker_trips", "reviews",
)  # fmt: skip
EXECUTION_COUNTERS = (
    "orders", "accepted", "filled", "rejected", "fills", "duplicates", "resent", "adopted", "stalled",
    "venue_orders", "venue_fills", "venue_duplicates", "venue_rejected", "cancels", "cancelled", "venue_cancelled",
)  # fmt: skip
SIDECAR_COUNTERS = (
    "ticks_stored",
    "ticks_missed",
    "orders_stored",
    "reports_stored",
    "events_stored",
    "notes_stored",
    "flushes",
    "flush_errors",
    "scrapes",
)
COUNTERS = {"ingest": INGEST_COUNTERS, "risk": RISK_COUNTERS, "execution": EXECUTION_COUNTERS, "sidecar": SIDECAR_COUNTERS}
#: Refused requests by reason (messages.REJECT_REASONS), written by risk; rejected orders by reason, written by execution.
REASON_BANKS = ("refused", "rejected")
REASON_COUNT = 64

HISTOGRAMS = ("ingest_to_risk", "risk_to_execution", "tick_to_order", "request_to_order", "execution_to_risk")

# Words that risk keeps in place: monotone, or set again by the same input.
RISK_NOW_NS, RISK_NEXT_STOP, RISK_SERIES, RISK_REVIEW_NS = 0, 1, 2, 3
# Words that ingest keeps: how much of the feed is consumed, and the pairing of event time with our clock.
FEED_POSITION, ANCHOR_NS, ANCHOR_EVENT_NS, FEED_LAST_EVENT_NS = 0, 1, 2, 3
# Words of the paper venue.
VENUE_ORDERS, VENUE_FILLS, VENUE_NOW_NS = 0, 1, 2
# Words of execution: how many of the venue's fills are reported.
FILLS_REPORTED = 0
# Words of the supervisor: may entries leave; has the feed ended; anchors of the clocks.
ENTRIES_ALLOWED, STARTED_NS, STARTED_UTC_NS, RESTARTS = 0, 1, 2, 8
STATE_WORDS = 32
#: Fill ids that risk remembers, each at its id modulo this: a report that comes twice within so many fills counts once.
FILLS_SEEN = 4096
#: Stops of one instrument that follow the same price in the same direction: a group for each watch and side.
STOP_GROUPS = 6


def regions(sizes: Sizes, blob_bytes: int) -> list[Region]:
    """Return every region of an instance file, in order."""
    words = np.dtype(np.int64)
    result: list[Region] = []
    for row in ring_rows(sizes.strategies):
        result += ring.regions(row.name, row.dtype, capacity_of(row.name, sizes))
    for worker in (*WORKERS, *strategy_names(sizes.strategies), "supervisor"):
        result.append(heartbeat.region(worker))
    result += [transaction.region(owner) for owner in ("ingest", "risk", "execution", "venue")]
    result += [counters.region(worker, len(names)) for worker, names in COUNTERS.items()]
    result += [counters.region(bank, REASON_COUNT) for bank in REASON_BANKS]
    result += [histogram.region(name) for name in HISTOGRAMS]
    result += [Region(f"{owner}.state", words, STATE_WORDS) for owner in ("ingest", "risk", "execution", "venue", "supervisor")]
    result += rows.regions("positions", POSITION, sizes.book_count * sizes.instruments)
    result += rows.regions("limits", LIMITS, sizes.scope_count)
    result.append(Region("scopes", words, SCOPE_WORDS * sizes.scope_count))
    result += rows.regions("sent", SENT_ORDER, sizes.working_orders)
    result.append(Region("fills.seen", words, FILLS_SEEN))
    result += rows.regions("stops", STOP, sizes.stops)
    result.append(Region("stops.terms", STOP_TERMS, sizes.stops))
    # Words of stops that ticks move, stored in place: best price since armed, ratchet of ATR levels, level as last worked out;
    # and the best price that those share which move with every new one (pipeline.risk.watching).
    result += [Region(f"stops.{name}", words, sizes.stops) for name in ("extremes", "floors", "levels")]
    result.append(Region("stops.fronts", words, STOP_GROUPS * sizes.instruments))
    result += [*rows.regions("series", SERIES, sizes.series), Region("bars", BAR, sizes.series)]
    result.append(Region("marks", MARK, sizes.instruments))
    result += [
        Region("hygiene.rows", HYGIENE, sizes.instruments + HYGIENE_UNDO_MAX),
        Region("hygiene.undo", words, 2 + HYGIENE_UNDO_MAX),
    ]
    result += rows.regions("order_states", ORDER_STATE, sizes.working_orders)
    result += rows.regions("venue.orders", VENUE_ORDER, sizes.venue_orders)
    result.append(Region("venue.fills", VENUE_FILL, sizes.venue_orders))
    result += [Region("venue.touch", words, 4 * sizes.instruments), Region("about", np.dtype(np.uint8), blob_bytes)]
    return result


def set_up(
    segment: Segment,
    sizes: Sizes,
    parking: dict[str, bool],
    waited_for: Collection[str] = (),
    absent: Collection[str] = (),
) -> None:
    """Declare every ring's readers in a new or taken-over instance, before any worker runs.

    Args:
        segment: The instance.
        sizes: What it was made with.
        parking: For each worker, whether it may park and so wants its bell rung.
        waited_for: Strategies whose reading end of the ticks ring holds ingest back: at full speed a recording waits for them.
        absent: Workers that do not run: nobody waits for them, or a ring that only they read would fill up for good.
    """
    for row in ring_rows(sizes.strategies):
        made = ring.open_ring(segment, row.name, row.dtype)
        for index, (worker, mode) in enumerate(row.readers):
            bell = segment.base(f"{worker}.heartbeat") + heartbeat.BELL if parking.get(worker) else ring.NO_BELL
            holds_back = row.name == "ticks" and worker in waited_for
            mode = GATING if holds_back else LOSSY if worker in absent else mode
            if mode == GATING:
                # It may have been absent: what was overwritten meanwhile is not there to be read.
                ring.skip_overwritten(made, index)
            ring.set_reader(made, index, mode, bell)


def let_go(segment: Segment, strategy: str, strategies: int) -> None:
    """Stop waiting for a strategy: from now on its reading end of the ticks ring is lossy."""
    ticks = ring.open_ring(segment, "ticks", TICK)
    ticks.words[ring.MODE + reader_index("ticks", strategy, strategies)] = LOSSY


def reader_index(ring_name: str, worker: str, strategies: int) -> int:
    """Return which reading end of a ring belongs to a worker."""
    row = next(row for row in ring_rows(strategies) if row.name == ring_name)
    return [name for name, _ in row.readers].index(worker)


def write_about(segment: Segment, about: dict) -> None:
    """Store what attaching processes must know (sizes, instruments, settings) as JSON."""
    data = orjson.dumps(about)
    blob = segment.array("about", np.uint8)
    blob[:] = 0
    blob[: len(data)] = np.frombuffer(data, np.uint8)


def read_about(segment: Segment) -> dict:
    """Return what `write_about` stored."""
    about: dict = orjson.loads(segment.array("about", np.uint8).tobytes().rstrip(b"\0"))
    return about
