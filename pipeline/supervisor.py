"""Starts the processes of an instance, watches them, restarts them, and stops them in order.

Three signs of life: a pidfd tells an exit at once, the heartbeat tells a hang or a stop signal, the lock on the instance file
keeps a second supervisor out. All state is in shared memory and every stage takes up exactly where its predecessor stopped, so
one dead process is restarted by itself: those behind it only wait a moment. Its place is taken by a standby that has every
kernel loaded; where there is none yet, by a process that starts from nothing.

A worker that dies more often than `restart_limit` times within the window stays dead and halts entries; exits still leave.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.child import Child, ending
from pipeline.compilation import compile_kernels
from pipeline.control import Control
from pipeline.errors import LaunchError
from pipeline.instance import open_instance
from pipeline.launch import Launch
from pipeline.placement import HOT_WORKERS
from pipeline.safeguards import KillSwitch, Safeguards
from pipeline.topology import ENTRIES_ALLOWED, let_go
from pipeline.view import View, restart_word
from shm import heartbeat
from shm.heartbeat import Command, State
from shm.segment import Segment

#: How long the supervisor sleeps at most before it looks at the heartbeats, in seconds.
TURN_S = 0.05
#: The same while a process is being restarted.
AWAY_TURN_S = 0.005
#: Time for all workers to be READY, in seconds; on a machine under load imports alone take many.
READY_S = 90.0
#: A pause of our own (a suspended machine, a stopped supervisor) must not look like a hang of all the others.
OBSERVED_NS_MAX = 250_000_000
#: The sidecar may wait for its disk this many times longer than a worker of the hot path may wait for anything.
SIDECAR_PATIENCE = 10
#: Standbys that may die while they load before we go on without one.
STANDBY_FAILURES_MAX = 3
STANDBY = "standby"


class Watched:
    """What the supervisor remembers of one worker or strategy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.child: Child | None = None
        self.restarts: deque[int] = deque()
        self.died_ns = 0  #: monotonic; 0 = it is up
        self.seen = (0, 0, 0)  #: progress, beat and state when last looked at
        self.still_ns = 0  #: how long we have seen neither move
        self.is_given_up = False


class Supervisor:
    """One running instance.

    Args:
        launch: What was decided.
        tell: Called with each line that a person should read.
        on_turn: Called at least every TURN_S, for a status screen.
    """

    def __init__(self, launch: Launch, tell: Callable[[str], None], on_turn: Callable[[], None] = lambda: None) -> None:
        self.launch = launch
        self.tell = tell
        self.on_turn = on_turn
        self.watched = {name: Watched(name) for name in launch.seats}
        self.restart_ns_max = 0
        self.is_halted = False
        self.is_stopping = False
        self.stop_signals = 0
        self.stop_signal_name = ""
        self.kill_switch = KillSwitch()
        self._segment: Segment | None = None
        self._control: Control | None = None
        self._safeguards: Safeguards | None = None
        self._has_run = False
        self._selector = selectors.DefaultSelector()
        self._standby: Child | None = None
        self._standby_failures = 0
        self._observed_ns = time.monotonic_ns()

    @property
    def segment(self) -> Segment:
        """The mapped instance."""
        assert self._segment is not None, "open() comes first"
        return self._segment

    @property
    def control(self) -> Control:
        """The control socket."""
        assert self._control is not None, "open() comes first"
        return self._control

    def open(self) -> None:
        """Create the instance, or take over what a crash left of it, with its control socket, and compile what is not yet.

        Raises:
            SharedMemoryError: it runs already, does not fit, or was made by other code.
            UserError: what is left of it belongs to another feed, there can be no socket, or the kernels do not compile.
            KeyboardInterrupt: the person did not want to wait.
        """
        self._segment = open_instance(self.launch)
        self._control = Control(self._segment, self)
        compile_kernels(self.launch, self.tell, lambda: self.stop_signals > 0)
        self._control.warm_up()
        self._safeguards = Safeguards(self._segment, self._control, self.kill_switch)

    # ── Start ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start every process, wait until all workers are READY, and let them run.

        Raises:
            LaunchError: a worker does not get READY; the message has its last words.
            KeyboardInterrupt: the person did not want to wait.
        """
        for name in self.launch.seats:
            self._spawn(name)
        deadline = time.monotonic() + READY_S
        while waiting := [name for name in self.launch.seats if self.state(name) != State.READY]:
            self._look(TURN_S)
            for name in waiting:
                child = self._child(name)
                if child is None or child.process.poll() is not None:
                    raise self._not_ready(name, "ended before it was ready")
            if time.monotonic() > deadline:
                raise self._not_ready(waiting[0], f"is not ready after {READY_S:.0f} s")
            if self.stop_signals:
                raise KeyboardInterrupt
        self._has_run = True
        assert self._safeguards is not None, "open() comes first"
        if self.segment.was_warm:
            self._safeguards.begin(int(name.removeprefix("strategy")) for name in self.launch.strategies)
        for name in (*self.launch.strategies, *reversed(self.launch.workers)):
            self.command(name, Command.RUN)
        self._observed_ns = time.monotonic_ns()
        self._start_standby()
        self.control.listen(self._selector)
        self.kill_switch.listen(self._selector)

    def _spawn(self, name: str) -> None:
        """Start a process that begins from nothing."""
        incarnation = str(int(self._words(name)[heartbeat.INCARNATION]))
        if name in self.launch.strategies:
            module, slot = self.launch.strategies[name], name.removeprefix("strategy")
            child = Child(name, module, [self.launch.name, slot, incarnation], self._log(name))
        else:
            child = Child(name, "pipeline.worker", [name, self.launch.name, incarnation], self._log(name))
        self._watch(name, child)

    def _watch(self, name: str, child: Child) -> None:
        self.watched[name].child = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, name)

    def _start_standby(self) -> None:
        """Start a warm process in the background, unless there is one."""
        wanted = self.launch.config.supervisor.standby and not self.is_stopping
        if wanted and self._standby is None and self._standby_failures < STANDBY_FAILURES_MAX:
            self._standby = Child(STANDBY, "pipeline.worker", ["--standby", self.launch.name], self._log(STANDBY), talks=True)
            self._selector.register(self._standby.pidfd, selectors.EVENT_READ, STANDBY)

    def _not_ready(self, name: str, what: str) -> LaunchError:
        child = self.watched[name].child
        assert child is not None, "it was started"
        return LaunchError(f"{name} {what}: {child.last_words()}", str(child.log), "read the log")

    def _log(self, name: str) -> Path:
        return self.launch.log_folder / f"{name}.log"

    # ── Watching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def turn(self, timeout_s: float = TURN_S) -> None:
        """Wait a little for exits and commands, then restart what died, answer, kill what hangs, and beat."""
        is_away = any(watched.died_ns for watched in self.watched.values())
        exited = self._look(self.control.turn_s(min(timeout_s, AWAY_TURN_S) if is_away else timeout_s))
        assert self._safeguards is not None, "open() comes first"
        # Before a strategy that died has a successor, whose orders must not go with its own.
        self._safeguards.turn()
        for name in exited:
            self._on_exit(name)
        self.control.turn()
        now_ns = time.monotonic_ns()
        observed_ns = min(now_ns - self._observed_ns, OBSERVED_NS_MAX)
        self._observed_ns = now_ns
        for name in self.launch.workers:
            self._watch_hang(self.watched[name], observed_ns)
        for watched in self.watched.values():
            self._see_return(watched)
        own = self._words("supervisor")
        own[heartbeat.PROGRESS] += 1
        own[heartbeat.BEAT_NS], own[heartbeat.CPU_NS] = now_ns, time.process_time_ns()
        self.on_turn()

    def _look(self, timeout_s: float) -> list[str]:
        """Have the control socket take what has come, and return the names of those whose exit shows."""
        exited = []
        for key, events in self._selector.select(timeout_s):
            if isinstance(key.data, str):
                exited.append(key.data)
            else:
                key.data(events)
        return exited

    def _on_exit(self, name: str) -> None:
        """Let go of a process that ended, and decide what follows."""
        if name == STANDBY:
            assert self._standby is not None, "it was registered"
            self._selector.unregister(self._standby.pidfd)
            self._standby.reap()
            self._standby = None
            self._standby_failures += 1
            self._start_standby()
            return
        watched = self.watched[name]
        assert watched.child is not None, "it was registered"
        self._selector.unregister(watched.child.pidfd)
        code = watched.child.reap()
        child, watched.child = watched.child, None
        if self._words(name)[heartbeat.COMMAND] == Command.STOP:
            return
        now_ns = time.monotonic_ns()
        watched.died_ns = now_ns
        supervisor = self.launch.config.supervisor
        while watched.restarts and now_ns - watched.restarts[0] > supervisor.restart_window_ns:
            watched.restarts.popleft()
        told = f"{name} {ending(code)}" + (f" ({child.last_words()})" if code > 0 else "")
        if len(watched.restarts) >= supervisor.restart_limit:
            self._give_up(watched, told)
            return
        watched.restarts.append(now_ns)
        self.tell(f"{told}: restarting it")
        self._restart(watched)

    def _restart(self, watched: Watched) -> None:
        """Fence the dead process off and put another one in its place, the standby where there is one."""
        name = watched.name
        words = self._words(name)
        words[heartbeat.INCARNATION] += 1
        words[heartbeat.STATE] = State.NONE
        self.segment.array("supervisor.state")[restart_word(name)] += 1
        watched.seen, watched.still_ns = (0, 0, 0), 0
        standby = self._standby
        if standby is not None and name in self.launch.workers:
            order = {"name": name, "incarnation": int(words[heartbeat.INCARNATION]), "log": str(self._log(name).absolute())}
            self._selector.unregister(standby.pidfd)
            self._standby = None
            standby.name = name
            standby.log_into(self._log(name))
            # A standby that died this very moment shows on its pidfd, now as this worker, and is replaced in turn.
            standby.say(json.dumps(order))
            self._watch(name, standby)
        else:
            self._spawn(name)

    def _give_up(self, watched: Watched, told: str) -> None:
        """Leave a process dead that dies too often; without a worker nothing new may be risked."""
        watched.is_given_up = True
        window_s = self.launch.config.supervisor.restart_window_seconds
        told += f", more than {self.launch.config.supervisor.restart_limit} times within {window_s} s: it stays down"
        if watched.name in self.launch.strategies:
            self.let_go(watched.name)
            self.tell(f"ALERT {told}; its positions keep their stops")
            return
        self.is_halted = True
        self.block_entries()
        self.tell(f"ALERT {told}; HALTED: entries are blocked, all else goes on")

    def _watch_hang(self, watched: Watched, observed_ns: int) -> None:
        """Kill a worker that neither moves, comes back to Python nor gets on with its start; its exit then restarts it."""
        words = self._words(watched.name)
        seen = (int(words[heartbeat.PROGRESS]), int(words[heartbeat.BEAT_NS]), int(words[heartbeat.STATE]))
        if watched.child is None or seen != watched.seen or seen[2] > State.DRAINED:
            watched.seen, watched.still_ns = seen, 0
            return
        watched.still_ns += observed_ns
        if watched.still_ns > self._patience_ns(watched.name, State(seen[2])):
            self.tell(f"{watched.name} has not moved for {watched.still_ns / 1e9:.1f} s: killing it")
            watched.still_ns = 0
            watched.child.kill()

    def _patience_ns(self, name: str, state: State) -> int:
        """Return how long a worker may stand still in this state: one that still loads has as long as at the first start."""
        if state < State.READY:
            return int(READY_S * 1e9)
        return self.launch.config.workers.hang_after_ns * (1 if name in HOT_WORKERS else SIDECAR_PATIENCE)

    def _see_return(self, watched: Watched) -> None:
        """Tell when a restarted process runs again, and how long it was away; then prepare for the next death."""
        if watched.died_ns and self.state(watched.name) in (State.RUNNING, State.DRAINED):
            away_ns = time.monotonic_ns() - watched.died_ns
            watched.died_ns = 0
            self.restart_ns_max = max(self.restart_ns_max, away_ns)
            self.tell(f"{watched.name} is back after {away_ns / 1e9:.2f} s")
            self._start_standby()

    # ── What the drain and the screen need ───────────────────────────────────────────────────────────────────────────

    def view(self) -> View:
        """Return a reader of everything that the instance shows."""
        return View(self.segment)

    def state(self, name: str) -> State:
        """Return the state that a process says it is in."""
        return State(int(self._words(name)[heartbeat.STATE]))

    def command(self, name: str, command: Command) -> None:
        """Tell a process what to do; it sees it within one turn of its kernel."""
        self._words(name)[heartbeat.COMMAND] = command

    def is_up(self, name: str) -> bool:
        """Tell whether there is a process of this name."""
        return self._child(name) is not None

    def pids(self) -> dict[str, int]:
        """Return the pids of all processes that are up, ours included."""
        children = {name: watched.child for name, watched in self.watched.items()} | {STANDBY: self._standby}
        return {"supervisor": os.getpid()} | {name: child.pid for name, child in children.items() if child is not None}

    def is_lost(self, name: str) -> bool:
        """Tell whether a process died too often and stays down."""
        return self.watched[name].is_given_up

    def block_entries(self) -> None:
        """Let nothing leave from now on but exits."""
        self.segment.array("supervisor.state")[ENTRIES_ALLOWED] = 0

    def take_back_orders(self) -> None:
        """Take back what works for strategies; exits go on."""
        assert self._safeguards is not None, "open() comes first"
        self._safeguards.end()

    def let_go(self, strategy: str) -> None:
        """Stop waiting for a strategy that reads no more."""
        let_go(self.segment, strategy, self.launch.sizes.strategies)

    def kill(self, name: str) -> None:
        """Kill a process for good."""
        self.command(name, Command.STOP)
        if (child := self._child(name)) is not None:
            child.kill()

    def terminate(self, name: str) -> None:
        """Send SIGTERM, which counts as the command STOP and interrupts a sleep."""
        if (child := self._child(name)) is not None:
            child.send(signal.SIGTERM)

    def dismiss_standby(self) -> None:
        """Stop keeping a standby."""
        self.is_stopping = True
        if self._standby is not None:
            self._standby.kill()

    def close(self) -> None:
        """Kill and reap what is left, remove the socket, and the instance file unless a crash left it and nothing ran since."""
        self.is_stopping = True
        # While we hold the instance: from then on the path may be another's.
        for part in (self._control, self._safeguards, self.kill_switch):
            if part is not None:
                part.close()
        children = [watched.child for watched in self.watched.values() if watched.child is not None]
        for child in [*children, *([self._standby] if self._standby is not None else [])]:
            child.kill()
            try:
                child.reap(5.0)
            except subprocess.TimeoutExpired:
                self.tell(f"{child.name} (pid {child.pid}) does not die: the kernel holds it")
        self._selector.close()
        if self._segment is not None:
            # What a crash left is not ours to drop before a run has made something of it.
            if self._has_run or not self._segment.was_warm:
                self._segment.unlink()
            self._segment.close()
            self._segment = None

    def _child(self, name: str) -> Child | None:
        return self.watched[name].child

    def _words(self, name: str) -> np.ndarray:
        return self.segment.array(f"{name}.heartbeat")
