"""The pages' texts: each in every language with the same values, each used, none used that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from archiver import model
from archiver.errors import PublicError
from archiver.pages import texts, views

PAGES = Path(texts.__file__).parent
VALUES = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        (None, "en"),
        ("", "en"),
        ("fr", "fr"),
        ("fr-CH, fr;q=0.9, en;q=0.8, *;q=0.5", "fr"),
        ("de, en;q=0.7, fr;q=0.8", "fr"),
        ("de;q=1, it", "en"),
        ("fr;q=0, en", "en"),
        ("FR", "fr"),
        ("en-GB,fr", "en"),
        ("fr;q=x;;,\x00", "en"),
        ("fr;q=0.9," * 10_000, "fr"),
    ],
)
def test_the_language_is_the_first_that_the_browser_asks_for(accepted, spoken):
    assert texts.language(accepted) == spoken


@pytest.mark.parametrize("name", texts.TEXTS)
def test_each_text_says_the_same_in_each_language(name):
    several = texts.TEXTS[name]
    assert len(several) == len(texts.LANGUAGES)
    assert all(several), name
    assert len({frozenset(VALUES.findall(one)) for one in several}) == 1, "other values"
    assert not any("<" in one for one in several), "a text is no markup"


NAMES = {"Névé", "{} · Névé", "Hub", "SHA-256"}
"""What is called the same in every language."""
SHOWN = {"title", "alt", "placeholder", "aria-label", "data-label", "label"}
TYPED = {"pre", "code"}  # what is typed into a terminal


class Literals(HTMLParser):
    """The text of a template, and its attributes that are shown or read out."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._within: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in SHOWN and value]
        if tag in TYPED:
            self._within.append(tag)

    def handle_endtag(self, tag):
        if tag in TYPED:
            self._within.remove(tag)

    def handle_data(self, data):
        if not self._within:
            self.found.append(data)


def said_by(node: nodes.Node) -> Iterator[str]:
    """The constants that an expression can become as a whole or in part; what is handed to calls and filters is not shown."""
    if isinstance(node, nodes.Const):
        yield str(node.value)
    elif isinstance(node, nodes.CondExpr):
        for side in (node.expr1, node.expr2):
            yield from said_by(side) if side is not None else ()
    elif isinstance(node, nodes.BinExpr):
        yield from said_by(node.left)
        yield from said_by(node.right)
    elif isinstance(node, nodes.Concat):
        for one in node.nodes:
            yield from said_by(one)


def literals(source: str) -> set[str]:
    """Words of a template that no table gives."""
    tree = jinja2.Environment(autoescape=True).parse(source)
    markup, constants = "", []
    for output in tree.find_all(nodes.Output):
        for one in output.nodes:
            if isinstance(one, nodes.TemplateData):
                markup += one.data
            else:
                markup += "{}"
                constants += [] if markup.endswith("tier-{}") else list(said_by(one))  # part of a class's name
    found = Literals(markup).found + [one for one in constants if not one.startswith(("/", "?", "#"))]
    return {one.strip() for one in found if re.search(r"[^\W\d_]{2}", one)} - NAMES


def test_a_literal_is_found_wherever_it_can_be_seen():
    assert literals('<p title="Here it {{ x }}">a {% if y %}<b>Bold</b>{% endif %} {{ t.z }}</p>') == {"Here it {}", "Bold"}
    assert literals("<i>{{ 'now' if x else y }} {{ 'of ' ~ z | size }}</i>") == {"now", "of"}
    assert literals('<a class="button" href="/x">{{ t("name", x="y") }} {{ {"a": b} | urlencode }}</a><code>curl</code>') == set()


@pytest.mark.parametrize("page", sorted((PAGES / "templates").glob("*.html")), ids=lambda page: page.stem)
def test_no_text_stands_in_a_template(page):
    assert literals(page.read_text("utf-8")) - {"", "utf-8"} == set()


def test_what_is_named_by_the_code_has_its_text():
    states = [f"restore_{one}" for one in model.RestoreState] + [f"dataset_{one}" for one in model.DatasetState]
    assert [name for name in states if name not in texts.TEXTS] == []
    errors = {name.partition("_")[2] for name in texts.TEXTS if name.startswith("error_")}
    assert errors == {name.partition("_")[2] for name in texts.TEXTS if name.startswith("about_")}
    known = {kind.code.replace("-", "_") for kind in every(PublicError)}
    assert errors - known == set()
    assert {"not_found", "not_allowed", "not_signed_in", "cold_data", "over_quota", "wrong_use", "internal", "hub_unavailable"} <= errors


def every(kind: type[PublicError]) -> set[type[PublicError]]:
    return {kind}.union(*(every(one) for one in kind.__subclasses__()))


def test_numbers_sizes_and_times_follow_the_language():
    def written(lang: str) -> list[str]:
        template = views._templates.from_string("{{ t('n_files', n=n) }}|{{ b | size }}|{{ at | minute }}|{{ 90000 | duration }}")
        return template.render(t=texts.Texts(lang), n=1204, b=1_240_000, at="2026-03-01T12:00:00Z").split("|")

    assert written("en") == ["1,204 files", "1.2 MB", "2026-03-01 12:00 UTC", "25 hours"]
    assert written("fr") == ["1\u202f204 fichiers", "1,2 Mo", "01/03/2026 12:00 UTC", "25 heures"]
    assert [texts.Texts("fr")("n_files", n=n) for n in (0, 1, 2)] == ["0 fichier", "1 fichier", "2 fichiers"]
    assert texts.Texts("en")("n_files", n=0) == "0 files"


def test_each_text_is_used_and_there():
    used = set()
    for page in (PAGES / "templates").glob("*.html"):
        said = page.read_text("utf-8")
        used |= set(re.findall(r"\bt\.(\w+)", said)) - {"lang", "all", "named", "number"}
        for call in re.findall(r"\bt\(([^,)]+)", said):  # a name, or one of two
            used |= set(re.findall(r'(?<!= )"(\w+)"', call))
    scripts = "".join(path.read_text("utf-8") for path in (PAGES / "static" / "upload").glob("*.js"))
    asked = set(re.findall(r"\b(?:text|notice|say)\(\"(\w+)\"", scripts))
    assert used | asked <= set(texts.TEXTS)
    words = set(re.findall(r"[\"`](\w+)[\"`$]", scripts)) | {"units", "seconds", "minutes", "hours"}
    made = re.compile(
        "(stop|away|why|tier|readable|dataset|restore|proof|waits|error|about|console|part|fine|money|group|none|done|confirm|fact|deeds|plan)_|(remove|retry)_one$"
    )  # names that are put together
    unused = {name for name in texts.TEXTS if name not in used | words and not made.match(name)}
    assert unused == set()
