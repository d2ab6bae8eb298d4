"""The pages' texts: each in every language with the same values, each used, none used that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archiver.pages import texts

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


def test_each_text_is_used_and_there():
    used = set()
    for page in (PAGES / "templates").glob("*.html"):
        used |= set(re.findall(r"\bt\.(\w+)", page.read_text("utf-8"))) - {"lang", "all"}
    scripts = "".join(path.read_text("utf-8") for path in (PAGES / "static" / "upload").glob("*.js"))
    asked = set(re.findall(r"\b(?:text|notice|say)\(\"(\w+)\"", scripts))
    assert used | asked <= set(texts.TEXTS)
    words = set(re.findall(r"[\"`](\w+)[\"`$]", scripts)) | {"units"}
    made = re.compile("(stop|away|why)_|(remove|retry)_one$")  # names that are put together
    unused = {name for name in texts.TEXTS if name not in used | words and not made.match(name)}
    assert unused == set()
