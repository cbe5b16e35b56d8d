"""Segments of real files for the tests of the mechanism."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from shm.layout import Region
from shm.segment import Segment, finish, open_owned

MakeSegment = Callable[[Sequence[Region]], Segment]


@pytest.fixture
def make_segment(instance_name: str) -> Iterator[MakeSegment]:
    """Return a function that makes the test's own instance file; the file is gone after the test."""
    made: list[Segment] = []

    def make(regions: Sequence[Region]) -> Segment:
        segment = open_owned(instance_name, regions)
        finish(segment)
        made.append(segment)
        return segment

    yield make
    for segment in made:
        segment.close()
        segment.unlink()
