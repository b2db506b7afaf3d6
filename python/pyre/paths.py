"""Paths as Windows has them."""

from __future__ import annotations

import os

_MAX_DIRECTORY = 248  # what CreateDirectory takes; a file's path may have 12 characters more


def reachable(path: str) -> str:
    r"""`path`, or, where Windows takes no path of more than 260 characters (LongPathsEnabled is not set in its
    registry), the form of it that it does take: absolute, and begun with `\\?\`."""
    if os.name != "nt":
        return path
    full = os.path.abspath(path)
    if len(full) < _MAX_DIRECTORY or full.startswith("\\\\?\\") or os.path.exists(path):
        return path
    return f"\\\\?\\UNC{full[1:]}" if full.startswith("\\\\") else f"\\\\?\\{full}"


def real_name(directory: str, name: str) -> str:
    """How the file `name` is really written: Windows finds it by any case, Python imports it by one only."""
    if os.name == "nt":
        for found in os.listdir(directory):
            if found.lower() == name.lower():
                return found
    return name


def is_same(one: str, other: str) -> bool:
    """Whether both name the same file, as text: by any case, and by either slash, on Windows."""
    return os.path.normcase(os.path.abspath(one)) == os.path.normcase(os.path.abspath(other))
