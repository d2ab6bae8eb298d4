# ruff: noqa: INP001 - a script that is run, no package
"""Makes `neve-send.pyz`: one file that sends and watches, for a machine with Python 3.11 or newer and neither pip nor network to packages.

    python images/neve-send/build.py [TARGET]        (make neve-send.pyz; default: dist/neve-send.pyz)

What it needs is copied from the environment that runs this, in the versions that constraints.txt pins there. Law: pure Python only, so that one file
runs on Windows, Linux and macOS; a package with a compiled part that is not left out below ends the build.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import tomllib
import zipapp
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parents[2]
# typer reads arguments with pydantic, which is compiled; neve.send.__main__ reads them without.
LEFT_OUT = {"pydantic"}
SUFFIXES = {".py", ".pem", ".typed"}
START = """import sys
if sys.version_info < (3, 11):
    sys.exit("neve-send.pyz needs Python 3.11 or newer; this is " + sys.version.split()[0] + ".")
from neve.send.__main__ import main
main()
"""


def needed() -> set[str]:
    """Distributions that the core of neve needs, with what those need."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
    found: set[str] = set()
    waiting = [Requirement(text) for text in project["dependencies"]]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found | LEFT_OUT or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += map(Requirement, metadata.requires(name) or [])
    return found


def copy_distribution(name: str, target: Path) -> None:
    """The importable files of an installed distribution, and its licence."""
    files = metadata.files(name)
    if files is None:
        raise SystemExit(f"{name} does not say which files it is made of; install it anew.")
    for file in files:
        compiled = file.suffix in {".so", ".pyd", ".dll"}
        if compiled:
            raise SystemExit(f"{name} has a compiled part ({file}): it cannot go into one file for every machine.")
        licence = ".dist-info" in file.parts[0] and "licen" in str(file).lower()
        if ".." in file.parts or (not licence and (".dist-info" in file.parts[0] or file.suffix not in SUFFIXES)):
            continue
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.locate(), place)


def build(target: Path) -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in sorted(needed()):
            copy_distribution(name, tree)
        for file in sorted((HERE / "extensions" / "neve").rglob("*.py")):
            place = tree / "neve" / file.relative_to(HERE / "extensions" / "neve")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        (tree / "__main__.py").write_text(START, "utf-8")
        target.parent.mkdir(parents=True, exist_ok=True)
        zipapp.create_archive(tree, target, interpreter="/usr/bin/env python3", compressed=True)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "dist" / "neve-send.pyz"
    build(where)
    print(f"{where}: {where.stat().st_size / 1e6:.1f} MB")  # noqa: T201
