"""The simulated market: the same bytes always, the statistics it promises, and scenarios that do what they say."""

import hashlib
import os
import subprocess
import sys
from decimal import Decimal
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.ingest.feeds.feed import Feed
from pipeline.ingest.feeds.scenarios import GAP_NS, SCENARIO_NAMES
from pipeline.ingest.feeds.simulator import YEAR_SECONDS, Simulator, SimulatorSettings
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import ASK, BID, PRICE, PRICE_TICKS_LIMIT, QUOTE, SIZE, TICK, TRADE
from shm.jit import JIT_ENABLED
from tests.pipeline.simulator_twin import Market

ROOT = Path(__file__).resolve().parents[2]
SECOND_NS = 1_000_000_000
START_NS = SimulatorSettings().start_ns
COUNT = 6
PINNED_SHA256 = "97fa0cd5a8af6161d43e19dc79d68674ba33d9767c7d14b19698825a55c3a61c"

# What takes millions of ticks compiled takes fewer with the JIT off, where a tick costs some 50 us.
MANY = 5_000_000 if JIT_ENABLED else 20_000
SOME = 400_000 if JIT_ENABLED else 20_000


def make_simulator(count: int = COUNT, price_ticks: int = 10_000, **settings) -> Simulator:
    """A simulator of `count` instruments, with start prices of one, two, three, ... times price_ticks."""
    table = Instruments([Instrument(f"SIM{i}", Decimal("0.01"), Decimal(1)) for i in range(count)])
    return Simulator(table, np.arange(1, count + 1) * price_ticks, SimulatorSettings(**settings), live=False)


def take(feed: Simulator, tick_count: int, chunk_ticks: int = 8192) -> np.ndarray:
    """The feed's next ticks, fetched in chunks of one size."""
    ticks = np.empty(tick_count, dtype=TICK)
    for start in range(0, tick_count, chunk_ticks):
        part = ticks[start : start + chunk_ticks]
        assert len(part) == feed.fill(part)
    return ticks


def mids(ticks: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since the start, and mid prices in ticks, of one instrument's quotes."""
    quotes = ticks[(ticks["instrument"] == i) & (ticks["kind"] == QUOTE)]
    return (quotes["event_ns"] - START_NS) / SECOND_NS, (quotes[BID] + quotes[ASK]) / 2


def test_simulator_chunk_sizes_any_give_same_bytes():
    """How the stream is cut into chunks changes no byte of it."""
    expected = take(make_simulator(), 10_000, 10_000).tobytes()
    assert expected == take(make_simulator(), 10_000, 1).tobytes()
    assert expected == take(make_simulator(), 10_000, 777).tobytes()


def test_simulator_seed_pinned_gives_known_bytes():
    """Seed 1 gives the stream that it gave when this test was written, on whatever machine this runs."""
    ticks = take(make_simulator(scenario="flash-crash", seed=1), 100_000)
    assert PINNED_SHA256 == hashlib.sha256(ticks.astype(TICK.newbyteorder("<")).tobytes()).hexdigest()


def test_simulator_seeds_different_give_different_streams():
    """Neighbouring seeds share neither arrival times nor prices."""
    first, second = (take(make_simulator(seed=seed), 1_000) for seed in (1, 2))
    assert not np.intersect1d(first["event_ns"], second["event_ns"]).size
    assert 0.5 < np.mean(first["instrument"] != second["instrument"])


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_simulator_twin_in_plain_python_agrees(scenario):
    """The slow twin, which shares no code and no formula of its own with the kernels, writes the same ticks."""
    settings = {"scenario": scenario, "seed": 7, "rate": 80.0, "volatility": 0.8, "scenario_start_ns": 4 * SECOND_NS}
    ticks = take(make_simulator(**settings), 5_000)
    names = ("event_ns", "venue_seq", "instrument", "kind", "a", "b", "c", "d")
    actual = list(zip(*(ticks[name].tolist() for name in names), strict=True))
    prices = [10_000 * (i + 1) for i in range(COUNT)]
    twin = Market(prices, start_ns=START_NS, spread_bps=(1.0, 5.0), **settings)
    assert list(islice(twin.ticks(), 5_000)) == actual


@pytest.mark.parametrize("scenario", ["normal", "flash-crash", "consolidation", "gap"])
def test_simulator_jit_off_gives_same_bytes(scenario):
    """A process without the JIT, or with it where this one runs without, makes the same stream."""
    settings = {"scenario": scenario, "seed": 11, "scenario_start_ns": SECOND_NS // 2}
    program = (
        "import hashlib\n"
        "from tests.pipeline.test_simulator import make_simulator, take\n"
        f"print(hashlib.sha256(take(make_simulator(**{settings!r}), 2_000).tobytes()).hexdigest())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1" if JIT_ENABLED else "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert hashlib.sha256(take(make_simulator(**settings), 2_000).tobytes()).hexdigest() == done.stdout.strip()
    assert "" == done.stderr


def test_simulator_seek_any_position_equals_straight_through():
    """A seek, forward or back, goes on exactly as if every tick before had been taken."""
    straight = take(make_simulator(scenario="rally"), 20_000)
    feed = make_simulator(scenario="rally")
    for position in np.random.default_rng(5).integers(0, 19_900, 12):
        feed.seek(int(position))
        assert position == feed.position
        assert straight[position : position + 100].tobytes() == take(feed, 100).tobytes()


def test_simulator_every_tick_is_sound():
    """Millions of ticks: 0 < bid < ask, trades at the standing quote, sizes above 0, time never back, source numbered."""
    feed = make_simulator(count=4, volatility=3.0, scenario="flash-crash")
    chunk = np.empty(500_000 if JIT_ENABLED else 5_000, dtype=TICK)
    now_ns, seq = START_NS, 0
    for _ in range(MANY // len(chunk)):
        assert len(chunk) == feed.fill(chunk)
        quotes, trades = chunk[chunk["kind"] == QUOTE], chunk[chunk["kind"] == TRADE]
        assert len(chunk) == len(quotes) + len(trades)
        assert np.all((quotes[BID] > 0) & (quotes[BID] < quotes[ASK]) & (quotes[ASK] < PRICE_TICKS_LIMIT))
        assert np.all((quotes["c"] > 0) & (quotes["d"] > 0) & (quotes["c"] < 512) & (quotes["d"] < 512))
        assert np.all((trades[PRICE] > 0) & (trades[SIZE] > 0))
        assert chunk["event_ns"][0] >= now_ns
        assert np.all(np.diff(chunk["event_ns"]) >= 0)
        assert np.array_equal(np.arange(seq + 1, seq + len(chunk) + 1), chunk["venue_seq"])
        now_ns, seq = chunk["event_ns"][-1], seq + len(chunk)


def test_simulator_prices_of_one_tick_stay_prices():
    """At the lowest price there is and an absurd volatility, bid stays at or above one tick and below the ask."""
    quotes = take(make_simulator(price_ticks=1, rate=1.0, volatility=200.0), SOME)
    quotes = quotes[quotes["kind"] == QUOTE]
    assert 1 == quotes[BID].min()
    assert np.all(quotes[BID] < quotes[ASK])
    assert quotes[ASK].max() < PRICE_TICKS_LIMIT


def test_simulator_trades_print_at_the_standing_quote():
    """A trade's price is the bid or the ask that its instrument showed last, each about half of the time."""
    standing: dict[int, tuple[int, int]] = {}
    at_ask = at_bid = 0
    for tick in take(make_simulator(), 20_000):
        i = int(tick["instrument"])
        if tick["kind"] == QUOTE:
            standing[i] = int(tick[BID]), int(tick[ASK])
        else:
            assert int(tick[PRICE]) in standing[i]
            at_bid += int(tick[PRICE]) == standing[i][0]
            at_ask += int(tick[PRICE]) == standing[i][1]
    assert 4_000 == pytest.approx(at_bid + at_ask, rel=0.05)
    assert at_bid == pytest.approx(at_ask, rel=0.1)


@pytest.mark.parametrize(("low", "high"), [(1.0, 5.0), (3.0, 3.0), (0.0, 0.0)])
def test_simulator_spread_stays_within_its_bounds(low, high):
    """Every spread lies between its bounds in basis points of the mid, but for the rounding to ticks and a tick at least."""
    ticks = take(make_simulator(price_ticks=20_000, spread_bps_min=low, spread_bps_max=high), 50_000)
    quotes = ticks[ticks["kind"] == QUOTE]
    mid, spread = (quotes[BID] + quotes[ASK]) / 2, quotes[ASK] - quotes[BID]
    assert np.all(spread >= np.maximum(1, mid * low / 10_000 - 1.01))
    assert np.all(spread <= np.maximum(1, mid * high / 10_000 + 1.01))
    if low < high:
        assert (low + high) / 2 == pytest.approx(np.mean(spread / mid) * 10_000, rel=0.02)


def test_simulator_volatility_realised_matches_configured():
    """Quadratic variation per year gives back each instrument's volatility; the drift is none; the tails are normal."""
    wanted = np.array([0.1, 0.3, 0.9])
    ticks = take(make_simulator(count=3, price_ticks=10**8, volatility=wanted, seed=3, spread_bps_max=1.0), SOME)
    tolerance = 4 / np.sqrt(2 * SOME / 4)  # four standard errors of a volatility from a quarter of the ticks
    for i, volatility in enumerate(wanted):
        seconds, mid = mids(ticks, i)
        years = np.diff(seconds) / YEAR_SECONDS
        returns = np.diff(np.log(mid))
        assert volatility == pytest.approx(np.sqrt(np.sum(returns**2) / np.sum(years)), rel=tolerance)
        deviations = returns[years > 0] / (volatility * np.sqrt(years[years > 0]))
        assert abs(np.sum(deviations)) < 4 * np.sqrt(len(deviations))
        assert 0.05 == pytest.approx(np.mean(np.abs(deviations) > 1.959964), rel=0.1)


def test_simulator_arrivals_are_exponential_at_the_rate():
    """Times between ticks have the mean and the spread of an exponential law, and instruments take even shares."""
    ticks = take(make_simulator(rate=2_500.0), SOME)
    waits = np.diff(ticks["event_ns"])
    assert SECOND_NS / 2_500 == pytest.approx(np.mean(waits), rel=4 / np.sqrt(SOME))
    assert 1.0 == pytest.approx(np.std(waits) / np.mean(waits), rel=0.03)
    shares = np.bincount(ticks["instrument"], minlength=COUNT) / SOME
    assert np.full(COUNT, 1 / COUNT) == pytest.approx(shares, rel=4 / np.sqrt(SOME / COUNT))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_flash_crash_falls_ten_percent_in_one_second_and_recovers_half(seed):
    """Within the crash's second each price is 10% down, not before; seven seconds on it has half of that back."""
    ticks = take(make_simulator(scenario="flash-crash", seed=seed, scenario_start_ns=3 * SECOND_NS), 15_000)
    for i in range(COUNT):
        seconds, mid = mids(ticks, i)
        before = mid[seconds < 3.0]
        moves = mid / before[-1] - 1.0
        assert np.ptp(before) / before[-1] < 0.005
        assert -0.10 == pytest.approx(moves[(seconds >= 3.0) & (seconds <= 4.03)].min(), abs=0.006)
        assert -0.05 == pytest.approx(moves[seconds >= 10.0][0], abs=0.008)
        assert -0.05 == pytest.approx(moves[-1], abs=0.01)


def test_rally_climbs_eight_percent_in_a_minute():
    """A rally lifts prices steadily: half of the way at half of the time, and it holds what it won."""
    ticks = take(make_simulator(scenario="rally", rate=200.0), 16_000)
    for i in range(COUNT):
        seconds, mid = mids(ticks, i)
        moves = mid / mid[seconds < 5.0][-1] - 1.0
        assert 0.04 == pytest.approx(moves[seconds < 35.0][-1], abs=0.006)
        assert 0.08 == pytest.approx(moves[seconds < 65.0][-1], abs=0.008)
        assert 0.08 == pytest.approx(moves[-1], abs=0.01)


def test_consolidation_stays_near_its_start_while_normal_wanders():
    """A consolidating price stays within a fraction of the range that the same seed covers without it."""
    settings = {"rate": 100.0, "price_ticks": 10**6, "spread_bps_max": 1.0}
    calm = take(make_simulator(scenario="consolidation", **settings), 20_000)
    plain = take(make_simulator(**settings), 20_000)
    for i in range(COUNT):
        seconds, mid = mids(calm, i)
        _, wandering = mids(plain, i)
        assert np.std(mid[seconds >= 5.0]) < 0.3 * np.std(wandering[seconds >= 5.0])
        anchor = mid[seconds < 5.0][-1]
        assert abs(np.mean(mid[seconds >= 10.0]) / anchor - 1.0) < 2e-4


@pytest.mark.parametrize(("seed", "direction"), [(1, -1), (2, 1), (3, -1), (4, 1)])
def test_gap_jumps_the_night_and_the_price(seed, direction):
    """Event time jumps once, by a night; prices open 3% to 6% lower for odd seeds, higher for even ones, and stay there."""
    ticks = take(make_simulator(scenario="gap", seed=seed), 12_000)
    nights = np.flatnonzero(np.diff(ticks["event_ns"]) > 3_600 * SECOND_NS)
    assert 1 == len(nights)
    assert GAP_NS == pytest.approx(np.diff(ticks["event_ns"])[nights[0]], abs=SECOND_NS)
    for i in range(COUNT):
        seconds, mid = mids(ticks, i)
        overnight = seconds > GAP_NS / SECOND_NS
        close, opening = mid[~overnight][-1], mid[overnight]
        assert 0.028 < direction * (opening[0] / close - 1.0) < 0.062
        assert np.ptp(opening) / close < 0.01


@pytest.mark.parametrize("scenario", SCENARIO_NAMES[1:])
def test_scenario_mask_leaves_other_instruments_untouched(scenario):
    """Instruments that the mask leaves out tick as under `normal`, byte for byte; of a gap they share only the night."""
    mask = np.array([True, False, True, False, False, False])
    plain = take(make_simulator(), 12_000)
    struck = take(make_simulator(scenario=scenario, scenario_mask=mask), 12_000)
    if scenario == "gap":
        night_ns = np.where(struck["event_ns"] - START_NS > GAP_NS, GAP_NS, 0)
        struck["event_ns"] -= night_ns
        struck["recv_ns"] -= night_ns
    selected = mask[plain["instrument"]]
    assert plain[~selected].tobytes() == struck[~selected].tobytes()
    for i in np.flatnonzero(mask):
        assert plain[plain["instrument"] == i].tobytes() != struck[struck["instrument"] == i].tobytes()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"scenario": "crash"}, "'crash'"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 63}, "seed"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"start_ns": -1}, "start time"),
        ({"volatility": float("inf")}, "volatility"),
        ({"volatility": -0.1}, "volatility"),
        ({"volatility": np.ones(2)}, "volatility"),
        ({"spread_bps_min": 6.0}, "spread"),
        ({"spread_bps_max": 1e6}, "spread"),
        ({"scenario_start_ns": -1}, "scenario start"),
        ({"scenario_mask": np.ones(2, dtype=bool)}, "mask"),
        ({"price_ticks": 0}, "start price"),
        ({"price_ticks": 1 << 42}, "start price"),
        ({"count": 0}, "instruments"),
    ],
)
def test_simulator_setting_bad_is_refused_in_one_line(settings, word):
    """A setting that is no good is named in a message of one line."""
    with pytest.raises(ConfigurationError) as caught:
        make_simulator(**settings)
    assert word in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


def test_simulator_is_a_feed():
    """The simulator has all that ingest asks of a feed."""
    assert isinstance(make_simulator(), Feed)
