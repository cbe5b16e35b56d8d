"""What a crash left is taken over by the same settings only, and the refusal names what differs."""

from pathlib import Path

import pytest

from pipeline.config import load_config, with_overrides
from pipeline.errors import InstanceError
from pipeline.instance import open_instance
from pipeline.launch import Launch, plan


def launch_of(instance: str, **overrides: object) -> Launch:
    """Plan a start of the shipped configuration with small rings."""
    small = dict.fromkeys(("rings.ticks", "rings.orders", "rings.reports", "rings.events"), 1024)
    values = {"instance.name": instance, "sidecar.metrics_port": 0} | small | overrides
    return plan(with_overrides(load_config(), values))


def test_open_instance_of_another_seed_is_refused_with_the_key_that_differs(
    instance_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person learns which setting to put back, with its value then and now."""
    monkeypatch.chdir(tmp_path)
    left = open_instance(launch_of(instance_name))
    left.close()
    try:
        with pytest.raises(InstanceError) as refused:
            open_instance(launch_of(instance_name, **{"feed.simulator.seed": 7, "feed.simulator.scenario": "gap"}))
        differing = "feed.simulator.scenario was normal, now gap; feed.simulator.seed was 1, now 7"
        assert f"an earlier run left this instance, and it was started with other settings: {differing}" == refused.value.what
        again = open_instance(launch_of(instance_name))
        assert again.was_warm
        again.close()
    finally:
        left.path.unlink()
