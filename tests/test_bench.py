"""The benches in their small mode: every path runs and says what it should; how fast it was is not asked here."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import __main__ as command
from bench import peer, ring, steal, stops
from bench.harness import (
    PACE_SLEEP,
    PACE_SPIN,
    PACE_YIELD,
    Pinned,
    Ratio,
    Settings,
    choose_cores,
    in_turns,
    per_turn_ratio,
    wait_until,
)
from bench.stop_arrays import NumpyManager
from bench.stop_guard import Guard
from bench.stop_mix import Case, Stream, draw_mix
from bench.stop_objects import StopManager
from pipeline.messages import ATR, CHANDELIER, STATIC, TAKE_PROFIT, TRAILING

QUANTILES = {"p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "max_ns", "count"}
NEEDS_TWO_CORES = pytest.mark.skipif(len(choose_cores(2)) < 2, reason="a ping-pong of spinning processes needs a core for each")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a bench's segment in /dev/shm."""
    yield
    assert [] == sorted(Path("/dev/shm").glob(f"stopline-bench-{os.getpid()}-*"))


def run_small(name: str, folder: Path) -> dict:
    """Run one bench by its command, and return what it wrote of itself."""
    file = folder / "bench.json"
    assert command.main([name, "--small", "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    assert {"format", "small", "machine", "benches"} == set(document)
    assert {"cpu", "cores", "kernel", "python", "numba"} <= set(document["machine"])
    assert [name] == list(document["benches"])
    return document["benches"][name]


def rows_of(result: dict) -> dict[str, dict[str, float]]:
    """Return a result's values by what was measured."""
    return {row["what"]: row["values"] for row in result["rows"]}


@pytest.mark.processes
def test_mechanism_small_times_every_operation(tmp_path: Path) -> None:
    """Each building block has a median and a best time, and no pass takes less than its best."""
    rows = rows_of(run_small("mechanism", tmp_path))
    assert {"counter add", "histogram record", "commit of a row and two counters", "ring claim and publish"} <= set(rows)
    for values in rows.values():
        assert 0 < values["best_ns"] <= values["median_ns"]


@pytest.mark.processes
def test_checks_small_passes_every_order_and_has_its_yardsticks(tmp_path: Path) -> None:
    """The check is timed with few and many positions held, beside plain Python that refuses none of the same orders either."""
    rows = rows_of(run_small("checks", tmp_path))
    assert ["1 held", "8 held", "64 held", "8 held, orders of 16 instruments", "8 held, plain Python", "reading alone"] == list(
        rows
    )
    assert all(values["best_ns"] <= values["p50_ns"] for values in rows.values())
    assert 0 < rows["8 held"]["best_ns"] < rows["8 held, plain Python"]["best_ns"]


@pytest.mark.processes
def test_venue_small_fills_what_it_should_and_has_its_yardsticks(tmp_path: Path) -> None:
    """Ticks are timed with orders at rest and without, beside a loop that looks at every order, and a burst is filled."""
    result = run_small("venue", tmp_path)
    expected = ["nothing rests", "40 rest far away", "40 rest, some fill", "reading alone", "looking at 40 on each tick"]
    assert [*expected, "fill of 40 at one tick, per order"] == list(rows_of(result))
    for values in rows_of(result).values():
        assert 0 < values["best_ns"] <= values["median_ns"]


@pytest.mark.processes
@NEEDS_TWO_CORES
def test_ring_small_measures_yardstick_hop_stream_and_rivals(tmp_path: Path) -> None:
    """The ring stands beside its bare bounce and its rivals, and not one record came wrong."""
    result = run_small("ring", tmp_path)
    rows = rows_of(result)
    for what in ("bare bounce", "ring hop"):
        assert {"batch_p50_ns", *QUANTILES} == set(rows[what])
        assert 0 < rows[what]["p50_ns"] <= rows[what]["p99_ns"] <= rows[what]["max_ns"]
    for size in ring.PUBLISH_SIZES:
        assert rows[f"ring, published {size} at a time"]["records_per_second"] > 0
    assert rows["ring, gating and lossy reader in turns"]["wrong"] == 0
    assert "ring hop / bare bounce, p50" == result["ratios"][0]["what"]
    assert 1.5 == result["ratios"][0]["at_most"]
    assert len(result["cores"]) == 2


@pytest.mark.processes
def test_waiting_small_measures_every_pair_of_strategies(tmp_path: Path) -> None:
    """Each way to send meets each way to wait, and no record is lost."""
    rows = rows_of(run_small("waiting", tmp_path))
    assert {"one core: sender sleeps, receiver parks", "one core: sender yields, receiver yields"} <= set(rows)
    assert len(rows) == 9 * len(choose_cores(2))
    for values in rows.values():
        assert values["due_p50_ns"] >= values["sent_p50_ns"] > 0
        assert values["count"] == 10


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_risk_step_small_fires_nothing_it_should_not_and_has_its_yardsticks(tmp_path: Path) -> None:
    """Every instrument has two stops when it begins, and the real step stands beside reading alone and plain Python."""
    result = run_small("risk_step", tmp_path)
    rows = rows_of(result)
    assert 40 == rows["stops"]["armed_before"]
    assert {"walk", "trend", "reading alone", "plain Python", "stops"} == set(rows)
    assert rows["plain Python"]["best_ns"] > 0


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_stops_small_has_every_rival_and_what_a_stop_takes(tmp_path: Path) -> None:
    """Each case stands on a walk and on a trend beside objects and arrays, and a stop keeps within its bytes."""
    result = run_small("stops", tmp_path)
    rows = rows_of(result)
    assert {f"{case}, {stream}" for case in ("1 × 1", "1 × 20", "5 × 4") for stream in ("walk", "trend")} | {"memory"} == set(
        rows
    )
    for what in rows.keys() - {"memory"}:
        assert 0 < rows[what]["best_ns"] <= rows[what]["p50_ns"] <= rows[what]["p99_ns"]
        assert min(rows[what]["python_p50_ns"], rows[what]["numpy_p50_ns"]) > 0
    assert 0 < rows["memory"]["bytes_per_stop"] <= 256
    assert "bytes a stop" == result["ratios"][-1]["what"]


def test_stops_without_room_are_left_out_and_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where shared memory is short a case is named with what it needs, and nothing is claimed of it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1 << 20))
    result = stops.run(Settings(small=True))
    assert 6 == len(result.rows)
    for row in result.rows:
        assert re.fullmatch(r".*: left out, it needs \d+ MiB in /dev/shm", row.what)
        assert not row.values
    assert [] == result.ratios


@pytest.mark.jitless
@pytest.mark.processes
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trends", [False, True])
def test_stop_rivals_on_the_same_ticks_fire_what_the_step_fires(trends: bool) -> None:
    """Objects and arrays fire the same stops at the same ticks and levels as the real step, bars that close included."""
    case, rng, ring_ticks = Case(3, 40, 100, 50, nearness=0.01), np.random.default_rng(20_260_105), 1_024
    terms, stream = draw_mix(case, rng), Stream(case, trends, rng)
    guard, plain, vectorised = Guard(case, terms, ring_ticks), StopManager(case, terms), NumpyManager(case, terms)
    fired: dict[str, list[tuple[int, int, int]]] = {"plain": [], "vectorised": []}
    for first in range(0, 4 * ring_ticks, ring_ticks):
        ticks = stream.next_ticks(ring_ticks)
        guard.time_ticks(ticks)
        for name, hits in (
            ("plain", plain.take(stops.as_tuples(ticks))),
            ("vectorised", vectorised.take(stops.as_tuples(ticks))),
        ):
            fired[name] += [(first + place, stop_id, level) for place, stop_id, level in hits]
    expected = guard.fired()
    kinds = {int(terms["kind"][stop_id - 1]) for _, stop_id, _ in expected}
    assert {STATIC, TRAILING, ATR, CHANDELIER, TAKE_PROFIT} == kinds, "each kind has fired"
    assert expected == sorted(fired["plain"])
    assert expected == sorted(fired["vectorised"])
    guard.segment.close()


@pytest.mark.processes
def test_tick_to_order_small_sees_exits_of_the_live_processes(tmp_path: Path) -> None:
    """Ticks arrive, stops fire, and each exit is timed on both hops."""
    rows = rows_of(run_small("tick_to_order", tmp_path))
    for hop in ("ingest_to_risk", "risk_to_execution", "tick_to_order"):
        values = rows[f"1,000/s {hop}"]
        assert values["count"] > 0
        assert 0 < values["p50_ns"] <= values["p99_ns"] <= values["max_ns"]
    assert rows["1,000/s ingest_to_risk"]["count"] > rows["1,000/s tick_to_order"]["count"]


@pytest.mark.processes
def test_startup_small_weighs_every_process(tmp_path: Path) -> None:
    """A start is timed, and each process has memory."""
    rows = rows_of(run_small("startup", tmp_path))
    assert rows["warm start"]["ready_s"] > 0
    for name in ("supervisor", "ingest", "risk", "execution", "sidecar", "strategy0", "standby", "all processes"):
        assert rows[name]["pss_mib"] > 0


@pytest.mark.processes
def test_peer_that_was_killed_ends_the_bench_with_an_error() -> None:
    """A bench whose other process dies says so instead of waiting."""
    with peer.Peer("bench.ring", ring.REGIONS, choose_cores(1)[0]) as other:
        other.process.kill()
        with pytest.raises(peer.PeerDied, match="ended with code -9"):
            other.do(ring.ANSWER_BOUNCE, 0, 0)


@pytest.mark.processes
def test_peer_whose_partner_never_comes_stops_at_its_deadline() -> None:
    """A spinning kernel gives up at its deadline and reports how far it came."""
    with peer.Peer("bench.ring", ring.REGIONS, choose_cores(1)[0]) as other:
        assert 0 == other.do(ring.ANSWER_BOUNCE, 5, time.monotonic_ns() + 1_000_000)[0]


def test_bench_with_unknown_name_is_refused_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown bench is named together with those that there are."""
    with pytest.raises(SystemExit) as stopped:
        command.parse(["rings"])
    assert 2 == stopped.value.code
    assert "no bench 'rings'" in capsys.readouterr().err


@pytest.mark.parametrize("pace", [PACE_SPIN, PACE_YIELD, PACE_SLEEP])
def test_wait_until_returns_no_earlier_than_due(pace: int) -> None:
    """However a sender waits, it never sends early."""
    due_ns = time.monotonic_ns() + 200_000
    assert wait_until(due_ns, pace) >= due_ns


def test_ratio_beyond_its_goal_is_missed() -> None:
    """A ratio is met at its bound, missed past it, and met where there is none."""
    assert Ratio("a", 1.5, at_most=1.5).met
    assert not Ratio("a", 1.51, at_most=1.5).met
    assert not Ratio("a", 99.0, at_least=100.0).met
    assert Ratio("a", 1.0).met


def test_turns_keep_each_measurement_with_its_own_yardstick() -> None:
    """Measurements alternate, and a ratio pairs those of one turn: a machine that slows down changes both alike."""
    calls: list[str] = []
    speeds = iter(np.repeat([1.0, 4.0, 2.0], 2))

    def measure(name: str, ns: float) -> float:
        calls.append(name)
        return ns * next(speeds)

    values, yardsticks = in_turns([lambda: measure("hop", 30.0), lambda: measure("bounce", 20.0)], 3)
    assert ["hop", "bounce"] * 3 == calls
    assert 1.5 == per_turn_ratio(values, yardsticks)


def test_clock_ticks_count_only_the_cores_asked_for() -> None:
    """Steal is field eight of a core's line; guest time, already in user time, is not added again."""
    text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 100 100\ncpu1 10 0 0 0 0 0 0 20 0 0\ncpu10 7 7 7 7 7 7 7 7 7 7\n"
    assert (8, 36) == steal._clock_ticks(text, [0])
    assert (28, 66) == steal._clock_ticks(text, [0, 1])


def test_pinned_gives_the_affinity_back() -> None:
    """A bench leaves the process on the cores that it came with."""
    before = os.sched_getaffinity(0)
    core = max(before)
    with Pinned(core):
        assert {core} == os.sched_getaffinity(0)
    assert before == os.sched_getaffinity(0)
