"""Making `init_chat_model("moa:…")` work."""

from __future__ import annotations

from langchain_moa.exceptions import MoAError


def register() -> None:
    """Let `init_chat_model("moa:together-moa-lite")` and `create_agent("moa:…")` build a `ChatMoA`.

    LangChain has no public way to add a provider: this writes into a private table of `langchain`, which is why it is
    done only when you call it. Passing a `ChatMoA` itself works everywhere and needs none of this.

    Raises:
        ImportError: `langchain` is not installed.
        MoAError: This version of `langchain` keeps its providers in another way.
    """
    try:
        from langchain.chat_models import base
    except ImportError:
        msg = "init_chat_model is part of langchain: pip install langchain"
        raise ImportError(msg) from None
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not isinstance(providers, dict):
        msg = "This version of langchain keeps its providers in another way; pass ChatMoA(model=…) itself instead."
        raise MoAError(msg)
    providers["moa"] = ("langchain_moa", "ChatMoA", lambda cls, **options: cls(**options))
