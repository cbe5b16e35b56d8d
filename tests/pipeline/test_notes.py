"""Notes of who ordered what: each is whole, in order, and cut in whole characters; a full ring loses the newest and says so."""

import pytest

from pipeline.control_path import Peer
from pipeline.messages import NOTE, NOTE_TEXT_BYTES, SET_STATE
from pipeline.notes import BY_CONTROL, BY_SIGNAL, Notes, note_text
from pipeline.trading_request import state_request
from shm import ring
from tests.pipeline.client_instance import SIZES, running

pytestmark = pytest.mark.jitless


@pytest.fixture
def instance(instance_name):
    """Return an instance."""
    with running(instance_name) as instance:
        yield instance


def test_notes_carry_who_what_and_why(instance):
    """Text, source, caller and request come back as they were written."""
    notes = Notes(instance.segment)
    assert notes.write("halt strategy 1: Ärger", BY_CONTROL, Peer(4711, 1000), state_request(2, 2), 9)
    assert notes.write("x", BY_SIGNAL, Peer(1, 0))
    first, second = instance.records("notes", NOTE)
    assert ("halt strategy 1: Ärger", BY_CONTROL, 4711, 1000, 2, SET_STATE, 9) == (
        note_text(first), *(int(first[name]) for name in ("source", "pid", "uid", "scope", "kind", "request_id")),
    )  # fmt: skip
    assert ("x", 0, 0) == (note_text(second), second["request_id"], second["kind"])
    assert 0 < first["utc_ns"] <= second["utc_ns"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a" * NOTE_TEXT_BYTES, "a" * NOTE_TEXT_BYTES),
        ("a" * (NOTE_TEXT_BYTES + 1), "a" * NOTE_TEXT_BYTES),
        ("a" * (NOTE_TEXT_BYTES - 1) + "é", "a" * (NOTE_TEXT_BYTES - 1)),
        ("a" * (NOTE_TEXT_BYTES - 2) + "é", "a" * (NOTE_TEXT_BYTES - 2) + "é"),
        ("\ud800", "?"),
    ],
)
def test_notes_cut_a_long_text_between_characters(instance, text, expected):
    """No half character is kept, and nothing that cannot be read back."""
    Notes(instance.segment).write(text, BY_CONTROL, Peer(1, 2))
    (note,) = instance.records("notes", NOTE)
    assert expected == note_text(note)


def test_notes_find_room_again_once_they_are_read(instance):
    """A full ring writes over nothing; the writer goes on where a reader has made room."""
    notes = Notes(instance.segment)
    assert all(notes.write(str(k), BY_CONTROL, Peer(1, 2)) for k in range(SIZES.notes))
    assert not notes.write("lost", BY_CONTROL, Peer(1, 2))
    reader = ring.open_reader(ring.open_ring(instance.segment, "notes", NOTE), 0)
    ring.advance(reader, 1)
    assert notes.write("kept", BY_CONTROL, Peer(1, 2))
    texts = [note_text(note) for note in instance.records("notes", NOTE)]
    assert ["1", "kept"] == [texts[0], texts[-1]]
