"""`python -P -m finetune_sdk.deploy.front FOLDER FD`: serve the deployment in FOLDER on the listening socket FD."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from finetune_sdk.deploy.front.app import Door, Front
from finetune_sdk.deploy.front.engine import Engine
from finetune_sdk.deploy.record import ENGINE_LOG, STATE, read
from finetune_sdk.worker import wire

_LEAVING_S = 10


async def serve(folder: Path, listening: socket.socket) -> None:
    """Until SIGTERM."""
    written = read(folder)
    known: dict[str, Any] = {}

    def tell(state: dict[str, Any]) -> None:
        if state != known:
            known.update(state)
            wire.write_json(folder / STATE, state)

    engine = Engine(list(written.engine_command), written.load, log=folder / ENGINE_LOG, tell=tell)
    door = Door(salt=written.key_salt, key_sha256=written.key_sha256, loopback_only=written.loopback_only)
    app = Front(engine, door=door, created=int(written.created.timestamp())).app()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_LEAVING_S,
    )
    gc.freeze()  # what is there stays: the collector need not look through it again and again
    running = asyncio.create_task(engine.run())
    try:
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def main() -> None:
    """The process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listening = socket.socket(fileno=int(sys.argv[2]))
    listening.set_inheritable(False)  # uvloop's children keep what may be inherited: the engine would hold the port
    serving = serve(Path(sys.argv[1]), listening)
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:  # uvloop where it is installed
        runner.run(serving)


if __name__ == "__main__":
    main()
