"""The page's files, with headers under which what a model writes can do nothing."""

from __future__ import annotations

import os
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

# The page asks nobody but its server, and no script runs that is not one of its files. `dompurify` is the policy by
# which the sanitiser parses HTML.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify"
)

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked again each time, and answered 304: a new version is there at once.
    "Cache-Control": "no-cache",
}

# Windows' registry may call a script text/plain, which no browser runs.
_SCRIPT = {".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8"}


class PageFiles(StaticFiles):
    """Serves a folder of the page."""

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        """Return a file, or that it has not changed."""
        response = super().file_response(full_path, *args, **kwargs)
        response.headers.update(HEADERS)
        if media_type := _SCRIPT.get(os.path.splitext(full_path)[1]):
            response.headers["Content-Type"] = media_type
        return response
