"""The history of an instance in one DuckDB file, each record exactly once.

A flush is one transaction: the rows of all streams, and how far each stream is stored. After a kill, whatever the moment, the
file holds a flush whole or not at all, and `progress` says where each ring is to be read on. A commit whose outcome is not
known is never repeated blindly: the file is opened again and asked for its progress (`reopen`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import duckdb

from pipeline.errors import DatabaseError, one_line
from pipeline.instruments import Instruments
from pipeline.money import Money
from pipeline.sidecar.columns import ABSENT, COLUMNS
from pipeline.sidecar.scales import Columns, Scales
from pipeline.sidecar.schema import FINGERPRINT, TABLES, VIEWS
from pipeline.sidecar.streams import Batch, Progress

MEMORY_LIMIT = "128MB"
#: The write-ahead log grows to this before its content moves into the file. More: fewer stalls (0.5 s each); less: a faster
#: start after a kill (0.4 s for a full log).
CHECKPOINT_THRESHOLD = "64MB"


class StoreError(DatabaseError):
    """A flush failed; its rows stay where they were. Worth trying again after `reopen`."""

    retryable = True

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(reason, str(path), "free some room on its disk, or choose another --db")
        self.reason = reason


class Run(NamedTuple):
    """What the database keeps about one launch."""

    instance: str
    started_ns: int  #: UTC
    version: str
    config: Mapping[str, object]


class Store:
    """The writing end of the database; held by one process at a time.

    Args:
        path: The file; it and its folder are made where they do not exist.
        epoch: Of the instance: the first half of each row's key.
        instruments: Of the instance.
        money: Units of its account.
        slots: How many strategies it has room for.
    Raises:
        DatabaseError: The file cannot be made or opened, another process holds it, or it is not one of ours.
    """

    def __init__(self, path: Path, epoch: int, instruments: Instruments, money: Money, slots: int) -> None:
        self.path = path
        self._epoch = epoch
        self._instruments = instruments
        self._money = money
        self._slots = slots
        self._scales = Scales(instruments, money, slots)
        self._connection: duckdb.DuckDBPyConnection | None = _open(path)

    def reopen(self) -> None:
        """Open the file anew after a flush that failed, so that `progress` tells what really is in it.

        Raises:
            DatabaseError: It cannot be opened now.
        """
        self._disconnect()
        self._connection = _open(self.path)

    def begin_run(self, run: Run) -> None:
        """Note the launch, the instruments and the account; what is known already stays as it is.

        Raises:
            StoreError: They cannot be written.
        """
        try:
            self._live.begin()
            self._live.execute(
                "INSERT INTO runs SELECT $epoch, $started, make_timestamp_ns($started), $instance, $version, $config "
                "WHERE NOT EXISTS (FROM runs WHERE epoch = $epoch AND started_ns = $started)",
                {
                    "epoch": self._epoch, "started": run.started_ns, "instance": run.instance, "version": run.version,
                    "config": json.dumps(run.config, default=str),
                },
            )  # fmt: skip
            known = self._live.execute("SELECT count(*) FROM instruments WHERE epoch = ?", [self._epoch]).fetchall()
            if known[0][0] == 0 and len(self._instruments):
                rows = [
                    (self._epoch, index, item.symbol, str(item.tick_size), str(item.lot_size), str(item.multiplier),
                     item.currency, item.venue)
                    for index, item in enumerate(self._instruments)
                ]  # fmt: skip
                self._live.executemany("INSERT INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                self._live.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?)", self._account())
            self._live.commit()
        except duckdb.Error as error:
            raise self._failed(error) from error

    def progress(self) -> dict[str, Progress]:
        """Return how far each stream of this epoch is stored; streams without a row have never been.

        Raises:
            StoreError: It cannot be read.
        """
        try:
            rows = self._live.execute(
                "SELECT stream, next_seq, stored, missed FROM progress WHERE epoch = ?", [self._epoch]
            ).fetchall()
        except duckdb.Error as error:
            raise self._failed(error) from error
        return {stream: Progress(*numbers) for stream, *numbers in rows}

    def write(self, batches: Iterable[Batch]) -> None:
        """Store batches of several streams, and their progress, in one transaction.

        Raises:
            StoreError: Nothing is known to be stored; call `reopen`, then ask `progress`.
        """
        try:
            self._live.begin()
            for batch in batches:
                if len(batch.records):
                    for columns in COLUMNS[batch.stream](batch.records, batch.seqs, self._scales):
                        self._insert(batch.stream, columns)
                self._note(batch)
            self._live.commit()
        except duckdb.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Move the log into the file and let go of it. What fails here is lost to nobody: the log stays beside the file."""
        self._disconnect()

    @property
    def size_bytes(self) -> int:
        """Size of the file and its log."""
        log = self.path.with_name(self.path.name + ".wal")
        total = 0
        for part in (self.path, log):
            # The log comes and goes with checkpoints.
            with suppress(FileNotFoundError):
                total += part.stat().st_size
        return total

    def _account(self) -> list[object]:
        """Return the row of `accounts`."""
        money = self._money
        balance = format(money.decimal(money.balance_units), "f")
        return [self._epoch, money.currency, format(money.unit, "f"), format(money.quantity_unit, "f"), balance, self._slots]

    @property
    def _live(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise StoreError("is not open", self.path)
        return self._connection

    def _insert(self, table: str, columns: Columns) -> None:
        """Add rows from columns; values that stand for none become NULL, and columns that are not given all NULL."""
        absent = ", ".join(f"nullif({name}, {value}) AS {name}" for name, value in ABSENT[table].items())
        replace = f" REPLACE ({absent})" if absent else ""
        self._live.register("batch", columns)
        self._live.execute(f"INSERT INTO {table} BY NAME SELECT {self._epoch}::BIGINT AS epoch, *{replace} FROM batch")
        self._live.unregister("batch")

    def _note(self, batch: Batch) -> None:
        key, numbers = [self._epoch, batch.stream], list(batch.progress)
        changed = self._live.execute(
            "UPDATE progress SET next_seq = ?, stored = ?, missed = ? WHERE epoch = ? AND stream = ?", [*numbers, *key]
        ).fetchall()
        if changed[0][0] == 0:
            self._live.execute("INSERT INTO progress VALUES (?, ?, ?, ?, ?)", [*key, *numbers])

    def _failed(self, error: duckdb.Error) -> StoreError:
        """Drop the connection: after an error nothing is assumed about it. Return what to raise."""
        self._disconnect()
        return StoreError(_reason(error), self.path)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Where this fails, something failed before it; the next open starts from what the file holds.
            with suppress(duckdb.Error):
                connection.close()


def check_database(path: Path) -> None:
    """Open and close the database file once, to learn early whether it can be used. For the sidecar's process alone.

    Raises:
        DatabaseError: As `Store`.
    """
    _open(path).close()


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    """Connect with the settings that we need, and lay out a new file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "choose another --db, or make that folder writable"
        raise DatabaseError(f"cannot make the folder of the database: {error.strerror}", str(path.parent), remedy) from None
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1, "memory_limit": MEMORY_LIMIT, "checkpoint_threshold": CHECKPOINT_THRESHOLD,
        "temp_directory": f"{path}.tmp", "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    }  # fmt: skip
    try:
        connection = duckdb.connect(str(path), config=settings)
    except duckdb.Error as error:
        raise _open_error(path, error) from None
    try:
        # After this no query can read or write another file, and nothing can be loosened again.
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        _lay_out(connection, path)
    except duckdb.Error as error:
        connection.close()
        raise _open_error(path, error) from None
    except DatabaseError:
        connection.close()
        raise
    return connection


def _lay_out(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make the tables of a new file; refuse one that holds anything else."""
    tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "database_format" in tables:
        there = connection.execute("SELECT fingerprint FROM database_format").fetchall()
        if there == [(FINGERPRINT,)]:
            return
        raise DatabaseError("was written by another version", str(path), "move it away, or choose another --db")
    if tables:
        remedy = "choose another --db; this one stays as it is"
        raise DatabaseError(f"holds tables of another program ({', '.join(sorted(tables)[:3])})", str(path), remedy)
    connection.begin()
    connection.execute(TABLES)
    connection.execute(VIEWS)
    connection.execute("INSERT INTO database_format VALUES (?)", [FINGERPRINT])
    connection.commit()
    # Definitions move out of the log at once: what a kill leaves to be replayed is rows alone.
    connection.execute("CHECKPOINT")


def _open_error(path: Path, error: duckdb.Error) -> DatabaseError:
    """Turn an error of opening into what a person can act on."""
    text = str(error)
    holder = re.search(r"PID (\d+)", text)
    if "lock" in text and ("Conflicting" in text or "Could not set lock" in text):
        who = f"process {holder[1]}" if holder else "another process"
        return DatabaseError(f"is in use by {who}", str(path), "stop it, or choose another --db")
    if path.is_dir():
        return DatabaseError("is a folder", str(path), "name a file in it, such as stopline.duckdb")
    if "No space left" in text or "File too large" in text:
        return DatabaseError("no room on the disk", str(path), "free some, or choose another --db")
    if "Permission denied" in text or "Read-only file system" in text:
        return DatabaseError("cannot be written", str(path), "make it writable for you, or choose another --db")
    remedy = "move it and its .wal away to start anew, or choose another --db"
    return DatabaseError(f"cannot be used as a database: {_reason(error)}", str(path), remedy)


def _reason(error: duckdb.Error) -> str:
    """Return the first sentence of a DuckDB error, on one line, without the advice for its developers."""
    return one_line(str(error).partition("\n")[0])[:200]
