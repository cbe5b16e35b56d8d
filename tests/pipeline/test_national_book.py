"""The national best bid and offer of a LEAN day, against a slow book of dicts."""

import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecordingError
from pipeline.ingest import lean
from pipeline.messages import QUOTE, TRADE
from shm.jit import JIT_ENABLED
from tests.pipeline.test_lean import DAY, decode, real_lines, slow_ns

pytestmark = pytest.mark.jitless

Row = tuple[int, int, int, int, int, str]


def line(row: Row) -> str:
    """Write (ms, bid, bid size, ask, ask size, exchange) as a line of the file."""
    return f"{','.join(map(str, row))},1,0"


def slow_quotes(rows: list[Row]) -> tuple[list[tuple[int, ...]], int]:
    """Return (event_ns, venue, bid, ask, bid size, ask size) of each tick, and how many sides were taken as withdrawn."""
    bids: dict[str, tuple[int, int]] = {}
    asks: dict[str, tuple[int, int]] = {}
    ticks: list[tuple[int, ...]] = []
    withdrawn = 0
    for ms, bid, bid_size, ask, ask_size, exchange in sorted(rows, key=lambda row: row[0]):
        if bid:
            bids[exchange] = (bid, bid_size)
            gone = [other for other in asks if other != exchange and asks[other][0] <= bid]
            asks = {other: side for other, side in asks.items() if other not in gone}
            withdrawn += len(gone)
        if ask:
            asks[exchange] = (ask, ask_size)
            gone = [other for other in bids if other != exchange and bids[other][0] >= ask]
            bids = {other: side for other, side in bids.items() if other not in gone}
            withdrawn += len(gone)
        if (bid or ask) and bids and asks:
            best_bid, best_ask = max(price for price, _ in bids.values()), min(price for price, _ in asks.values())
            bid_lots = sum(size for price, size in bids.values() if price == best_bid)
            ask_lots = sum(size for price, size in asks.values() if price == best_ask)
            ticks.append((slow_ns(DAY, ms), ord(exchange), best_bid, best_ask, bid_lots, ask_lots))
    return ticks, withdrawn


def quotes_of(day: lean.LeanDay) -> list[tuple[int, ...]]:
    """Return the same fields of the day's quotes."""
    quotes = day.ticks[day.ticks["kind"] == QUOTE]
    return [tuple(row) for row in quotes[["event_ns", "venue", "a", "b", "c", "d"]].tolist()]


def merged(folder: Path, rows: list[Row], trades: list[str] | None = None) -> lean.LeanDay:
    """Decode rows of all exchanges as one book."""
    return decode(folder, [line(row) for row in rows], trades or [], lean.ALL_EXCHANGES)


def test_national_book_of_two_exchanges_takes_the_best_of_each_side(tmp_path: Path) -> None:
    """The best bid and ask come from whichever exchange has them, and the venue is that of the update."""
    rows = [(1, 100, 5, 0, 0, "P"), (1, 0, 0, 104, 6, "P"), (2, 101, 7, 0, 0, "N"), (3, 0, 0, 103, 8, "N")]
    day = merged(tmp_path, rows)
    assert [(100, 104, 5, 6), (101, 104, 7, 6), (101, 103, 7, 8)] == day.ticks[["a", "b", "c", "d"]].tolist()
    assert [ord("P"), ord("N"), ord("N")] == day.ticks["venue"].tolist()
    assert ("all", (2, 0), 1) == (day.exchange, day.merged, day.left_out["one_sided_quotes"])


def test_national_book_with_equal_best_prices_sums_their_sizes(tmp_path: Path) -> None:
    """The size of the best price is that of all exchanges that quote it, and of no other."""
    rows = [(1, 100, 5, 0, 0, "P"), (1, 0, 0, 104, 6, "P"), (2, 100, 7, 0, 0, "N"), (3, 99, 50, 0, 0, "Q")]
    assert [(5, 6), (12, 6), (12, 6)] == merged(tmp_path, rows).ticks[["c", "d"]].tolist()


def test_national_book_when_the_best_exchange_falls_back_finds_the_next(tmp_path: Path) -> None:
    """An exchange that lowers its bid below another's leaves the best to that one."""
    rows = [(1, 0, 0, 104, 6, "P"), (1, 100, 5, 0, 0, "P"), (2, 101, 7, 0, 0, "N"), (3, 98, 9, 0, 0, "N")]
    assert [(100, 5), (101, 7), (100, 5)] == merged(tmp_path, rows).ticks[["a", "c"]].tolist()


def test_national_book_side_locked_by_a_later_quote_counts_as_withdrawn(tmp_path: Path) -> None:
    """A bid at another exchange's ask takes that ask out, until its exchange quotes one again."""
    rows = [
        (1, 100, 1, 0, 0, "P"), (1, 0, 0, 101, 2, "P"), (1, 0, 0, 103, 3, "N"), (2, 101, 4, 0, 0, "Q"), (3, 0, 0, 102, 5, "P"),
    ]  # fmt: skip
    day = merged(tmp_path, rows)
    assert [(100, 101), (100, 101), (101, 103), (101, 102)] == day.ticks[["a", "b"]].tolist()
    assert (3, 1) == day.merged


def test_national_book_whose_only_ask_was_withdrawn_gives_no_tick(tmp_path: Path) -> None:
    """With no side left to sell at there is no quote, and the row is counted as one-sided."""
    rows = [(1, 100, 1, 0, 0, "P"), (1, 0, 0, 101, 2, "P"), (2, 102, 4, 0, 0, "Q"), (3, 0, 0, 103, 5, "Q")]
    day = merged(tmp_path, rows)
    assert [(100, 101), (102, 103)] == day.ticks[["a", "b"]].tolist()
    assert 2 == day.left_out["one_sided_quotes"]


def test_national_book_of_one_exchange_between_its_two_rows_is_crossed(tmp_path: Path) -> None:
    """An exchange's own other side stays, crossed for a row, as in the book of that exchange alone."""
    rows = [(1, 100, 1, 0, 0, "P"), (1, 0, 0, 101, 2, "P"), (2, 103, 4, 0, 0, "P"), (2, 0, 0, 104, 5, "P")]
    assert [(100, 101), (103, 101), (103, 104)] == merged(tmp_path, rows).ticks[["a", "b"]].tolist()
    lines = [line(row) for row in rows]
    assert quotes_of(decode(tmp_path, lines, [], "P")) == quotes_of(merged(tmp_path, rows))


def test_national_book_rows_without_a_side_give_no_tick(tmp_path: Path) -> None:
    """A row that updates no side is left out, and trades of all exchanges come along as ever."""
    rows = [(1, 100, 1, 101, 2, "P"), (2, 0, 7, 0, 7, "P")]
    day = merged(tmp_path, rows, ["3,100,5,D,1,0"])
    assert [QUOTE, TRADE] == day.ticks["kind"].tolist()
    assert 1 == day.left_out["one_sided_quotes"]


def test_national_book_of_random_rows_equals_the_slow_book(tmp_path: Path) -> None:
    """Seeded rows of five exchanges, some out of order and some with both sides, give the slow book's ticks."""
    rng = random.Random(29)
    for _ in range(20):
        rows = []
        for _ in range(rng.randrange(2, 300)):
            bid, ask = rng.choice([0, *range(95, 102)]), rng.choice([0, *range(99, 106)])
            rows.append((rng.randrange(1, 60), bid, rng.randrange(9), ask, rng.randrange(9), rng.choice("BNPQZ")))
        day = merged(tmp_path, rows)
        ticks, withdrawn = slow_quotes(rows)
        assert ticks == quotes_of(day)
        assert (len({row[5] for row in rows}), withdrawn) == day.merged
        assert len(rows) == len(day.ticks) + sum(day.left_out.values())


def test_national_book_asked_for_without_quotes_is_refused(tmp_path: Path) -> None:
    """A file of quotes that holds none that counts is refused as for one exchange."""
    with pytest.raises(RecordingError, match="no usable quote row"):
        decode(tmp_path, ["1,100,1,101,1,P,1,1"], [], lean.ALL_EXCHANGES)


@pytest.mark.parametrize("symbol", ["aig", "bac"])
def test_national_book_of_a_real_opening_equals_the_slow_book(tmp_path: Path, data_folder: Path, symbol: str) -> None:
    """The rows around a real opening, eleven exchanges of them, give the slow book's ticks."""
    lines = [row for row in real_lines(data_folder / "lean" / symbol / "20131009_quote.zip") if row]
    fields = [text.split(",") for text in lines[: 20_000 if JIT_ENABLED else 3_000]]
    rows = [(*map(int, row[:5]), row[5]) for row in fields]
    assert slow_quotes(rows)[0] == quotes_of(merged(tmp_path, rows))  # type: ignore[arg-type]


@pytest.mark.skipif(not JIT_ENABLED, reason="a million rows take minutes without the JIT")
@pytest.mark.parametrize(
    ("symbol", "quote_count", "trade_count", "row_count", "crossed_count", "merged"),
    [
        ("aig", 1_413_140, 52_008, 1_424_012, 147, (11, 72_671)),
        ("bac", 638_577, 122_832, 644_880, 1, (11, 24_626)),
    ],
)
def test_national_book_of_a_real_day_is_seldom_crossed(
    data_folder: Path,
    symbol: str,
    quote_count: int,
    trade_count: int,
    row_count: int,
    crossed_count: int,
    merged: tuple[int, int],
) -> None:
    """A real day of all exchanges accounts for every row, and all but a few quotes can be used."""
    folder = data_folder / "lean" / symbol
    day = lean.decode_day(DAY, folder / "20131009_quote.zip", folder / "20131009_trade.zip", lean.ALL_EXCHANGES)
    quotes = day.ticks[day.ticks["kind"] == QUOTE]
    assert (quote_count, trade_count) == (len(quotes), len(day.ticks) - len(quotes))
    assert row_count + trade_count == len(day.ticks) + sum(day.left_out.values())
    assert (crossed_count, merged) == (int(np.count_nonzero(quotes["a"] > quotes["b"])), day.merged)
