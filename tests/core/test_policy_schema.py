"""The published schema accepts what the loader accepts, and refuses what it refuses in form; it is complete and up to date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from pydantic import JsonValue

from gateway.policy_file import PolicyError, parse_policy
from gateway.policy_schema import rows_of, schema_text
from gateway.yaml_tree import plain, read_tree

FOLDER = Path(__file__).parents[2] / "policies"
SCHEMA = json.loads(schema_text())
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)


def accepts(text: str) -> bool:
    root, faults = read_tree(text)
    assert root is not None, text
    assert not faults, text
    return VALIDATOR.is_valid(plain(root))


def test_the_shipped_schema_is_the_current_one() -> None:
    shipped = (FOLDER / "schema.json").read_text("utf-8")
    assert shipped == schema_text(), "write it anew: airlock policy schema > policies/schema.json"


@pytest.mark.parametrize(
    "path", sorted(set(FOLDER.glob("*.yaml")) - set(FOLDER.glob("*.tests.yaml"))), ids=lambda path: path.name
)
def test_every_shipped_policy_keeps_to_the_schema_and_names_it_to_editors(path: Path) -> None:
    text = path.read_text("utf-8")
    assert accepts(text)
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")


def described(schema: JsonValue, prefix: str, definitions: dict[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """The keys that hold values, as the tables name them, with what the schema says of each."""
    assert isinstance(schema, dict)
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for name, shape in properties.items():
        assert isinstance(shape, dict)
        patterns = shape.get("patternProperties", {})
        assert isinstance(patterns, dict)
        for one in (shape, shape.get("items"), *patterns.values()):
            reference = one.get("$ref") if isinstance(one, dict) else None
            held = definitions[str(reference).rpartition("/")[2]] if reference else None
            if isinstance(held, dict) and "properties" in held:
                under = "" if name in {"defaults", "profiles"} else f"{prefix}{name}{'[]' if 'items' in shape else ''}."
                yield from described(held, under, definitions)
                break
        else:
            yield f"{prefix}{name}", shape


def test_every_key_has_the_words_of_its_row_in_the_readme() -> None:
    rows = rows_of((FOLDER / "README.md").read_text("utf-8"))
    found = dict(described(SCHEMA, "", SCHEMA["$defs"]))
    assert set(found) == set(rows)
    for key, shape in found.items():
        assert isinstance(shape, dict)
        assert str(shape["description"]).startswith(rows[key].meaning), key
    assert found["limits.memory.max"] == {
        "anyOf": [
            {"type": "string", "maxLength": 32, "pattern": "^(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(Ti|Gi|Mi|Ki|T|G|M|k)?$"},
            {"type": "integer", "exclusiveMinimum": 0},
        ],
        "examples": ["512Mi", "2Gi"],
        "default": "1Gi",
        "description": "memory at most (size).\n\nDoes not protect against: the sum over all boxes, see `engine.boxes`",
    }


SHA = "ab" * 32
KEY = f"{{name: a, sha256: {SHA}, tenant: t, profile: default, roles: [agent]}}"
FINE = {
    "the least": "version: 1\n",
    "numbers for quantities": "version: 1\nceilings: {cpu: 2.5, memory: 8000000000, time: 3000}\n",
    "decimals": "version: 1\nceilings: {memory: 1.5Gi, time: 0.5h, output: 4.5Mi}\n",
    "for ever": "version: 1\ndefaults: {retention: {code: forever, files: 1h}}\n",
    "a profile of another": "version: 1\nprofiles: {a: {}, b: {extends: a, lanes: {monty: false}}}\n",
    "a key": f"version: 1\nkeys: [{KEY}]\n",
    "a webhook": "version: 1\nwebhooks: [{name: a, url: 'https://hooks.example/', secret_env: A, events: [task.closed]}]\n",
    "a pinned image": f"version: 1\ndefaults: {{isolation: {{image: 'guest@sha256:{SHA}', packages: [numpy==2.1.0]}}}}\n",
}
REFUSED = {
    "no version": "name: x\n",
    "a later version": "version: 2\n",
    "an unknown section": "version: 1\ndefault: {}\n",
    "an unknown key": "version: 1\ndefaults: {limits: {memroy: {max: 1Gi}}}\n",
    "an unknown key of a key": f"version: 1\nkeys: [{KEY.replace('roles', 'role')}]\n",
    "extends in the defaults": "version: 1\ndefaults: {extends: a}\n",
    "a size in GB": "version: 1\nceilings: {memory: 1GB}\n",
    "a sexagesimal duration": "version: 1\nceilings: {time: 1:30}\n",
    "a leading zero": "version: 1\nceilings: {memory: 0755}\n",
    "a negative number": "version: 1\nceilings: {time: -5}\n",
    "a fraction of a byte": "version: 1\nceilings: {memory: 0.5}\n",
    "a word for cores": "version: 1\nceilings: {cpu: many}\n",
    "yes for true": "version: 1\ndefaults: {lanes: {monty: yes}}\n",
    "a number in quotes": "version: 1\nengine: {boxes: '8'}\n",
    "none where one is needed": "version: 1\nengine: {boxes: 0}\n",
    "too many": "version: 1\ndefaults: {checks: {nesting: 15}}\n",
    "a word that is no choice": "version: 1\ndefaults: {checks: {type_check: error}}\n",
    "text for a list": "version: 1\ndefaults: {checks: {imports: {deny: os}}}\n",
    "a pattern for a module": "version: 1\ndefaults: {checks: {imports: {deny: [os.*]}}}\n",
    "a name with a blank": "version: 1\nprofiles: {a b: {}}\n",
    "an unknown role": f"version: 1\nkeys: [{KEY.replace('agent', 'root')}]\n",
    "a digest in capitals": f"version: 1\nkeys: [{KEY.replace(SHA, SHA.upper())}]\n",
    "a duration for ever that is none": "version: 1\ndefaults: {retention: {code: always}}\n",
    "a list at the top": "- version: 1\n",
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE.keys())
def test_what_the_loader_reads_the_schema_accepts(text: str) -> None:
    parse_policy(text, file="policy.yaml")
    assert accepts(text)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_loader_refuses_in_form_the_schema_refuses(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text, file="policy.yaml")
    assert not accepts(text)
