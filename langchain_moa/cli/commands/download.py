"""`moa download`: download the embedded model's weights."""

from __future__ import annotations

from langchain_moa.cli import mixture_options as options


def download(debug: options.Debug = False) -> None:
    """Download the local model's weights, and verify their checksum."""
    from langchain_moa.local import download_weights

    print(download_weights())
