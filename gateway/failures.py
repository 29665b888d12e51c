"""What a failure is called and what to do about it: fingerprints and hints. Pure tables and functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from sandbox.job import Limits
from sandbox.outcome import Ending, LimitName, Outcome
from sandbox.profile import MOST_FILES

_LIMIT_OF: Mapping[Ending, LimitName] = MappingProxyType(
    {Ending.TIMED_OUT: "time", Ending.OUT_OF_MEMORY: "memory", Ending.OUTPUT_LIMIT_EXCEEDED: "output"}
)
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
        "bad_result": "The program ran, but did not keep what `expect` says. Change the program so that it does, or `expect` where that is wrong.",
        "AssertionError": "An assertion of the program's own does not hold. Print the values that it compares.",
    }
)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:_SHOWN] if text.strip() else ""


def hint_for(outcome: Outcome, limits: Limits) -> str | None:
    """What to do about a failure: about the limits that it ran into, then about its exception. None if nothing helps.

    The limit that ended the program comes first. An operating system's error at a limit has no more to say.
    """
    if outcome.ending is Ending.SUCCEEDED:
        return None
    reached = sorted(outcome.limits_reached, key=lambda name: name != _LIMIT_OF.get(outcome.ending))
    hints = [limit_hint(name, limits) for name in reached]
    error = outcome.error
    if error is not None and outcome.ending is Ending.FAILED and not (reached and error.errno is not None):
        hints += [HINTS[error.type]] if error.type in HINTS else []
    return " ".join(hints) or None


def limit_hint(name: LimitName, limits: Limits) -> str:
    """What to do about a limit that a program ran into."""
    match name:
        case "time":
            return f"The program was killed after {limits.wall_seconds:g} s. Make it do less, or ask for more in `limits.time`."
        case "memory":
            return f"The program needed more than {limits.memory_bytes} bytes. Work in smaller pieces, or ask for more in `limits.memory`."
        case "pids":
            return f"The program had {limits.pids} processes and threads at once and was refused another. Start fewer at a time, wait for those that end, or ask for more in `limits.pids`."
        case "disk":
            return f"The program used up its disk: {limits.disk_bytes} bytes in at most {MOST_FILES} files. Write less, delete what is done with, or ask for more in `limits.disk`."
        case "output":
            return f"More than {limits.output_bytes} bytes were written to one stream; the middle was dropped. Print less, or write to a file and name it in `outputs`."


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
