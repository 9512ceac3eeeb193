"""A large plain JSONL file converted by several processes: each takes ranges of whole lines, the output is in order.

Ranges are handed out one by one. A process keeps a finished range until all before it have a place in the output, then
writes its bytes there itself; only counts and findings travel. The calling process works as well, so the others may
take their time to start. They end with their input: none survives the caller.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select
from typing import BinaryIO, Protocol, TypeAlias, cast

import msgspec
from msgspec import Struct

from finetune_sdk.data.report import Report
from finetune_sdk.errors import DataError, FineTuneError
from finetune_sdk.types import Finding

RANGE_BYTES = 2 << 20  # larger ones wait in memory that is new each time, smaller ones are talked about too often
_LAST_BYTES = 256 << 10
"""Towards the end ranges get shorter, down to this, so that nobody waits for another's last one."""
LARGE_BYTES = 32 << 20
"""Smaller files are nearly done by one process before a second one has started."""
_QUEUED = 3
"""Ranges that a process knows of: the one it works on, and enough others while we convert one and do not listen."""
_AHEAD = 6
"""Ranges for each process that were handed out and have no place yet, at most: finished ones are held in memory."""
_SHARES = 4
"""A range is at most this part of what is left for each process."""
_PIECES = 512
"""Written in one call, at most; systems allow 1024."""
_START = "from finetune_sdk.data.rangeworker import main; main()"


class Job(Struct, frozen=True):
    """What each process does with its ranges."""

    source: str
    part: str
    read_as: str
    named: bool
    """The user named the format: rows of another one are no mixture of formats."""
    write_as: str
    allow: tuple[str, ...]


class Order(Struct, frozen=True):
    """Convert this range; or, once `at` is known, write what came of it there."""

    index: int
    start: int
    end: int
    at: int | None = None


class Done(Struct, frozen=True):
    """What came of one range. Lines in findings are counted from 1 within it."""

    index: int
    rows: int = 0
    written: int = 0
    size: int = 0
    groups: list[tuple[int, list[Finding]]] = []
    placed: bool = False
    """The bytes are in the output."""
    failed: str = ""
    errno: int | None = None


Convert: TypeAlias = Callable[[Job, BinaryIO, Report], tuple[list[bytes], int, int]]
"""Lines to lines: the output in pieces, the rows read and the rows written."""


class Totals(Struct):
    """What came of a whole file."""

    rows: int = 0
    written: int = 0


class Stretch(io.RawIOBase):
    """The bytes of one range."""

    def __init__(self, stream: BinaryIO, order: Order) -> None:
        stream.seek(order.start)
        self._stream = stream
        self._left = order.end - order.start

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def tell(self) -> int:
        """Where in the whole file."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """As much as is asked for; at the end all of it, if that is little more."""
        data = self._stream.read(self._left if size < 0 or self._left < size + size // 4 else size)
        self._left -= len(data)
        return data


class Worker:
    """Converts ranges and writes them to their place: in this process, or in another behind its pipes."""

    def __init__(self, job: Job, convert: Convert) -> None:
        self._job = job
        self._convert = convert
        self._source = Path(job.source).open("rb")  # noqa: SIM115 - closed in `close`
        self._part = os.open(job.part, os.O_WRONLY)
        self._finished: dict[int, list[bytes]] = {}

    def close(self) -> None:
        self._source.close()
        os.close(self._part)

    def obey(self, order: Order) -> Done:
        """Do what is asked."""
        if order.at is not None:
            self._write(self._finished.pop(order.index), order.at)
            return Done(order.index, placed=True)
        report = Report()
        output, rows, written = self._convert(self._job, cast(BinaryIO, Stretch(self._source, order)), report)
        self._finished[order.index] = output
        return Done(order.index, rows, written, sum(map(len, output)), report.groups())

    def _write(self, pieces: list[bytes], at: int) -> None:
        for start in range(0, len(pieces), _PIECES):
            some = pieces[start : start + _PIECES]
            size = sum(map(len, some))
            written = os.pwritev(self._part, some, at)
            while written < size:  # a disk that is nearly full
                written += os.pwrite(self._part, b"".join(some)[written:], at + written)
            at += size


class _Other:
    """A worker in a process of its own: a fork where that is safe, else a fresh interpreter, which takes longer."""

    def __init__(self, job: Job, convert: Convert) -> None:
        safe = sys.platform == "linux" and threading.active_count() == 1
        self._to, self.replies, self._end = _forked(convert) if safe else _spawned()
        self.busy = 0
        send(self._to, job)

    def close(self) -> None:
        self._end(kill=True)
        self.replies.close()
        with suppress(BrokenPipeError):  # it ended before it read everything
            self._to.close()

    def order(self, order: Order) -> None:
        self.busy += order.at is None
        try:
            send(self._to, order)
        except BrokenPipeError:
            raise self._lost() from None

    def reply(self) -> Done:
        data = receive(self.replies)
        if data is None:
            raise self._lost()
        done = msgspec.msgpack.decode(data, type=Done)
        self.busy -= not done.placed
        return done

    def _lost(self) -> DataError:
        return DataError(
            f"a process that helped to convert ended early (exit status {self._end(kill=False)}); nothing was written."
            " Is memory short? Try again with `workers=1`."
        )


class _End(Protocol):
    """Wait for a process to end, killing it first if wanted; answers its exit status."""

    def __call__(self, *, kill: bool) -> int: ...


def _spawned() -> tuple[BinaryIO, BinaryIO, _End]:
    process = subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # what `select` sees is all there is
        start_new_session=True,  # Ctrl-C is the caller's to handle
    )

    def end(*, kill: bool) -> int:
        if kill:
            process.kill()
        return process.wait()

    return cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout), end


def _forked(convert: Convert) -> tuple[BinaryIO, BinaryIO, _End]:
    given, to = os.pipe()
    replies, answers = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setsid()  # Ctrl-C is the caller's to handle
            os.close(to)
            os.close(replies)
            serve(open(given, "rb", buffering=0), open(answers, "wb", buffering=0), convert)  # noqa: SIM115, PTH123
            status = 0
        finally:
            os._exit(status)
    os.close(given)
    os.close(answers)
    ended: list[int] = []

    def end(*, kill: bool) -> int:
        if not ended:
            if kill:
                os.kill(pid, signal.SIGKILL)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return ended[0]

    return open(to, "wb", buffering=0), open(replies, "rb", buffering=0), end  # noqa: PTH123


def serve(given: BinaryIO, answers: BinaryIO, convert: Convert) -> None:
    """Be the worker at the other end, until there are no more orders."""
    first = receive(given)
    if first is None:
        return
    worker = Worker(msgspec.msgpack.decode(first, type=Job), convert)
    while (data := receive(given)) is not None:
        order = msgspec.msgpack.decode(data, type=Order)
        try:
            done = worker.obey(order)
        except OSError as error:
            done = Done(order.index, failed=error.strerror or str(error), errno=error.errno)
        except FineTuneError as error:
            done = Done(order.index, failed=str(error))
        send(answers, done)


def send(stream: BinaryIO, message: Struct) -> None:
    """Write one message."""
    data = msgspec.msgpack.encode(message)
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[stream.write(view) :]
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The next message, None at the end."""
    head = _exactly(stream, 4)
    return None if head is None else _exactly(stream, int.from_bytes(head, "big"))


def _exactly(stream: BinaryIO, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            return None
        data += more
    return data


def convert_ranges(job: Job, convert: Convert, report: Report, workers: int, longest: int) -> Totals:
    """Convert the file into `job.part`. Findings, counts and bytes are those of one process."""
    with ExitStack() as stack:
        own = Worker(job, convert)
        stack.callback(own.close)
        others: list[_Other] = []
        for _ in range(workers - 1):
            others.append(_Other(job, convert))
            stack.callback(others[-1].close)
        source = stack.enter_context(Path(job.source).open("rb"))
        return _Run(own, others, source, report).run(ranges(source, longest, workers))


def ranges(stream: BinaryIO, longest: int, processes: int) -> Iterator[Order]:
    """Ranges that end with a line; a line longer than `longest` takes all that follows."""
    size = stream.seek(0, os.SEEK_END)
    start = index = 0
    while start < size:
        share = (size - start) // (_SHARES * processes)
        end = min(size, start + min(RANGE_BYTES, max(share, _LAST_BYTES)))
        if end < size:
            stream.seek(end)
            line = stream.readline(longest + 1)
            end = end + len(line) if len(line) <= longest else size
        yield Order(index, start, end)
        start, index = end, index + 1


class _Run:
    """One file on its way: who has which range, what is finished, and where the next output goes."""

    def __init__(self, own: Worker, others: list[_Other], source: BinaryIO, report: Report) -> None:
        self._own = own
        self._others = others
        self._source = source
        self._report = report
        self._totals = Totals()
        self._orders: dict[int, tuple[Order, _Other | None]] = {}
        self._done: dict[int, Done] = {}
        self._next = 0
        self._at = 0
        self._unwritten = 0
        self._counted = (0, 0)
        self._stopped = False

    def run(self, orders: Iterator[Order]) -> Totals:
        most = _AHEAD * (len(self._others) + 1)
        more = True
        while more or self._orders or self._unwritten:
            for other in self._others:
                while more and other.busy < _QUEUED and len(self._orders) < most:
                    more = self._hand_out(next(orders, None), other)
            own = more and len(self._orders) < most
            if own:
                more = self._hand_out(next(orders, None), None)
            self._hear(wait=not own and bool(self._orders or self._unwritten))
            self._place()
            more = more and not self._stopped
        return self._totals

    def _hand_out(self, order: Order | None, other: _Other | None) -> bool:
        if order is None:
            return False
        self._orders[order.index] = (order, other)
        if other is not None:
            other.order(order)
        else:
            self._done[order.index] = self._own.obey(order)
        return True

    def _hear(self, *, wait: bool) -> None:
        """Take all that the others have to say; wait for it where nothing else is left to do."""
        seconds = None if wait and self._next not in self._done else 0
        replies = {other.replies.fileno(): other for other in self._others}
        while ready := select(replies, [], [], seconds)[0]:
            for number in ready:
                self._note(replies[number].reply())
            seconds = 0

    def _note(self, done: Done) -> None:
        if done.failed:
            raise OSError(done.errno, done.failed) if done.errno is not None else DataError(done.failed)
        if done.placed:
            self._unwritten -= 1
        else:
            self._done[done.index] = done

    def _place(self) -> None:
        while self._next in self._done:
            done = self._done.pop(self._next)
            order, other = self._orders.pop(self._next)
            self._next += 1
            self._count(order, done)
            place = Order(order.index, order.start, order.end, self._at)
            if other is None:
                self._own.obey(place)
            else:
                other.order(place)
                self._unwritten += 1
            self._at += done.size

    def _count(self, order: Order, done: Done) -> None:
        if self._stopped:
            return
        self._totals.rows += done.rows
        self._totals.written += done.written
        if done.groups:
            self._report.merge(done.groups, self._lines_before(order.start))
            self._stopped = any(place.rule == "line-too-long" for _, places in done.groups for place in places)

    def _lines_before(self, offset: int) -> int:
        at, lines = self._counted
        position = self._source.tell()
        self._source.seek(at)
        while at < offset:
            data = self._source.read(min(1 << 20, offset - at))
            lines += data.count(b"\n")
            at += len(data)
        self._source.seek(position)
        self._counted = (at, lines)
        return lines
