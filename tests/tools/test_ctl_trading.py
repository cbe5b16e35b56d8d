"""tools/ctl.py about trading: what people type, what the instance then does, and how it reads."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pipeline.client import Client, RiskCheckError
from pipeline.messages import BUY, CANCELLED, NOTE, REQUEST_REFUSED, SELL
from pipeline.notes import note_text
from pipeline.risk.limits import free_limits, write_limits
from tests.pipeline.client_instance import AAPL, MONEY, SIZES
from tests.pipeline.control_instance import Served, served, turning
from tests.tools.test_ctl import columns, ctl, said

pytestmark = pytest.mark.jitless


@pytest.fixture(autouse=True)
def sockets(runtime_folder: Path) -> Path:
    """Have all control sockets in a folder of the test."""
    return runtime_folder


@pytest.fixture
def instance(instance_name: str) -> Iterator[Served]:
    """Return an instance in which strategy 0 holds 100 AAPL, its control socket served by real risk."""
    with served(instance_name) as instance:
        write_limits(instance.segment, free_limits(SIZES.scope_count))
        instance.submit(AAPL, BUY, 100, 0)
        instance.settle()
        yield instance


def run(instance: Served, *arguments: str) -> int:
    """Run one command while the instance takes its turns."""
    with turning(instance):
        return ctl(instance, *arguments)


def texts(instance: Served) -> list[str]:
    """Return the notes so far."""
    return [note_text(note) for note in instance.records("notes", NOTE)]


def refused(client: Client) -> RiskCheckError:
    """Return the newest refusal of a strategy."""
    events = client.events()
    return client.refusal(events[events["kind"] == REQUEST_REFUSED][-1])


def test_ctl_reducing_lets_an_exit_out_and_refuses_a_flip(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """After `reduce` half of the position may be sold, twice of it not, and `resume` with a reason lets all go on."""
    with Client(instance.owner.launch.name, 0) as client:
        assert 0 == run(instance, "reduce", "--reason", "news")
        assert ["account is REDUCING: only what makes a position smaller leaves (news)"] == said(capsys)
        client.submit("AAPL", SELL, 200)
        instance.settle()
        assert str(refused(client)).startswith("account is REDUCING (account, AAPL, order ")
        client.submit("AAPL", SELL, 50)
        instance.settle()
        assert 50 == client.position("AAPL").quantity_lots
        assert "reducing" == client.account().trading_state
        assert 0 == run(instance, "resume", "--reason", "news is out")
        client.submit("AAPL", SELL, 150)
        instance.settle()
        assert -100 == client.position("AAPL").quantity_lots
    assert ["reduce account: news", "resume account: news is out"] == texts(instance)


def test_ctl_kill_takes_orders_back_and_only_a_person_resumes(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The working order comes back cancelled, a new one is refused, and resuming needs a reason."""
    with Client(instance.owner.launch.name, 0) as client:
        order_id = client.submit("AAPL", BUY, 10, "90.00")
        instance.settle_working()
        assert [order_id] == [order.order_id for order in client.orders()]
        assert 0 == run(instance, "orders")
        assert [str(order_id)] == columns(said(capsys), "order")
        assert 0 == run(instance, "kill", "--reason", "odd prints")
        instance.settle()
        assert [] == client.orders()
        assert CANCELLED == client.reports()["kind"][-1]
        client.submit("AAPL", SELL, 10)
        instance.settle()
        assert "killed" == refused(client).check
        with pytest.raises(SystemExit):
            run(instance, "resume")
        assert "required: --reason" in capsys.readouterr().err
        assert 0 == run(instance, "resume", "--reason", "checked")
        client.submit("AAPL", SELL, 10)
        instance.settle()
        assert 90 == client.position("AAPL").quantity_lots


def test_ctl_kill_with_flatten_leaves_every_position(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The positions are sold though nothing else may leave."""
    assert 0 == run(instance, "kill", "--flatten")
    instance.settle()
    assert 0 == np.count_nonzero(instance.positions()["quantity_lots"])
    assert said(capsys)[-1].endswith("its positions are being left")


def test_ctl_limit_is_set_shown_and_kept(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """What is set is listed, holds for the next order, and its refusal tells both values."""
    with Client(instance.owner.launch.name, 0) as client:
        assert 0 == run(instance, "set-limit", "max_position_notional", "15000", "--strategy", "0")
        assert ["max_position_notional of strategy 0 is 15,000.00 USD now, it was unlimited"] == said(capsys)
        assert 0 == run(instance, "limits")
        line = next(line for line in said(capsys) if "max_position_notional" in line)
        assert ["unlimited", "15,000.00", "USD", "unlimited", "unlimited"] == line.split()[3:]
        client.submit("AAPL", BUY, 50)
        instance.settle()
        error = refused(client)
        assert ("position_limit", "strategy 0", "max_position_notional", "15,003.00 USD", "15,000.00 USD") == (
            error.check, error.scope, error.limit_name, error.value, error.limit,
        )  # fmt: skip
        assert (
            Decimal(15_000)
            == {limit.name: limit.value for limit in client.limits() if limit.scope == "strategy 0"}["max_position_notional"]
        )
        assert 1 == run(instance, "set-limit", "max_position_notional", "-3")
        assert "refused: max_position_notional" in capsys.readouterr().err


def test_ctl_account_and_strategies_are_told(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Equity, exposure and who holds which slot are on one screen each; --json has the same for programs."""
    with Client(instance.owner.launch.name, 1):
        assert 0 == run(instance, "account")
        text = " ".join(" ".join(said(capsys)).split())
        for words in ("trading ACTIVE", "equity 999,998.00 USD, balance 1,000,000.00", "unrealised -2.00",
                      "gross 10,002.00", "1 open position", "buying power unlimited"):  # fmt: skip
            assert words in text
        assert 0 == run(instance, "strategies")
        lines = said(capsys)
        assert ["free", "running", "free"] == [line.split()[1] for line in lines[1:]]
        assert 0 == run(instance, "--json", "strategies")
        rows = json.loads(capsys.readouterr().out)["strategies"]
        assert [1, 0, 0] == [row["positions"] for row in rows]
        assert MONEY.currency == rows[0]["currency"]


def test_ctl_strategy_that_kills_the_account_leaves_its_reason(instance: Served) -> None:
    """People see at once who pulled the switch, and why, and both are in the record."""
    with Client(instance.owner.launch.name, 0) as client, turning(instance):
        client.kill("prices make no sense")
        client.kill("again")
    assert "ALERT account is KILLED, by strategy 0" in instance.owner.told
    assert [f"strategy 0 killed the account: {why}" for why in ("prices make no sense", "again")] == texts(instance)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["halt", "--strategy", "1", "--symbol", "AAPL"], "not allowed with"),
        (["set-limit", "max_drawdown"], "required: VALUE"),
        (["cancel", "x"], "invalid int value"),
    ],
)
def test_ctl_command_line_that_is_wrong_says_so(
    instance: Served, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """One line with what is wrong, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        ctl(instance, *arguments)
    assert 2 == ended.value.code
    assert words in capsys.readouterr().err


def test_ctl_cancel_without_a_scope_asks_which(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A bare cancel does nothing: everything must be said."""
    assert 1 == run(instance, "cancel")
    assert "give an order's id, or strategy, or symbol, or all" in capsys.readouterr().err
    assert 0 == run(instance, "cancel", "--all")
    assert ["no working orders of account are being cancelled"] == said(capsys)
