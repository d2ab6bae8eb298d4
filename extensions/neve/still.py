"""What stands in a saved notebook where a widget was: what it showed last, as text and table.

Law: it is an output of its own before the widget's, and a reader sees the one or the other: a widget that lives hides it; where no kernel knows
the widget any more, it hides the words "model not found". It is plain HTML of what the archiver said to this person, and holds no token.
"""

from __future__ import annotations

_STYLE = """<style>
.jp-OutputArea-child:has([data-neve-still]):has(+ .jp-OutputArea-child > .jp-OutputArea-output > .lm-Widget),
.jp-OutputArea-child:has([data-neve-still]) + .jp-OutputArea-child > .jupyter-widgets:not(:has(*)) { display: none; }
</style>"""
AGAIN = "As it was when this was saved; run the cell again to go on."


class Still:
    """The still of one widget. `mark`: the widget's own number, by which later ones take the place of the first."""

    def __init__(self, mark: str) -> None:
        self._id = f"neve-still-{mark}"
        self._stands = False

    def show(self, html: str, text: str) -> None:
        """Put it below the cell, or in place of the one that stands there; `html` is escaped already."""
        from IPython.display import display  # noqa: PLC0415 - only in notebooks

        display(_bundle(html, text), raw=True, display_id=self._id)  # type: ignore[no-untyped-call]
        self._stands = True

    def change(self, html: str, text: str) -> None:
        """Put it in place of the one that stands below a cell, if any does."""
        from IPython.display import update_display  # noqa: PLC0415

        if self._stands:
            update_display(_bundle(html, text), raw=True, display_id=self._id)  # type: ignore[no-untyped-call]


def _bundle(html: str, text: str) -> dict[str, str]:
    return {"text/html": f"{_STYLE}<div data-neve-still>{html}<p>{AGAIN}</p></div>", "text/plain": text}
