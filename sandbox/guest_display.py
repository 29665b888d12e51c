"""A part of the guest: what a notebook would show of a program that ended well, in the program's own process.

Its last value, where that knows more of itself than a repr, and the figures that matplotlib still has open. Compiled only
for programs that have either. Every word of it is the program's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandbox.guest_protocol import BUNDLE_TYPES, HOME, MOST_FIGURES
from sandbox.guest_tools import cut, library, quoted, type_name
from sandbox.guest_value import encode_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

ROWS = 500  # of a table, as JSON
CELLS = 50_000  # of it, before the size of its text is looked at
PLAIN_BYTES = 4_000  # of a figure's repr
METHODS = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_latex_": "text/latex",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_json_": "application/json",
}


class Display:
    """The bundles so far, as a text of JSON that grows to `limit` bytes at most; what has no room is named as omitted."""

    def __init__(self, limit: int, modules: Mapping[str, ModuleType]) -> None:
        self.left = limit - len("[]")
        self.modules = modules
        self.bundles: list[str] = []
        self.figures: list[str] = []

    @property
    def text(self) -> str:
        """All bundles."""
        return "[" + ", ".join(self.bundles) + "]" if self.bundles else ""

    def show_value(self, value: object, plain: str) -> None:
        """Add what the value tells of itself; nothing where that is no more than its repr."""
        forms: dict[str, str] = {}
        notes: dict[str, str] = {}
        for kind, form in _forms(value):
            encoded = _encoded(kind, form, self.left)
            if encoded is not None:
                forms.setdefault(kind, encoded)
        table, rows, all_rows = _table(value, self.modules, self.left // 2)
        if table:
            forms["application/json"] = table
            if rows < all_rows:
                notes["rows"] = f"[{rows}, {all_rows}]"
        if forms:
            self._add({"text/plain": quoted(cut(plain, self.left // 4)), **forms}, notes)

    def show_figures(self) -> None:
        """Save what pyplot has open as `figure-1.png` and so on, in the order of its numbers, and tell of each."""
        pyplot = self.modules["matplotlib.pyplot"]
        numbers = list(pyplot.get_fignums())
        for number in numbers[:MOST_FIGURES]:
            figure = pyplot.figure(number)
            plain = quoted(cut(_plain(figure), PLAIN_BYTES))
            name = _free_name(len(self.figures) + 1)
            try:
                figure.savefig(os.path.join(HOME, name), format="png", bbox_inches="tight")
            except BaseException:  # noqa: BLE001 - the figure is the program's, and so are the methods of what is in it
                _remove(os.path.join(HOME, name))
                self._add({"text/plain": plain, "image/png": ""}, {})
            else:
                self.figures.append(name)
                self._add({"text/plain": plain}, {"file": quoted(name)})
        if len(numbers) > MOST_FIGURES:
            self._add({"text/plain": quoted(f"{len(numbers) - MOST_FIGURES} more figures"), "image/png": ""}, {})

    def _add(self, forms: Mapping[str, str], notes: dict[str, str]) -> None:
        """Add a bundle, of each form's JSON; an empty one, and one for which there is no room, is only named."""
        kept: dict[str, str] = {}
        omitted: list[str] = []
        room = self.left - 200 - 24 * len(forms)  # what is not a form's own text, at most
        for kind, text in forms.items():
            size = len(text.encode()) + len(kind) + 6
            if text and size <= room:
                room -= size
                kept[kind] = text
            else:
                omitted.append(quoted(kind))
        if omitted:
            notes["omitted"] = "[" + ", ".join(omitted) + "]"
        bundle = _as_object({"data": _as_object(kept), "metadata": _as_object(notes)})
        size = len(bundle.encode()) + len(", ")
        if size <= self.left:
            self.left -= size
            self.bundles.append(bundle)


def _as_object(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join([quoted(name) + ": " + text for name, text in texts.items()]) + "}"


def _forms(value: object) -> Iterator[tuple[str, object]]:
    """What the value's own methods say it looks like, by MIME type, in the order in which notebooks ask."""
    said = _call(value, "_repr_mimebundle_")
    if type(said) is tuple and said:
        said = said[0]
    if isinstance(said, dict):
        for kind in BUNDLE_TYPES[1:]:
            if said.get(kind) is not None:
                yield kind, said[kind]
    for method, kind in METHODS.items():
        form = _call(value, method)
        if type(form) is tuple and form:
            form = form[0]
        if form is not None:
            yield kind, form


def _call(value: object, method: str) -> object:
    """What a method of its class returns; None where it has none, or it fails."""
    try:
        found: Callable[[object], object] | None = getattr(type(value), method, None)
        return None if found is None else found(value)
    except BaseException:  # noqa: BLE001 - the value's methods are the program's
        return None


def _encoded(kind: str, form: object, limit: int) -> str | None:
    """A form as JSON; empty if it is too long to send, None if it is nothing of its kind."""
    if kind == "application/json":
        said, text = encode_result(form, max(limit, 0))
        return text if said == "json" else ""
    if kind in {"image/png", "image/jpeg"} and isinstance(form, (bytes, bytearray)):
        form = library("binascii").b2a_base64(form, newline=False).decode("ascii")
    if not isinstance(form, str) or not form:
        return None
    if len(form) > limit:
        return ""
    return quoted(form.encode("utf-8", "backslashreplace").decode())


def _table(value: object, modules: Mapping[str, ModuleType], limit: int) -> tuple[str, int, int]:
    """The first rows of a pandas table as JSON that fits, how many these are, and of how many."""
    try:
        pandas = modules["pandas"]
        if not isinstance(value, (pandas.DataFrame, pandas.Series)):
            return "", 0, 0
        columns = value.shape[1] if len(value.shape) > 1 else 1
        rows = min(len(value), ROWS, max(CELLS // max(columns, 1), 1))
        while True:
            text: str = value.head(rows).to_json(orient="split", date_format="iso", default_handler=str)
            if len(text.encode()) <= limit:
                return text, rows, len(value)
            if rows <= 1:
                return "", 0, 0
            rows //= 2
    except BaseException:  # noqa: BLE001 - the table, and all that is called pandas, may be the program's
        return "", 0, 0


def _plain(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # noqa: BLE001 - as above
        return f"<unprintable {type_name(value)}>"


def _free_name(number: int) -> str:
    """The first name from this number on that the program has not given to a file of its own."""
    while os.path.lexists(os.path.join(HOME, f"figure-{number}.png")):
        number += 1
    return f"figure-{number}.png"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
