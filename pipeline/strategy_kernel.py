"""A strategy inside your own @njit function: ticks, reports and positions without a step back to Python for each.

    from pipeline.client import Client
    from pipeline.messages import QUOTE
    from pipeline.strategy_kernel import FULL, buy, next_tick, position_lots, working_lots
    from shm.jit import njit

    @njit
    def dip(desk, instrument, below_ticks, lots):
        orders = 0
        while next_tick(desk):
            tick = desk.tick[0]
            if tick["kind"] == QUOTE and tick["instrument"] == instrument and tick["b"] < below_ticks:
                if position_lots(desk, instrument) == 0 and working_lots(desk, instrument) == 0:
                    orders += buy(desk, instrument, lots, 0) != FULL
        return orders

    with Client("default") as client:
        while client.alive:
            dip(client.desk(), client.instruments.index("AAPL"), 18_900, 100)

Records are read by subscript: desk.tick[0]["kind"]. All reads are lossy: who is too slow loses the oldest ticks, and the
client's counters tell. What is in `desk.tick`, `desk.report` and `desk.event` is a copy that nobody overwrites.

A function that returns often, at least every 10 ms, lets its process see signals, the end of the instance and its restart.
"""

from typing import NamedTuple

import numpy as np

from pipeline.client_kernels import Stream, send_request
from pipeline.messages import BUY, CANCEL_ORDER, EVENT, LIMIT, MARKET, REPORT, REQUEST, SELL, SUBMIT, TICK, TICK_OK
from pipeline.order_ids import entry_order_id
from pipeline.tables import MARK, POSITION
from pipeline.topology import STRATEGIES_MAX
from shm.atomics import load_acquire, load_relaxed
from shm.jit import njit
from shm.layout import WORD
from shm.ring import FULL, PUBLISHED, Producer, Reader, copy_lossy
from shm.rows import Table, read

__all__ = [
    "FULL", "Desk", "ask_ticks", "bid_ticks", "buy", "cancel_order", "last_ticks", "next_event", "next_report", "next_tick",
    "position_lots", "read_position", "sell", "send_order", "ticks_waiting", "working_lots",
]  # fmt: skip

#: Records that are copied from a ring at once.
BATCH = 64
# Private words of an inlet: the next record of its batch, and how many it has.
AT, END = 0, 1
# Words of a MARK.
_MARK_WORDS = MARK.itemsize // WORD
_BID, _ASK, _LAST = (list(MARK.names or ()).index(name) for name in ("bid_ticks", "ask_ticks", "last_ticks"))


class Inlet(NamedTuple):
    """A strategy's lossy end of one ring, records as int64 words: one compiled kernel reads all three rings."""

    reader: Reader
    batch: np.ndarray  #: int64 (BATCH, words), private
    local: np.ndarray  #: int64: AT, END
    output: np.ndarray  #: int64 (1, words): where the record goes that is being looked at


class Desk(NamedTuple):
    """What a strategy's kernels take: read `tick`, `report`, `event`, `position`, and call the functions of this module."""

    tick: np.ndarray  #: TICK (1,): what next_tick found
    report: np.ndarray  #: REPORT (1,): what next_report found
    event: np.ndarray  #: EVENT (1,): what next_event found
    position: np.ndarray  #: POSITION (1,): what read_position found
    request: np.ndarray  #: REQUEST (1,): being written
    request_words: np.ndarray  #: int64: the same
    position_words: np.ndarray  #: int64: `position`
    pen: Producer
    ticks: Inlet
    reports: Inlet
    events: Inlet
    positions: Table  #: POSITION, as words
    mark_words: np.ndarray  #: int64, every MARK
    places: np.ndarray  #: int64: the slot, how many instruments there are


# Words of `places`.
SLOT, INSTRUMENT_COUNT = 0, 1


def open_desk(pen: Producer, streams: tuple[Stream, Stream, Stream], positions: Table, marks: np.ndarray, slot: int) -> Desk:
    """Return a desk over what a client has open.

    Args:
        pen: Of its requests ring.
        streams: Its ends of ticks, reports and events.
        positions: POSITION as words.
        marks: MARK of every instrument.
        slot: The strategy's.
    """
    assert 0 <= slot < STRATEGIES_MAX, f"there is no slot {slot}"
    tick, report, event = (np.zeros(1, dtype) for dtype in (TICK, REPORT, EVENT))
    position, request = np.zeros(1, POSITION), np.zeros(1, REQUEST)
    return Desk(
        tick=tick,
        report=report,
        event=event,
        position=position,
        request=request,
        request_words=request.view(np.int64),
        position_words=position.view(np.int64),
        pen=pen,
        ticks=Inlet(streams[0].reader, *_room(tick)),
        reports=Inlet(streams[1].reader, *_room(report)),
        events=Inlet(streams[2].reader, *_room(event)),
        positions=positions,
        mark_words=marks.view(np.int64),
        places=np.array([slot, len(marks)], np.int64),
    )


def _room(record: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    words = record.view(np.int64).reshape(1, record.itemsize // WORD)
    return np.zeros((BATCH, words.shape[1]), np.int64), np.zeros(2, np.int64), words


@njit
def next_record(inlet):
    """Put the next record of a ring into the inlet's output.

    Returns:
        Whether there was one.
    """
    local, batch = inlet.local, inlet.batch
    if local[AT] == local[END]:
        # What was overwritten while it was copied is left out, and counted as missed.
        local[AT], local[END] = 0, copy_lossy(inlet.reader, batch, batch)
        if local[END] == 0:
            return False
    for w in range(batch.shape[1]):
        inlet.output[0, w] = batch[local[AT], w]
    local[AT] += 1
    return True


@njit
def next_tick(desk):
    """Put the next accepted tick of any instrument into desk.tick[0]; those that hygiene rejected are passed over.

    Returns:
        Whether there was one.
    """
    while next_record(desk.ticks):
        if desk.tick[0]["flags"] == TICK_OK:
            return True
    return False


@njit
def next_report(desk):
    """Put the next report on this strategy's orders and exits into desk.report[0]; return whether there was one."""
    while next_record(desk.reports):
        if desk.report[0]["strategy"] == desk.places[SLOT]:
            return True
    return False


@njit
def next_event(desk):
    """Put the next event of this strategy into desk.event[0]: stops, refusals; return whether there was one."""
    while next_record(desk.events):
        if desk.event[0]["strategy"] == desk.places[SLOT]:
            return True
    return False


@njit
def ticks_waiting(desk):
    """Return how many ticks were published and not read yet, those that are lost by now and those rejected included."""
    inlet = desk.ticks
    # Acquire: pairs with the release in ring.publish.
    published = load_acquire(inlet.reader.ring.words, PUBLISHED)
    return published - inlet.reader.local[0] + inlet.local[END] - inlet.local[AT]


@njit
def send_order(desk, instrument, side, lots, price_ticks):
    """Ask for an order, as client.submit_lots does.

    Args:
        desk: Desk.
        instrument: Index.
        side: BUY or SELL.
        lots: Quantity, > 0.
        price_ticks: The limit; 0 = a market order.
    Returns:
        The order id, or FULL: risk has not taken the last requests yet, and nothing was sent. What cannot be meant is sent,
        and refused by risk.
    """
    for w in range(desk.request_words.shape[0]):
        desk.request_words[w] = 0
    request = desk.request[0]
    request["kind"] = SUBMIT
    request["instrument"] = instrument
    request["strategy"] = desk.places[SLOT]
    request["order_type"] = LIMIT if price_ticks != 0 else MARKET
    request["side"] = side
    request["quantity_lots"] = lots
    request["price_ticks"] = price_ticks
    seq = send_request(desk.pen, desk.request_words)
    return seq if seq == FULL else entry_order_id(desk.places[SLOT], seq)


@njit
def buy(desk, instrument, lots, price_ticks):
    """Ask to buy; see `send_order`."""
    return send_order(desk, instrument, BUY, lots, price_ticks)


@njit
def sell(desk, instrument, lots, price_ticks):
    """Ask to sell; see `send_order`."""
    return send_order(desk, instrument, SELL, lots, price_ticks)


@njit
def cancel_order(desk, order_id):
    """Ask for one of this strategy's orders to be taken back; its CANCELLED report tells when it was.

    Returns:
        The request's number, or FULL: nothing was sent.
    """
    for w in range(desk.request_words.shape[0]):
        desk.request_words[w] = 0
    request = desk.request[0]
    request["kind"] = CANCEL_ORDER
    request["strategy"] = desk.places[SLOT]
    request["value"] = order_id
    seq = send_request(desk.pen, desk.request_words)
    return seq if seq == FULL else seq + 1


@njit
def read_position(desk, instrument):
    """Put this strategy's position in an instrument, whole, into desk.position[0]; return its lots, below 0 = short."""
    read(desk.positions, desk.places[SLOT] * desk.places[INSTRUMENT_COUNT] + instrument, desk.position_words)
    return desk.position[0]["quantity_lots"]


@njit
def position_lots(desk, instrument):
    """Return the lots that this strategy holds of an instrument, below 0 = short."""
    return read_position(desk, instrument)


@njit
def working_lots(desk, instrument):
    """Return the lots of this strategy's orders at work in an instrument, both sides; requests on their way are not in it."""
    read_position(desk, instrument)
    return desk.position[0]["working_buy_lots"] + desk.position[0]["working_sell_lots"]


@njit
def bid_ticks(desk, instrument):
    """Return the last bid of an instrument as risk knows it; 0 = none yet."""
    return load_relaxed(desk.mark_words, instrument * _MARK_WORDS + _BID)


@njit
def ask_ticks(desk, instrument):
    """Return the last ask of an instrument as risk knows it; 0 = none yet."""
    return load_relaxed(desk.mark_words, instrument * _MARK_WORDS + _ASK)


@njit
def last_ticks(desk, instrument):
    """Return the last trade's price of an instrument as risk knows it; 0 = none yet."""
    return load_relaxed(desk.mark_words, instrument * _MARK_WORDS + _LAST)
