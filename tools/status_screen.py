"""One screen of a running instance, four times a second: processes, flow, latency, positions, what happened last."""

import time
from collections import deque
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
from rich import box
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.account_view import position_pnl
from pipeline.launch import Launch
from pipeline.messages import MID, STOP_KIND_NAMES, TAKE_PROFIT, TICK_REASONS
from pipeline.money import grouped
from pipeline.placement import ANY_CORE
from pipeline.usage import cpu_seconds_of
from pipeline.view import View
from shm.heartbeat import State
from shm.wait import Strategy
from tools.durations import HOPS, duration_text
from tools.event_lines import SHOWN, asked_for, event_line, state_badge

POSITIONS_SHOWN = 10
#: Symbols whose ATR is shown, beside how many more there are.
ATR_SHOWN = 2
EVENTS_KEPT = 200
BAR_CELLS = 10
#: A worker whose beat is older than this is shown as late, in seconds.
LATE_S = 0.5
#: What `money_text` takes at most.
MONEY_CELLS = 10
CENT = Decimal("0.01")
STATE_STYLES = {State.RUNNING: "green", State.DRAINED: "cyan", State.FAILED: "bold red", State.STOPPED: "dim"}


class StatusScreen:
    """The live screen. It reads shared memory and /proc, and can slow nobody but itself.

    Args:
        launch: What was started.
        view: Its instance.
        since: When it began to run, on the monotonic clock, in seconds.
        leaving: The keys that end it, and what they do.
        is_told: Whether somebody tells it changes of trading states that no command asked for: no event tells those too.
    """

    def __init__(
        self,
        launch: Launch,
        view: View,
        since: float,
        leaving: tuple[str, str] = ("Ctrl-C", "stops in order"),
        is_told: bool = True,
    ) -> None:
        self._launch = launch
        self._view = view
        self._since = since
        self._leaving = leaving
        self._is_told = is_told
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._lines: deque[Text] = deque(maxlen=EVENTS_KEPT)
        self.told: list[str] = []  #: lines told on the screen, so that they are not lost with it
        self._next = 0.0
        self._event_seq = view.events.published
        self._before: tuple[float, dict[str, float], int] = (time.monotonic(), {}, view.counters("ingest")["received"])
        self._cpu: dict[str, float] = {}
        self._rate = 0.0

    def open(self) -> None:
        """Take the terminal over."""
        self._live.start()

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def add(self, line: str) -> None:
        """Show one line among what happened."""
        self.told.append(line)
        style = "bold red" if line.startswith("ALERT") else "yellow"
        self._lines.append(Text(f"{time.strftime('%H:%M:%S')}  {line}", style))
        self._next = 0.0

    def refresh(self) -> None:
        """Draw again, where it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 1.0 / self._launch.config.supervisor.status_hz
        self._measure(now)
        self._read_events()
        self._live.update(self.draw(), refresh=True)

    def draw(self) -> RenderableType:
        """Return the whole screen."""
        left, right = Layout(ratio=3), Layout(ratio=2)
        process_rows = len(self._launch.seats) + 3
        left.split_column(Layout(self._processes(), size=process_rows), Layout(self._positions()))
        right.split_column(Layout(self._flow(), size=11), Layout(self._latency(), size=6), Layout(self._rings()))
        body = Layout(ratio=1)
        body.split_row(left, right)
        screen = Layout()
        lines = [Layout(line, size=1) for line in (self._head(), self._account())]
        screen.split_column(*lines, body, Layout(self._happened(), size=7), Layout(self._foot(), size=1))
        return screen

    def _measure(self, now: float) -> None:
        """Turn counters into rates, over half a second at least."""
        then, cpu_before, received_before = self._before
        if now - then < 0.5:
            return
        cpu = {name: cpu_seconds_of(self._view.worker(name).pid) for name in self._view.workers}
        received = self._view.counters("ingest")["received"]
        self._cpu = {name: 100 * max(0.0, cpu[name] - cpu_before.get(name, cpu[name])) / (now - then) for name in cpu}
        self._rate = (received - received_before) / (now - then)
        self._before = (now, cpu, received)

    def _read_events(self) -> None:
        """Take new events in: stops that fired, trading states and limits that changed."""
        events = self._view.events.read(self._event_seq, self._view.events.capacity)
        self._event_seq = self._view.events.published
        for event in events[-EVENTS_KEPT:]:
            if event["kind"] in SHOWN and (not self._is_told or asked_for(event, self._view.sizes.strategies)):
                self._lines.append(event_line(self._view, event))

    def _head(self) -> RenderableType:
        seconds = int(time.monotonic() - self._since)
        allowed = Text(" entries allowed ", "black on green")
        if not self._view.entries_allowed:
            allowed = Text(" ENTRIES BLOCKED ", "white on red")
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        title = Text.assemble((f" stopline · {self._launch.name} ", "bold white on blue"), f"  {self._launch.feed_text}")
        grid.add_row(title, Text.assemble(f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}  ", allowed))
        return grid

    def _account(self) -> RenderableType:
        """Return the account in one line: state, equity, P&L of the day, exposure, orders at work, and who else is strict."""
        state = self._view.account()
        money, account = state.money, state.account
        day, gross, net = map(money.decimal, (account.day_pnl, account.totals.gross, account.totals.net))
        parts: list[Text | str | tuple[str, str]] = [
            " ", state_badge(account.state, account.reason),
            "  equity ", (grouped(money.decimal(state.equity).quantize(CENT), 2), "bold"), f" {money.currency}",
            "  day ", (money_text(day), "green" if day > 0 else "red" if day < 0 else ""),
            f"  gross {amount_text(gross)}  net {amount_text(net)}  working {len(self._view.working_orders()):,}",
        ]  # fmt: skip
        for scope in state.strict:
            if scope is not account:
                parts += [f"  {scope.name}", state_badge(scope.state, scope.reason)]
        return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")

    def _processes(self) -> RenderableType:
        table = _table("process", ">pid", ">core", "wait", ">cpu", ">starts", ">beat")
        table.columns[0].min_width = 19
        now_ns = time.monotonic_ns()
        for name in self._view.workers:
            worker, seat = self._view.worker(name), self._launch.seats[name]
            age_s = max(0, now_ns - worker.beat_ns) / 1e9 if worker.beat_ns else None
            beat = Text("–") if age_s is None else Text(duration_text(int(age_s * 1e9)), "red" if age_s > LATE_S else "")
            state = Text.assemble(f"{name:<10}", (worker.state.name.lower(), STATE_STYLES.get(worker.state, "yellow")))
            starts = Text(str(worker.restarts + 1), "yellow" if worker.restarts else "")
            core = "any" if seat.core == ANY_CORE else str(seat.core)
            wait = Strategy(worker.wait).name.lower() if worker.wait else ""
            table.add_row(state, str(worker.pid), core, wait, f"{self._cpu.get(name, 0):.0f}%", starts, beat)
        return _panel(table, "processes")

    def _flow(self) -> RenderableType:
        ingest, risk, execution = (self._view.counters(name) for name in ("ingest", "risk", "execution"))
        rejected = {reason: ingest[reason] for reason in TICK_REASONS[1:] if ingest[reason]}
        by_venue = {f"venue {reason}": count for reason, count in self._view.reasons("rejected").items()}
        refused = self._view.reasons("refused") | by_venue
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row("ticks", Text.assemble((f"{self._rate:,.0f}/s", "bold"), f"  {ingest['received']:,} in all"))
        grid.add_row("rejected", _counts(rejected))
        grid.add_row("conflated", f"{ingest['conflated']:,}")
        grid.add_row("orders", f"{risk['entries_submitted']:,} entries, {risk['exits_submitted']:,} exits")
        grid.add_row("fills", f"{risk['fills']:,} of {execution['filled']:,} orders")
        grid.add_row("refused", _counts(refused))
        stops = self._view.stop_counts()
        grid.add_row("stops", Text.assemble(f"{stops.armed:,} armed, ", (f"{risk['stops_triggered']:,} fired", "bold")))
        fired = {kind: risk[f"{kind}_triggered"] for kind in STOP_KIND_NAMES[1:]}
        grid.add_row("", ", ".join(f"{kind} {count:,}" for kind, count in fired.items() if count) or "none fired")
        grid.add_row("owed", Text(f"{stops.owed:,}", "bold red" if stops.owed else "green"))
        if atr := list(self._atr()):
            more = f" +{len(atr) - ATR_SHOWN}" if len(atr) > ATR_SHOWN else ""
            grid.add_row("atr", Text("  ".join(atr[:ATR_SHOWN]) + more, no_wrap=True, overflow="ellipsis"))
        return _panel(grid, "flow")

    def _atr(self) -> Iterator[str]:
        """Yield the ATR of each series that has one, as a price: the configured one of each symbol first."""
        for row in self._view.series():
            if row["bar_count"] >= row["period"]:
                item = self._view.instruments[int(row["instrument"])]
                places = max(-int(item.tick_size.as_tuple().exponent), 0) + 1
                yield f"{item.symbol} {float(row['atr']) / 2 * float(item.tick_size):.{places}f}"

    def _latency(self) -> RenderableType:
        table = _table("", ">p50", ">p99", ">max")
        latency = self._view.latency_ns()
        for name, text in HOPS.items():
            hop = latency[name]
            cells = [duration_text(hop[key]).replace(" ", "") if hop["count"] else "–" for key in ("p50", "p99", "max")]
            table.add_row(text.replace(" to ", "→").replace("execution", "exec"), *cells)
        return _panel(table, "latency")

    def _rings(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        for ring in self._view.rings():
            if ring.reader.startswith("strategy"):
                continue
            share = min(ring.depth / ring.capacity, 1.0)
            filled = round(share * BAR_CELLS) or (1 if ring.depth else 0)
            style = "red" if share > 0.9 else "yellow" if share > 0.5 else "green"
            bar = Text.assemble(("█" * filled, style), ("░" * (BAR_CELLS - filled), "dim"))
            missed = f" -{ring.missed:,}" if ring.missed else ""
            grid.add_row(Text(f"{ring.ring.partition('.')[0]}→{ring.reader}"), bar, f"{ring.depth:,}{missed}")
        return _panel(grid, "rings: behind")

    def _positions(self) -> RenderableType:
        table = _table("position", ">quantity", ">entry", ">price", ">stop", f">P&L {self._view.units.currency}")
        # Where it is narrow, a name may take two lines; a number that is cut off reads as another number.
        table.columns[0].no_wrap = False
        table.columns[-1].min_width = MONEY_CELLS
        shown = list(self._position_rows())
        for row in shown[:POSITIONS_SHOWN]:
            table.add_row(*row)
        if not shown:
            table.add_row(Text("none yet", "dim"))
        more = f", {len(shown) - POSITIONS_SHOWN} more" if len(shown) > POSITIONS_SHOWN else ""
        return _panel(table, f"positions{more}")

    def _position_rows(self) -> Iterator[tuple[RenderableType, ...]]:
        """Yield a row for each position that was ever opened, the open ones first."""
        view, instruments = self._view, self._view.instruments
        marks, (positions, stops, is_steady) = view.marks(), view.holdings()
        # Levels of all watches in half ticks; a target is no stop.
        levels = stops["level_ticks"] * np.where(stops["watch"] == MID, 1, 2)
        shown = (levels > 0) & (stops["kind"] != TAKE_PROFIT)
        used = np.flatnonzero(positions["fill_count"])
        is_shared = len(np.unique(positions["strategy"][used])) > 1
        for row in sorted(used, key=lambda row: positions[row]["quantity_lots"] == 0):
            position = positions[row]
            index, quantity = int(position["instrument"]), int(position["quantity_lots"])
            mark = marks[index]
            pnl = view.units.decimal(position_pnl(position, mark, view.units))
            money = Text(money_text(pnl), "green" if pnl > 0 else "red" if pnl < 0 else "dim")
            name = Text(instruments[index].symbol, "bold" if quantity else "dim")
            if is_shared:
                name.append(f" strategy{position['strategy']}", "dim not bold")
            if quantity == 0:
                yield name, Text("flat", "dim"), "", "", "", money
                continue
            price = int(mark["bid_ticks"] if quantity > 0 else mark["ask_ticks"])
            mine = stops["position"] == row
            stop = Text("…", "dim")
            if (mine & shown).any():
                tightest = levels[mine & shown].max() if quantity > 0 else levels[mine & shown].min()
                stop = Text(instruments.half_ticks_text(index, int(tightest)), "yellow")
            elif mine.any():
                stop = Text("time", "yellow")
            elif is_steady[row]:
                # Of a position that changes this very moment, the stops may be of the moment before.
                stop = Text("none", "bold red")
            quantity_text = Text(instruments.quantity_text(index, quantity), "green" if quantity > 0 else "red")
            entry = instruments.price_text(index, position["entry_ticks"])
            yield name, quantity_text, entry, instruments.price_text(index, price), stop, money

    def _happened(self) -> RenderableType:
        newest = list(self._lines)[-5:] or [Text("nothing yet", "dim")]
        return _panel(Text("\n", no_wrap=True, overflow="ellipsis").join(newest), "last events")

    def _foot(self) -> RenderableType:
        keys, effect = self._leaving
        parts = [(keys, "bold"), f" {effect}"]
        if self._launch.config.sidecar.enabled:
            parts += ["   ", (self._launch.metrics_url, "cyan"), f"   {self._launch.config.sidecar.database}"]
        return Text.assemble(" ", *parts, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]


def money_text(amount: Decimal) -> str:
    """Write money in ten characters: from 100,000 on without cents, from ten million on in millions."""
    if abs(amount) >= 10_000_000:
        return f"{amount / 1_000_000:+,.2f}M"
    return f"{amount:+,.0f}" if abs(amount) >= 100_000 else f"{amount:+,.2f}"


def amount_text(amount: Decimal) -> str:
    """Write an exposure in few characters: without cents, from ten million on in millions."""
    return f"{amount / 1_000_000:,.2f}M" if amount >= 10_000_000 else f"{amount:,.0f}"


def _table(*columns: str) -> Table:
    """Return an empty table; a name that begins with ">" is that of a column to be aligned at the right."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return table


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(content, title=f"[bold]{title}", title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1))


def _counts(counts: dict[str, int]) -> Text:
    if not counts:
        return Text("0")
    return Text(f"{sum(counts.values()):,} ({', '.join(f'{name} {count:,}' for name, count in counts.items())})", "yellow")
