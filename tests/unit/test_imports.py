"""The layers of DESIGN.md: imports only go downwards, verbs never import each other, and `neve` never imports the archiver."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first. What stands in one layer may import what stands in layers before it.
LAYERS = [
    ["errors", "model"],
    ["sections"],
    ["config", "identity"],
    ["pace", "flow"],
    ["policy", "storage", "chain", "prices", "turns", "promises"],
    ["ledger", "formats", "proof", "stretch"],
    ["archive"],
    ["names", "people", "addresses", "guards", "lease", "markers", "silence", "obstacles"],
    ["locations", "buckets", "nights", "manifest", "changeover", "arrivals", "keys", "facts"],
    ["bundle", "outbox", "losses", "tombstones", "contents", "incoming"],
    ["asking", "remark", "instruments", "announce", "packing"],
    # the verbs: joined by the ledger's state only
    [
        *("reception", "transfer", "restore", "recall", "drop", "credentials", "hold", "notices"),
        *("erasure", "fixity", "drill", "inventory", "anchors", "uploads", "rereading", "download"),
    ],
    ["batch", "upload", "closing", "snapshots", "showing", "strays", "quotes", "describe", "check", "doctor", "plan", "rebuild", "capacity"],
    ["chores", "simulation", "receipt"],
    ["worker", "reaper", "auth"],
    ["api"],
    ["pages"],
    ["app"],
    ["commands"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _modules(package: Path):
    return [p for p in package.rglob("*.py") if "migrations/versions" not in str(p)]


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "archiver":
                yield from (f"archiver.{alias.name}" for alias in node.names)
            else:
                yield node.module


def _layer(dotted: str) -> str:
    return dotted.split(".")[1]


@pytest.mark.parametrize("path", _modules(ROOT / "archiver"), ids=lambda p: str(p.relative_to(ROOT)))
def test_archiver_imports_only_go_downwards(path: Path):
    parts = path.relative_to(ROOT / "archiver").with_suffix("").parts
    here = parts[0]
    if here == "__init__":
        return
    assert here in LEVEL, f"{path.name} has no layer: put it into LAYERS"
    for imported in _imports(path):
        if not imported.startswith("archiver.") or _layer(imported) == here:
            continue
        there = _layer(imported)
        assert LEVEL[there] < LEVEL[here], f"{path.relative_to(ROOT)} imports {imported}, which is not below it"


@pytest.mark.parametrize("path", _modules(ROOT / "extensions" / "neve"), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_notebook_installs_needs_no_server_code(path: Path):
    foreign = [name for name in _imports(path) if name.split(".")[0] in {"archiver", "neve_hub"}]
    assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"
