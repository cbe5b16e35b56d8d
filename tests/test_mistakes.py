"""Seeded mistakes: each, made in a copy of the project, must break a promise.

What no test can tell from right code is not protected. A mistake counts as caught only where a promise fails, and those of the
protocol only where it fails because of a kill: a copy that does not run, or goes wrong by itself, proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from shm.jit import JIT_ENABLED
from tests.kernel_cache import ROOT

pytestmark = [
    pytest.mark.mistakes,
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

STORY = "from tests.pipeline.test_crash_points import begin, explore_all; explore_all(*begin({!r}), {!r})"
CANCEL_STORY = "from tests.pipeline.test_execution_cancel import begin, explore_all; explore_all(begin())"
SCOPE_STORY = "from tests.pipeline.test_crash_scopes import live; live()"
SCOPE_DEATHS = "from tests.pipeline.test_crash_scopes import explore_all; explore_all('risk', place={!r})"
CROWD_STORY = "from tests.pipeline.test_execution_twin import live_crowds; live_crowds(range(12))"
SEEDS = "from tests.simulation import play; [play(seed) for seed in {}]"


class Mistake(NamedTuple):
    """What is replaced by what in which file, and what shows it.

    That is the stage whose death in a story of tests/pipeline/test_crash_points.py shows it; LEDGER where that story shows it
    without a death; CANCELS for execution's death in its story of cancels; CROWDS for execution beside its twin; SCOPES for
    the story of tests/pipeline/test_crash_scopes.py, as it is or with risk's death at the place that `story` names; or how many
    seeds of the simulation, one of which does.
    """

    name: str
    file: str
    old: str
    new: str
    shown_by: str | int
    story: str = "long"


CANCELS, CROWDS, LEDGER, SCOPES = "cancels", "crowds", "ledger", "scopes"
#: Seeds that show what few of them bring.
SEEDS_MOST = 40
PUBLISH_CANCEL, COUNT_CANCEL = (
    "    stage_publish(works.transaction, works.orders)\n    stage_add(works.transaction, works.counters, CANCELS, 1)\n",
    "    stage_add(works.transaction, works.counters, CANCELS, 1)\n",
)
PUBLISH_TICKS = "state.ticks.ring.words[0] = state.ticks.local[0]"
EMPTY_LOG, NAME_LOG = "    store_relaxed(undo, UNDO_COUNT, 0)\n", "    store_relaxed(undo, UNDO_POSITION, position)\n"
ADVANCE_REPORTS = "    stage_advance(transaction, state.reports, seq + 1)\n"
ADVANCE_ORDERS = "    stage_advance(transaction, state.orders, seq + 1)\n"
COMMIT_INTENT = """    commit(transaction)
    state.local[TAKEN_COUNT] += 1
    remember(state.by_id, intent["order_id"], row)
    now_ns = monotonic_ns()
    record(state.risk_to_execution, now_ns - intent["sent_ns"])
    if intent["flags"] & EXIT:
        record(state.tick_to_order, now_ns - caused_ns)
    else:
        record(state.request_to_order, now_ns - caused_ns)
    send(state, row)
"""
SEND_FIRST = """    submit(state.venue, intent)
    commit(transaction)
    state.local[TAKEN_COUNT] += 1
    remember(state.by_id, intent["order_id"], row)
    settle(state, row, WORKING, REASON_NONE)
"""
CANCEL_INTENT = """    state.states.copies[edit(transaction, state.states, row)]["state"] = CANCELLING
"""
CANCEL_REPORT = """        report = state.reports.ring.slots[new_report(state, order, CANCELLED)]
"""
ASK_AGAIN = """            ask_to_cancel(state, row)
"""
SAY_CANCELLED = """            new_report(state, order, CANCELLED)
            state.states.copies[edit(state.transaction, state.states, row)]["state"] = DONE
            commit(state.transaction)
"""
SAY_WORKING = """            state.states.copies[edit(state.transaction, state.states, row)]["state"] = WORKING
            commit(state.transaction)
"""
MISTAKES = (
    # Cursor before effect.
    Mistake("tick consumed before its stops are watched", "pipeline/risk/step.py",
            '        event_ns = tick["event_ns"]\n',
            '        event_ns = tick["event_ns"]\n        advance(reader, seq + 1)\n', "risk"),
    Mistake("input consumed before its transaction", "shm/ring.py",
            "    stage(transaction, reader.ring.base + CURSOR + STRIDE * reader.index, cursor)",
            "    reader.ring.words[CURSOR + STRIDE * reader.index] = cursor", "risk"),
    Mistake("order consumed in a transaction of its own", "pipeline/execution/orders.py",
            ADVANCE_ORDERS, ADVANCE_ORDERS + "    commit(transaction)\n", "execution"),
    Mistake("report consumed in a transaction of its own", "pipeline/risk/fills.py",
            ADVANCE_REPORTS, ADVANCE_REPORTS + "    commit(transaction)\n", "risk"),
    Mistake("request consumed in a transaction of its own", "pipeline/risk/entries.py",
            "    stage_taken(transaction, inbox, requester, seq)\n",
            "    stage_taken(transaction, inbox, requester, seq)\n    commit(transaction)\n", "risk"),
    Mistake("fill counted as reported before its report", "pipeline/execution/orders.py",
            "    stage(transaction, state.words_base + FILLS_REPORTED, number + 1)\n",
            "    state.words[FILLS_REPORTED] = number + 1\n", "execution"),
    # Effect without its cursor: counted twice.
    Mistake("report applied without its cursor", "pipeline/risk/fills.py",
            ADVANCE_REPORTS, "    state.reports.local[0] = seq + 1\n", LEDGER),
    Mistake("order taken without its cursor", "pipeline/execution/orders.py",
            ADVANCE_ORDERS, "    state.orders.local[0] = seq + 1\n", "execution"),
    Mistake("feed's position outside of the transaction", "pipeline/ingest/step.py",
            "    stage(transaction, state.words_base + FEED_POSITION, position)\n",
            "    state.words[FEED_POSITION] = position\n", "ingest"),
    # Publish before write.
    Mistake("ticks published before they are written", "pipeline/ingest/step.py", "    seq = claim(state.ticks, end - first)\n",
            f"    seq = claim(state.ticks, end - first)\n    {PUBLISH_TICKS}\n", "ingest"),
    Mistake("ticks published before they are counted", "pipeline/ingest/step.py",
            "    stage_publish(transaction, state.ticks)\n    commit(transaction)\n    state.local",
            f"    {PUBLISH_TICKS}\n    commit(transaction)\n    state.local", "ingest"),
    Mistake("report published before it is written", "pipeline/execution/orders.py",
            "    report = reports.slots[slot]\n",
            "    report = reports.slots[slot]\n    reports.words[0] = state.reports.local[0]\n", "execution"),
    Mistake("exit published before its stop says TRIGGERED", "pipeline/risk/exits.py",
            "    stage_publish(state.transaction, state.orders)\n",
            "    state.orders.ring.words[0] = state.orders.local[0]\n", "risk"),
    Mistake("stop says TRIGGERED before its exit is in the ring", "pipeline/risk/exits.py",
            "    sent_lots = send_exit(state, slot)\n", "    commit(transaction)\n    sent_lots = send_exit(state, slot)\n",
            "risk"),
    Mistake("position open before its stops are armed", "pipeline/risk/fills.py",
            "    if change == OPENED or", "    commit(transaction)\n    if change == OPENED or", "risk"),
    # Send before intent, and what a restart makes of it.
    Mistake("order sent before the intent is written", "pipeline/execution/orders.py", COMMIT_INTENT, SEND_FIRST, "execution"),
    Mistake("restart always sends again", "pipeline/execution/orders.py",
            'if knows(state.venue, order["order_id"]):', "if False:", "execution"),
    Mistake("restart never asks the venue", "pipeline/execution/orders.py",
            'if knows(state.venue, order["order_id"]):', "if True:", "execution"),
    Mistake("restart forgets what was being sent", "pipeline/execution/orders.py",
            '        if order["state"] == SUBMITTING:', "        if False:", "execution"),
    # Cancels: the intent, the answer, what a restart makes of them.
    Mistake("cancel asked before its intent is written", "pipeline/execution/orders.py", CANCEL_INTENT,
            "    commit(transaction)\n    cancel_order(state.venue, order_id)\n" + CANCEL_INTENT, CANCELS),
    Mistake("cancel's answer written before its report", "pipeline/execution/orders.py", CANCEL_REPORT,
            "        commit(transaction)\n" + CANCEL_REPORT, CANCELS),
    Mistake("cancel reported before its answer is written, and again after a restart", "pipeline/execution/orders.py",
            CANCEL_REPORT, CANCEL_REPORT + "        state.reports.ring.words[0] = state.reports.local[0]\n", CANCELS),
    Mistake("restart forgets what was being cancelled", "pipeline/execution/orders.py",
            '        elif order["state"] == CANCELLING:', "        elif False:", CANCELS),
    Mistake("restart takes a cancel without answer for refused", "pipeline/execution/orders.py",
            ASK_AGAIN, SAY_WORKING, CANCELS),
    Mistake("restart takes a cancel without answer for done", "pipeline/execution/orders.py",
            ASK_AGAIN, SAY_CANCELLED, CANCELS),
    Mistake("venue refuses to cancel what it has cancelled", "pipeline/execution/paper.py",
            "        return found\n", "        return VENUE_NONE\n", CANCELS),
    Mistake("venue opens again what it has cancelled", "pipeline/execution/paper.py",
            '        if order["state"] == VENUE_OPEN:\n', "        if True:\n", CANCELS),
    # What no kill shows, but a crowd of orders.
    Mistake("venue's record does not say what it has cancelled", "pipeline/execution/paper.py",
            '    venue.orders.copies[edit(venue.transaction, venue.orders, row)]["state"] = VENUE_CANCELLED\n', "", CROWDS),
    Mistake("row given to the next order while its order rests", "pipeline/execution/orders.py",
            "    return found != ORDER_FREE and found != DONE\n", "    return found == CANCELLING\n", CROWDS),
    Mistake("venue's row given to the next order while its order rests", "pipeline/execution/paper.py",
            '["state"] == VENUE_OPEN:\n        row = ', '["state"] == 9:\n        row = ', CROWDS),
    Mistake("id of an order that works forgotten", "pipeline/execution/orders.py",
            '    forget(state.by_id, ended["order_id"], row)\n',
            '    forget(state.by_id, ended["order_id"], row)\n    row = (row + 1) & mask\n'
            '    forget(state.by_id, state.states.copies[current(state.states, row)]["order_id"], row)\n'
            '    row = (row - 1) & mask\n', CROWDS),
    Mistake("resting order beyond the bound of its instrument", "pipeline/execution/open_orders.py",
            '    widen(opened, instrument, order["side"], order["limit_ticks"])\n', "", CROWDS),
    Mistake("entries leave no rows for exits", "pipeline/execution/orders.py",
            " and (flags & EXIT != 0 or taken < row_count * ENTRY_ROOM_PER_MILLE // 1000)\n", "\n", CROWDS),
    # The log.
    Mistake("nothing is redone on opening", "shm/transaction.py", "    redo(transaction)\n    return", "    return", "risk"),
    Mistake("words changed one by one, without a log", "shm/transaction.py",
            "        store_release(transaction.log, COUNT, count)\n", "", "risk"),
    Mistake("log declared valid after it is applied", "shm/transaction.py",
            "        store_release(transaction.log, COUNT, count)\n        apply(transaction, count)\n",
            "        apply(transaction, count)\n        store_release(transaction.log, COUNT, count)\n", "risk"),
    # State that a restart must find again.
    Mistake("trailing stop's best price forgotten by a restart", "pipeline/risk/stops.py",
            "            if book.extremes[slot] == WAITING:\n",
            "            book.extremes[slot] = WAITING\n            if True:\n", "risk"),
    Mistake("exit owed forgotten by a restart", "pipeline/risk/stops.py",
            '        if stop["owed"] or (', "        if False and (", SEEDS_MOST),
    Mistake("quarantine forgotten by a restart", "pipeline/ingest/state.py",
            'rows=segment.array("hygiene.rows", HYGIENE),', "rows=segment.array(\"hygiene.rows\", HYGIENE).copy(),",
            "ingest", "dirty"),
    Mistake("hygiene of a batch that never counted is kept", "pipeline/ingest/hygiene.py",
            "        roll_back(hygiene)\n", "        pass\n", "ingest", "dirty"),
    Mistake("hygiene put back in the wrong order", "pipeline/ingest/hygiene.py",
            "range(hygiene.undo[UNDO_COUNT] - 1, -1, -1)", "range(hygiene.undo[UNDO_COUNT])", "ingest", "dirty"),
    Mistake("undo log of the batch before taken for this one's", "pipeline/ingest/hygiene.py",
            f"{EMPTY_LOG}    fence_release()\n{NAME_LOG}", f"{NAME_LOG}    fence_release()\n{EMPTY_LOG}", "ingest", "dirty"),
    Mistake("row counted in the undo log before it is there", "pipeline/ingest/hygiene.py",
            "    copy_record(hygiene.rows, hygiene.instrument_count + count, instrument)\n",
            "    store_relaxed(undo, UNDO_COUNT, count + 1)\n"
            "    copy_record(hygiene.rows, hygiene.instrument_count + count, instrument)\n", "ingest", "dirty"),
    # What no kill shows, but a market or a full venue.
    Mistake("conflation drops the turns", "pipeline/ingest/conflate.py",
            "        keep[turn] = keep[links[turn, FROM]] = KEPT\n", "", 20),
    Mistake("conflation remembers what it did not take", "pipeline/ingest/step.py",
            "    accepted = judge_all(state, first, end)\n    if kept",
            "    accepted = 0\n    for k in range(first, end):\n        accepted += state.chunk[k][\"flags\"] == TICK_OK\n"
            "    if kept", 20),
    Mistake("rejected exit sent again at once", "pipeline/risk/exits.py",
            '    stop["retry_ns"] = state.words[RISK_NOW_NS] + wait_ns\n', "", 20),
    Mistake("rejected exit never sent again", "pipeline/risk/fills.py",
            "    if slot != NO_SLOT:\n        add_pending", "    if False:\n        add_pending", SEEDS_MOST),
    Mistake("exit takes more than is left", "pipeline/risk/positions.py",
            'return max(quantity - position["working_sell_lots"], 0)', "return quantity", 20),
    # Of scopes, orders that work, and the account.
    Mistake("exits leave a position that is killed", "pipeline/risk/scopes.py",
            "    return strictest_of_row(scopes, row) == KILLED and", "    return False and", SCOPES),
    Mistake("flattening is over before all is left", "pipeline/risk/cancels.py",
            "if (flattens and has_held(works.scopes, held, scope)) or has_to", "if has_to", SCOPES),
    Mistake("what is ordered after all was taken back goes with it", "pipeline/risk/step.py",
            "state.local[CANCELLED_COUNT] > 0 or not has_room(state)", "not has_room(state)", SEEDS_MOST),
    Mistake("order in reducing may flip with what works", "pipeline/risk/proposal.py",
            "and lots <= left_to_exit(position)", "and lots <= abs(open_lots)", SCOPES),
    Mistake("exposure without what works", "pipeline/risk/valuation.py",
            '    return max(abs(quantity + position["working_buy_lots"]), abs(quantity - position["working_sell_lots"]))',
            "    return abs(quantity)", SCOPES),
    Mistake("fill that comes twice counts twice", "pipeline/risk/fills.py",
            "    if fill_id > 0 and state.fills_seen[at] == fill_id:\n", "    if False:\n", SEEDS_MOST),
    Mistake("person lets nothing pass", "pipeline/risk/trading_states.py",
            "            forgiven |= 1 << reason\n", "            pass\n", SEEDS_MOST),
    Mistake("exits take no token", "pipeline/risk/exits.py",
            '    book_exit(account_of(state), np.int64(terms["position"]))\n', "", SEEDS_MOST),
    Mistake("cancel sent before its order says so", "pipeline/risk/cancels.py", PUBLISH_CANCEL,
            "    works.orders.ring.words[0] = works.orders.local[0]\n" + COUNT_CANCEL, SCOPES, "cancels.py"),
    Mistake("orders taken back before the state has changed", "pipeline/risk/trading_states.py",
            "        set_scope_word(review, scope, SCOPE_CANCELS, 1)\n",
            "        review.transaction.memory[review.scopes.base + scope * 24 + SCOPE_CANCELS] = 1\n",
            SCOPES, "trading_states.py"),
    Mistake("totals change before the position does", "pipeline/risk/account.py",
            "    stage(account.transaction, account.scopes.base + scope * SCOPE_WORDS + word, value)\n",
            "    account.scopes.words[scope * SCOPE_WORDS + word] = value\n", SCOPES, "account.py"),
    Mistake("restart forgets what is being taken back", "pipeline/risk/state.py",
            "    count_flags(state.scopes, state.local)\n", "", SCOPES, "cancels.py"),
)  # fmt: skip


def run_copy(folder: Path, code: str) -> tuple[int, str]:
    """Run a line of Python in a copy of the project with the JIT off.

    Returns:
        Its exit status, and what it wrote.
    """
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout + done.stderr


def proof(mistake: Mistake) -> tuple[str, str]:
    """Return the line of Python that shows a mistake, and how the failed assertion begins."""
    shown_by = mistake.shown_by
    if isinstance(shown_by, int):
        return SEEDS.format(f"range({shown_by})"), "seed"
    if shown_by == LEDGER:
        return STORY.format(mistake.story, ["risk"]), "event 1 has no cause"
    if shown_by == CROWDS:
        return CROWD_STORY, "crowd"
    if shown_by == SCOPES:
        # Where a place is named, a death there shows it.
        dies = mistake.story != "long"
        return SCOPE_DEATHS.format(mistake.story) if dies else SCOPE_STORY, "risk killed at" if dies else "story of scopes:"
    if shown_by == CANCELS:
        return CANCEL_STORY, "execution killed at"
    return STORY.format(mistake.story, [shown_by]), f"{shown_by} killed at"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that the simulation needs."""
    for name in ("shm", "pipeline", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "-"))
def test_mistake_in_a_copy_is_caught_by_a_promise(copy: Path, mistake: Mistake) -> None:
    """A copy with one mistake breaks a promise, and tells after which kill or at which seed."""
    path = copy / mistake.file
    text = path.read_text()
    assert 1 == text.count(mistake.old), "the mistake's place has changed"
    path.write_text(text.replace(mistake.old, mistake.new))
    code, wanted = proof(mistake)
    status, output = run_copy(copy, code)
    assert 1 == status, "no promise was broken"
    assert f"AssertionError: {wanted} " in output, f"it failed, but not by a promise:\n{output[-2000:]}"


SEEDS_PLAYED = max(mistake.shown_by for mistake in MISTAKES if isinstance(mistake.shown_by, int))
RIGHT = {
    "long": STORY.format("long", ["ingest", "risk", "execution"]), "dirty": STORY.format("dirty", ["ingest"]),
    "cancels": CANCEL_STORY, "scopes": SCOPE_STORY, "crowds": CROWD_STORY, "seeds": SEEDS.format(f"range({SEEDS_PLAYED})"),
}  # fmt: skip


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT.keys())
def test_copy_without_mistake_keeps_every_promise(copy: Path, code: str) -> None:
    """The copy as it is passes what catches the mistakes."""
    status, output = run_copy(copy, code)
    assert 0 == status, output[-2000:]
