"""README.md names every command of `archiver` and `neve`, and no other."""

from __future__ import annotations

import re

import typer
from fixtures.processes import REPO
from neve.cli import app as neve_cli

from archiver.cli import cli as archiver_cli


def commands(program: str, app: typer.Typer) -> set[str]:
    found = set()

    def walk(group, words: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, f"{words} {name}")
            else:
                found.add(f"{words} {name}")

    walk(typer.main.get_command(app), program)
    return found


def test_readme_names_each_command_and_no_other():
    text = (REPO / "README.md").read_text("utf-8")
    real = commands("archiver", archiver_cli) | commands("neve", neve_cli)
    missing = {name for name in real if not re.search(rf"\b{name}\b", text)}
    assert not missing, f"README.md lacks {sorted(missing)}"
    groups = {name.rsplit(" ", 1)[0] for name in real}
    for program, first, second in re.findall(r"^(archiver|neve) ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE):
        name = f"{program} {first} {second}" if f"{program} {first}" in groups else f"{program} {first}"
        assert name in real, f"README.md names `{name}`, which does not exist"
