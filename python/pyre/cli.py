"""The command: `pyre APP`, also as `pyre-server APP` and `python -m pyre APP`. Its options are the table in
`pyre.flags`.

Each option can be given by a flag or by the environment variable `PYRE_<FLAG>`; the flag goes first.
`WEB_CONCURRENCY` and `FORWARDED_ALLOW_IPS` are read as uvicorn reads them, where neither was given.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyre


def _check_package() -> None:
    """Ends the process with a sentence if `pyre` is another distribution's package, whose files were installed over
    or before ours."""
    if getattr(pyre, "DISTRIBUTION", None) != "pyre-server":
        sys.stderr.write(
            f"Error: the package 'pyre' in {getattr(pyre, '__file__', None) or 'nowhere'} is not Pyre, the HTTP "
            "server: another distribution on the package index has a package of that name.\n"
            "Install Pyre into an environment without it: python -m pip uninstall pyre; "
            "python -m pip install --force-reinstall pyre-server\n"
        )
        raise SystemExit(2)


_check_package()

import click  # noqa: E402

from pyre.errors import EXIT_USAGE, ConfigError  # noqa: E402
from pyre.flags import FLAGS, Flag  # noqa: E402
from pyre.paths import reachable  # noqa: E402
from pyre.units import parse_duration, parse_size  # noqa: E402

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic since click 8.2 only


class _Duration(_ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Size(_ParamType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Mode(_ParamType):
    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return int(value, 8)
        except ValueError:
            self.fail(f"{value!r} is not an octal file mode", param, ctx)


class _Text(_ParamType):
    """A text; several of them in an environment variable are separated by line ends or commas, as header values have
    spaces."""

    name = "text"

    def __init__(self, separator: str = "\n") -> None:
        self._separator = separator

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [part.strip() for part in rv.replace("\n", self._separator).split(self._separator) if part.strip()]


class _Path(click.Path):
    """A path that must exist, of any length."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(reachable(os.fspath(value)), param, ctx)


def _type_of(flag: Flag) -> _ParamType:
    simple: dict[str, _ParamType] = {
        "integer": click.INT,
        "number": click.FLOAT,
        "boolean": click.BOOL,
        "switch": click.BOOL,
        "toggle": click.BOOL,
        "duration": _Duration(),
        "size": _Size(),
        "mode": _Mode(),
        "path": _Path(exists=True),
        "file": _Path(exists=True, dir_okay=False),
    }
    if flag.kind == "choice":
        return click.Choice(flag.choices)
    if flag.kind == "text":
        return _Text("\n" if flag.name == "--header" else ",")
    return simple[flag.kind]


def _option(flag: Flag) -> click.Option:
    name = f"{flag.name}/--no-{flag.name[2:]}" if flag.kind == "toggle" else flag.name
    names = [name, flag.parameter]
    if flag.short is not None:
        names.insert(1, flag.short)
    arguments: dict[str, Any] = {"help": flag.about, "envvar": flag.env, "multiple": flag.multiple}
    if flag.kind in ("switch", "toggle"):
        arguments["is_flag"] = True
    else:
        arguments["type"] = _type_of(flag)
    if not flag.multiple:
        arguments["default"] = flag.default
    if flag.kind != "switch" and flag.default not in (None, ""):
        arguments["show_default"] = _shown_default(flag)
    return click.Option(names, **arguments)


def _shown_default(flag: Flag) -> str | bool:
    if flag.kind == "mode":
        return f"{flag.default:o}"
    if flag.kind == "duration":
        return f"{flag.default:g}s"
    return True


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Pyre {pyre.__version__} with {python} on {platform.system()}")
        context.exit()


class _Command(click.Command):
    """`pyre run APP` is `pyre APP`: no application can be called `run`, as each has a colon in its name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["run"]:
            args = args[1:]
        return super().parse_args(ctx, args)


def _serve(app: str, **options: Any) -> None:
    headers = []
    for text in options.pop("headers"):
        name, colon, value = text.partition(":")
        if not colon:
            raise click.UsageError(f"--header {text!r}: write it as 'Name: value'.")
        headers.append((name.strip(), value.strip()))
    from pyre.logging import LOGGING_CONFIG

    if options["log_config"] is None:
        options["log_config"] = LOGGING_CONFIG
    try:
        pyre.run(app, headers=headers, **options)
    except ConfigError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(EXIT_USAGE) from None


def make_command() -> click.Command:
    """The click command, made from the table."""
    parameters: list[click.Parameter] = [click.Argument(["app"], envvar="PYRE_APP")]
    parameters += [_option(flag) for flag in FLAGS]
    parameters.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        )
    )
    return _Command(
        "pyre",
        params=parameters,
        callback=_serve,
        help="Serve APP: module:attribute or path/to/file.py:attribute, an ASGI or WSGI application.\n\n"
        "Durations are written 500ms, 5s, 2m or as seconds; sizes 64k, 16m or as bytes. "
        "Each option FLAG can also be given as the environment variable PYRE_FLAG.",
        context_settings={"help_option_names": ["--help"], "max_content_width": 110},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Ends the process: with 0, 2 (usage), 3 (start-up failure), or 4 (the application cannot be
    loaded)."""
    name = "pyre"
    if arguments is None:
        name = os.path.basename(sys.argv[0])
        if name == "__main__.py":
            name = "python -m pyre"
            sys.argv[0] = "pyre"
    make_command()(args=None if arguments is None else list(arguments), prog_name=name)
