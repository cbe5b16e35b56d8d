"""The way in which people act on a running instance: a Unix socket that the supervisor serves.

Its parts: `control_path` says where the socket lies, `control_server` moves lines, `control_protocol` reads and writes them,
`control_commands` is the table of what can be asked, `control_tables` what is told. Here they meet, and here a change waits
for risk: it goes out as a request in the ring requests.control, and its answer is looked for among the events, turn by turn.
"""

import selectors
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.client_errors import RequestsFull
from pipeline.client_kernels import send_request, warm_up_sending
from pipeline.control_commands import Answer, Asked, Command, Owner, Place, Steps, command_of
from pipeline.control_path import Peer, socket_path
from pipeline.control_protocol import ControlError, failure, id_of, parse_line
from pipeline.control_server import ControlServer, Reply
from pipeline.errors import StoplineError, one_line
from pipeline.messages import EVENT, REJECT_STOP_CROSSED, REQUEST, REQUEST_REFUSED
from pipeline.request_answers import Answers
from pipeline.stop_refusals import NoAnswer, Subject, refusal
from pipeline.stop_request import market_text
from pipeline.stop_terms import rules_of
from pipeline.topology import CONTROL, reader_index
from pipeline.view import View
from shm.ring import CURSOR, FULL, MISSED, STRIDE, RingView, open_producer, open_ring
from shm.segment import Segment

#: How long risk may take to answer.
ANSWER_NS = 2_000_000_000
#: The supervisor's turn while an answer is awaited, in seconds.
WAITING_TURN_S = 0.001


@dataclass
class Pending:
    """A command whose request is on the way."""

    asked: Asked
    command: Command
    steps: Steps
    peer: Peer
    reply: Reply
    request: np.ndarray
    subject: Subject
    deadline_ns: int


class Control:
    """The control socket of one instance.

    Args:
        segment: The instance, which this process owns.
        owner: The supervisor.
    Raises:
        LaunchError: The socket cannot be made.
    """

    def __init__(self, segment: Segment, owner: Owner) -> None:
        view = View(segment)
        self._place = Place(view, rules_of(view.about, view.instruments), owner)
        requests = open_ring(segment, f"requests.{CONTROL}", REQUEST)
        self._pen = open_producer(segment, requests)
        strategies = view.sizes.strategies
        events = open_ring(segment, "events", EVENT)
        self._answers = Answers(RingView(events), strategies)
        self._event_words = events.words
        self._reader = reader_index("events", "supervisor", strategies)
        self._pending: dict[int, Pending] = {}
        self._server = ControlServer(socket_path(owner.launch.name), self.handle)

    def warm_up(self) -> None:
        """Load the kernels that send and that read stops, so that no turn of the supervisor waits for them."""
        warm_up_sending()
        self._place.view.stops()

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Begin to serve; see ControlServer.listen."""
        self._server.listen(selector)

    def turn_s(self, timeout_s: float) -> float:
        """Return how long the supervisor's next turn may wait, `timeout_s` at most."""
        if self._server.is_busy:
            return 0.0
        return min(timeout_s, WAITING_TURN_S) if self._pending else timeout_s

    def turn(self) -> None:
        """Look for answers of risk, give up what is overdue, and take the next questions."""
        self._look_for_answers()
        now_ns = time.monotonic_ns()
        for request_id, pending in list(self._pending.items()):
            if now_ns > pending.deadline_ns:
                del self._pending[request_id]
                self._end(pending, NoAnswer(pending.subject.where, ANSWER_NS / 1e9))
        self._server.turn()

    def close(self) -> None:
        """Stop serving, and remove the socket."""
        self._server.close()

    def handle(self, line: bytes, peer: Peer, reply: Reply) -> None:
        """Answer one line, now or when risk has.

        Args:
            line: A question, without its end of line.
            peer: Who asks.
            reply: Takes the answer.
        """
        asked = Asked({})
        try:
            asked = Asked(parse_line(line))
            command = command_of(asked)
            result = command.run(self._place, asked)
            if isinstance(result, Generator):
                request, subject = next(result)
                self._send(Pending(asked, command, result, peer, reply, request, subject, time.monotonic_ns() + ANSWER_NS))
            else:
                reply(_answer(asked, result))
        except StoplineError as error:
            reply(_answer(asked, error))
        except Exception as error:
            # A defect of ours; it must not end the supervisor, and with it every process of the instance.
            reply(_answer(asked, self._defect(error)))

    # ── Requests and their answers ───────────────────────────────────────────────────────────────────────────────────

    def _send(self, pending: Pending) -> None:
        seq = int(send_request(self._pen, pending.request.view(np.int64)))
        if seq == FULL:
            raise RequestsFull(len(self._pen.ring.slots))
        self._pending[seq + 1] = pending

    def _look_for_answers(self) -> None:
        """Take note of new events. Nobody waits for this reading end; its words tell people how far it is."""
        found = self._answers.read()
        base = STRIDE * self._reader
        self._event_words[CURSOR + base], self._event_words[MISSED + base] = self._answers.at, self._answers.missed
        for request_id in np.unique(found["request_id"]).tolist():
            pending = self._pending.pop(request_id, None)
            if pending is not None:
                self._take(pending, found[found["request_id"] == request_id])

    def _take(self, pending: Pending, events: np.ndarray) -> None:
        """Go on with a command whose request is answered; it may have another one."""
        subject = pending.subject
        if events[0]["kind"] == REQUEST_REFUSED:
            reason = int(events[0]["reason"])
            if reason == REJECT_STOP_CROSSED:
                market = market_text(self._place.rules.instruments, pending.request, self._place.view.marks())
                subject = subject._replace(limit=market)
            self._end(pending, refusal(reason, subject))
            return
        try:
            pending.request, pending.subject = pending.steps.send(events)
            pending.deadline_ns = time.monotonic_ns() + ANSWER_NS
            self._send(pending)
        except StopIteration as end:
            self._end(pending, end.value)
        except StoplineError as error:
            self._end(pending, error)
        except Exception as error:
            # As in `handle`.
            self._end(pending, self._defect(error))

    def _end(self, pending: Pending, result: Answer | StoplineError) -> None:
        """Answer a command that waited, and tell people what was changed."""
        pending.steps.close()
        if pending.command.changes and not isinstance(result, StoplineError):
            self._place.owner.tell(f"{result['text']} (control, pid {pending.peer.pid})")
        pending.reply(_answer(pending.asked, result))

    def _defect(self, error: Exception) -> StoplineError:
        text = one_line(f"{type(error).__name__}: {error}")
        self._place.owner.tell(f"ALERT a control command failed, {text}: a defect, please report it")
        return ControlError(f"the command failed, {text}", "this is a defect: please report it", "defect")


def _answer(asked: Asked, result: Answer | StoplineError) -> Mapping[str, Any]:
    """Return what goes out: what was asked, whether it was done, and the rest."""
    is_done = not isinstance(result, StoplineError)
    told: Answer = {"ok": is_done}
    command, given = asked.fields.get("command"), id_of(asked.fields)
    if isinstance(command, str):
        told["command"] = one_line(command[:60])
    if given is not None:
        told["id"] = given
    return told | (result if not isinstance(result, StoplineError) else {"error": failure(result)})
