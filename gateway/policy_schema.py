"""The JSON Schema of a policy file, for editors that complete and check it (draft 2020-12).

The keys and their forms are the models', what each means is in the tables of the policies' README: one place for each.
What the schema accepts may still be refused at load: contradictions between values are beyond it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import JsonValue

from gateway.policy_shape import PolicyDocument
from gateway.yaml_tree import plain, read_tree

_ROW: Final = re.compile(r"^\| `([a-z0-9_.\[\]]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_PROFILES: Final = frozenset({"defaults", "profiles"})  # what is in them the tables name without them
_NULL: Final = {"type": "null"}  # in a resolved policy; a file leaves such a key out
_UNSAID: Final = frozenset({"title", "default", "uniqueItems"})

_Schema = dict[str, JsonValue]


class Row(NamedTuple):
    """What a table says of one key, in Markdown."""

    meaning: str
    unit: str
    default: str
    no_protection: str


def rows_of(readme: str) -> dict[str, Row]:
    """The rows of all tables of keys, by key."""
    return {key: Row(*cells) for key, *cells in _ROW.findall(readme)}


def schema_of(rows: Mapping[str, Row]) -> _Schema:
    """The schema, in which each key has the words of its row."""
    schema: _Schema = PolicyDocument.model_json_schema()
    definitions: _Schema = {name: _plainer(one) for name, one in _map(schema.pop("$defs")).items()}
    root = _plainer(schema)
    _describe(root, "", rows, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Airlock policy",
        **root,
        "$defs": definitions,
    }


@cache
def schema_text() -> str:
    """The schema as it is published, with what the shipped README says where that is there."""
    here = Path(__file__).resolve().parent
    folder = next((one for one in (here / "policies", here.parent / "policies") if one.is_dir()), here)
    readme = folder / "README.md"
    rows = rows_of(readme.read_text("utf-8")) if readme.is_file() else {}
    return json.dumps(schema_of(rows), indent=2, ensure_ascii=False) + "\n"


def _plainer(schema: JsonValue) -> _Schema:
    """What an author needs: without repeated names, values that no file can hold, and defaults in resolved form."""
    kept: _Schema = {key: value for key, value in _map(schema).items() if key not in _UNSAID}
    for holder in ("properties", "patternProperties"):
        if holder in kept:
            kept[holder] = {name: _plainer(one) for name, one in _map(kept[holder]).items()}
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    if "items" in kept:
        kept["items"] = _plainer(kept["items"])
    if isinstance(choices := kept.pop("anyOf", None), list):
        forms: list[JsonValue] = [_plainer(one) for one in choices if one != _NULL]
        kept |= _map(forms[0]) if len(forms) == 1 else {"anyOf": forms}
    return kept


def _describe(schema: JsonValue, prefix: str, rows: Mapping[str, Row], definitions: Mapping[str, JsonValue]) -> None:
    """Give every key under `schema`, and under what it refers to, its words."""
    for name, shape in _map(_map(schema).get("properties")).items():
        inside = _target(shape, definitions)
        if inside is not None:
            many = "[]" if _map(shape).get("type") == "array" else ""
            _describe(inside, "" if name in _PROFILES else f"{prefix}{name}{many}.", rows, definitions)
        elif row := rows.get(f"{prefix}{name}"):
            _map(shape).update(_words(row))


def _words(row: Row) -> _Schema:
    but = "" if row.no_protection == "-" else f"\n\nDoes not protect against: {row.no_protection}"
    said: _Schema = {"description": f"{row.meaning} ({row.unit}).{but}"}
    value = row.default.strip("`")
    if len(value) == len(row.default) - 2:
        node, _ = read_tree(value)
        said["default"] = json.loads(json.dumps(plain(node) if node else None))
    return said


def _target(shape: JsonValue, definitions: Mapping[str, JsonValue]) -> JsonValue | None:
    """The map with keys of its own that a key holds, directly, in a list or by name; None where it holds none."""
    held = _map(shape)
    patterns = list(_map(held.get("patternProperties")).values())
    for one in (held, held.get("items"), *patterns):
        reference = _map(one).get("$ref")
        found = definitions.get(str(reference).rpartition("/")[2]) if reference else None
        if "properties" in _map(found):
            return found
    return None


def _map(value: JsonValue) -> _Schema:
    return value if isinstance(value, dict) else {}
