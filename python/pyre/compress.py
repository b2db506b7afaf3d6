"""`--compress` and `--compress-types`: how responses are compressed, and which."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyre.errors import ConfigError

# The levels are each library's own.
LEVELS = {"gzip": (1, 9), "br": (0, 11), "zstd": (1, 12)}
USUAL = ("zstd", "br", "gzip")
"""What "on" means: from the one that costs least for what it saves."""

_NAME = r"[a-z0-9!#$&^_.+-]+"
_TYPE = re.compile(rf"{_NAME}/{_NAME}|{_NAME}/\*|\*\+{_NAME}", re.ASCII)


def _elements(texts: Iterable[str]) -> list[str]:
    return [element.strip() for text in texts for element in text.split(",")]


def parse_compress(texts: Iterable[str]) -> list[tuple[str, int | None]]:
    """Codings in order of preference, each with its level, None for the usual one; nothing if they are off.

    Raises `ConfigError`, with the sentence that names the flag.
    """
    elements = _elements(texts)
    if elements in ([], [""], ["off"]):
        return []
    if elements == ["on"]:
        return [(name, None) for name in USUAL]
    codings: dict[str, int | None] = {}
    for element in elements:
        name, colon, level = element.partition(":")
        if name not in LEVELS:
            raise ConfigError(f"--compress {element!r}: write on, off, or some of {', '.join(LEVELS)}.")
        if name in codings:
            raise ConfigError(f"--compress {element!r}: {name} is there already.")
        lowest, highest = LEVELS[name]
        if colon and not (level.isdecimal() and lowest <= int(level) <= highest):
            raise ConfigError(f"--compress {element!r}: a level of {name} is between {lowest} and {highest}.")
        codings[name] = int(level) if colon else None
    return list(codings.items())


def parse_types(texts: Iterable[str]) -> list[str]:
    """Media types in lower case: `text/css`, `text/*` or `*+json`. Raises `ConfigError` for what is none."""
    types = [element.lower() for element in _elements(texts)]
    for name in types:
        if not _TYPE.fullmatch(name):
            raise ConfigError(f"--compress-types {name!r}: write media types: text/css, text/* or *+json.")
    return types
