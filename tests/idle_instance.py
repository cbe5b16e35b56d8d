"""An instance on which nobody runs, for what only reads: screen, summary, report."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import topology
from pipeline.config import Config, config_to_json
from pipeline.money import money_of
from shm.segment import Segment, finish, open_owned

SIZES = topology.Sizes(8, 2, 64, 64, 64, 64, 64, 64, 64, 64)
BLOB_BYTES = 65536


@contextmanager
def idle_instance(name: str, config: Config) -> Iterator[Segment]:
    """Make an instance with the instruments and the account of a configuration; it is gone afterwards."""
    made = open_owned(name, topology.regions(SIZES, BLOB_BYTES))
    try:
        about = {
            "sizes": SIZES._asdict(),
            "instruments": config.instrument_table.to_json(),
            "config": config_to_json(config),
            "account": money_of(config.instrument_table, config.account).to_json(),
            "placement": {name: {"core": 0, "wait": 3} for name in topology.WORKERS},
        }
        topology.set_up(made, SIZES, {})
        topology.write_about(made, about)
        finish(made)
        yield made
    finally:
        made.unlink()
        made.close()
