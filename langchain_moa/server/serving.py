"""The web server of `moa serve`."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.applications import Starlette

from langchain_moa.server.closing import Closing
from langchain_moa.server.connection import Connection

# Seconds in which answers that are ended at shutdown can say so.
_LAST_WORDS = 5


class Server(uvicorn.Server):
    """uvicorn's server; at shutdown it tells the answers that are not complete in time."""

    def __init__(self, config: uvicorn.Config, closing: Closing, shutdown_timeout: int) -> None:
        super().__init__(config)
        self._closing = closing
        self._shutdown_timeout = shutdown_timeout

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running answers finish, then end them."""
        # uvicorn (0.54) cancels what is left at its limit, and its process ends before that can say a word.
        asyncio.get_running_loop().call_later(self._shutdown_timeout, self._closing.set)
        await super().shutdown(sockets)


def create_server(app: Starlette, *, write_timeout: float = 60, shutdown_timeout: int = 30) -> Server:
    """Create the server of an app of `create_app`.

    Args:
        app: The app.
        write_timeout: Seconds after which a client who reads nothing is dropped, and its calls are canceled.
        shutdown_timeout: Seconds for running answers to finish when the server is stopped.
    """
    config = uvicorn.Config(
        app,
        http=type("Connection", (Connection,), {"write_timeout": write_timeout}),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        # Longer than clients and proxies keep an idle connection, so that they don't send into a closed one.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=shutdown_timeout + _LAST_WORDS,
    )
    return Server(config, app.state.closing, shutdown_timeout)
