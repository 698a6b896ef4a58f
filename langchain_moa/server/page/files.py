"""The page's static files, with a strict content security policy against injected model output."""

from __future__ import annotations

import os
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

# Only requests to this server and scripts from the page's files are allowed. `dompurify` is the Trusted Types policy of
# the HTML sanitiser.
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
    # Revalidated each time (304), so that a new version is used at once.
    "Cache-Control": "no-cache",
}

# The Windows registry may map scripts to text/plain, which browsers refuse to run.
_SCRIPT = {".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8"}


class PageFiles(StaticFiles):
    """Serves the files of a folder."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return where a file is, if it is there. A path with a null byte is an error in older Starlettes (0.46)."""
        return ("", None) if "\0" in path else super().lookup_path(path)

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        """Return the response for a file, or 304 if it has not changed."""
        response = super().file_response(full_path, *args, **kwargs)
        response.headers.update(HEADERS)
        if media_type := _SCRIPT.get(os.path.splitext(full_path)[1]):
            response.headers["Content-Type"] = media_type
        return response
