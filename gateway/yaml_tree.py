"""The YAML that configuration needs, as a tree that remembers the line and column of every key and value.

YAML 1.2 without its surprises: no tags, no merge keys, no empty values, no second document, no key twice; what is
not plainly a number, true or false is text. Pure. Must not know what the document means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

Path: TypeAlias = tuple[str | int, ...]

MOST_VALUES: Final = 10_000
"""Values in a document with every alias written out: aliases of aliases double with every line."""
MOST_DEPTH: Final = 24
"""Levels of maps and lists, aliases written out."""

_BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
# No leading zeros: YAML 1.1 reads 0755 as 493. No more digits than any number here has.
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]{1,30}|(0|[1-9][0-9]{0,30})(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,4})?")


class Mark(NamedTuple):
    """A place in the text; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it begins. `size` and `height` count what is in it, aliases written out."""

    mark: Mark
    value: bool | float | str | tuple[Node, ...] | Mapping[str, Entry] | None
    size: int = 1
    height: int = 1


class Entry(NamedTuple):
    """A value in a map, and where its key begins."""

    mark: Mark
    node: Node


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place; `path` is as far as it was known there."""

    mark: Mark
    path: Path
    message: str


class _Stop(Exception):
    """Nothing after this place can be understood."""

    def __init__(self, mark: Mark, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.fault = Fault(mark, path, message)


def read_tree(text: str) -> tuple[Node | None, tuple[Fault, ...]]:
    """Read one document; the tree is None where the text is no YAML, and of use in spite of other faults."""
    reader = _Reader(text)
    root = None
    try:
        root = reader.document()
    except _Stop as stop:
        reader.faults.append(stop.fault)
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, error.position - before.rfind("\n"))
        reader.faults.append(Fault(mark, (), "a character that YAML does not allow"))
    except MarkedYAMLError as error:
        reader.faults.append(_syntax(text, error))
    except (YAMLError, ValueError, OverflowError):  # ruamel lets those of chr() and int() through
        reader.faults.append(Fault(reader.mark, (), "not YAML after this: a character that there is not, perhaps"))
    return root, tuple(reader.faults)


def plain(node: Node) -> object:
    """Return the value without places: None, bool, int, float, str, list or dict."""
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    if isinstance(node.value, Mapping):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    return node.value


_SAID: Final[tuple[tuple[str, bool, str], ...]] = (
    ("character '\\t' that cannot start", False, "a tab cannot stand here (use spaces)"),
    ("cannot start any token", False, "a value cannot begin with this character (put it in quotes)"),
    ("found '<block mapping start>'", False, "this line is indented unlike those above it"),
    ("found '<block sequence start>'", False, "this line is indented unlike those above it"),
    ("could not find expected ':'", True, "a key needs a colon, and a blank after it (write key: value)"),
    (
        "mapping values are not allowed",
        False,
        "a key cannot stand here: mind the indentation, or put a text with a colon in quotes",
    ),
    ("end of stream while scanning a quoted", True, "this quote is never closed"),
    ("while parsing a flow mapping", True, "this { is never closed, or a comma is missing after it"),
    ("while parsing a flow sequence", True, "this [ is never closed, or a comma is missing after it"),
    ("undefined tag handle", False, "tags are not allowed (put the value in quotes)"),
    ("while scanning an alias", True, "* begins an alias (put it in quotes)"),
)
"""Words of the parser -> whether the place is where the thing began, and what to say instead."""


def _syntax(text: str, error: MarkedYAMLError) -> Fault:
    # Only the parser's words: its own text form quotes the line, and a line may hold a secret.
    words = f"{error.problem}{f' {error.context}' if error.context else ''}"
    began, says = next(((began, says) for part, began, says in _SAID if part in words), (False, f"not YAML: {words}"))
    place = (error.context_mark if began else None) or error.problem_mark or error.context_mark
    mark = Mark(place.line + 1, place.column + 1) if place else Mark(1, 1)
    line = [*text.splitlines(), "", ""][mark.line - 1]
    if line[: mark.column].strip(" ").startswith("\t"):
        return Fault(mark, (), "a tab cannot indent YAML (use spaces)")
    return Fault(mark, (), says)


class _Reader:
    """Builds the tree from the parser's events, so that nothing is constructed that was not asked for."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self.mark = Mark(1, 1)
        self._events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
        self._anchors: dict[str, Node] = {}
        self._size = 0

    def document(self) -> Node | None:
        event = self._next()
        while not isinstance(event, NodeEvent):
            if isinstance(event, StreamEndEvent):
                return None
            if isinstance(event, DocumentStartEvent) and (event.tags or event.version not in {None, (1, 2)}):
                raise _Stop(self.mark, "directives are not allowed; this file is read as YAML 1.2")
            event = self._next()
        root = self._node(event, ())
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                raise _Stop(self.mark, "a second document begins here; a file holds one")
        return None if root.value is None else root

    def _next(self) -> Event:
        event = next(self._events)
        self.mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        return event

    def _node(self, event: Event, path: Path) -> Node:
        mark = self.mark
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, path)
        if len(path) >= MOST_DEPTH:
            raise _Stop(mark, f"more than {MOST_DEPTH} levels deep", path)
        if not isinstance(event, (MappingStartEvent, SequenceStartEvent, ScalarEvent)):
            raise _Stop(mark, "a value is missing here", path)
        if event.tag is not None:
            self.faults.append(Fault(mark, path, f"tags are not allowed: {_tag(str(event.tag))}"))
        if isinstance(event, MappingStartEvent):
            node = self._mapping(mark, path)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(mark, path)
        else:
            node = Node(mark, _scalar(event))
            self._count(1, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, anchor: str, path: Path) -> Node:
        node = self._anchors.get(anchor)
        if node is None:  # also an alias inside its own anchor, which would never end
            raise _Stop(self.mark, f"nothing before this is anchored as {anchor[:64]!a}", path)
        if len(path) + node.height > MOST_DEPTH:
            raise _Stop(self.mark, f"more than {MOST_DEPTH} levels deep", path)
        self._count(node.size, path)
        return node

    def _count(self, values: int, path: Path) -> None:
        self._size += values
        if self._size > MOST_VALUES:
            raise _Stop(self.mark, f"more than {MOST_VALUES} values, aliases written out", path)

    def _sequence(self, mark: Mark, path: Path) -> Node:
        items: list[Node] = []
        self._count(1, path)
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._item(event, (*path, len(items)), self.mark))
        return Node(
            mark, tuple(items), 1 + sum(item.size for item in items), 1 + max((i.height for i in items), default=0)
        )

    def _mapping(self, mark: Mark, path: Path) -> Node:
        entries: dict[str, Entry] = {}
        self._count(1, path)
        while not isinstance(event := self._next(), MappingEndEvent):
            key_mark = self.mark
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                raise _Stop(key_mark, "a key must be text (a value that begins with { or [ needs quotes)", path)
            key = self._node(event, path).value
            here = (*path, key) if isinstance(key, str) else path
            node = self._item(self._next(), here, key_mark)
            fault = _key_fault(key, entries)
            if fault:
                self.faults.append(Fault(key_mark, here, fault))
            elif isinstance(key, str):
                entries[key] = Entry(key_mark, node)
        nodes = [entry.node for entry in entries.values()]
        return Node(mark, entries, 1 + sum(node.size for node in nodes), 1 + max((n.height for n in nodes), default=0))

    def _item(self, event: Event, path: Path, mark: Mark) -> Node:
        """Read what a list or a map holds; `mark` is where it should stand, for a value that is not there has no place."""
        node = self._node(event, path)
        if node.value is None:
            self.faults.append(
                Fault(mark, path, "there is no value (leave the key out, or write one; {} is an empty map)")
            )
        return node


def _tag(tag: str) -> str:
    """A tag as it was written."""
    return ascii(tag[:64].replace("tag:yaml.org,2002:", "!!", 1))


def _key_fault(key: object, entries: Mapping[str, Entry]) -> str | None:
    if not isinstance(key, str):
        return "a key must be text (put it in quotes)"
    if key in entries:
        return f"the key is given twice (first in line {entries[key].mark.line})"
    if key == "<<":
        return "merge keys are not allowed (`extends` makes one profile of another; an alias repeats a whole value)"
    return None


def _scalar(event: ScalarEvent) -> bool | float | str | None:
    text: str = event.value
    if event.style is not None:  # quoted or a block
        return text
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return None if text in _NULLS else text
