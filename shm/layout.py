"""What an instance file looks like, byte by byte.

    offset
         0  +----------------------------------------------------------------+
            | HEADER, 256 bytes: magic, layout version, size, epoch, region  |
            |   count, owner's pid, boot id, fingerprint of all regions      |
       256  +----------------------------------------------------------------+
            | DIRECTORY, region_count x 96 bytes: name, offset, count,       |
            |   itemsize, fingerprint of the dtype                           |
            +----------------------------------------------------------------+  <- aligned to 128
            | region 0: count x itemsize                                     |
            +----------------------------------------------------------------+  <- aligned to 128
            | region 1 ...                                                   |
            +----------------------------------------------------------------+  <- size, a multiple of the page

`magic` is stored last when the file is made: a file without it was never finished and is made anew.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

CACHE_LINE = 64
#: Words of different writers lie this far apart: x86 prefetches lines in pairs.
PAIR = 128
WORD = 8
PAGE = 4096

MAGIC = int.from_bytes(b"STOPLINE", "little")
LAYOUT_VERSION = 1

HEADER = np.dtype(
    [
        ("magic", "i8"),  #: MAGIC, stored last
        ("layout_version", "i8"),
        ("size_bytes", "i8"),
        ("epoch", "i8"),  #: UTC ns when the instance was made: tells one life of a name from the next
        ("region_count", "i8"),
        ("owner_pid", "i8"),  #: the supervisor's, for messages only; the flock is what counts
        ("boot_id", "S40"),  #: of the kernel: monotonic stamps of another boot mean nothing
        ("fingerprint", "S64"),  #: SHA-256 over the directory's names, counts and dtypes
        ("reserved", "V104"),
    ],
    align=True,
)

REGION = np.dtype(
    [
        ("name", "S48"),
        ("offset_bytes", "i8"),
        ("count", "i8"),
        ("itemsize_bytes", "i8"),
        ("dtype_fingerprint", "S24"),
    ],
    align=True,
)

assert HEADER.itemsize == 256, "the directory starts at byte 256"
assert REGION.itemsize == 96, "a directory entry is 96 bytes"


class Region(NamedTuple):
    """One array of an instance file: its name, its element type, how many of them."""

    name: str
    dtype: np.dtype
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on it


def dtype_fingerprint(dtype: np.dtype) -> bytes:
    """Return 24 hex digits that change when any field's name, type or offset does."""
    fields: Any = dtype.fields or {}
    text = repr([(name, str(field[0]), field[1]) for name, field in fields.items()] or str(dtype)) + str(dtype.itemsize)
    return hashlib.sha256(text.encode()).hexdigest()[:24].encode()


def align_up(offset: int, alignment: int) -> int:
    """Return the first multiple of `alignment` at or past `offset`."""
    return -(-offset // alignment) * alignment


def directory_of(regions: Sequence[Region]) -> tuple[np.ndarray, int]:
    """Lay the regions out one behind the other.

    Returns:
        The directory, an array of REGION, and the size of the whole file in bytes.
    """
    directory = np.zeros(len(regions), REGION)
    offset = align_up(HEADER.itemsize + directory.nbytes, PAIR)
    for entry, region in zip(directory, regions, strict=True):
        assert len(region.name) < REGION["name"].itemsize, f"region name too long: {region.name}"
        assert region.dtype.itemsize % WORD == 0 or region.dtype.itemsize == 1, f"{region.name}: not whole words"
        entry["name"] = region.name.encode()
        entry["offset_bytes"] = offset
        entry["count"] = region.count
        entry["itemsize_bytes"] = region.dtype.itemsize
        entry["dtype_fingerprint"] = dtype_fingerprint(region.dtype)
        offset = align_up(offset + region.count * region.dtype.itemsize, PAIR)
    return directory, align_up(offset, PAGE)


def directory_fingerprint(directory: np.ndarray) -> bytes:
    """Return the SHA-256 of a directory, 64 hex digits."""
    return hashlib.sha256(directory.tobytes()).hexdigest().encode()
