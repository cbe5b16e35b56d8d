"""The way in which people act on a running instance: a Unix socket that the supervisor serves.

Its parts: `control_path` says where the socket lies, `control_server` moves lines, `control_protocol` reads and writes them,
`control_commands` is the table of what can be asked, `control_tables` what is told. Here they meet, and here a change waits
for risk: it goes out as a request in the ring requests.control, and its answer is looked for among the events, turn by turn.
"""

import os
import selectors
import time
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.client_errors import RequestsFull
from pipeline.client_kernels import send_request, warm_up_sending
from pipeline.control_asked import Answer, Asked, Owner, Place, Step, Steps
from pipeline.control_commands import Command, command_of
from pipeline.control_path import Peer, socket_path
from pipeline.control_protocol import ControlError, failure, id_of, parse_line
from pipeline.control_server import ControlServer, Reply
from pipeline.errors import StoplineError, one_line
from pipeline.messages import EVENT, KILLED, REQUEST, REQUEST_REFUSED, TRADING_STATES
from pipeline.notes import BY_CONTROL, BY_SUPERVISOR, Notes
from pipeline.request_answers import Answers, answers_to
from pipeline.scopes import Scopes
from pipeline.state_lines import state_lines
from pipeline.stop_refusals import NoAnswer
from pipeline.stop_terms import rules_of
from pipeline.topology import CONTROL, reader_index
from pipeline.view import View
from shm.ring import CURSOR, FULL, MISSED, STRIDE, RingView, open_producer, open_ring
from shm.segment import Segment

#: How long risk may take to answer.
ANSWER_NS = 2_000_000_000
#: The supervisor's turn while an answer is awaited, in seconds.
WAITING_TURN_S = 0.001
#: Events that are looked at in one turn while no answer is awaited: the rest is passed over, a storm is no reason to be late.
EVENTS_MAX = 4096


@dataclass
class Pending:
    """A command whose request is on the way, or waits for room in the ring."""

    steps: Steps
    step: Step
    source: int  #: NOTE_SOURCES
    peer: Peer
    asked: Asked = field(default_factory=lambda: Asked({}))
    command: Command | None = None  #: None = the supervisor's own
    reply: Reply | None = None
    deadline_ns: int = 0


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
        scopes = Scopes(view.sizes, view.instruments)
        self.place = Place(view, rules_of(view.about, view.instruments), scopes, owner)
        requests = open_ring(segment, f"requests.{CONTROL}", REQUEST)
        self._pen = open_producer(segment, requests)
        self._notes = Notes(segment)
        self._requester = view.sizes.strategies
        events = open_ring(segment, "events", EVENT)
        self._answers = Answers(RingView(events), self._requester)
        self._event_words = events.words
        self._reader = reader_index("events", "supervisor", view.sizes.strategies)
        self._pending: dict[int, Pending] = {}
        self._own: deque[Pending] = deque()
        self._server = ControlServer(socket_path(owner.launch.name), self.handle)

    def warm_up(self) -> None:
        """Load the kernels that send and that read stops, so that no turn of the supervisor waits for them."""
        warm_up_sending()
        self.place.view.stops()

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Begin to serve; see ControlServer.listen."""
        self._server.listen(selector)

    def turn_s(self, timeout_s: float) -> float:
        """Return how long the supervisor's next turn may wait, `timeout_s` at most."""
        if self._server.is_busy:
            return 0.0
        return min(timeout_s, WAITING_TURN_S) if self._pending or self._own else timeout_s

    def turn(self) -> None:
        """Look for answers of risk, give up what is overdue, send what the supervisor ordered, and take the next questions."""
        self._look_for_answers()
        now_ns = time.monotonic_ns()
        for request_id, pending in list(self._pending.items()):
            if now_ns > pending.deadline_ns:
                del self._pending[request_id]
                self._end(pending, NoAnswer(pending.step.where, ANSWER_NS / 1e9))
        self._send_own()
        self._server.turn()

    def close(self) -> None:
        """Stop serving, and remove the socket."""
        self._server.close()

    def order(self, steps: Steps, source: int = BY_SUPERVISOR) -> None:
        """Have the supervisor's own order carried out. It is sent at once, or as soon as the ring has room: none is lost.

        Args:
            steps: Of one request; its answer's "text" is told to people.
            source: NOTE_SOURCES: what caused it.
        """
        self._own.append(Pending(steps, next(steps), source, Peer(os.getpid(), os.geteuid())))
        self._send_own()

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
            result = command.run(self.place, asked)
            if isinstance(result, Generator):
                self._send(Pending(result, next(result), BY_CONTROL, peer, asked, command, reply))
            else:
                if command.changes:
                    self._note(result["text"], BY_CONTROL, peer)
                    self._tell(result["text"], peer)
                reply(_answer(asked, result))
        except StoplineError as error:
            reply(_answer(asked, error))
        except Exception as error:
            # A defect of ours; it must not end the supervisor, and with it every process of the instance.
            reply(_answer(asked, self._defect(error)))

    # ── Requests and their answers ───────────────────────────────────────────────────────────────────────────────────

    def _send(self, pending: Pending) -> None:
        """Write the request of a command's step, and its note."""
        step = pending.step
        seq = int(send_request(self._pen, step.request.view(np.int64)))
        if seq == FULL:
            raise RequestsFull(len(self._pen.ring.slots))
        pending.deadline_ns = time.monotonic_ns() + ANSWER_NS
        self._pending[seq + 1] = pending
        self._note(step.note, pending.source, pending.peer, step.request, seq + 1)

    def _send_own(self) -> None:
        """Send what the supervisor ordered, in its order, as far as there is room."""
        while self._own:
            try:
                self._send(self._own[0])
            except RequestsFull:
                return
            self._own.popleft()

    def _note(self, text: str, source: int, peer: Peer, request: np.ndarray | None = None, request_id: int = 0) -> None:
        if not self._notes.write(text, source, peer, request, request_id):
            self.place.owner.tell(f"ALERT the record of commands is full, so this is in the log alone: {text}, pid {peer.pid}")

    def _look_for_answers(self) -> None:
        """Take note of new events. Nobody waits for this reading end; its words tell people how far it is."""
        if not self._pending:
            self._answers.pass_over(EVENTS_MAX)
        events = self._answers.read_all()
        for line in state_lines(events, self.place.scopes, self.place.view.units, self._requester):
            self.place.owner.tell(line)
        found = self._answers.of_requester(events)
        for request_id in np.unique(found["request_id"]).tolist():
            pending = self._pending.get(request_id)
            answers = found[:0] if pending is None else answers_to(pending.step.request, found, request_id)
            if pending is not None and len(answers):
                del self._pending[request_id]
                self._take(pending, answers)
        base = STRIDE * self._reader
        self._event_words[CURSOR + base], self._event_words[MISSED + base] = self._answers.at, self._answers.missed

    def _take(self, pending: Pending, events: np.ndarray) -> None:
        """Go on with a command whose request is answered; it may have another one."""
        try:
            if events[0]["kind"] == REQUEST_REFUSED:
                self._end(pending, pending.step.refuse(events[0]))
                return
            pending.step = pending.steps.send(events)
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
        if pending.command is None:
            failed = f"ALERT {pending.step.note}: {one_line(str(result))}"
            self.place.owner.tell(failed if isinstance(result, StoplineError) else result["text"])
        elif pending.command.changes and not isinstance(result, StoplineError):
            # Whoever looks at alerts alone must see this one.
            alert = "ALERT " if result.get("state") == TRADING_STATES[KILLED] else ""
            self._tell(f"{alert}{result['text']}", pending.peer)
        if pending.reply is not None:
            pending.reply(_answer(pending.asked, result))

    def _tell(self, text: str, peer: Peer) -> None:
        self.place.owner.tell(f"{text} (control, pid {peer.pid})")

    def _defect(self, error: Exception) -> StoplineError:
        text = one_line(f"{type(error).__name__}: {error}")
        self.place.owner.tell(f"ALERT a control command failed, {text}: a defect, please report it")
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
