"""What a program says that a notebook would show: read within bounds, of known kinds only, and never believed further."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.bundles import MIME_TYPES, MOST_BUNDLES, Bundle, read_bundles
from sandbox.guest_display import Display

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()


def told(*bundles: object) -> bytes:
    return json.dumps(list(bundles)).encode()


def test_what_a_guest_tells_is_read() -> None:
    text = told(
        {"data": {"text/plain": "x", "application/json": [1, {"a": None}]}, "metadata": {"rows": [1, 2]}},
        {"data": {"image/png": PNG}, "metadata": {"file": "figure-1.png", "omitted": ["text/html"]}},
    )
    assert read_bundles(text, 1000) == (
        Bundle({"text/plain": "x", "application/json": [1, {"a": None}]}, rows=(1, 2)),
        Bundle({"image/png": PNG}, file="figure-1.png", omitted=("text/html",)),
    )


@pytest.mark.parametrize(
    "bundle",
    [
        {"data": {"text/javascript": "alert(1)"}, "metadata": {}},
        {"data": {"text/html": 1}, "metadata": {}},
        {"data": {"text/html": ["a"]}, "metadata": {}},
        {"data": {"image/png": "not base64!"}, "metadata": {}},
        {"data": {"image/png": base64.b64encode(b"<script>").decode()}, "metadata": {}},
        {"data": {"image/jpeg": PNG}, "metadata": {}},
        {"data": {"application/json": float("nan")}, "metadata": {}},
        {"data": {}, "metadata": {"file": "../../etc/passwd"}},
        {"data": {}, "metadata": {"file": "/etc/passwd"}},
        {"data": {}, "metadata": {"file": "figure-1.png\n"}},
        {"data": {}, "metadata": {"rows": [1]}},
        {"data": {}, "metadata": {"rows": [True, -1]}},
        {"data": {}, "metadata": {"omitted": ["text/javascript"]}},
        {"data": [], "metadata": {}},
        {"data": {}},
        [],
        None,
    ],
)
def test_what_no_guest_would_tell_is_nothing(bundle: object) -> None:
    assert read_bundles(told(bundle), 10_000) == ()


def test_more_than_was_allowed_is_nothing() -> None:
    one = {"data": {"text/plain": "x"}, "metadata": {}}
    assert len(read_bundles(told(*[one] * MOST_BUNDLES), 10_000)) == MOST_BUNDLES
    assert read_bundles(told(*[one] * (MOST_BUNDLES + 1)), 10_000) == ()
    assert read_bundles(told(one), len(told(one)) - 1) == ()
    assert read_bundles(b"[" * 100_000, 1 << 20) == ()


def test_text_can_be_passed_on_whatever_is_in_it() -> None:
    (bundle,) = read_bundles(told({"data": {"text/html": "\ud800<b>"}, "metadata": {}}), 1000)
    assert bundle.data["text/html"] == "\\ud800<b>"


@given(st.binary(max_size=300))
def test_any_bytes_are_bundles_or_nothing(data: bytes) -> None:
    assert isinstance(read_bundles(data, 1 << 16), tuple)


class Rich:
    """What a value may say of itself."""

    def __init__(self, **forms: object) -> None:
        self.forms = forms

    def _repr_html_(self) -> object:
        return self.forms.get("html")

    def _repr_png_(self) -> object:
        return self.forms.get("png")

    def _repr_latex_(self) -> object:
        raise SystemExit

    def _repr_mimebundle_(self) -> object:
        return self.forms.get("bundle")


def shown(limit: int, *values: object) -> tuple[Bundle, ...]:
    display = Display(limit, {})
    for value in values:
        display.show_value(value, "plain")
    assert len(display.text.encode()) <= limit
    return read_bundles(display.text.encode(), limit)


def test_the_guest_tells_what_the_gateway_reads() -> None:
    value = Rich(
        html="<b>", png=b"\x89PNG\r\n\x1a\nrest", bundle={"application/json": {"a": [1]}, "text/javascript": "x"}
    )
    (bundle,) = shown(10_000, value)
    assert bundle.data == {
        "text/plain": "plain",
        "application/json": {"a": [1]},
        "text/html": "<b>",
        "image/png": PNG,
    }
    assert bundle.omitted == ()


def test_a_value_that_says_no_more_than_its_repr_is_not_told_twice() -> None:
    assert shown(10_000, Rich()) == ()


def test_a_form_without_room_is_named_instead() -> None:
    (bundle,) = shown(1_000, Rich(html="<i>", png=b"\x89PNG\r\n\x1a\n" + b"x" * 5_000))
    assert bundle.data == {"text/plain": "plain", "text/html": "<i>"}
    assert bundle.omitted == ("image/png",)


@given(
    st.integers(0, 3_000),
    st.lists(st.builds(Rich, html=st.text(max_size=900), png=st.binary(max_size=900)), max_size=4),
)
def test_whatever_values_say_fits_into_the_limit(limit: int, values: list[Rich]) -> None:
    shown(limit + 2, *values)


def test_the_two_sides_know_the_same_kinds() -> None:
    from sandbox.guest_protocol import BUNDLE_TYPES  # noqa: PLC0415

    assert set(BUNDLE_TYPES) == set(MIME_TYPES)
