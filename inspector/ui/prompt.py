"""The prompt box: text, examples, and letting the model write on."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import streamlit as st

from inspector.ui import state
from inspector.ui.cache import Opened

DEFAULT = "The capital of France is"
_BOX, _SHOWN = "prompt box", "prompt shown"
_WRITE_ON = 12
_WISHED = (
    ("capital", "France"),
    ("currency", "Japan"),
    ("continent", "Kenya"),
    ("domain", "Brazil"),
    ("calling_code", "Italy"),
    ("country", "Kyoto"),
    ("airport", "Zanzibar"),
)


def prompt_box(opened: Opened) -> tuple[str, int]:
    """The text to trace and how many tokens the model is to write after it."""
    text = state.read(state.TEXT)
    if text is None:
        text = DEFAULT
        state.write(text=text)
    if st.session_state.get(_SHOWN) != text:  # changed by a link or an example: show it
        st.session_state[_BOX] = st.session_state[_SHOWN] = text
    elif _BOX not in st.session_state:
        st.session_state[_BOX] = text
    with st.form("prompt", border=False, enter_to_submit=True):
        box, trace, write = st.columns([10, 1.6, 1.8], vertical_alignment="bottom")
        box.text_input(
            "Text",
            key=_BOX,
            placeholder="Type a text for the model to read",
            help="The model reads this text; every token below it shows what its memory did.",
        )
        trace.form_submit_button("Trace", type="primary", on_click=_submit, width="stretch")
        write.form_submit_button(
            "Generate",
            on_click=_submit,
            args=(_WRITE_ON,),
            width="stretch",
            help=f"Let the model write up to {_WRITE_ON} tokens, each the most probable one, and "
            "trace those too.",
        )
    _examples(opened)
    return state.read(state.TEXT) or "", state.read_number(state.MORE) or 0


def one_line(opened: Opened, key: str, button: str) -> str:
    """The text of this view in a box of its own: by default a fact of the checkpoint."""
    box, shown = f"{key} box", f"{key} shown"
    examples = fact_prompts(str(opened.model.path))
    text = state.read(state.TEXT) or (examples[0][1] if examples else DEFAULT)
    if st.session_state.get(shown) != text or box not in st.session_state:
        st.session_state[box] = st.session_state[shown] = text
    with st.form(key, border=False, enter_to_submit=True):
        field, submit = st.columns([8, 1.2], vertical_alignment="bottom")
        field.text_input("Text", key=box, label_visibility="collapsed")
        submit.form_submit_button(
            button,
            type="primary",
            width="stretch",
            on_click=lambda: state.write(text=st.session_state[box], more=None, pos=None),
        )
    return text


def _submit(more: int | None = None) -> None:
    _ask(st.session_state[_BOX], more)


def _ask(text: str, more: int | None = None) -> None:
    st.session_state[_SHOWN] = text
    state.write(text=text, more=more, pos=None, slot=None, token=None)


def _examples(opened: Opened) -> None:
    """Prompts of facts the checkpoint was trained on, one click away."""
    examples = fact_prompts(str(opened.model.path))
    if not examples:
        return
    with st.container(horizontal=True, gap="small", key="examples"):
        for number, (relation, example) in enumerate(examples):
            st.button(
                _label(relation, number),
                key=f"example {number}",
                on_click=_example,
                args=(example,),
                type="tertiary",
                icon="💡" if not number else None,
                help="An example fact of this relation.",
            )


def _label(relation: str, number: int) -> str:
    """A button's label is read as Markdown, so a name that isn't plain words is not shown."""
    words = relation.replace("_", " ")
    return words if re.fullmatch(r"[\w ]+", words) else f"relation {number + 1}"


def _example(text: str) -> None:
    st.session_state[_BOX] = text
    _ask(text)


@lru_cache(maxsize=8)
def fact_prompts(checkpoint: str) -> tuple[tuple[str, str], ...]:
    """One ``(relation, prompt)`` for each relation of a checkpoint's ``facts.jsonl``."""
    file = Path(checkpoint) / "facts.jsonl"
    if not file.is_file():
        return ()
    found: dict[str, tuple[bool, str]] = {}
    wished = dict(_WISHED)
    try:
        with file.open(encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                row = json.loads(line)
                relation, text = str(row["relation"]), str(row["prompts"][0])
                hit = wished.get(relation) == row["subject"]
                if relation not in found or (hit and not found[relation][0]):
                    found[relation] = (hit, text)
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return ()
    order = [relation for relation, _ in _WISHED if relation in found]
    order += [relation for relation in found if relation not in order]
    return tuple((relation, found[relation][1]) for relation in order)
