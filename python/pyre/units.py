"""Durations and sizes as people write them: `500ms`, `5s`, `2m`, `1h`, plain seconds; `64k`, `16m`, `1g`, plain
bytes."""

from __future__ import annotations

import math
import re

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)\s*(?:([kmg])(?:i?b)?|b)?", re.ASCII)
_BYTES = {None: 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_duration(text: str | float) -> float:
    """Seconds of `500ms`, `5s`, `2m`, `1h` or a plain number of seconds.

    Raises `ValueError` for anything else, negative and non-finite numbers included.
    """
    if isinstance(text, str):
        match = _DURATION.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"{text!r} is not a duration: write for example 500ms, 5s, 2m or a number of seconds")
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(text, bool) or not math.isfinite(text) or text < 0:
        raise ValueError(f"{text!r} is not a duration: it must be a number of seconds, 0 or more")
    return float(text)


def parse_size(text: str | int) -> int:
    """Bytes of `64k`, `16m`, `1g` (powers of 1024) or a plain number of bytes.

    Raises `ValueError` for anything else, negative numbers included.
    """
    if isinstance(text, str):
        match = _SIZE.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"{text!r} is not a size: write for example 64k, 16m or a number of bytes")
        return int(match[1]) * _BYTES[match[2]]
    if isinstance(text, bool) or text < 0:
        raise ValueError(f"{text!r} is not a size: it must be a number of bytes, 0 or more")
    return int(text)
