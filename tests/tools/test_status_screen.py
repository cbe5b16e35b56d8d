"""The status screen: the account in one line, in colours that cannot be missed, and what happened last in words."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from pipeline import topology
from pipeline.config import load_config, with_overrides
from pipeline.launch import Launch
from pipeline.messages import (
    ACTIVE,
    BY_COOLDOWN,
    BY_DAILY_LOSS,
    BY_PERSON,
    EVENT,
    HALTED,
    KILLED,
    LIMIT_CHANGED,
    LONG,
    REDUCING,
    STATE_CHANGED,
    STATIC,
    STOP_TRIGGERED,
    TRIGGER_LEVEL,
)
from pipeline.placement import Seat
from pipeline.risk.limits import UNLIMITED
from pipeline.tables import LIMIT_NAMES, MARK, POSITION, SCOPE_REASON, SCOPE_STATE, SCOPE_WORDS, SENT_ORDER
from pipeline.view import View
from shm import ring
from shm.wait import Strategy
from tests.idle_instance import SIZES, idle_instance
from tools.event_lines import STATE_STYLES, event_line
from tools.status_screen import StatusScreen

USD = 1_000_000
EVENT_NS = 1_767_623_400_123_000_000


@pytest.fixture
def view(instance_name: str) -> Iterator[View]:
    """Return an instance on which nobody runs."""
    with idle_instance(instance_name, with_overrides(load_config(), {"account.balance": "10000000"})) as made:
        yield View(made)


def screen_of(view: View) -> StatusScreen:
    """Return the screen of an instance."""
    seats = {name: Seat(0, False, Strategy.PARK) for name in topology.WORKERS}
    launch = Launch(load_config(), view.instruments, view.sizes, seats, {}, (), ())
    return StatusScreen(launch, view, 0.0)


def account_line(view: View) -> Text:
    """Return the account's line."""
    line = screen_of(view)._account()
    assert isinstance(line, Text)
    return line


def set_state(view: View, scope: int, state: int, reason: int = BY_PERSON) -> None:
    """Set the trading state of a scope."""
    words = view.segment.array("scopes")
    words[scope * SCOPE_WORDS + SCOPE_STATE], words[scope * SCOPE_WORDS + SCOPE_REASON] = state, reason


def event_of(**fields: int) -> np.void:
    """Return an EVENT."""
    event = np.zeros(1, EVENT)[0]
    event["event_ns"] = EVENT_NS
    for name, value in fields.items():
        event[name] = value
    return event


def test_account_line_of_a_position_tells_equity_day_and_exposure(view: View) -> None:
    """What it is worth now, what the day brought, what is at stake, and how many orders work."""
    row = view.segment.array("positions.copies", POSITION)[0]
    row["quantity_lots"], row["cost_tick_lots"], row["fill_count"] = 100, 2_675_000, 1
    mark = view.segment.array("marks", MARK)[0]
    mark["bid_ticks"], mark["ask_ticks"] = 26_700, 26_710
    view.segment.array("sent.copies", SENT_ORDER)["order_id"][[0, 2]] = 1, 2
    expected = "  ACTIVE   equity 9,999,950.00 USD  day -50.00  gross 26,710  net 26,710  working 2"
    assert expected == account_line(view).plain


@pytest.mark.parametrize(("state", "word"), list(enumerate(("ACTIVE", "REDUCING", "HALTED", "KILLED"))))
def test_account_line_of_each_state_has_its_colour(view: View, state: int, word: str) -> None:
    """No two states look alike, and the reason stands behind one that is not active."""
    set_state(view, 0, state, BY_DAILY_LOSS)
    line = account_line(view)
    (style,) = [span.style for span in line.spans if line.plain[span.start : span.end] == f" {word} "]
    assert STATE_STYLES[state] == style
    assert (state != ACTIVE) == (f"{word}  daily loss" in line.plain)
    assert 4 == len(set(STATE_STYLES))


def test_account_line_names_every_other_scope_that_is_strict(view: View) -> None:
    """A halted strategy and a killed instrument are seen at once; those that are active are not told."""
    set_state(view, 2, HALTED)
    set_state(view, 1 + SIZES.strategies, KILLED)
    assert account_line(view).plain.endswith("working 0  strategy 1 HALTED  person  AAPL KILLED  person")


def test_screen_at_a_hundred_columns_shows_the_account(view: View) -> None:
    """The line fits a common terminal, and the P&L of positions says in which currency."""
    set_state(view, 0, KILLED)
    console = Console(width=100, height=30, record=True, file=io.StringIO())
    console.print(screen_of(view).draw(), height=30)
    text = console.export_text()
    assert " KILLED  person  equity 10,000,000.00 USD  day +0.00  gross 0  net 0  working 0" in text
    assert "P&L USD" in text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"kind": STATE_CHANGED, "state": REDUCING, "reason": BY_DAILY_LOSS, "value": 20_100 * USD, "limit": 20_000 * USD},
            "account   REDUCING  daily loss: 20,100.00 USD against a limit of 20,000.00 USD",
        ),
        ({"kind": STATE_CHANGED, "state": HALTED, "reason": BY_PERSON, "scope": 3}, "AAPL      HALTED  person"),
        ({"kind": STATE_CHANGED, "state": ACTIVE, "reason": BY_COOLDOWN, "scope": 1}, "strategy 0 ACTIVE  cooldown over"),
        (
            {"kind": LIMIT_CHANGED, "limit_id": LIMIT_NAMES.index("max_leverage"), "value": UNLIMITED, "limit": 2_500_000},
            "account  limit leverage from unlimited to 2.5x",
        ),
        (
            {"kind": STOP_TRIGGERED, "stop_kind": STATIC, "side": LONG, "price_ticks": 26_500, "level_ticks": 26_501,
             "quantity_lots": 100, "reason": TRIGGER_LEVEL},
            "AAPL     static stop fired at 265.00 (level 265.01), long 100",
        ),
        ({"kind": STATE_CHANGED, "state": 9, "reason": 99, "scope": 1000}, "scope 1000 UNKNOWN (9)  unknown (99)"),
        ({"kind": LIMIT_CHANGED, "limit_id": 200}, "account  limit unknown (200) changed"),
    ],
)  # fmt: skip
def test_event_line_of_each_kind_tells_it_in_words(view: View, fields: dict[str, int], expected: str) -> None:
    """Who, what and why in one line with its stream time; a code that is not known ends no screen."""
    assert f"14:30:00.123  {expected}" == event_line(view, event_of(**fields)).plain.replace("  limit", " limit").replace(
        "account limit", "account  limit"
    )


@pytest.mark.parametrize(("is_told", "expected"), [(True, ["KILLED"]), (False, ["HALTED", "KILLED"])])
def test_screen_takes_in_events_that_nobody_else_tells(view: View, is_told: bool, expected: list[str]) -> None:
    """Where the supervisor tells what no command asked for, such a change is not told twice; other events have no line."""
    screen = StatusScreen(screen_of(view)._launch, view, 0.0, is_told=is_told)
    pen = ring.open_producer(view.segment, ring.open_ring(view.segment, "events", EVENT))
    changed = {"kind": STATE_CHANGED, "reason": BY_PERSON}
    by_command = {"state": KILLED, "request_id": 5, "requester": SIZES.strategies}
    for fields in (changed | {"state": HALTED}, {"kind": 1}, changed | by_command):
        slot = int(ring.claim(pen, 1)) & (len(pen.ring.slots) - 1)
        pen.ring.slots[slot] = event_of(**fields)
        ring.publish(pen)
    screen._read_events()
    assert expected == [line.plain.split()[2] for line in screen._lines]
