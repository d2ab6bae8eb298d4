"""The index at the top of tests/conftest.py names every shared fixture, with the module and scope it really has, and no other."""

from __future__ import annotations

import ast
import re

from fixtures.processes import REPO

TESTS = REPO / "tests"


def declared() -> set[tuple[str, str, str]]:
    """(name, scope, module) of each fixture in tests/fixtures; those whose name begins with _ are for the module itself."""
    found = set()
    for path in (TESTS / "fixtures").glob("*.py"):
        if path.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for mark in getattr(node, "decorator_list", []):
                text = ast.unparse(mark)
                if text.startswith("pytest.fixture") and not node.name.startswith("_"):
                    scope = re.search(r"scope='(\w+)'", text)
                    found.add((node.name, scope[1] if scope else "test", path.stem))
    return found


def test_the_index_is_complete_and_true():
    docstring = ast.get_docstring(ast.parse((TESTS / "conftest.py").read_text("utf-8"))) or ""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in docstring.splitlines() if line.startswith("| `")]
    indexed = {(row[0].strip("`"), row[1], row[-1]) for row in rows}
    assert indexed == declared()
