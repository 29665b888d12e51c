"""What a character looks like that acts on a screen, or that nobody can see: it is spelled out. Pure."""

from __future__ import annotations

from typing import Final

_KEPT: Final = 8192  # characters remembered; a text can have a million different ones

# Printable to Python, invisible to people.
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}


def is_plain(char: str) -> bool:
    """Whether a reader sees the character as what it is."""
    return char in "\n\t" or (char.isprintable() and char not in _INVISIBLE)


class Spelling(dict[int, str]):
    """Character to what is shown in its place, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        shown = self.show(chr(code))
        return self.setdefault(code, shown) if len(self) < _KEPT else shown

    def show(self, char: str) -> str:
        """What is shown in a character's place."""
        return char if is_plain(char) else f"<U+{ord(char):04X}>"


_SPELLING: Final = Spelling()


def visible(text: str) -> str:
    """Spell out all that a screen would act upon and all that a reader cannot see: `<U+001B>`, `<U+202E>`."""
    return text.translate(_SPELLING)
