"""What is imported late is imported when it is called, and not before; each case in an interpreter of its own."""

import subprocess
import sys

import pytest


def said(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_format_is_checked_by_what_was_postponed():
    code = """
import sys
from neve.postponed import GRAMMAR, postpone
postpone(*GRAMMAR)
import jsonschema
print("lark" in sys.modules)
checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
print(checker.conforms("https://é.example/a", "iri"), checker.conforms("not an iri", "iri"), checker.conforms("a b", "iri-reference"))
print("lark" in sys.modules)
import rfc3987_syntax
print(rfc3987_syntax.__file__ is not None, rfc3987_syntax.is_valid_syntax("iri", "a b"))
"""
    assert said(code) == ["False", "True", "False", "False", "True", "True", "False"]


def test_a_hubs_database_is_made_with_postponed_migrations():
    code = """
import sys
from neve.postponed import MIGRATIONS, postpone
postpone(*MIGRATIONS)
from jupyterhub import orm
print("alembic.runtime" in sys.modules)
from alembic.script import ScriptDirectory
import alembic.config
config = alembic.config.Config()
print(type(config).__module__)
import alembic
print(alembic.__version__[0].isdigit(), "alembic.runtime" in sys.modules)
"""
    assert said(code) == ["False", "alembic.config", "True", "True"]


def test_what_is_imported_already_stays():
    code = """
import json.decoder
from neve.postponed import postpone
was = json.decoder
postpone("json", "json.decoder")
import json.decoder
print(json.decoder is was, json.loads("1"))
"""
    assert said(code) == ["True", "1"]


@pytest.mark.parametrize(("program", "module"), [("neve.serving", "rfc3987_syntax"), ("neve.serving", "alembic"), ("neve_hub.hub", "rfc3987_syntax")])
def test_our_programs_start_without(program, module):
    """A start is watched, not timed: what was put off is not among what it imported. `--help-all` loads all classes there are."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", program, "--help-all"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jupyterhub" in imported
    assert not {name for name in imported if name == module or name.startswith(f"{module}.")}
