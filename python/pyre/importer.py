"""Finds the application that a string names: `module:attribute` or `path/to/file.py:attribute`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from pyre.errors import AppLoadError
from pyre.paths import is_same, reachable, real_name


def import_from_string(text: str) -> Any:
    """The object that `text` names.

    `text` is `package.module:attribute`, or `path/to/file.py:attribute`; the attribute may be dotted
    (`main:api.app`). A path is turned into a module name: its package's parent directory, or its own directory if it
    is in no package, is put first on `sys.path`.

    Raises `AppLoadError`. What the module itself raises while it is imported (a `SyntaxError`, a missing dependency) is
    the `__cause__`.
    """
    module_name, colon, attributes = text.rpartition(":")
    if not colon or not module_name or not attributes:
        raise AppLoadError(f'The app "{text}" must be written as "<module>:<attribute>", for example "main:app".')
    if os.path.normcase(module_name).endswith(".py"):
        module_name = _module_of_file(module_name)
    elif "/" in module_name or os.sep in module_name:
        raise AppLoadError(f'"{module_name}" looks like a path, but does not end in ".py".')

    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only when the named module itself is missing is the name the mistake; else a module that it imports is.
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise AppLoadError(f'Could not import module "{module_name}"{_hint(module_name)}.') from None
        raise AppLoadError(f'Importing module "{module_name}" failed: {error}.') from error
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise AppLoadError(f'Importing module "{module_name}" failed: {what}.') from error

    found: Any = module
    for name in attributes.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppLoadError(f'Attribute "{attributes}" not found in module "{module_name}".') from None
    return found


def _module_of_file(path: str) -> str:
    full_path = reachable(os.path.abspath(path))
    if not os.path.isfile(full_path):
        raise AppLoadError(f'There is no file "{path}".')
    directory, file_name = os.path.split(full_path)
    file_name = real_name(directory, file_name)
    parts = [] if file_name == "__init__.py" else [file_name[:-3]]
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise AppLoadError(f'"{path}" cannot be imported: "{name}" is not a module name.')
    if not sys.path or sys.path[0] != directory:
        sys.path.insert(0, directory)
    present = getattr(sys.modules.get(name), "__file__", None)
    if name in sys.modules and (present is None or not is_same(present, full_path)):
        raise AppLoadError(f'"{path}" cannot be imported: a module "{name}" is loaded already; rename the file.')
    return name


def _hint(module_name: str) -> str:
    first = module_name.partition(".")[0]
    if os.path.isfile(first + ".py") or os.path.isdir(first):
        return " (it is in the current directory, which is not searched: see --app-dir)"
    return ""
