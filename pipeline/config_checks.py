"""What two settings must be to each other. Each check yields (what is wrong, what would do) for a config whose every single
value is sound already.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from pipeline.config_risk_checks import account_faults, risk_faults
from pipeline.config_rules import shown
from pipeline.config_schema import Config
from pipeline.errors import InstrumentError, nearest
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import EVENT, ORDER, REPORT, REQUEST, TICK

Fault = tuple[str, str]

MEBIBYTE = 1 << 20
#: All rings together: far above any need, far below what would take a machine down.
RING_BYTES_MAX = 2048 * MEBIBYTE
WORKER_NAMES = ("ingest", "risk", "execution", "sidecar")


def faults(config: Config) -> Iterator[Fault]:
    """Yield every disagreement between settings, in the order of the file."""
    yield from account_faults(config)
    yield from _feed(config)
    yield from _instruments(config)
    yield from risk_faults(config)
    if config.feed.kind == "simulator":
        yield from _symbols("risk.restricted", config.risk.restricted, config)
        yield from _symbols("risk.instruments", [row.symbol for row in config.risk.instruments], config)
        yield from _symbols("risk.blackouts", [name for text in config.risk.blackouts for name in text.split()[1:]], config)
    yield from _stops(config)
    yield from _demo(config)
    yield from _rings(config)
    yield from _cores(config)


def ring_bytes(config: Config) -> int:
    """Return the bytes that the slots of all rings take."""
    rings = config.rings
    return (
        rings.ticks * TICK.itemsize
        + rings.requests * REQUEST.itemsize * (config.strategies.slots + 1)
        + rings.orders * ORDER.itemsize
        + rings.reports * REPORT.itemsize
        + rings.events * EVENT.itemsize
    )


def _feed(config: Config) -> Iterator[Fault]:
    feed, simulator = config.feed, config.feed.simulator
    if feed.kind == "replay" and not feed.recording.strip():
        yield 'feed.kind = "replay" has no feed.recording', "name the folder of a recording"
    if simulator.spread_bps_min > simulator.spread_bps_max:
        yield _above("feed.simulator.spread_bps_min", simulator.spread_bps_min, "spread_bps_max", simulator.spread_bps_max)
    if feed.kind == "simulator":
        yield from _symbols("feed.simulator.scenario_symbols", simulator.scenario_symbols, config)


def _instruments(config: Config) -> Iterator[Fault]:
    if config.feed.kind == "simulator" and not config.instruments:
        yield "the simulator has no instruments", "add an [[instruments]] section for each symbol"
    first: dict[str, int] = {}
    for index, row in enumerate(config.instruments):
        path = f"instruments[{index}]"
        if row.symbol in first:
            yield f"{path}.symbol = {shown(row.symbol)} is instruments[{first[row.symbol]}] already", "keep one of them"
        first.setdefault(row.symbol, index)
        table = Instruments([Instrument(row.symbol, Decimal(row.tick_size), Decimal(row.lot_size), Decimal(row.multiplier))])
        try:
            table.price_ticks(0, row.start_price)
        except InstrumentError as error:
            yield f"{path}.start_price of {row.symbol}: {error.what}", error.remedy


def _stops(config: Config) -> Iterator[Fault]:
    stops = config.risk.stops
    low, high = stops.min_stop_percent, stops.max_stop_percent
    if low > high:
        yield _above("risk.stops.min_stop_percent", low, "max_stop_percent", high)
    else:
        for key in ("default_stop_percent", "trailing_stop_percent", "take_profit_percent"):
            percent = getattr(stops, key)
            if not low <= percent <= high and not (key == "take_profit_percent" and percent == 0):
                remedy = f"set it from {low} (min_stop_percent) to {high} (max_stop_percent)"
                yield f"risk.stops.{key} = {percent} is out of its bounds", remedy
    if stops.exit_retry_ms > stops.exit_retry_ms_max:
        yield _above("risk.stops.exit_retry_ms", stops.exit_retry_ms, "exit_retry_ms_max", stops.exit_retry_ms_max)


def _demo(config: Config) -> Iterator[Fault]:
    if config.feed.kind == "simulator" and config.strategies.demo.enabled:
        yield from _symbols("strategies.demo.symbols", config.strategies.demo.symbols, config)


def _rings(config: Config) -> Iterator[Fault]:
    total = ring_bytes(config)
    if total > RING_BYTES_MAX:
        what = f"rings take {total // MEBIBYTE} MiB of shared memory together"
        yield what, f"use fewer slots: at most {RING_BYTES_MAX // MEBIBYTE} MiB"


def _cores(config: Config) -> Iterator[Fault]:
    """A worker that spins on a shared core starves the very one it waits for."""
    workers = [(name, getattr(config.workers, name)) for name in WORKER_NAMES]
    for name, worker in workers:
        shared = [other for other, its in workers if other != name and its.core == worker.core]
        if worker.core >= 0 and worker.wait == "spin" and shared:
            what = f'workers.{name}.wait = "spin" on core {worker.core}, which {" and ".join(shared)} needs too'
            yield what, 'give it a core of its own, or wait = "yield"'


def _symbols(path: str, symbols: Sequence[str], config: Config) -> Iterator[Fault]:
    known = [row.symbol for row in config.instruments]
    for symbol in symbols:
        if symbol not in known:
            near = nearest(symbol, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            yield f"{path} names {shown(symbol)}, which is not in [[instruments]]", remedy


def _above(low_path: str, low: object, high_key: str, high: object) -> Fault:
    return f"{low_path} = {low} is above {high_key} = {high}", "swap them, or set both anew"
