"""The supervisor's own deeds: a signal kills the account, and a strategy that dies has its orders taken back."""

import os
import selectors
import signal

import pytest

from pipeline.client_slot import Attachment
from pipeline.messages import (
    BUY,
    CANCEL_ALL,
    EXIT,
    KILLED,
    LIMIT,
    NOTE,
    REQUEST_DONE,
    SET_STATE,
    STATE_CHANGED,
)
from pipeline.notes import BY_SIGNAL, note_text
from pipeline.safeguards import KillSwitch, Safeguards
from pipeline.tables import SENT, SENT_ORDER
from pipeline.topology import ACCOUNT, scope_of_strategy
from shm import heartbeat
from shm.heartbeat import State
from tests.pipeline.client_instance import AAPL, SIZES, put_row
from tests.pipeline.control_instance import served

pytestmark = pytest.mark.jitless

NOBODY = 1 << 22


@pytest.fixture
def switch():
    """Return a kill switch."""
    switch = KillSwitch()
    yield switch
    switch.close()


@pytest.fixture
def instance(instance_name, runtime_folder):
    """Return an instance in which the test answers in risk's place."""
    with served(instance_name, with_risk=False) as instance:
        yield instance


@pytest.fixture
def guards(instance, switch):
    """Return what looks after it."""
    guards = Safeguards(instance.segment, instance.control, switch)
    yield guards
    guards.close()


def die(instance, slot: int) -> None:
    """Have a process take a slot, and be gone without a word."""
    lock = Attachment(instance.owner.launch.name)
    assert lock.try_slot(slot)
    words = instance.segment.array(f"strategy{slot}.heartbeat")
    words[heartbeat.PID], words[heartbeat.START], words[heartbeat.STATE] = NOBODY, 5, State.RUNNING
    lock.close()


def work(instance, slot: int, *flags: int) -> None:
    """Have orders of a strategy work."""
    for k, flag in enumerate(flags):
        put_row(instance, "sent", SENT_ORDER, 8 * slot + k, order_id=100 * slot + k + 1, left_lots=1, side=BUY, state=SENT,
                order_type=LIMIT, position=slot * SIZES.instruments + AAPL, flags=flag)  # fmt: skip


def test_switch_wakes_a_selector_and_counts_once(switch):
    """Pulled twice before anybody looks it is still one order; nobody has to look in time."""
    with selectors.DefaultSelector() as selector:
        switch.listen(selector)
        assert [] == selector.select(0)
        assert not switch.was_pulled()
        switch.pull()
        switch.pull()
        assert 1 == len(selector.select(0))
        assert switch.was_pulled()
        assert not switch.was_pulled()
        assert [] == selector.select(0)


def test_switch_pulled_by_a_signal_interrupts_a_wait(switch):
    """A signal handler may pull it while the supervisor sleeps, which ends the sleep at once."""
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: switch.pull())
    try:
        with selectors.DefaultSelector() as selector:
            switch.listen(selector)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert 1 == len(selector.select(60))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_switch_that_is_closed_pulls_nothing(switch):
    """A signal at the very end of a run does no harm."""
    switch.close()
    switch.pull()
    assert not switch.was_pulled()


def test_guards_kill_the_account_where_the_switch_was_pulled(instance, guards, switch):
    """The request is the account's, the note says that it was a signal, and people see it in capitals."""
    guards.turn()
    assert 0 == instance.requests.published
    switch.pull()
    guards.turn()
    request = instance.request()
    assert (SET_STATE, ACCOUNT, KILLED) == tuple(request[name] for name in ("kind", "scope", "value"))
    instance.answer(STATE_CHANGED, state=KILLED)
    instance.turn()
    assert instance.owner.told[0].startswith("ALERT account is KILLED: working orders are being cancelled")
    (note,) = instance.records("notes", NOTE)
    assert (BY_SIGNAL, os.getpid(), os.geteuid(), 1) == tuple(
        int(note[name]) for name in ("source", "pid", "uid", "request_id")
    )
    assert "kill account: SIGUSR1" == note_text(note)
    guards.turn()
    assert 1 == instance.requests.published


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "it has no working orders"), (1, "its 1 working order is being cancelled"), (2, "its 2 working orders are being")],
)
def test_guards_take_back_the_orders_of_the_dead(instance, guards, count, words):
    """One line says who is gone and what becomes of the orders; it is asked for once."""
    guards.turn()
    die(instance, 1)
    guards.turn()
    request = instance.request()
    assert (CANCEL_ALL, scope_of_strategy(1)) == (request["kind"], request["scope"])
    instance.answer(REQUEST_DONE, value=count, scope=scope_of_strategy(1))
    instance.turn()
    (line,) = instance.owner.told
    assert f"strategy 1 (pid {NOBODY}) is gone without a word: {words}" in line
    assert line.endswith("its positions keep their stops")
    guards.turn()
    assert 1 == instance.requests.published


def test_guards_leave_orders_alone_where_that_is_configured(instance, guards, monkeypatch):
    """With cancel_on_death = false people learn of the death, and how many orders work on."""
    monkeypatch.setattr(type(instance.owner.launch.config.strategies), "cancel_on_death", False, raising=False)
    work(instance, 1, 0, 0, EXIT)
    work(instance, 2, 0)
    guards.turn()
    die(instance, 1)
    guards.turn()
    assert 0 == instance.requests.published
    (line,) = instance.owner.told
    assert "its 2 working orders work on (cancel_on_death = false)" in line


def test_guards_begin_with_what_a_crash_left(instance, guards):
    """Only those slots are meant that the supervisor starts anew and that have orders of their own at work."""
    work(instance, 0, EXIT)
    work(instance, 1, 0)
    work(instance, 2, 0)
    guards.begin((0, 1))
    assert 1 == instance.requests.published
    assert scope_of_strategy(1) == instance.request()["scope"]
    instance.answer(REQUEST_DONE, value=1, scope=scope_of_strategy(1))
    instance.turn()
    assert instance.owner.told[0].startswith("strategy 1 ended with its instance: its 1 working order is being cancelled")
