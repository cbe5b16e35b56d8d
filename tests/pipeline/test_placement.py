"""Every process gets a seat that starves no other, and wishes that cannot be met are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load_config, with_overrides
from pipeline.placement import ANY_CORE, HOT_WORKERS, parking, place
from shm.wait import Strategy

CONFIG = load_config()
NAMES = ("ingest", "risk", "execution", "sidecar", "strategy0")


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ([0], (0, 0, 0, 0, 0)),
        ([0, 1], (0, 1, 1, 0, 0)),
        ([4, 6, 8], (6, 8, 8, 4, 4)),
        ([0, 1, 2, 3], (1, 2, 3, 0, 0)),
        ([0, 1, 2, 3, 4, 5, 6, 7], (1, 2, 3, 4, 4)),
    ],
)
def test_place_by_cores_at_hand_gives_each_row_of_the_table(cores: list[int], expected: tuple[int, ...]) -> None:
    """The table of the module holds for every number of cores."""
    seats, _ = place(CONFIG, ["strategy0"], cores)
    assert expected == tuple(seats[name].core for name in NAMES)


@given(
    cores=st.lists(st.integers(0, 63), min_size=1, max_size=12, unique=True),
    wished=st.tuples(*[st.integers(-1, 16)] * 4),
)
def test_place_with_any_wishes_lets_nobody_spin_on_a_shared_core(cores: list[int], wished: tuple[int, ...]) -> None:
    """A worker that spins has its core for itself, whatever cores there are and whatever was wished."""
    config = with_overrides(CONFIG, {f"workers.{name}.core": core for name, core in zip(NAMES, wished, strict=False)})
    seats, _ = place(config, ["strategy0"], cores)
    for name, seat in seats.items():
        others = {other.core for label, other in seats.items() if label != name}
        if seat.wait == Strategy.SPIN:
            assert seat.core in cores, "a worker that is not pinned shares whatever core it is on"
            assert seat.core not in others
            assert name in HOT_WORKERS


def test_place_core_wished_for_is_given_and_no_other_gets_it() -> None:
    """A core named in the configuration goes to that worker alone while there are enough without it."""
    seats, notes = place(with_overrides(CONFIG, {"workers.risk.core": 1}), ["strategy0"], [0, 1, 2, 3, 4, 5])
    assert 1 == seats["risk"].core
    assert ["risk"] == [name for name, seat in seats.items() if seat.core == 1]
    assert [] == notes


def test_place_core_not_at_hand_leaves_the_worker_unpinned_and_says_so() -> None:
    """A core that this process may not use is no reason not to start."""
    seats, notes = place(with_overrides(CONFIG, {"workers.risk.core": 99}), [], [0, 1, 2, 3, 4])
    assert ANY_CORE == seats["risk"].core
    assert ["risk is not pinned: core 99 is not among those this process may use (0, 1, 2, 3, 4)"] == notes


def test_place_fewer_cores_than_workers_is_a_note_and_no_error() -> None:
    """Too few cores cost latency, which a person should know."""
    _, notes = place(CONFIG, [], [0, 1])
    assert ["4 workers share 2 cores: latency is that of the scheduler, not of the code"] == notes


def test_place_sidecar_disabled_has_no_seat() -> None:
    """Who does not run needs no core."""
    seats, _ = place(with_overrides(CONFIG, {"sidecar.enabled": False}), [], [0, 1])
    assert HOT_WORKERS == tuple(seats)


def test_parking_with_enough_cores_rings_only_for_those_that_sleep() -> None:
    """A worker that spins never parks, so no producer pays for its bell."""
    seats, _ = place(CONFIG, ["strategy0"], [0, 1, 2, 3, 4])
    assert {"ingest": False, "risk": False, "execution": False, "sidecar": True, "strategy0": True} == parking(seats)
