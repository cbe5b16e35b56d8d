"""What a start needs to know before anything is made: instruments, sizes, seats, and whether the machine gives what is asked.

Everything that a person can mend is found here, while there is nothing yet to clean up.
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config, config_to_json, with_overrides, without_symbols
from pipeline.errors import LaunchError
from pipeline.ingest.recordings import open_recording
from pipeline.instruments import Instruments
from pipeline.limit_rows import limit_rows
from pipeline.money import Money, money_of
from pipeline.placement import Seat, cores_at_hand, place
from pipeline.topology import WORKERS, Sizes, strategy_names
from shm.jit import cache_folder
from shm.layout import align_up

LOG_FOLDER = Path("var/log")
#: The description in the instance file is given room in steps of this: a warm restart must find the same regions.
BLOB_STEP_BYTES = 65536
#: What a person mends, in messages about settings that only the feed's instruments show to be wrong.
CONFIGURATION = "config.toml"
DEMO_MODULE = "pipeline.strategies.demo"
VERSION = "0.1.0"


@dataclass(frozen=True)
class Launch:
    """Everything that is decided before the start."""

    config: Config
    instruments: Instruments
    sizes: Sizes
    seats: dict[str, Seat]
    strategies: dict[str, str]  #: module of each strategy that runs, by the name of its slot
    symbols: tuple[str, ...]  #: replay: only these instruments; empty = all
    notes: tuple[str, ...]  #: wishes that this machine cannot meet

    @cached_property
    def money(self) -> Money:
        """Units of the account."""
        return money_of(self.instruments, self.config.account, CONFIGURATION)

    @cached_property
    def limit_rows(self) -> np.ndarray:
        """The limits of every scope: LIMITS of shape (sizes.scope_count,)."""
        return limit_rows(self.config, self.instruments, self.money, self.sizes, CONFIGURATION)

    @property
    def name(self) -> str:
        """Name of the instance."""
        return self.config.instance.name

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers that run, in the order in which data passes them."""
        return tuple(name for name in WORKERS if name in self.seats)

    @property
    def waited_for(self) -> tuple[str, ...]:
        """The strategies that a feed at full speed waits for; one that is paced waits for nobody."""
        return tuple(self.strategies) if self.config.feed.speed_factor == float("inf") else ()

    @property
    def log_folder(self) -> Path:
        """Where the processes' logs go."""
        return LOG_FOLDER / self.name

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics; empty where nothing serves them."""
        sidecar = self.config.sidecar
        return f"http://{sidecar.metrics_host}:{sidecar.metrics_port}/metrics" if sidecar.enabled else ""

    @property
    def feed_text(self) -> str:
        """The feed in a few words."""
        feed = self.config.feed
        if feed.kind == "replay":
            return f"replay of {feed.recording} at {feed.speed}"
        simulator = feed.simulator
        return f"simulator, {simulator.scenario}, {simulator.rate:,.0f} ticks/s, seed {simulator.seed}, at {feed.speed}"

    def about(self) -> dict[str, Any]:
        """Return what attaching processes must know, as JSON values."""
        about = {
            "sizes": self.sizes._asdict(),
            "instruments": self.instruments.to_json(),
            "account": self.money.to_json(),
            "config": config_to_json(self.config),
            "feed": {"symbols": list(self.symbols)},
            "placement": {name: {"core": seat.core, "wait": int(seat.wait)} for name, seat in self.seats.items()},
            "strategies": self.strategies,
            "warm": list(self.workers),
            "version": VERSION,
        }
        needed_bytes = len(json.dumps(about)) + len('"blob_bytes": 0000000000, ')
        return about | {"blob_bytes": align_up(needed_bytes, BLOB_STEP_BYTES)}


def plan(config: Config, symbols: Sequence[str] = ()) -> Launch:
    """Decide a start.

    Args:
        config: The settings, valid.
        symbols: Replay: only these instruments.
    Raises:
        UserError: a recording, symbol, port, database or cache folder that will not do.
    """
    _check_writable(
        cache_folder(), "the cache of compiled kernels", "make it writable, or set XDG_CACHE_HOME to another folder"
    )
    instruments, config = _instruments(config, symbols)
    if config.sidecar.enabled:
        config = with_overrides(config, {"sidecar.metrics_port": _port(config)})
        _check_writable(
            Path(config.sidecar.database).absolute().parent, "the folder of the database", "choose another --db FILE"
        )
    _check_writable(
        LOG_FOLDER.absolute() / config.instance.name, "the folder of the logs", "start in a folder that you may write"
    )
    strategies = {"strategy0": DEMO_MODULE} if config.strategies.demo.enabled else {}
    seats, notes = place(config, list(strategies), cores_at_hand())
    rings, tables = config.rings, config.tables
    sizes = Sizes(
        instruments=len(instruments),
        strategies=config.strategies.slots,
        ticks=rings.ticks,
        requests=rings.requests,
        orders=rings.orders,
        reports=rings.reports,
        events=rings.events,
        stops=tables.stops,
        working_orders=tables.venue_orders,
        venue_orders=tables.venue_orders,
        series=len(instruments) + tables.atr_series,
    )
    assert set(strategies) <= set(strategy_names(sizes.strategies)), "the configuration holds slots to one at least"
    launch = Launch(config, instruments, sizes, seats, strategies, tuple(symbols), tuple(notes))
    # What they raise is raised now: a currency without a rate, a limit of a symbol that this feed does not have.
    assert len(launch.limit_rows) == sizes.scope_count, "a row for each scope"
    return launch


def _instruments(config: Config, symbols: Sequence[str]) -> tuple[Instruments, Config]:
    """Return the table of the feed, the simulator's own or what the recording brings, and the settings that are of it."""
    if config.feed.kind == "simulator":
        return config.instrument_table, config
    table = open_recording(config.feed.recording).instruments
    if not symbols:
        return table, config
    chosen = Instruments(table[table.index(symbol)] for symbol in dict.fromkeys(symbols))
    return chosen, without_symbols(config, set(table.symbols) - set(symbols))


def _port(config: Config) -> int:
    """Return the port for the metrics, chosen now where any will do: a sidecar that restarts must come back on the same one."""
    host, port = config.sidecar.metrics_host, config.sidecar.metrics_port
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        what = f"cannot serve metrics: {error.strerror}"
        raise LaunchError(what, where, "choose another --metrics-port PORT, or 0 for any that is free") from None


def _check_writable(folder: Path, meaning: str, remedy: str) -> None:
    """Make a folder that will be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"cannot make {meaning}: {error.strerror}", str(folder), remedy) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LaunchError(f"{meaning} is not writable", str(folder), remedy)
