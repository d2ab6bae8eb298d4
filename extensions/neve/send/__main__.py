"""`neve-send.pyz`: `send` and `watch` for machines that have Python and nothing else.

Law: the commands are those of `neve` and are described there alone; here their arguments are read by the standard library, because typer needs
pydantic for that, whose compiled half fits one platform and one Python.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from neve.errors import NeveError
from neve.send.commands import send_command
from neve.send.watch_command import watch_command

COMMANDS: dict[str, Callable[..., None]] = {"send": send_command, "watch": watch_command}


def parser() -> argparse.ArgumentParser:
    """The command line, made from the functions' own descriptions."""
    whole = argparse.ArgumentParser(prog="neve", description="Névé: sends an instrument's files to its archiver.", allow_abbrev=False)
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, function in COMMANDS.items():
        about = inspect.getdoc(function) or ""
        one = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            kind, info = get_args(hints[parameter.name])
            _add(one, parameter, kind, info)
    return whole


def _add(one: argparse.ArgumentParser, parameter: inspect.Parameter, kind: Any, info: OptionInfo | ArgumentInfo) -> None:
    many = get_origin(kind) is list
    plain = next((part for part in get_args(kind) if part is not type(None)), kind)
    decls = [str(text) for text in (info.default, *(info.param_decls or ()))]  # in an Annotated typer leaves the first where a default would stand
    options: dict[str, Any] = {"help": (info.help or "").replace("%", "%%")}
    if isinstance(info, ArgumentInfo):
        optional = parameter.default is not inspect.Parameter.empty
        one.add_argument(parameter.name, type=plain, nargs="+" if many else "?" if optional else None, metavar=info.metavar, **options)
    elif plain is bool:
        one.add_argument(*decls, dest=parameter.name, action="store_true", **options)
    else:
        metavar = "FILE" if plain is Path else "TEXT"
        one.add_argument(*decls, dest=parameter.name, type=plain, default=parameter.default, metavar=metavar, **options)


def main() -> None:
    """`neve-send.pyz …`, or `python -m neve.send …`."""
    chosen = vars(parser().parse_args())
    try:
        COMMANDS[chosen.pop("command")](**chosen)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except NeveError as error:
        sys.stderr.write(f"neve: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
