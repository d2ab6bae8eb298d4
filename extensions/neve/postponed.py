"""Modules that are imported when something of theirs is called, not before.

For programs whose start people wait for. `rfc3987_syntax` builds a grammar when it is imported, which is half of a notebook server's start and of
the hub's; jsonschema imports it for the formats `iri` and `iri-reference`, which no schema of Jupyter's has. `alembic` is imported by
`jupyterhub.orm`, and a notebook server has no database. Where they are called after all, they do what they always do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

GRAMMAR = ("rfc3987_syntax",)
MIGRATIONS = ("alembic", "alembic.command", "alembic.config", "alembic.script")


class _Postponed(ModuleType):
    """Stands for a module; what is taken from it are functions that import it first."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} is postponed and has no {name!r} yet")

        def call(*given: Any, **named: Any) -> Any:
            if sys.modules.get(self.__name__) is self:
                root = self.__name__.partition(".")[0]
                for other in [known for known, module in sys.modules.items() if isinstance(module, _Postponed) and known.partition(".")[0] == root]:
                    del sys.modules[other]
            return getattr(import_module(self.__name__), name)(*given, **named)

        return call


def postpone(*names: str) -> None:
    """Let `names` be imported at their first use; those that are imported already stay as they are. A package comes before its modules."""
    for name in names:
        if name in sys.modules:
            continue
        module = sys.modules[name] = _Postponed(name)
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)
