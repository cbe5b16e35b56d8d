"""The index of order ids against a dict: it knows exactly the ids of its table's rows, however they came and went."""

import numpy as np
import pytest

from pipeline.order_index import NOT_SEEN, forget, make_index, recall, remember
from shm.jit import njit

pytestmark = pytest.mark.jitless

ROWS = 8


@njit
def apply(index, actions, answers):
    """Do what each action says: (0 recall, 1 remember, 2 forget), id, row."""
    for k in range(actions.shape[0]):
        action, order_id, row = actions[k, 0], actions[k, 1], actions[k, 2]
        answers[k] = NOT_SEEN
        if action == 0:
            answers[k] = recall(index, order_id)
        elif action == 1:
            remember(index, order_id, row)
        else:
            forget(index, order_id, row)


def random_actions(rng: np.random.Generator, ids: np.ndarray, count: int) -> tuple[np.ndarray, list[int]]:
    """Return actions of a table whose rows change hands, and the answers of a dict."""
    actions = np.zeros((count, 3), np.int64)
    known: dict[int, int] = {}
    answers = []
    for k in range(count):
        order_id, row = int(rng.choice(ids)), int(rng.integers(ROWS))
        action = int(rng.integers(3))
        holder = next((other for other, of in known.items() if of == row), None)
        if action == 1 and (order_id in known or holder is not None):
            action = 0 if holder is None else 2
            order_id = order_id if holder is None else holder
        if action == 1:
            known[order_id] = row
        elif action == 2 and known.get(order_id) == row:
            del known[order_id]
        actions[k] = action, order_id, row
        answers.append(known.get(order_id, NOT_SEEN) if action == 0 else NOT_SEEN)
    return actions, answers


@pytest.mark.parametrize("seed", range(20))
def test_index_of_rows_that_change_hands_answers_as_a_dict(seed: int) -> None:
    """Ids that share a place, negative ids, the id 0, rows freed in any order: never a wrong row, none forgotten."""
    rng = np.random.default_rng(seed)
    ids = np.array([0, -1, 1, 2, 3, *(1 << 62 | rng.integers(0, 1 << 40, 6)), *rng.integers(-(1 << 62), 1 << 62, 6)])
    actions, expected = random_actions(rng, ids, 400)
    answers = np.zeros(len(actions), np.int64)
    apply(make_index(ROWS), actions, answers)
    assert expected == answers.tolist()
    assert len(set(expected)) > ROWS // 2


def test_index_after_its_rows_have_come_and_gone_is_empty() -> None:
    """What is forgotten leaves no trace that a search would have to walk over."""
    index = make_index(ROWS)
    actions = [(action, 17 * turn, turn % ROWS) for turn in range(1_000) for action in (1, 2)]
    apply(index, np.array(actions, np.int64), np.zeros(len(actions), np.int64))
    assert (index.rows == NOT_SEEN).all()
