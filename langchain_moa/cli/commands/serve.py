"""`moa serve`: mixtures behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import gc
import ipaddress
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli import mixture_options as options

if TYPE_CHECKING:
    from starlette.applications import Starlette

_LIMITS = "Limits"
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]", "::1"]


@options.takes_a_mixture
def serve(
    mixture: options.MixtureOptions,
    host: Annotated[str, typer.Option(help="Address to listen on; any other than loopback requires an API key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="MOA_API_KEY",
            help="API key that clients must send. Prefer the variable: other users can see arguments.",
        ),
    ] = None,
    allow_overrides: Annotated[
        bool,
        typer.Option(
            "--allow-overrides",
            help="Let requests change the mixture. Clients can then use any model that your keys pay for.",
        ),
    ] = False,
    max_calls: Annotated[
        int,
        typer.Option(
            min=1, help="Model calls that one request may make with --allow-overrides.", rich_help_panel=_LIMITS
        ),
    ] = 64,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Web origin that is allowed to call from a browser (CORS), or `*`; repeatable."
        ),
    ] = None,
    max_concurrency: Annotated[
        int, typer.Option(min=1, help="Requests answered at the same time.", rich_help_panel=_LIMITS)
    ] = 64,
    max_queue: Annotated[
        int,
        typer.Option(min=0, help="Requests that may wait in the queue; more get status 503.", rich_help_panel=_LIMITS),
    ] = 256,
    queue_timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Maximum time in the queue.", rich_help_panel=_LIMITS)
    ] = 60,
    max_request_bytes: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="Maximum size of a request.", rich_help_panel=_LIMITS)
    ] = 20_000_000,
    keep_alive: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Interval of keep-alive comments in an idle stream, so that no proxy closes it.",
            rich_help_panel=_LIMITS,
        ),
    ] = 10,
    write_timeout: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Time after which a client that reads nothing of its answer is dropped.",
            rich_help_panel=_LIMITS,
        ),
    ] = 60,
    shutdown_timeout: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Time for running answers to finish when the server is stopped.",
            rich_help_panel=_LIMITS,
        ),
    ] = 30,
    debug: options.Debug = False,
) -> None:
    """Serve an OpenAI-compatible API.

    Its models are the line-ups and your own mixtures by name, and the given mixture as `moa-1`.
    """
    is_open = not _is_loopback(host)
    if is_open and not api_key:
        raise typer.BadParameter(
            "this address requires an API key: set MOA_API_KEY, or pass --api-key.", param_hint="--host"
        )
    _check_extra()
    options.tell_if_local(mixture)
    from langchain_moa.server.app import create_app
    from langchain_moa.server.served import DEFAULT, Served

    app = create_app(
        Served({DEFAULT: mixture.build(), **{name: mixture.of(name).build() for name in mixture.config.mixtures}}),
        api_key=api_key or None,
        allow_overrides=allow_overrides,
        max_calls=max_calls,
        allow_origins=allow_origin or (),
        max_concurrency=max_concurrency,
        max_queue=max_queue,
        queue_timeout=queue_timeout,
        max_request_bytes=max_request_bytes,
        keep_alive=keep_alive,
    )
    if not api_key:
        _refuse_other_hosts(app, host)
    _run(app, host, port, write_timeout=write_timeout, shutdown_timeout=shutdown_timeout)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_extra() -> None:
    missing = [package for package in ("starlette", "uvicorn", "prometheus_client") if find_spec(package) is None]
    if missing:
        raise ImportError(f'moa serve needs {", ".join(missing)}: pip install "langchain-moa[server]"')


def _refuse_other_hosts(app: Starlette, host: str) -> None:
    """Accept requests for loopback host names only.

    Without a key, a web page whose name resolves to 127.0.0.1 could ask and read the answer (DNS rebinding).
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, host])


def _listen(host: str, port: int) -> socket.socket:
    """Bind the socket first, so that a port in use is reported like any other error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise OSError(
            f"Can't listen on {host!r}, port {port}: {reason}; choose others with --host and --port."
        ) from error


def _run(app: Starlette, host: str, port: int, *, write_timeout: float, shutdown_timeout: int) -> None:
    """Serve until a signal, then finish running requests."""
    from langchain_moa.server.logs import configure_logs
    from langchain_moa.server.serving import create_server

    with _listen(host, port) as listening:
        configure_logs()
        server = create_server(app, write_timeout=write_timeout, shutdown_timeout=shutdown_timeout)
        # Objects loaded so far live as long as the server: not collecting them saves a fifth of a call's CPU.
        gc.collect()
        gc.freeze()
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        typer.echo(f"moa serves {address}/v1 and a page to look inside at {address}/", err=True)
        server.run(sockets=[listening])
