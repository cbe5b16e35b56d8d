"""A rig that keeps all it ever published, and what risk did in each of its steps: with that a twin can follow it.

What a ring holds is copied after each step, before anything can overwrite it. A step of risk is one Turn: what it consumed and
published, and where it left its clock and its marks, by shared memory alone. A step that was cut short by a kill is one as
well: it ends where the next process has opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pipeline import topology
from pipeline.messages import EVENT, ORDER, REPORT, REQUEST, TICK
from pipeline.risk.entries import EVENTS_NEEDED, ORDERS_NEEDED
from pipeline.tables import SCOPE_WORDS, VENUE_FILL, VENUE_NONE, VENUE_ORDER
from shm import ring, rows
from tests.rig import Rig

RECORDED = {"ticks": TICK, "orders": ORDER, "reports": REPORT, "events": EVENT}
#: First and end of a range of sequences.
Span = tuple[int, int]


class Turn(NamedTuple):
    """What risk did in one step, or until it was killed in one.

    Attributes:
        opened: it ended with risk opened anew.
        ticks: that it has done with; of the one behind them it may have done a part.
        reports: that it consumed.
        requests: that it consumed, of each requests ring.
        orders: that it published.
        events: that it published.
        now_ns: stream time at its end.
        marks: MARK of each instrument at its end.
        has_room: whether there was room, from beginning to end, for whatever one input may cause.
        scopes: words of every scope at its end, int64 (scopes, SCOPE_WORDS).
        review_ns: when the next review is due, at its end.
        positions: POSITION rows at its end.
        sent: SENT_ORDER of the orders that have not ended, at its end.
        is_open: whether entries were allowed.
        read: how far the slowest readers of orders and of events were.
    """

    opened: bool
    ticks: Span
    reports: Span
    requests: tuple[Span, ...]
    orders: Span
    events: Span
    now_ns: int
    marks: np.ndarray
    has_room: bool
    scopes: np.ndarray
    review_ns: int
    positions: np.ndarray
    sent: np.ndarray
    is_open: bool
    read: tuple[int, int]


def committed(table: rows.Table) -> np.ndarray:
    """Return a copy of all rows that count. Not by `snapshot`: its stores would be points at which a kill comes."""
    found: np.ndarray = table.copies[2 * np.arange(len(table.commits)) + (table.commits & 1)]
    return found


class RecordingRig(Rig):
    """A rig whose rings and venue may wrap."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.kept: dict[str, list[np.ndarray]] = {}
        self.turns: list[Turn] = []
        self.fills: list[np.ndarray] = []
        self.order_ids: list[int] = []
        #: What ingest took at once: (feed position before, and after).
        self.taken: list[Span] = []
        self.seen: Counter[str] = Counter()
        self.at: tuple[int, ...] = ()
        self.views: dict[str, ring.RingView] = {}
        super().__init__(*args, **kwargs)

    def open(self, stage: str) -> None:
        """Open a stage, which may itself publish what the last process owed."""
        super().open(stage)
        if not self.views:
            self.begin_record()
        self.record(opened=stage == "risk")

    def step(self, stage: str, tick_budget: int = 8) -> int:
        """Take one step, and keep what it published."""
        done = self.step_unseen(stage, tick_budget)
        self.look(stage)
        return done

    def step_unseen(self, stage: str, tick_budget: int) -> int:
        """Take one step without keeping what it published; for a step that a kill may cut short."""
        return super().step(stage, tick_budget)

    def look(self, stage: str) -> None:
        """Keep what a stage has published in a step."""
        if stage == "execution":
            self.keep_told()
            self.pass_on()
        self.record(stepped=stage == "risk")

    def pass_on(self) -> None:
        """Do to the new reports what happens to them on their way to risk: nothing."""

    def send_request(self, requester: int, **fields: int) -> int:
        """Write a request, and keep it."""
        request_id = super().send_request(requester, **fields)
        self.keep_records()
        return request_id

    def save(self) -> Callable[[], None]:
        """Keep everything, the record as well."""
        bring_back = super().save()
        lists: list[list] = [*self.kept.values(), self.turns, self.fills, self.order_ids, self.taken]
        lengths, seen, at = [len(one) for one in lists], self.seen.copy(), self.at

        def bring_all_back() -> None:
            bring_back()
            for one, length in zip(lists, lengths, strict=True):
                del one[length:]
            self.seen, self.at = seen.copy(), at

        return bring_all_back

    def begin_record(self) -> None:
        """Find the words by which the record sees what is new."""
        recorded = RECORDED | dict.fromkeys(self.request_rings(), REQUEST)
        self.kept = {name: [] for name in (*recorded, "told")}
        self.views = {name: ring.RingView(ring.open_ring(self.segment, name, dtype)) for name, dtype in recorded.items()}
        self.venue_words = self.segment.array("venue.state")
        self.fill_slots = self.segment.array("venue.fills", VENUE_FILL)
        self.ingest_words = self.segment.array("ingest.state")
        self.risk_words = self.segment.array("risk.state")
        self.cursors = [
            (
                self.views[name].ring.words,
                ring.CURSOR + ring.STRIDE * topology.reader_index(name, "risk", self.sizes.strategies),
            )
            for name in ("ticks", "reports", *self.request_rings())
        ]
        needs = (
            ("orders", "execution", ORDERS_NEEDED),
            ("orders", "sidecar", ORDERS_NEEDED),
            ("events", "sidecar", EVENTS_NEEDED),
        )
        self.held_back_by = [
            (self.views[name], topology.reader_index(name, reader, self.sizes.strategies), needed)
            for name, reader, needed in needs
        ]
        self.venue_table = rows.open_table(self.segment, "venue.orders", VENUE_ORDER)
        self.at = self.risk_at()

    def record(self, opened: bool = False, stepped: bool = False) -> None:
        """Copy what is new in every ring and in the venue's record.

        Args:
            opened: Risk was opened anew.
            stepped: Risk took a step.
        """
        self.keep_records()
        at = self.risk_at()
        if opened or stepped or at != self.at:
            spans = list(zip(self.at, at, strict=True))
            self.turns.append(self.turn_of(opened, spans))
            self.at = at
        self.keep_venue()
        position = int(self.ingest_words[topology.FEED_POSITION])
        if position > self.seen["feed"]:
            self.taken.append((self.seen["feed"], position))
            self.seen["feed"] = position

    def turn_of(self, opened: bool, spans: list[Span]) -> Turn:
        """Return the turn that has just ended."""
        risk, words = self.risk, self.risk_words
        sent = committed(risk.sent.table)
        read = [view.published - view.depth(reader) for view, reader, _ in self.held_back_by]
        return Turn(
            opened, spans[0], spans[1], tuple(spans[4:]), spans[2], spans[3], int(words[topology.RISK_NOW_NS]),
            risk.marks.copy(), self.has_room(), risk.scopes.words.reshape(-1, SCOPE_WORDS).copy(),
            int(words[topology.RISK_REVIEW_NS]), committed(risk.positions), sent[sent["order_id"] != 0],
            bool(risk.supervisor[topology.ENTRIES_ALLOWED]), (min(read[:2]), read[2]),
        )  # fmt: skip

    def risk_at(self) -> tuple[int, ...]:
        """Return where risk stands: in ticks, reports, orders, events, and each requests ring."""
        ticks, reports, *requests = (int(words[index]) for words, index in self.cursors)
        return ticks, reports, self.views["orders"].published, self.views["events"].published, *requests

    def has_room(self) -> bool:
        """Tell whether risk finds room for whatever one input may cause."""
        return all(view.capacity - view.depth(reader) >= needed for view, reader, needed in self.held_back_by)

    def keep_records(self) -> None:
        """Copy what is new in every ring."""
        self.keep_told()
        for name, view in self.views.items():
            first, end = self.seen[name], view.published
            assert end - first <= view.capacity, f"{name}: one step published {end - first} records"
            if end > first:
                self.kept[name].append(view.ring.slots[np.arange(first, end) & (view.capacity - 1)])
                self.seen[name] = end

    def keep_told(self) -> None:
        """Copy the reports that execution has published since the last look, as it wrote them."""
        view, first = self.views["reports"], self.seen["told"]
        if view.published > first:
            self.kept["told"].append(view.ring.slots[np.arange(first, view.published) & (view.capacity - 1)])
            self.seen["told"] = view.published

    def told(self) -> np.ndarray:
        """Return all reports that execution ever wrote; `records` has those that came to risk."""
        return np.concatenate([np.zeros(0, REPORT), *self.kept["told"]])

    def keep_venue(self) -> None:
        """Copy what is new in the venue's record."""
        state, slots = self.venue_words, self.fill_slots
        first, end = self.seen["fills"], int(state[topology.VENUE_FILLS])
        assert end - first <= len(slots), "the venue's fills have lapped its record"
        if end > first:
            self.fills.append(slots[np.arange(first, end) & (len(slots) - 1)])
            self.seen["fills"] = end
        before, taken = self.seen["orders at the venue"], int(state[topology.VENUE_ORDERS])
        if taken > before:
            orders = committed(self.venue_table)
            new = orders[(orders["state"] != VENUE_NONE) & (orders["place"] >= before)]
            # Some are gone already where one step took an order and its cancel, and gave the row to the next.
            self.order_ids += [int(order_id) for order_id in new["order_id"]]
        self.seen["orders at the venue"] = taken

    def records(self, name: str, dtype: np.dtype) -> np.ndarray:
        """Return all records that a ring ever held."""
        return np.concatenate([np.zeros(0, dtype), *self.kept[name]])

    def asked(self, requester: int, request_id: int) -> np.void:
        """Return what was asked, by the number that its requester gave it."""
        request = self.records(self.request_rings()[requester], REQUEST)[request_id - 1]
        assert request["request_id"] == request_id
        return request

    def venue_fills(self) -> np.ndarray:
        """Return all fills that the venue ever made."""
        return np.concatenate([np.zeros(0, VENUE_FILL), *self.fills])

    def venue_order_ids(self) -> list[int]:
        """Return the ids of all orders that the venue ever took."""
        return self.order_ids
