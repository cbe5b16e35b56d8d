"""One instance file: make, attach, take over, refuse by name, leave nothing."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shm.errors import InstanceMissing, LayoutMismatch, NoAccess, NoRoom
from shm.layout import HEADER, MAGIC, PAGE, PAIR, REGION, Region, directory_of
from shm.segment import SHM_FOLDER, Segment, attach, finish, instance_path, open_owned, open_private, owner_pid

pytestmark = pytest.mark.jitless

WORDS = np.dtype(np.int64)
PAIR_RECORD = np.dtype([("a", "i8"), ("b", "i8")], align=True)
OTHER_RECORD = np.dtype([("a", "i8"), ("c", "i8")], align=True)
REGIONS = [Region("words", WORDS, 5), Region("pairs", PAIR_RECORD, 3), Region("text", np.dtype(np.uint8), 7)]


def make(name: str, fresh: bool = False) -> Segment:
    """Make or take over an instance, and finish it."""
    segment = open_owned(name, REGIONS, fresh)
    finish(segment)
    return segment


def crash(segment: Segment) -> None:
    """Let go of the file as a killed process does: the lock is gone, the file stays."""
    segment.close()


@pytest.fixture
def path(instance_name: str) -> Iterator[Path]:
    """Return the test's file, and remove it afterwards."""
    yield instance_path(instance_name)
    instance_path(instance_name).unlink(missing_ok=True)


def set_header(path: Path, field: str, value: object) -> None:
    """Change one field of a file's header."""
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data, HEADER, 1)
    header[field] = value
    path.write_bytes(data)


def test_open_private_instance_holds_its_regions_and_has_no_name() -> None:
    """An instance without a name is laid out as any other, is in no folder, and outlives its descriptor."""
    before = set(SHM_FOLDER.iterdir())
    segment = open_private(REGIONS)
    finish(segment)
    segment.close()
    assert set(SHM_FOLDER.iterdir()) <= before
    assert ["words", "pairs", "text"] == segment.region_names()
    segment.array("words")[:] = 7
    assert 7 == segment.memory[segment.base("words") + 4]


def test_open_private_larger_than_the_folder_is_refused() -> None:
    """What /dev/shm cannot hold is refused as for an instance with a name, and nothing is left open."""
    status = os.statvfs(SHM_FOLDER)
    open_count = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NoRoom, match="MiB are free"):
        open_private([Region("words", WORDS, status.f_blocks * status.f_frsize // 8 + 1)])
    assert open_count == len(list(Path("/proc/self/fd").iterdir()))


def test_open_owned_new_file_lays_the_regions_out_apart(instance_name: str, path: Path) -> None:
    """Regions start on pairs of cache lines, are zero, and the file is the owner's alone, in whole pages."""
    segment = make(instance_name)
    status = path.stat()
    assert (0o600, segment.size_bytes, 0) == (stat.S_IMODE(status.st_mode), status.st_size, status.st_size % PAGE)
    assert ["words", "pairs", "text"] == segment.region_names()
    assert [0, 0, 0] == [segment.base(name) * 8 % PAIR for name in segment.region_names()]
    assert [5, 3, 7] == [len(segment.array(*item)) for item in (("words", WORDS), ("pairs", PAIR_RECORD), ("text", np.uint8))]
    assert ("words" in segment, "none" in segment, segment.was_warm) == (True, False, False)
    assert status.st_blocks * 512 >= segment.size_bytes, "memory is reserved now: no SIGBUS later"


def test_array_and_memory_are_the_same_bytes(instance_name: str, path: Path) -> None:
    """A transaction finds a region's word at its base."""
    segment = make(instance_name)
    segment.array("pairs", PAIR_RECORD)["b"][1] = 42
    assert 42 == segment.memory[segment.base("pairs") + 3]


def test_attach_sees_what_the_owner_stores_and_the_other_way(instance_name: str, path: Path) -> None:
    """Both map the same memory."""
    segment = make(instance_name)
    other = attach(instance_name)
    segment.array("words")[2] = 5
    other.array("words")[3] = 6
    assert [0, 0, 5, 6, 0] == other.array("words").tolist() == segment.array("words").tolist()
    assert (segment.epoch, os.getpid()) == (other.epoch, owner_pid(instance_name))


def test_attach_before_finish_is_refused(instance_name: str, path: Path) -> None:
    """A file whose tables are not filled is nobody's instance yet."""
    segment = open_owned(instance_name, REGIONS)
    with pytest.raises(InstanceMissing, match="not a finished instance file"):
        attach(instance_name)
    finish(segment)
    assert 3 == len(attach(instance_name).region_names())


def test_attach_without_a_file_names_the_instance(instance_name: str) -> None:
    """The message tells which instance is missing, and what starts it."""
    with pytest.raises(InstanceMissing, match=f"no instance '{instance_name}'.*tools/run.py"):
        attach(instance_name)
    assert 0 == owner_pid(instance_name)


def test_open_owned_after_a_crash_takes_over_what_is_there(instance_name: str, path: Path) -> None:
    """A warm restart: the same file, the same epoch, the same words."""
    segment = make(instance_name)
    segment.array("words")[0] = 77
    crash(segment)
    assert 0 == owner_pid(instance_name)
    again = make(instance_name)
    assert (True, 77, segment.epoch) == (again.was_warm, int(again.array("words")[0]), again.epoch)


def test_open_owned_fresh_leaves_the_old_file_to_who_has_it(instance_name: str, path: Path) -> None:
    """A new file of another epoch, empty; the old mapping stays usable and apart."""
    segment = make(instance_name)
    segment.array("words")[0] = 77
    old = attach(instance_name)
    crash(segment)
    again = make(instance_name, fresh=True)
    old.array("words")[1] = 78
    assert (False, [0] * 5) == (again.was_warm, again.array("words").tolist())
    assert [77, 78, 0, 0, 0] == old.array("words").tolist()
    assert again.epoch > old.epoch


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 4096, b"garbage " * 4096, b"\xff" * 300])
def test_open_owned_over_an_unfinished_or_foreign_file_makes_it_anew(instance_name: str, path: Path, content: bytes) -> None:
    """Without the magic there is nothing to take over."""
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(InstanceMissing):
        attach(instance_name)
    segment = make(instance_name)
    assert (False, [0] * 5) == (segment.was_warm, segment.array("words").tolist())
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_open_owned_over_a_file_that_was_never_finished_makes_it_anew(instance_name: str, path: Path) -> None:
    """A supervisor that died while it filled the tables left nothing to trust."""
    segment = open_owned(instance_name, REGIONS)
    segment.array("words")[0] = 5
    crash(segment)
    again = open_owned(instance_name, REGIONS)
    assert (False, 0) == (again.was_warm, int(again.array("words")[0]))


@pytest.mark.parametrize(("field", "value"), [("layout_version", 99), ("size_bytes", 4096 * 7), ("boot_id", b"another-boot")])
def test_open_owned_and_attach_over_another_header_name_the_field(
    instance_name: str, path: Path, field: str, value: object
) -> None:
    """The message says which field differs, both values, the file, and what would do; fresh works."""
    crash(make(instance_name))
    set_header(path, field, value)
    for opening in (lambda: open_owned(instance_name, REGIONS), lambda: attach(instance_name)):
        with pytest.raises(LayoutMismatch, match=rf"{field} is .* in the file and .* here \({path}\).*--fresh"):
            opening()
    assert not make(instance_name, fresh=True).was_warm


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([*REGIONS[:2], Region("text", np.dtype(np.uint8), 8)], "region 'text': count is 7 in the file and 8 here"),
        ([REGIONS[0], Region("pairs", OTHER_RECORD, 3), REGIONS[2]], "region 'pairs': dtype_fingerprint is"),
        (REGIONS[:2], "regions differ: text"),
        ([*REGIONS, Region("more", WORDS, 1)], "regions differ: more"),
        ([REGIONS[1], REGIONS[0], REGIONS[2]], "regions differ: their order"),
    ],
)
def test_open_owned_with_other_regions_names_the_first_difference(
    instance_name: str, path: Path, regions: list[Region], message: str
) -> None:
    """What the crash left is refused by name, and stays as it is."""
    segment = make(instance_name)
    segment.array("words")[0] = 77
    crash(segment)
    with pytest.raises(LayoutMismatch, match=message):
        open_owned(instance_name, regions)
    assert 77 == make(instance_name).array("words")[0]


@pytest.mark.parametrize(
    ("region", "dtype", "message"),
    [("none", WORDS, "no region 'none'"), ("pairs", OTHER_RECORD, "another record type"), ("pairs", WORDS, "another record")],
)
def test_array_of_another_region_or_dtype_is_refused(
    instance_name: str, path: Path, region: str, dtype: np.dtype, message: str
) -> None:
    """No view of bytes that mean something else."""
    with pytest.raises(LayoutMismatch, match=message):
        make(instance_name).array(region, dtype)


@pytest.mark.parametrize("count", [2**38, 2**44, 2**56])
def test_open_owned_larger_than_shared_memory_says_so_and_leaves_nothing(instance_name: str, path: Path, count: int) -> None:
    """One line with what is needed and what is free; no file, no half of one."""
    with pytest.raises(NoRoom, match=r"needs \d+ MiB and \d+ MiB are free .*\[rings\]"):
        open_owned(instance_name, [Region("words", WORDS, count)])
    assert not path.exists()


def test_open_owned_and_attach_over_a_symbolic_link_are_refused(instance_name: str, path: Path, tmp_path: Path) -> None:
    """A link that somebody planted leads nowhere: its target is not touched."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    for opening in (lambda: open_owned(instance_name, REGIONS), lambda: attach(instance_name)):
        with pytest.raises(NoAccess, match=str(path)):
            opening()
    assert (b"precious", 0) == (target.read_bytes(), owner_pid(instance_name))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_open_owned_and_attach_over_what_is_no_file_are_refused(instance_name: str, path: Path, kind: str) -> None:
    """A folder or a pipe of that name is named, not tried."""
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    try:
        for opening in (lambda: open_owned(instance_name, REGIONS), lambda: attach(instance_name)):
            with pytest.raises(NoAccess, match=str(path)):
                opening()
    finally:
        path.rmdir() if kind == "folder" else path.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_open_owned_and_attach_over_another_users_file_are_refused(instance_name: str, path: Path) -> None:
    """Whoever owns the file can write it: it is not taken, whatever its mode."""
    path.write_bytes(b"")
    path.chmod(0o666)
    os.chown(path, 12345, 12345)
    for opening in (lambda: open_owned(instance_name, REGIONS), lambda: attach(instance_name)):
        with pytest.raises(NoAccess, match=str(path)):
            opening()


def test_unlink_twice_and_close_twice_are_harmless(instance_name: str, path: Path) -> None:
    """The mapping outlives both."""
    segment = make(instance_name)
    for _ in range(2):
        segment.unlink()
        segment.close()
    segment.array("words")[0] = 1
    assert (False, 1) == (path.exists(), int(segment.array("words")[0]))
    assert SHM_FOLDER == path.parent


def test_directory_of_regions_never_overlaps() -> None:
    """Each region starts past the end of the one before it."""
    directory, size_bytes = directory_of(REGIONS)
    ends = directory["offset_bytes"] + directory["count"] * directory["itemsize_bytes"]
    assert int(directory["offset_bytes"][0]) >= HEADER.itemsize + len(REGIONS) * REGION.itemsize
    assert all(ends[:-1] <= directory["offset_bytes"][1:])
    assert int(ends[-1]) <= size_bytes
    assert MAGIC.to_bytes(8, "little") == b"STOPLINE"
