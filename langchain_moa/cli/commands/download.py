"""`moa download`: fetch the embedded model's weights."""

from __future__ import annotations

from langchain_moa.cli import mixture_options as options


def download(debug: options.Debug = False) -> None:
    """Download the weights of the line-up `local`, once, with a check of what came."""
    from langchain_moa.local import download_weights

    print(download_weights())
