"""The sidecar whole: real rings in, a real database and a real port out, whatever dies in between."""

import json
import logging
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipeline.errors import DatabaseError, LaunchError
from pipeline.messages import TIMER
from pipeline.sidecar.worker import GATING, SidecarStage
from pipeline.topology import SIDECAR_COUNTERS
from shm import counters
from shm.heartbeat import COMMAND, PORT, Command
from tests.pipeline.sidecar_instance import Instance, config_for, made_instance, records_of

ROOT = Path(__file__).parent.parent.parent
RINGS = ("ticks", "orders", "reports", "events", "notes")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """A small instance in which only the sidecar gates."""
    with made_instance(tmp_path) as made:
        yield made


def send(instance: Instance, count: int, first: int = 0) -> None:
    """Publish the same number of records to every ring."""
    for ring in RINGS:
        assert count == instance.send(ring, records_of(ring, count, first))


def run_until_drained(stage: SidecarStage) -> None:
    """Let the stage work until everything is stored."""
    while not stage.drained():
        stage.run(time.monotonic_ns() + 10_000_000)


def counts(instance: Instance) -> dict[str, int]:
    """Return the sidecar's counters."""
    return counters.snapshot(counters.open_counters(instance.segment, "sidecar"), SIDECAR_COUNTERS)


def stored(instance: Instance, table: str) -> list[int]:
    """Return the sequences in a table, in order, after the sidecar has gone."""
    connection = duckdb.connect(instance.config.sidecar.database, read_only=True)
    try:
        return [row[0] for row in connection.execute(f"SELECT seq FROM {table} ORDER BY seq").fetchall()]
    finally:
        connection.close()


def get(instance: Instance, path: str = "/metrics") -> str:
    """Ask the sidecar's port."""
    port = int(instance.segment.array("sidecar.heartbeat")[PORT])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def test_sidecar_stores_every_ring_and_counts_it(instance: Instance) -> None:
    """All records come out of the database once, timers excepted, and the counters say the same."""
    stage = instance.stage()
    stage.warm_up()
    send(instance, 200)
    run_until_drained(stage)
    stage.close()
    ticks = [seq for seq, kind in enumerate(records_of("ticks", 200)["kind"]) if kind != TIMER]
    assert ticks == stored(instance, "ticks")
    for table in GATING:
        assert list(range(200)) == stored(instance, table)
    seen = counts(instance)
    assert (len(ticks), 200, 200, 200, 0) == tuple(
        seen[name] for name in ("ticks_stored", "orders_stored", "reports_stored", "events_stored", "flush_errors")
    )


def test_sidecar_restarted_goes_on_where_it_was(instance: Instance) -> None:
    """Three sidecars one after the other on one instance double nothing and lose nothing; counters go on."""
    for turn in range(3):
        stage = instance.stage()
        send(instance, 150, 150 * turn)
        run_until_drained(stage)
        stage.close()
    for table in GATING:
        assert list(range(450)) == stored(instance, table)
    assert 450 == counts(instance)["orders_stored"]


def test_sidecar_with_a_backlog_larger_than_a_flush_stores_it_all(tmp_path: Path) -> None:
    """What gathered while no sidecar ran is stored without waiting for the clock between batches."""
    with made_instance(tmp_path, flush_ms=10_000) as instance:
        sent = instance.send("orders", records_of("orders", 256))
        stage = instance.stage()
        run_until_drained(stage)
        stage.close()
        assert list(range(sent)) == stored(instance, "orders")


def test_sidecar_told_to_drain_does_not_wait_for_the_clock(tmp_path: Path) -> None:
    """With a flush due in ten seconds, a drain stores what is there at once."""
    with made_instance(tmp_path, flush_ms=10_000) as instance:
        stage = instance.stage()
        stage.warm_up()
        send(instance, 20)
        stage.run(0)
        assert not stage.drained()
        instance.segment.array("sidecar.heartbeat")[COMMAND] = Command.DRAIN
        stage.run(0)
        assert stage.drained()
        stage.close()


def test_sidecar_closed_stores_what_is_left(instance: Instance) -> None:
    """A stop without a drain loses nothing either."""
    stage = instance.stage()
    send(instance, 33)
    stage.close()
    assert list(range(33)) == stored(instance, "events")


def test_sidecar_without_ticks_stores_the_rest(tmp_path: Path) -> None:
    """store_ticks = false keeps the table empty and misses nothing."""
    with made_instance(tmp_path, store_ticks=False) as instance:
        stage = instance.stage()
        send(instance, 100)
        run_until_drained(stage)
        stage.close()
        assert [] == stored(instance, "ticks")
        assert list(range(100)) == stored(instance, "orders")
        assert 0 == counts(instance)["ticks_missed"]


@pytest.mark.processes
def test_sidecar_killed_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL at source lines all over a sidecar's life, and from outside at full speed; each record is there once."""
    command = [sys.executable, "-m", "tests.pipeline.sidecar_crash", str(tmp_path), "20261"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] >= 24, told
    connection = duckdb.connect(str(tmp_path / "history.duckdb"), read_only=True)
    for table in GATING:
        rows = connection.execute(f"SELECT seq FROM {table} ORDER BY seq").fetchall()
        assert list(range(told["sent"][table])) == [row[0] for row in rows]
    ticks = [row[0] for row in connection.execute("SELECT seq FROM ticks ORDER BY seq").fetchall()]
    connection.close()
    kinds = records_of("ticks", told["sent"]["ticks"])["kind"]
    assert [seq for seq, kind in enumerate(kinds) if kind != TIMER] == ticks


def test_sidecar_with_a_full_disk_keeps_the_rows_and_the_metrics(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """While no byte can be written: counted, logged, rows in their rings, metrics served; afterwards each row once."""
    stage = instance.stage()
    stage.warm_up()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.ERROR):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            send(instance, 256)
            while counts(instance)["flush_errors"] < 2:
                stage.run(time.monotonic_ns() + 10_000_000)
            assert not stage.drained()
            assert 0 == instance.send("orders", records_of("orders", 1))
            assert 'stopline_ring_depth{reader="sidecar",ring="orders"} 256.0' in get(instance)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "flush failed, next try in 0.25 s" in caplog.text
    run_until_drained(stage)
    stage.close()
    for table in GATING:
        assert list(range(256)) == stored(instance, table)
    assert 231 == len(stored(instance, "ticks"))
    assert counts(instance)["flush_errors"] >= 2


def test_sidecar_restarted_takes_the_port_it_had(instance: Instance) -> None:
    """With port 0 the first choice is kept, so that a scraper finds the sidecar again; a stop forgets it."""
    words = instance.segment.array("sidecar.heartbeat")
    stage = instance.stage()
    first = int(words[PORT])
    assert first > 0
    stage.close()
    assert 0 == words[PORT]
    words[PORT] = first
    again = instance.stage()
    assert first == words[PORT]
    again.close()


def test_sidecar_port_in_use_is_one_line(instance: Instance, tmp_path: Path) -> None:
    """The line names the port and what would do, and the database is not left locked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        held = replace(instance, config=config_for(tmp_path, metrics_port=port))
        with pytest.raises(LaunchError) as caught:
            held.stage()
    assert f"sidecar.metrics_port {port}" in str(caught.value)
    assert "Address already in use" in str(caught.value)
    assert 1 == len(caught.value.lines)
    instance.stage().close()


def test_sidecar_unusable_database_gives_the_port_back(instance: Instance, tmp_path: Path) -> None:
    """A start that fails at the database leaves nothing listening."""
    bad = replace(instance, config=config_for(tmp_path, database=str(tmp_path)))
    with pytest.raises(DatabaseError, match="is a folder"):
        bad.stage()
    port = int(instance.segment.array("sidecar.heartbeat")[PORT])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
