"""White space and control characters of tokens are seen, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.ui.components import visible_text


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Paris", "·Paris"),
        ("Paris", "Paris"),
        ("  ", "··"),
        ("\n\n", "⏎⏎"),
        ("\tif", "⇥if"),
        ("\r\n", "␍⏎"),
        ("", "∅"),
        ("\x00\x1b[", "��["),
        ("a\u200bb", "a�b"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("\u00a0x", "␣x"),
        ("\u0301", "◌\u0301"),
        ("\ud800", "�"),
        ("<img src=x>", "<img·src=x>"),
        ("سلام", "سلام"),
    ],
)
def test_what_a_token_looks_like(token: str, shown: str) -> None:
    assert visible_text(token) == shown


@given(st.text())
def test_nothing_hidden_is_left_and_no_character_is_lost(token: str) -> None:
    shown = visible_text(token)
    assert not any(c.isspace() or ord(c) < 32 for c in shown)
    assert len(shown) >= len(token)
