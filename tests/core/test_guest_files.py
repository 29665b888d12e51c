"""How the guest finds the files that a caller asks for."""

from __future__ import annotations

import fnmatch

from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest_files import matches_name


@given(st.text("ab*?[!].\n", max_size=8), st.text("ab*?[!]-.\n", max_size=8))
def test_a_name_matches_a_pattern_as_in_the_standard_library(name: str, pattern: str) -> None:
    assert matches_name(name, pattern) == fnmatch.fnmatchcase(name, pattern)


def test_many_stars_take_no_more_time_than_there_are_letters_and_signs() -> None:
    """Or a pattern of the caller's could hold up its own guest: this would not end."""
    assert not matches_name("a" * 2_000, "*a" * 500 + "*b")
