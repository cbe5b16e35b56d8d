"""/metrics: what it shows is what shared memory holds, in a form that Prometheus's own checker accepts."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.messages import ARMED, HALTED, KILLED, REJECT_QUANTITY, TRIGGERED
from pipeline.risk.limits import NOT_SET, free_limits, write_limits
from pipeline.sidecar.metrics import LE_EXPONENTS, process_memory
from pipeline.tables import (
    LIMIT_NAMES,
    MARK,
    POSITION,
    SCOPE_DAY_PNL,
    SCOPE_PEAK,
    SCOPE_RESTRICTED,
    SCOPE_STATE,
    SCOPE_WORDS,
    SENT_ORDER,
    STOP,
)
from pipeline.topology import COUNTERS, ENTRIES_ALLOWED, RESTARTS, STARTED_NS, WORKERS
from shm import counters, heartbeat, histogram
from shm.heartbeat import BEAT_NS, PID, PORT, START, STATE, State, process_start
from tests.pipeline.sidecar_instance import MONEY, SIZES, Instance, made_instance, records_of

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance whose sidecar serves."""
    with made_instance(tmp_path) as made:
        stage = made.stage()
        stage.warm_up()
        yield made
        stage.close()


def address(instance: Instance) -> tuple[str, int]:
    """Return where the sidecar listens."""
    return "127.0.0.1", int(instance.segment.array("sidecar.heartbeat")[PORT])


def get(instance: Instance, path: str = "/metrics", accept: str = "*/*") -> tuple[int, str]:
    """Ask the sidecar's port; return status and body."""
    host, port = address(instance)
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(instance: Instance) -> Samples:
    """Return every sample by name and labels."""
    families = text_string_to_metric_families(get(instance)[1])
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample."""
    return samples[f"stopline_{name}", frozenset(labels.items())]


def set_counter(instance: Instance, worker: str, name: str, amount: int) -> None:
    """Set a worker's counter, as the worker does."""
    counters.put(counters.open_counters(instance.segment, worker), COUNTERS[worker].index(name), amount)


def set_row(instance: Instance, table: str, dtype: np.dtype, row: int, **fields: int) -> None:
    """Set the committed copy of a row."""
    copies = instance.segment.array(f"{table}.copies", dtype)
    for field, content in fields.items():
        copies[2 * row][field] = content


def test_metrics_of_a_busy_instance_please_promtool(instance: Instance) -> None:
    """Prometheus's own checker finds nothing to say."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    make_busy(instance)
    done = subprocess.run(["promtool", "check", "metrics"], input=get(instance)[1], capture_output=True, text=True, check=False)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_metrics_keep_the_naming_rules(instance: Instance) -> None:
    """Prefix, help, base units, `_total` on counters and nowhere else, no series twice."""
    make_busy(instance)
    text = get(instance)[1]
    seen = []
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("stopline_"), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ns|us|ms|minutes|kib|mib|percent)(_|$)", family.name), family.name
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            seen.append((sample.name, *sorted(sample.labels.items())))
    assert len(set(seen)) == len(seen)
    assert len(seen) > 300


def test_metrics_in_openmetrics_form_end_as_they_must(instance: Instance) -> None:
    """A scraper that asks for OpenMetrics gets it whole."""
    status, text = get(instance, accept="application/openmetrics-text; version=1.0.0")
    assert 200 == status
    assert text.endswith("# EOF\n")


def test_metrics_counters_are_those_of_shared_memory(instance: Instance) -> None:
    """Ticks, orders, refusals, stops and restarts show the numbers that the workers count."""
    make_busy(instance)
    samples = scrape(instance)
    assert 1000 == value(samples, "ticks_received_total")
    assert 990 == value(samples, "ticks_accepted_total")
    assert 10 == value(samples, "ticks_rejected_total", reason="crossed")
    assert 5 == value(samples, "orders_total", kind="entry")
    assert 3 == value(samples, "orders_total", kind="exit")
    assert 2 == value(samples, "orders_refused_total", reason="quantity")
    assert 0 == value(samples, "orders_rejected_total", reason="quantity")
    assert 7 == value(samples, "stops_armed_total", kind="static")
    assert 4 == value(samples, "stops_triggered_total", kind="trailing")
    assert 2 == value(samples, "worker_restarts_total", worker="execution")
    assert 6 == value(samples, "worker_count_total", worker="execution", what="duplicates")
    assert 1 == value(samples, "entries_allowed")


def test_metrics_stops_and_positions_are_those_of_the_tables(instance: Instance) -> None:
    """Gauges come from the rows: open, exiting, owed; quantity in units; P&L in money, at the side that would close it."""
    make_busy(instance)
    samples = scrape(instance)
    assert (2, 2, 1) == tuple(value(samples, f"stops_{name}") for name in ("open", "exiting", "owed"))
    assert 2 == value(samples, "positions_open")
    assert -0.004 == value(samples, "position_quantity", symbol="BTCUSDT", strategy="strategy1")
    assert 10.0 == value(samples, "position_quantity", symbol="MESZ6", strategy="strategy0")
    # Short 4 lots sold at 900,000 ticks, closed at an ask of 900,100: 400 tick-lots of 0.10 * 0.001 lost.
    assert -0.04 == value(samples, "unrealised_pnl", symbol="BTCUSDT", currency="USDT")
    # Long 10 bought at 20,000 ticks, closed at a bid of 20,004: 40 tick-lots of 0.25 * 5 won.
    assert 50.0 == value(samples, "unrealised_pnl", symbol="MESZ6", currency="USD")
    assert -12.5 == value(samples, "realised_pnl", symbol="MESZ6", currency="USD")
    assert ("stopline_unrealised_pnl", frozenset({("symbol", "AAPL"), ("currency", "USD")})) not in samples


def test_metrics_account_adds_up_and_is_told_by_strategy(instance: Instance) -> None:
    """Equity is the balance with every strategy's P&L; exposure, drawdown and the day come from the same numbers."""
    make_busy(instance)
    scopes = instance.segment.array("scopes")
    scopes[SCOPE_PEAK], scopes[SCOPE_DAY_PNL] = 100_000_000, 7_000_000
    samples = scrape(instance)
    usd = {"currency": "USD"}
    # 50.00 and -0.04 unrealised, -12.50 realised, 0.25 of fees.
    pnl = 50.0 - 0.04 - 12.5 - 0.25
    assert float(MONEY.decimal(MONEY.balance_units)) == value(samples, "account_balance", **usd)
    assert 10_000_000 + pnl == pytest.approx(value(samples, "account_equity", **usd), abs=1e-9)
    assert 10_000_100 == value(samples, "account_peak_equity", **usd)
    for name, expected in (
        ("realised_pnl", -12.5), ("unrealised_pnl", 49.96), ("fees", 0.25), ("daily_pnl", pnl - 7), ("drawdown", 100 - pnl),
        ("gross_exposure", 10 * 20_005 * 1.25 + 4 * 90.01), ("net_exposure", 10 * 20_005 * 1.25 - 4 * 90.01),
    ):  # fmt: skip
        assert expected == pytest.approx(value(samples, f"account_{name}", **usd), abs=1e-9), name
    assert -12.5 == value(samples, "strategy_realised_pnl", strategy="strategy0", **usd)
    assert -0.04 == value(samples, "strategy_unrealised_pnl", strategy="strategy1", **usd)


def test_metrics_limits_are_as_the_file_writes_them(instance: Instance) -> None:
    """In the file's own units, of the account and of each strategy; unlimited is +Inf, not set is no number."""
    rows = free_limits(SIZES.scope_count)
    rows["max_daily_loss"][0], rows["price_collar_percent"][1], rows["max_leverage"][0] = 5_000_000_000, 52_500, 2_000_000
    rows["max_executions"][2] = NOT_SET
    write_limits(instance.segment, rows)
    samples = scrape(instance)
    assert 5000.0 == value(samples, "limit", scope="account", limit="max_daily_loss")
    assert 5.25 == value(samples, "limit", scope="strategy0", limit="price_collar_percent")
    assert np.inf == value(samples, "limit", scope="strategy1", limit="max_daily_loss")
    assert np.isnan(value(samples, "limit", scope="strategy1", limit="max_executions"))
    assert 3 * len(LIMIT_NAMES) == sum(name == "stopline_limit" for name, _ in samples)
    assert 20_000_000 == value(samples, "account_buying_power", currency="USD")


def test_metrics_trading_states_show_the_account_the_strategies_and_who_else_is_strict(instance: Instance) -> None:
    """One of four for each; an instrument while it is not ACTIVE; trips of the breaker and symbols that are restricted."""
    scopes = instance.segment.array("scopes")
    scopes[SCOPE_STATE], scopes[4 * SCOPE_WORDS + SCOPE_STATE], scopes[3 * SCOPE_WORDS + SCOPE_RESTRICTED] = HALTED, KILLED, 1
    set_counter(instance, "risk", "breaker_trips", 3)
    samples = scrape(instance)
    states = {
        labels["scope"]: labels["state"]
        for labels, on in ((dict(pairs), on) for (name, pairs), on in samples.items() if name == "stopline_trading_state")
        if on
    }
    assert {"account": "halted", "strategy0": "active", "strategy1": "active", "BTCUSDT": "killed"} == states
    assert 1 == value(samples, "restricted", symbol="AAPL")
    assert 3 == value(samples, "breaker_trips_total")


def test_metrics_working_orders_are_counted_by_strategy(instance: Instance) -> None:
    """Rows of the table of sent orders that have an order; strategies without any show 0."""
    for row, position in enumerate((3, 5, 5)):
        set_row(instance, "sent", SENT_ORDER, row, order_id=row + 1, position=position)
    samples = scrape(instance)
    assert (0, 3) == tuple(value(samples, "working_orders", strategy=name) for name in ("strategy0", "strategy1"))


def test_metrics_latency_buckets_count_what_was_recorded(instance: Instance) -> None:
    """Each `le` counts the values below its power of two, exactly, and the sum is in seconds."""
    words = histogram.open_histogram(instance.segment, "tick_to_order")
    rng = np.random.default_rng(3)
    values = np.concatenate([np.int64(2.0 ** rng.uniform(0, 40, 500)), [0, 127, 128, 129, 255, 256, 1 << 35, 1 << 41]])
    for one in values:
        histogram.record(words, int(one))
    samples = scrape(instance)
    for exponent in LE_EXPONENTS:
        le = repr((1 << exponent) / 1e9)
        assert np.sum(values < 1 << exponent) == value(samples, "latency_seconds_bucket", hop="tick_to_order", le=le)
    assert len(values) == value(samples, "latency_seconds_bucket", hop="tick_to_order", le="+Inf")
    assert len(values) == value(samples, "latency_seconds_count", hop="tick_to_order")
    assert pytest.approx(values.sum() / 1e9) == value(samples, "latency_seconds_sum", hop="tick_to_order")


def test_metrics_rings_show_who_is_behind(instance: Instance) -> None:
    """Depth of gating readers, and what lossy ones missed, of those who are there."""
    instance.send("orders", records_of("orders", 9))
    samples = scrape(instance)
    assert 9 == value(samples, "ring_published_total", ring="orders")
    assert 256 == value(samples, "ring_capacity", ring="orders")
    assert 9 == value(samples, "ring_depth", ring="orders", reader="sidecar")
    assert ("stopline_ring_depth", frozenset({("ring", "ticks"), ("reader", "strategy0")})) not in samples
    instance.segment.array("strategy0.heartbeat")[PID] = 1
    assert 0 == value(scrape(instance), "ring_missed_total", ring="ticks", reader="strategy0")


def test_metrics_tick_age_grows_from_the_start_where_no_tick_ever_came(instance: Instance) -> None:
    """A dead feed shows an age, not a gap in the data."""
    now_ns = time.monotonic_ns()
    instance.segment.array("supervisor.state")[STARTED_NS] = now_ns - 60_000_000_000
    make_busy(instance)
    samples = scrape(instance)
    assert value(samples, "tick_age_seconds", symbol="AAPL") >= 60.0
    assert value(samples, "tick_age_seconds", symbol="MESZ6") < 60.0


def test_metrics_memory_is_of_the_process_that_wrote_the_heartbeat(instance: Instance) -> None:
    """The pid's start time must match: a pid that another process has now shows no memory."""
    pid = os.getpid()
    resident_bytes, private_bytes = process_memory(pid, process_start(pid))
    assert resident_bytes > private_bytes > 1_000_000
    assert (0, 0) == process_memory(pid, process_start(pid) + 1)
    assert (0, 0) == process_memory(0, 0)
    words = instance.segment.array("sidecar.heartbeat")
    words[PID], words[START] = pid, process_start(pid)
    assert value(scrape(instance), "worker_resident_memory_bytes", worker="sidecar") > 1_000_000


def test_healthz_is_well_only_while_every_worker_runs_and_beats(instance: Instance) -> None:
    """503 with the reason for a worker that is not running, and for one that does not move."""
    status, text = get(instance, "/healthz")
    assert 503 == status
    assert "risk is none" in text.splitlines()
    for worker in WORKERS:
        words = heartbeat.open_heartbeat(instance.segment, worker).words
        words[STATE], words[BEAT_NS] = State.RUNNING, time.monotonic_ns()
    assert (200, "ok\n") == get(instance, "/healthz")
    heartbeat.open_heartbeat(instance.segment, "risk").words[BEAT_NS] -= 100_000_000_000
    status, text = get(instance, "/healthz")
    assert 503 == status
    assert text.startswith("risk has not moved for 10")


def test_server_unknown_path_is_not_found(instance: Instance) -> None:
    """Any other path is told what there is; the root shows an index."""
    assert 404 == get(instance, "/metrics/../etc/passwd")[0]
    assert 200 == get(instance, "/")[0]


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
     b"DELETE /metrics HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b""],
)  # fmt: skip
def test_server_after_garbage_still_serves(instance: Instance, garbage: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """A bad request gets an error or nothing; the next client gets its metrics, and no traceback is printed."""
    with socket.create_connection(address(instance), timeout=10) as client:
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert 200 == get(instance)[0]
    assert "Traceback" not in capfd.readouterr().err


def test_server_with_idle_clients_turns_the_surplus_away_and_recovers(instance: Instance) -> None:
    """Clients that say nothing take their places, no more; when they go, others are served."""
    clients = [socket.create_connection(address(instance), timeout=10) for _ in range(16)]
    with socket.create_connection(address(instance), timeout=10) as surplus:
        assert b"" == surplus.recv(1)
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert b"" == client.recv(1)
        client.close()
    status = 0
    while status != 200:
        try:
            status = get(instance)[0]
        except OSError:
            continue
    assert 200 == status


def make_busy(instance: Instance) -> None:
    """Fill counters, tables and marks as workers would."""
    for worker, name, amount in (
        ("ingest", "received", 1000), ("ingest", "accepted", 990), ("ingest", "crossed", 10),
        ("risk", "entries_submitted", 5), ("risk", "exits_submitted", 3), ("risk", "stops_static_armed", 7),
        ("risk", "trailing_triggered", 4), ("execution", "duplicates", 6),
    ):  # fmt: skip
        set_counter(instance, worker, name, amount)
    counters.put(counters.open_counters(instance.segment, "refused"), REJECT_QUANTITY, 2)
    state = instance.segment.array("supervisor.state")
    state[RESTARTS + WORKERS.index("execution")], state[ENTRIES_ALLOWED] = 2, 1
    for row, (stop_state, owed) in enumerate(((ARMED, 0), (ARMED, 0), (TRIGGERED, 0), (TRIGGERED, 1))):
        set_row(instance, "stops", STOP, row, state=stop_state, owed=owed)
    set_row(
        instance, "positions", POSITION, 2, instrument=2, strategy=0, quantity_lots=10, cost_tick_lots=200_000, fill_count=3,
        realised_tick_lots=-10, fee_units=250_000,
    )  # fmt: skip
    set_row(
        instance, "positions", POSITION, 4, instrument=1, strategy=1, quantity_lots=-4, cost_tick_lots=-3_600_000, fill_count=1
    )
    marks = instance.segment.array("marks", MARK)
    marks["bid_ticks"], marks["ask_ticks"] = [0, 900_090, 20_004], [0, 900_100, 20_005]
    marks["tick_count"][1:], marks["tick_recv_ns"][1:] = 1, time.monotonic_ns()
