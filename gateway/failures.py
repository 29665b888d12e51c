"""What a failure is called and what to do about it: fingerprints and hints. Pure tables and functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from sandbox.job import Limits
from sandbox.outcome import Ending, Outcome, ProgramError

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+")
_SHOWN = 200  # characters of an agent's words that a hint repeats

# Exception type -> what a model can do about it. `{...}` is filled from the error and the limits.
HINTS: Mapping[str, str] = MappingProxyType(
    {
        "ModuleNotFoundError": "Only the standard library and what the image holds can be imported, and nothing can be installed: there is no network. Rewrite it with what is there.",
        "ImportError": "The module exists but not that name in it. Check the name, or import the module and list it with dir().",
        "SyntaxError": "The program was not run. Send the whole corrected program, plain Python without Markdown fences or shell lines.",
        "IndentationError": "The program was not run. Indent with four spaces throughout, and send the whole program again.",
        "NameError": "Define or import the name before its first use. Nothing of an earlier program is left: each one starts afresh.",
        "EOFError": "input() found no more lines. Send them in `stdin`, or use `inputs` and variables instead.",
        "FileNotFoundError": "Only files sent in `files` are there, in the working directory. Earlier programs leave nothing behind.",
        "PermissionError": "Only the working directory /tmp can be written, and nothing in it can be executed.",
        "OSError": "Only /tmp can be written, within limits.disk; there is no network and there are no devices.",
        "ConnectionError": "There is no network in here. Send the data in `inputs` or `files`.",
        "gaierror": "There is no network in here. Send the data in `inputs` or `files`.",
        "URLError": "There is no network in here. Send the data in `inputs` or `files`.",
        "KeyError": "Look at the keys that are there (print them), or use .get() with a default.",
        "IndexError": "Check the length before indexing.",
        "ZeroDivisionError": "Check that the divisor is not zero before dividing.",
        "ValueError": "Look at the value that is handed in on that line (print it), and check or convert it first.",
        "TypeError": "Look at the types of the values on that line (print them), and convert them.",
        "AttributeError": "Look at the type of the value on that line; it has no such attribute.",
        "RecursionError": "The recursion does not end or is too deep: check its base case, or use a loop.",
        "MemoryError": "Work in smaller pieces, or ask for more in `limits.memory`.",
        "TimeoutError": "There is no network in here, so nothing outside answers.",
        "AssertionError": "An assertion of the program's own does not hold. Print the values that it compares.",
    }
)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:_SHOWN] if text.strip() else ""


def hint_for(error: ProgramError) -> str | None:
    """What to do about an uncaught exception, or None where the error says it all."""
    return HINTS.get(error.type)


def limit_hint(ending: Ending, limits: Limits) -> str | None:
    """What to do about an ending that a limit made."""
    match ending:
        case Ending.TIMED_OUT:
            return f"The program was killed after {limits.wall_seconds:g} s. Make it do less, or ask for more in `limits.time`."
        case Ending.OUT_OF_MEMORY:
            return f"The program needed more than {limits.memory_bytes} bytes. Work in smaller pieces, or ask for more in `limits.memory`."
        case Ending.OUTPUT_LIMIT_EXCEEDED:
            return f"More than {limits.output_bytes} bytes were written to one stream; the middle was dropped. Print less, or write to a file and name it in `outputs`."
        case _:
            return None


def fingerprint(outcome: Outcome, code: str) -> str:
    """What the same mistake made again has in common: class, exception type, message without numbers, failing line.

    SHA-256, hexadecimal, of which 32 characters are enough.
    """
    error = outcome.error
    parts = [outcome.ending.value]
    if error is not None:
        lines = code.splitlines()
        line = lines[error.line - 1].strip() if error.line and 0 < error.line <= len(lines) else ""
        parts += [error.type, _VARYING.sub("#", _first_line(error.message)), line]
    else:
        parts += [str(outcome.exit_code), str(outcome.signal)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
