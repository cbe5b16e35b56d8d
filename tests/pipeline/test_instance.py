"""What a crash left is taken over by the same settings only, and the refusal names what differs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import load_config, with_overrides
from pipeline.errors import InstanceError
from pipeline.instance import open_instance
from pipeline.launch import Launch, plan
from pipeline.risk.limits import write_limits
from pipeline.tables import LIMITS, SCOPE_RESTRICTED, SCOPE_WORDS
from pipeline.topology import reader_index, ring_rows, scope_of_instrument
from shm import ring
from shm.ring import GATING, LOSSY
from shm.rows import open_table, snapshot
from shm.segment import Segment


def launch_of(instance: str, **overrides: object) -> Launch:
    """Plan a start of the shipped configuration with small rings."""
    small = dict.fromkeys(("rings.ticks", "rings.orders", "rings.reports", "rings.events"), 1024)
    values = {"instance.name": instance, "sidecar.metrics_port": 0} | small | overrides
    return plan(with_overrides(load_config(), values))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let logs and the database lie where nobody minds."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def left(instance_name: str) -> Iterator[Path]:
    """Return the file of an instance that was made and closed, as a crash leaves it."""
    made = open_instance(launch_of(instance_name))
    made.close()
    yield made.path
    made.path.unlink()


def restricted_of(segment: Segment, launch: Launch) -> list[int]:
    """Return which instruments are restricted in an instance."""
    scopes = segment.array("scopes").reshape(launch.sizes.scope_count, SCOPE_WORDS)
    return scopes[scope_of_instrument(launch.sizes, 0) :, SCOPE_RESTRICTED].tolist()


@pytest.mark.usefixtures("left")
def test_open_instance_of_another_seed_is_refused_with_the_key_that_differs(instance_name: str) -> None:
    """A person learns which setting to put back, with its value then and now."""
    with pytest.raises(InstanceError) as refused:
        open_instance(launch_of(instance_name, **{"feed.simulator.seed": 7, "feed.simulator.scenario": "gap"}))
    differing = "feed.simulator.scenario was normal, now gap; feed.simulator.seed was 1, now 7"
    assert f"an earlier run left this instance, and it was started with other settings: {differing}" == refused.value.what
    again = open_instance(launch_of(instance_name))
    assert again.was_warm
    again.close()


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize(
    "overrides",
    [
        {"account.rates": [{"currency": "USDT", "rate": "0.9"}]},
        {"account.currency": "EUR", "account.rates": [{"currency": "USD", "rate": "1"}, {"currency": "USDT", "rate": "1"}]},
    ],
)
def test_open_instance_with_money_counted_otherwise_is_refused(instance_name: str, overrides: dict) -> None:
    """Profit and fees of the run before would mean other amounts."""
    with pytest.raises(InstanceError, match="the account's currency or rates"):
        open_instance(launch_of(instance_name, **overrides))


@pytest.mark.usefixtures("left")
def test_open_instance_with_another_balance_takes_over(instance_name: str) -> None:
    """Money may be paid in between two runs."""
    again = open_instance(launch_of(instance_name, **{"account.balance": "1234567"}))

    assert again.was_warm
    again.close()


@pytest.mark.usefixtures("left")
def test_open_instance_sets_the_limits_of_the_file_at_each_start(instance_name: str) -> None:
    """What was changed while the run before went on was meant for that run."""
    launch = launch_of(instance_name, **{"risk.max_drawdown": "77", "risk.restricted": ["MSFT"]})
    segment = open_instance(launch)
    table = open_table(segment, "limits", LIMITS)
    assert launch.limit_rows.tolist() == snapshot(table).tolist()
    assert 77_000_000 == snapshot(table)["max_drawdown"][0]
    assert [0, 1, *[0] * 6] == restricted_of(segment, launch)

    changed = launch.limit_rows.copy()
    changed["max_drawdown"] = 1
    write_limits(segment, changed)
    segment.close()
    plain = launch_of(instance_name)
    segment = open_instance(plain)
    assert plain.limit_rows.tolist() == snapshot(open_table(segment, "limits", LIMITS)).tolist()
    assert [0] * 8 == restricted_of(segment, plain)
    segment.close()


@pytest.mark.parametrize(("enabled", "mode"), [(True, GATING), (False, LOSSY)])
def test_open_instance_waits_for_the_sidecar_only_where_it_runs(instance_name: str, enabled: bool, mode: int) -> None:
    """Without one its ends of the rings hold nobody back."""
    segment = open_instance(launch_of(instance_name, **{"sidecar.enabled": enabled}))
    rings = {row.name: row for row in ring_rows(4)}
    modes = [
        int(ring.open_ring(segment, name, rings[name].dtype).words[ring.MODE + reader_index(name, "sidecar", 4)])
        for name in ("orders", "reports", "events", "notes")
    ]
    segment.unlink()
    segment.close()

    assert [mode] * 4 == modes
