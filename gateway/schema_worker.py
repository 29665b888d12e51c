"""The program that reads JSON Schemas and holds results against them, in a process of its own.

Both come from agents, so whatever they do must end here: references can multiply until time or memory is spent, and
then this process dies, never the gateway. Run by its path; knows nothing of the gateway. One line of JSON in, one out.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import jsonschema_rs

CPU_SECONDS: Final = 1.0
"""For one question; an ordinary schema and a result of megabytes take a tenth of it."""
MEMORY_BYTES: Final = 512 << 20
_PATTERN_BYTES: Final = 1 << 20  # of one compiled pattern, and of what matching it may keep
_TOLD: Final = 3  # of the places that are wrong: a model mends one after the other anyway
_SHOWN: Final = 300  # characters of anything that an agent chose
_VALUE: Final = "the value"  # stands for what was found: a message without it is the same for the same mistake

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri[:_SHOWN]} is not in this schema, and nothing is fetched")


def answer(question: dict[str, Json]) -> dict[str, Json]:
    """What is wrong with the schema (`schema`), or with the value where there is one (`broken`); else nothing."""
    schema = question["schema"]
    if not isinstance(schema, (dict, bool)):
        return {"schema": {"at": "", "message": "a schema is an object or a boolean"}}
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            retriever=_refuse,
            mask=_VALUE,
            # In time that grows with the text alone; patterns that need more (lookaround, backreferences) are refused.
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
        )
    except jsonschema_rs.ValidationError as error:
        return {"schema": {"at": pointer(error.instance_path), "message": _wrong_with_schema(error)}}
    if "value" not in question or validator.is_valid(question["value"]):
        return {}
    return {"broken": [_told(error) for error in islice(validator.iter_errors(question["value"]), _TOLD)]}


def _wrong_with_schema(error: jsonschema_rs.ValidationError) -> str:
    if error.schema_path[-1:] == ["format"] or str(error.message).endswith('is not a "regex"'):
        return f"{error.message[:_SHOWN]} (of a kind that is matched in linear time: no lookaround, no backreferences)"
    return str(error.message)[:_SHOWN]


def _told(error: jsonschema_rs.ValidationError) -> Json:
    return {"at": pointer(error.instance_path), "message": error.message[:_SHOWN], "found": _found(error.instance)}


def pointer(path: Iterable[str | int]) -> str:
    """A JSON Pointer (RFC 6901); a long one keeps its beginning."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)[:_SHOWN]


def _found(value: object) -> str:
    match value:
        case dict():
            return f"an object with {len(value)} names"
        case list():
            return f"an array of {len(value)}"
        case _:
            return json.dumps(value)[:_SHOWN]


def main() -> None:
    """Answer until nobody asks any more; gladly last in turn for the processor, and first to go when memory is short."""
    os.nice(5)
    with contextlib.suppress(OSError):  # where there is no /proc
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        signal.setitimer(
            signal.ITIMER_PROF, CPU_SECONDS
        )  # nobody handles its signal, so that it ends us, native code too
        told = json.dumps(answer(json.loads(line)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(told + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
