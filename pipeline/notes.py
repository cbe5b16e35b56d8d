"""Who ordered what, and why: the ring of notes that the supervisor writes and the sidecar stores.

A command becomes a request in the ring requests.control, whose events tell what came of it; its note, which carries the
request's number, tells who asked. Nobody waits for a note: where the sidecar takes none any more it is lost, and people are
told.
"""

import time

import numpy as np

from pipeline.control_path import Peer
from pipeline.messages import NOTE, NOTE_SOURCES, NOTE_TEXT_BYTES
from shm.ring import FULL, claim, open_producer, open_ring, publish
from shm.segment import Segment

BY_CONTROL, BY_SIGNAL, BY_SUPERVISOR = (NOTE_SOURCES.index(name) for name in ("control", "signal", "supervisor"))


class Notes:
    """The writing end of the ring of notes, the supervisor's.

    Args:
        segment: The instance.
    """

    def __init__(self, segment: Segment) -> None:
        self._pen = open_producer(segment, open_ring(segment, "notes", NOTE))

    def write(self, text: str, source: int, peer: Peer, request: np.ndarray | None = None, request_id: int = 0) -> bool:
        """Write one note.

        Args:
            text: What was asked for, and why; cut where it is too long.
            source: BY_CONTROL, BY_SIGNAL or BY_SUPERVISOR.
            peer: Who asked.
            request: REQUEST that it became, shape (1,); None = it became none.
            request_id: That request's number.
        Returns:
            False where there is no room: it is lost.
        """
        seq = int(claim(self._pen, 1))
        if seq == FULL:
            return False
        slots = self._pen.ring.slots
        at = seq & (len(slots) - 1)
        slots[at : at + 1] = np.zeros(1, NOTE)
        note, data = slots[at], _cut(text)
        note["utc_ns"], note["request_id"], note["pid"], note["uid"] = time.time_ns(), request_id, peer.pid, peer.uid
        note["source"], note["length"] = source, len(data)
        note["text"][: len(data)] = np.frombuffer(data, np.uint8)
        if request is not None:
            note["scope"], note["kind"] = request["scope"][0], request["kind"][0]
        publish(self._pen)
        return True


def note_text(note: np.void) -> str:
    """Return the text of a NOTE."""
    return note["text"][: int(note["length"])].tobytes().decode("utf-8", "replace")


def _cut(text: str) -> bytes:
    """Return as much of a text as fits, in whole characters."""
    return text.encode("utf-8", "replace")[:NOTE_TEXT_BYTES].decode("utf-8", "ignore").encode()
