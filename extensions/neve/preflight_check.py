"""Before a run: which of its inputs are cold. `neve.preflight("analysis.ipynb")` or of names.

Law: nothing is run and nothing is asked back; names are read out of the program as it is written. What is put together only while it runs cannot be
seen, and is counted rather than passed over. (This module has not its function's name: importing it would put it in its place.)
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neve import records
from neve.client import Client, connect
from neve.errors import NotFound, WrongUse
from neve.restores import Restoration, restore_dataset
from neve.sources import data_folder
from neve.wording import duration_text, size_text, table_html, tier_text

_FULL = re.compile(r"[^/\s]{1,200}/[^/\s]{1,200}")
_ASKING = frozenset({"restore", "quote", "hold", "restore_button", "preflight"})
_PLACES = 5  # below the data folder: project, instrument, year, month, dataset


@dataclass(frozen=True)
class Input:
    """One dataset that a run needs. `dataset` is None where there is none of this name."""

    name: str
    dataset: records.Dataset | None

    @property
    def cold(self) -> bool:
        """Whether it must be brought back first."""
        return self.dataset is not None and self.dataset.readable == "after_restore"

    def words(self) -> tuple[str, str, str, str]:
        """Name, size, where it is, and what to do."""
        found = self.dataset
        if found is None:
            return self.name, "", "not known", "see whether the name is right"
        if found.restore is not None and found.restore.running:
            what = f"on its way back ({records.RESTORE_STATES[found.restore.state]})"
        else:
            within = f", within {duration_text(found.back_within_s)} of asking" if self.cold else ""
            what = f"{records.READABLE.get(found.readable, found.readable)}{within}"
        return found.full_name, size_text(found.size_bytes), tier_text(found.tier), what


class Preflight(Sequence[Input]):
    """The inputs of a run. `cold`: those to bring back first; `unseen`: how many names are put together only while it runs."""

    def __init__(self, client: Client, inputs: Iterable[Input], unseen: int = 0) -> None:
        self._client = client
        self._inputs = list(inputs)
        self.unseen = unseen

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204 - a list's, for numbers and slices
        return self._inputs[index]

    @property
    def cold(self) -> list[str]:
        """Full names of what must be brought back first."""
        return [one.dataset.full_name for one in self._inputs if one.cold and one.dataset is not None]

    @property
    def ready(self) -> bool:
        """Whether all that can be seen is known and can be read now."""
        return not self.cold and all(one.dataset is not None for one in self._inputs)

    def restore(self, days: int | None = None) -> list[Restoration]:
        """Ask for all that is cold."""
        return [restore_dataset(self._client, one.dataset, days=days) for one in self._inputs if one.cold and one.dataset is not None]

    def _said(self) -> str:
        cold = [one.dataset for one in self._inputs if one.cold and one.dataset is not None]
        unknown = sum(one.dataset is None for one in self._inputs)
        said = [f"{len(self)} input{'' if len(self) == 1 else 's'}"]
        said += [f"{len(cold)} cold ({size_text(sum(each.size_bytes for each in cold))}): .restore() asks for them"] if cold else ["none cold"]
        said += [f"{unknown} not known"] if unknown else []
        said += [f"{self.unseen} put together only while it runs: not seen"] if self.unseen else []
        return "; ".join(said)

    def __repr__(self) -> str:
        return "\n".join([f"<Preflight: {self._said()}>", *(f"  {'  '.join(word for word in one.words() if word)}" for one in self._inputs)])

    def _repr_html_(self) -> str:
        return table_html(self._said(), ("Dataset", "Size", "Where", "Readable"), [one.words() for one in self._inputs])


def preflight(what: str | Path | Iterable[str], *, url: str | None = None, token: str | None = None) -> Preflight:
    """What a run needs, and what of it is cold: of a notebook or Python file (a path that ends in .ipynb or .py), or of dataset names.

    Raises NotFound and Ambiguous for names that you give; one found in a file that is no dataset's stands in the list as not known, where it is
    used as one. Raises WrongUse for a file that cannot be read.
    """
    client = connect(url, token)
    if isinstance(what, Path) or (isinstance(what, str) and what.endswith((".ipynb", ".py"))):
        sure, maybe, unseen = _names_in(Path(what))
        found = {name: _looked_up(client, name) for name in [*sure, *maybe]}
        inputs = [Input(name, dataset) for name, dataset in found.items() if dataset is not None or name in sure]
        return Preflight(client, _once(inputs), unseen)
    names = [what] if isinstance(what, str) else list(what)
    return Preflight(client, _once([Input(name, client.find(name)) for name in names]))


def _once(inputs: list[Input]) -> Iterator[Input]:
    """Each dataset once, though it was called by its bare and its full name."""
    seen: set[str] = set()
    for one in inputs:
        name = one.name if one.dataset is None else one.dataset.full_name
        if name not in seen:
            seen.add(name)
            yield one


def _looked_up(client: Client, name: str) -> records.Dataset | None:
    try:
        return client.find(name)
    except NotFound:
        return None


def _names_in(path: Path) -> tuple[list[str], list[str], int]:
    """Names that are used as datasets', texts that may be names, and how many are put together while it runs."""
    sure: dict[str, None] = {}
    maybe: dict[str, None] = {}
    unseen = 0
    for code in _code(path):
        try:
            tree = ast.parse(code)
        except SyntaxError:
            maybe.update(dict.fromkeys(found for found in re.findall(r"""["']([^"'\n]+)["']""", code) if _FULL.fullmatch(found)))
            continue
        for node in ast.walk(tree):
            for used in _used(node):
                if isinstance(used, ast.Constant) and isinstance(used.value, str):
                    sure[used.value] = None
                elif isinstance(used, ast.JoinedStr):
                    unseen += 1
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and (name := _may_be(node.value)):
                maybe[name] = None
    # `frame["energy"]` looks like `cat["run42"]`: a bare key is a dataset's only if there is one.
    bare = [name for name in sure if not _FULL.fullmatch(name)]
    return [name for name in sure if _FULL.fullmatch(name)], [*bare, *(name for name in maybe if name not in sure)], unseen


def _used(node: ast.AST) -> list[ast.expr]:
    """What is used as a dataset's name: `cat[…]`, `neve.restore(…)`."""
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ASKING:
        first = node.args[0] if node.args else None
        return list(first.elts) if isinstance(first, ast.List | ast.Tuple) else [first] if first is not None else []
    return []


def _may_be(text: str) -> str | None:
    """`instrument/name`, also out of a path below the data folder."""
    below = text.removeprefix(f"{data_folder()}/").removeprefix("data/")
    parts = below.split("/")
    if text != below and len(parts) >= _PLACES:
        return f"{parts[1]}/{parts[_PLACES - 1]}"
    return text if _FULL.fullmatch(text) else None


def _code(path: Path) -> list[str]:
    """The code of a Python file or of a notebook's cells, without what IPython alone understands."""
    try:
        text = path.read_text()
        if path.suffix != ".ipynb":
            return [text]
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except OSError as error:
        raise WrongUse(f"{path} cannot be read ({error.strerror or error}).", "Give the path of a notebook or a Python file.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WrongUse(f"{path} is no notebook ({error}).", "Give the path of a notebook or a Python file.") from None
    return ["\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!", "?"))) for cell in cells]
