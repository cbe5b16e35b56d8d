"""The database: exact rows, one transaction a flush, and one clear line for every file that cannot be used."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipeline.errors import DatabaseError
from pipeline.messages import EVENT, NON_FINITE, ORDER, QUOTE, REPORT, TICK, TRADE
from pipeline.sidecar.store import Run, Store, StoreError, check_database
from pipeline.sidecar.streams import Batch, Progress
from tests.pipeline.sidecar_instance import INSTRUMENTS, MONEY, SIZES, records_of

EPOCH = 1_767_000_000_000_000_007
EVENT_NS = 1_767_623_400_000_000_123


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database in a folder that does not exist yet."""
    return tmp_path / "new" / "folder" / "history.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An open, empty store."""
    opened = Store(path, EPOCH, INSTRUMENTS, MONEY, SIZES.strategies)
    yield opened
    opened.close()


def batch_of(stream: str, records: np.ndarray, first: int = 0) -> Batch:
    """Return a batch whose sequences start at `first`."""
    end = first + len(records)
    return Batch(stream, records, np.arange(first, end, dtype=np.int64), Progress(end, end, 0))


def write_orders(store: Store, count: int) -> None:
    """Flush this many orders, 5,000 at a time."""
    for first in range(0, count, 5000):
        store.write([batch_of("orders", records_of("orders", 5000, first), first)])


def rows(path: Path, query: str) -> list[tuple]:
    """Query a database that nobody holds."""
    connection = duckdb.connect(str(path), read_only=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_store_quote_and_trade_are_exact_in_integers_doubles_and_decimals(store: Store, path: Path) -> None:
    """3 ticks of 0.10 read 0.3 and not its neighbour; what a kind does not have is NULL."""
    ticks = np.zeros(2, TICK)
    ticks["kind"], ticks["instrument"], ticks["event_ns"] = [QUOTE, TRADE], [0, 1], EVENT_NS
    ticks["a"], ticks["b"], ticks["c"], ticks["d"] = [10_001, 3], [10_003, 7], [5, 9], [6, 0]
    store.begin_run(Run("test", 5, "1", {}))
    store.write([batch_of("ticks", ticks, 40)])
    store.close()
    quote, trade = rows(
        path, "SELECT seq, epoch_ns(event_time), symbol, kind, reason, bid, ask, price, quantity, bid_ticks, price_ticks, "
        "bid_decimal, price_decimal, quantity_decimal FROM ticks_decimal ORDER BY seq"
    )  # fmt: skip
    assert (40, EVENT_NS, "AAPL", "quote", "accepted", 100.01, 100.03, None, None, 10_001, None) == quote[:11]
    assert (Decimal("100.01"), None, None) == quote[11:]
    assert (41, EVENT_NS, "BTCUSDT", "trade", "accepted", None, None, 0.3, 0.007, None, 3) == trade[:11]
    assert (None, Decimal("0.3"), Decimal("0.007")) == trade[11:]


def test_store_rejected_ticks_are_kept_without_a_price(store: Store, path: Path) -> None:
    """What hygiene refused is there with its reason and its raw integers, and breaks no query."""
    ticks = np.zeros(3, TICK)
    ticks["kind"], ticks["flags"], ticks["instrument"] = [QUOTE, TRADE, 99], [1, 5, 6], [0, 77, 1]
    ticks["a"], ticks["event_ns"] = [NON_FINITE, 2**63 - 1, 4], [-(2**63), 2**63 - 1, 0]
    store.begin_run(Run("test", 5, "1", {}))
    store.write([batch_of("ticks", ticks)])
    store.close()
    assert [
        ("AAPL", "quote", "non_finite", None, None, None),
        (None, "trade", "unknown_instrument", None, None, None),
        ("BTCUSDT", "unknown", "unknown_kind", None, None, None),
    ] == rows(path, "SELECT symbol, kind, reason, bid, price, bid_decimal FROM ticks_decimal ORDER BY seq")


def test_store_orders_reports_and_events_read_in_words(store: Store, path: Path) -> None:
    """Codes become the words of the field, and each record keeps its numbers."""
    order, report, event = np.zeros(2, ORDER), np.zeros(2, REPORT), np.zeros(3, EVENT)
    order["order_type"], order["side"], order["flags"] = [2, 1], [1, -1], [0, 3]
    order["price_ticks"], order["quantity_lots"], order["instrument"] = [10_001, 0], 3, 1
    report["kind"], report["reason"], report["side"], report["price_ticks"] = [2, 4], [0, 4], -1, [7, 0]
    event["kind"], event["reason"], event["side"] = [2, 3, 5], [0, 2, 4], [1, -1, -1]
    event["stop_kind"], event["level_ticks"] = [2, 1, 0], [5, 0, 0]
    store.begin_run(Run("test", 5, "1", {}))
    store.write([batch_of("orders", order), batch_of("reports", report), batch_of("events", event)])
    store.close()
    assert [
        ("entry", "limit", "buy", 1000.1, 0.003, Decimal("1000.1"), False),
        ("exit", "market", "sell", None, 0.003, None, True),
    ] == rows(
        path, "SELECT kind, order_type, side, price, quantity, price_decimal, reduce_only FROM orders_decimal ORDER BY seq"
    )
    assert [("filled", "none", "sell", 0.07), ("rejected", "notional", "sell", None)] == rows(
        path, "SELECT kind, reason, side, price FROM reports ORDER BY seq"
    )
    assert [(0,)] == rows(path, "SELECT seq FROM fills")
    assert [
        ("stop_triggered", "none", "long", "trailing", 0.05),
        ("stop_ended", "exit_filled", "short", "static", None),
        ("request_refused", "notional", "sell", "none", None),
    ] == rows(path, "SELECT kind, reason, side, stop_kind, level_price FROM events ORDER BY seq")
    assert [(0,), (1,)] == rows(path, "SELECT seq FROM stop_events ORDER BY seq")


def test_store_many_random_records_come_back_equal(store: Store, path: Path) -> None:
    """Every integer column of a large batch equals the ring's field, so no array was read with the wrong stride."""
    rng = np.random.default_rng(11)
    orders = np.zeros(20_000, ORDER)
    for field in ("order_id", "event_ns", "sent_ns", "quantity_lots", "reference_ticks", "stop_id", "generation", "tick_seq"):
        orders[field] = rng.integers(1, 1 << 60, len(orders))
    orders["side"] = 1
    store.write([batch_of("orders", orders)])
    store.close()
    for field in ("order_id", "event_ns", "sent_ns", "quantity_lots", "reference_ticks", "stop_id", "generation", "tick_seq"):
        got = duckdb.connect(str(path), read_only=True).execute(f"SELECT {field} FROM orders ORDER BY seq").fetchnumpy()[field]
        np.testing.assert_array_equal(orders[field], np.asarray(got))


def test_store_progress_is_that_of_its_epoch(store: Store, path: Path) -> None:
    """Another life of the instance starts at nothing in the same file, and both keep their rows."""
    store.write([batch_of("orders", records_of("orders", 4))])
    assert {"orders": Progress(4, 4, 0)} == store.progress()
    store.close()
    other = Store(path, EPOCH + 1, INSTRUMENTS, MONEY, SIZES.strategies)
    assert {} == other.progress()
    other.write([batch_of("orders", records_of("orders", 2))])
    other.close()
    assert [(EPOCH, 4), (EPOCH + 1, 2)] == rows(path, "SELECT epoch, count(*) FROM orders GROUP BY epoch ORDER BY epoch")


def test_store_same_launch_twice_is_noted_once(store: Store, path: Path) -> None:
    """A sidecar that is restarted within a launch adds no run and no instruments; the next launch adds a run."""
    for started_ns in (EVENT_NS, EVENT_NS, EVENT_NS + 9):
        store.begin_run(Run("test", started_ns, "1.2", {"feed": {"kind": "replay"}}))
    store.close()
    assert [(EPOCH, EVENT_NS, "test", "1.2", "replay"), (EPOCH, EVENT_NS + 9, "test", "1.2", "replay")] == rows(
        path, "SELECT epoch, started_ns, instance, version, config->>'$.feed.kind' FROM runs ORDER BY started_ns"
    )
    assert [("AAPL", Decimal("0.01")), ("BTCUSDT", Decimal("0.1")), ("MESZ6", Decimal("0.25"))] == rows(
        path, "SELECT symbol, tick_size FROM instruments ORDER BY instrument"
    )


def test_store_failed_flush_stores_nothing_of_it(store: Store, path: Path) -> None:
    """When the second stream of a flush cannot be written, the first is not there either, and the store works again."""
    good = batch_of("orders", records_of("orders", 3))
    size_bytes = path.stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        with pytest.raises(StoreError, match="File too large"):
            write_orders(store, 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.reopen()
    known = store.progress().get("orders", Progress(0, 0, 0))
    store.write([batch_of("orders", good.records, known.next_seq)])
    store.close()
    assert [(known.next_seq + 3, known.next_seq + 3)] == rows(path, "SELECT count(*), count(DISTINCT seq) FROM orders")


def test_store_held_by_another_process_names_it(path: Path) -> None:
    """The line says which process has the file."""
    path.parent.mkdir(parents=True)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with pytest.raises(DatabaseError) as caught:
            check_database(path)
        holder.communicate("")
    assert f"is in use by process {holder.pid} ({path}): stop it, or choose another --db" == str(caught.value)


def test_store_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    """A database with other tables is not written to."""
    path.parent.mkdir(parents=True)
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE ticks (x INTEGER)")
    connection.close()
    with pytest.raises(DatabaseError, match=r"holds tables of another program \(ticks\)"):
        check_database(path)
    assert [("ticks",)] == rows(path, "SELECT table_name FROM duckdb_tables()")


def test_store_of_another_version_is_refused(store: Store, path: Path) -> None:
    """A file whose tables were others is told apart before anything is written."""
    store.close()
    connection = duckdb.connect(str(path))
    connection.execute("UPDATE database_format SET fingerprint = 'older'")
    connection.close()
    with pytest.raises(DatabaseError, match="was written by another version"):
        check_database(path)


GARBAGE = {"long": b"not a database, but long enough for a header" * 200, "short": b"short", "noise": bytes(range(7, 250, 4))}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_store_file_that_is_no_database_is_refused_in_one_line(path: Path, content: bytes) -> None:
    """Garbage is named as what it is, and stays as it was."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DatabaseError) as caught:
        check_database(path)
    assert 1 == len(str(caught.value).splitlines())
    assert str(path) in str(caught.value)
    assert content == path.read_bytes()


def test_store_damaged_file_is_refused_in_one_line(store: Store, path: Path) -> None:
    """A header that was overwritten is found at the start."""
    store.write([batch_of("orders", records_of("orders", 4))])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(DatabaseError) as caught:
        check_database(path)
    assert 1 == len(str(caught.value).splitlines())


def test_store_at_a_folder_says_so(tmp_path: Path) -> None:
    """A folder is no database."""
    with pytest.raises(DatabaseError, match="is a folder"):
        check_database(tmp_path)


def test_store_below_a_file_says_so(tmp_path: Path) -> None:
    """A folder that cannot be made is named."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatabaseError, match="cannot make the folder of the database"):
        check_database(tmp_path / "file" / "history.duckdb")
