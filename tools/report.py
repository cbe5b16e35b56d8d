"""The lines of a run for people: the first, those in between, and the final report."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pipeline.launch import Launch
from pipeline.messages import STATE_REASONS, TRADING_STATES
from pipeline.placement import ANY_CORE
from pipeline.view import View
from tools.durations import HOPS, duration_text

NS_PER_US = 1_000
#: Positions told one by one in the final report.
POSITIONS_MAX = 12


def opening(launch: Launch) -> Iterator[str]:
    """Yield the first lines: what starts, on what, where it can be seen and how to stop it."""
    config = launch.config
    symbols = launch.instruments.symbols
    listed = ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")
    yield f"stopline · instance {launch.name}"
    yield f"  feed        {launch.feed_text}"
    yield f"  symbols     {listed}"
    seats = (f"{name} {'any core' if seat.core == ANY_CORE else f'core {seat.core}'}" for name, seat in launch.seats.items())
    yield f"  processes   {', '.join(seats)}"
    if config.sidecar.enabled:
        yield f"  metrics     {launch.metrics_url}"
        yield f"  database    {config.sidecar.database}"
    yield f"  logs        {launch.log_folder}"
    for note in launch.notes:
        yield f"  note        {note}"


def progress(view: View, running_s: float) -> str:
    """Return one line that tells how it goes."""
    ingest, risk = view.counters("ingest"), view.counters("risk")
    hop, stops = view.latency_ns()["tick_to_order"], view.stop_counts()
    account = view.account().account
    state = f"  {TRADING_STATES[account.state].upper()} ({_words(STATE_REASONS[account.reason])})" if account.state else ""
    latency = f", tick to order p50 {duration_text(hop['p50'])} p99 {duration_text(hop['p99'])}" if hop["count"] else ""
    return (
        f"{running_s:6.1f} s  ticks {ingest['received']:,}  orders {risk['entries_submitted'] + risk['exits_submitted']:,}"
        f"  fills {risk['fills']:,}  stops armed {stops.armed:,} fired {risk['stops_triggered']:,} owed {stops.owed:,}"
        f"{latency}{state}"
    )


def closing(summary: dict[str, Any], launch: Launch) -> Iterator[str]:
    """Yield the final report."""
    ticks, orders, stops, venue = (summary[key] for key in ("ticks", "orders", "stops", "venue"))
    rate = (ticks["received"] - summary["ticks_before"]) / summary["duration_s"] if summary["duration_s"] else 0.0
    yield ""
    yield f"{summary['instance']}: {summary['duration_s']:.1f} s, stopped by {summary['stopped_by']}"
    if summary["taken_over"]:
        before = f"{summary['ticks_before']:,} ticks came before this run"
        yield f"  taken over  all counts are since the instance was made; {before}"
    yield (
        f"  ticks       {ticks['received']:,} received ({rate:,.0f}/s), {ticks['accepted']:,} accepted, "
        f"{_reasons(ticks['rejected'])}, {ticks['conflated']:,} conflated"
    )
    yield (
        f"  orders      {orders['submitted']:,} sent ({orders['entries']:,} entries, {orders['exits']:,} exits), "
        f"{orders['filled']:,} filled, {_reasons(orders['rejected'])}; {summary['fills']:,} fills"
    )
    if refused := summary["requests"]["refused"]:
        total = f"{sum(refused.values()):,} refused by risk ({_listed(refused)})"
        yield f"  requests    {summary['requests']['received']:,} received, {total}"
    kinds = ", ".join(f"{kind} {count['triggered']:,}" for kind, count in stops["by_kind"].items() if count["triggered"])
    fired = f"{stops['triggered']:,} fired" + (f" ({kinds})" if kinds else "")
    yield f"  stops       {stops['armed']:,} armed, {fired}, {stops['owed']:,} owed"
    for name, text in HOPS.items():
        hop = summary["latency_ns"][name]
        if hop["count"]:
            quantiles = "  ".join(f"{key} {duration_text(hop[key])}" for key in ("p50", "p90", "p99", "p99.9", "max"))
            yield f"  {text:<18}{quantiles}  ({hop['count']:,})"
    yield _account(summary["account"])
    yield from _positions(summary["positions"])
    agree = {True: "agree with", False: "DIFFER FROM", None: "were too many to hold against"}[venue["positions_agree"]]
    yield f"  venue       positions {agree} its own record; {venue['duplicates_refused']:,} duplicate orders refused"
    restarts = {name: count for name, count in summary["restarts"].items() if count}
    away = f", away {summary['restart_ms_max']:,.0f} ms at most" if restarts else ""
    yield f"  restarts    {_listed(restarts) or 'none'}{away}"
    yield (
        f"  machine     {summary['memory_mb_total']:,.0f} MB in {len(summary['memory_mb'])} processes, "
        f"{summary['steal_percent']:.1f}% of the processors stolen by the hypervisor"
    )
    if launch.config.sidecar.enabled:
        yield f"  database    {launch.config.sidecar.database}"


def _account(account: dict[str, Any]) -> str:
    """Return what the account came to, and who may not trade freely."""
    parts = ", ".join(f"{name} {_money(account[name])}" for name in ("realised", "unrealised", "fees", "drawdown"))
    strict = ", ".join(f"{scope['scope']} {scope['state'].upper()} ({_words(scope['reason'])})" for scope in account["strict"])
    working = f", {account['working_orders']:,} orders at work" if account["working_orders"] else ""
    equity = f"equity {_money(account['equity'])} {account['currency']}"
    return f"  account     {equity}, P&L {_money(account['pnl'])} ({parts}){working}" + (f"; {strict}" if strict else "")


def _money(text: str) -> str:
    return f"{Decimal(text):,.2f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _positions(positions: list[dict[str, Any]]) -> Iterator[str]:
    """Yield those that are still open, with their P&L, and what the closed ones made."""
    still_open = [position for position in positions if float(position["quantity"])]
    flat = len(positions) - len(still_open)
    yield f"  positions   {len(still_open)} open, {flat} flat"
    is_shared = len({position["strategy"] for position in positions}) > 1
    for position in still_open[:POSITIONS_MAX]:
        holder = f" (strategy{position['strategy']})" if is_shared else ""
        yield (
            f"    {position['symbol'] + holder:<10} {position['quantity']:>10} at {position['entry']}, "
            f"realised {position['realised']}, unrealised {position['unrealised']} {position['currency']}"
            f", stops {', '.join(position['stops']) or 'none'}"
        )
    if len(still_open) > POSITIONS_MAX:
        yield f"    and {len(still_open) - POSITIONS_MAX} more"
    if still_open:
        yield "    no money was at stake: the positions of this paper run, and their stops, ended with the instance"


def _reasons(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return f"{total:,} rejected" + (f" ({_listed(counts)})" if counts else "")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
