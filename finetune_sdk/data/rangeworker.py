"""The other end of `ranges`: a process that converts ranges as its standard input asks, until that ends."""

from __future__ import annotations

import sys

import msgspec

from finetune_sdk.data.convert import convert_range
from finetune_sdk.data.ranges import Done, Job, Order, Worker, receive, send
from finetune_sdk.errors import FineTuneError


def main() -> None:
    """Serve one job."""
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    first = receive(given)
    if first is None:
        return
    worker = Worker(msgspec.msgpack.decode(first, type=Job), convert_range)
    while (data := receive(given)) is not None:
        order = msgspec.msgpack.decode(data, type=Order)
        try:
            done = worker.obey(order)
        except OSError as error:
            done = Done(order.index, failed=error.strerror or str(error), errno=error.errno)
        except FineTuneError as error:
            done = Done(order.index, failed=str(error))
        send(answers, done)
