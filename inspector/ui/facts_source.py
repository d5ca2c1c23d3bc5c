"""Which facts the page is about: those of the checkpoint, or rows that the user brings."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import FactsError
from inspector.ui import frame, state
from inspector.ui.cache import Opened
from inspector.ui.edit_words import counted
from inspector.ui.slot_passes import facts_of

if TYPE_CHECKING:
    from inspector.analyses.fact_tables import FactTable
    from inspector.analyses.facts import Fact

MINE: Final = "mine"
_OWN, _MY = "the checkpoint's", "my own"
_TEXT, _NAME, _BOX, _FILE, _SOURCE = (
    "facts text",
    "facts name",
    "facts pasted",
    "facts file",
    "facts source",
)
_PROBLEM: Final = "facts problem"
_URL_LIMIT: Final = 3_000  # characters
_READ_LIMIT: Final = 2**25
_EXAMPLE: Final = "subject,relation,object,prompt\nFrance,capital,Paris,The capital of France is"


@dataclass(frozen=True, eq=False)
class FactSet:
    """Facts to choose from; ``own`` are those of the checkpoint, which are held beside them."""

    facts: tuple[Fact, ...]
    own: tuple[Fact, ...]
    mine: bool

    @property
    def asked(self) -> str:
        """Tells the facts to choose from, likewise."""
        from inspector.analyses.facts import facts_digest

        return facts_digest(self.facts)

    @property
    def identity(self) -> str:
        """Tells all facts known here from those of another view, by what they say."""
        from inspector.analyses.facts import facts_digest

        return facts_digest(self.known)

    @property
    def known(self) -> tuple[Fact, ...]:
        """All of them, the user's first: what proofs and edits draw other facts from."""
        if not self.mine:
            return self.own
        named = {(fact.relation, fact.subject) for fact in self.facts}
        return (*self.facts, *(f for f in self.own if (f.relation, f.subject) not in named))


def pick_source(opened: Opened) -> None:
    """The checkpoint's facts or the user's own, where there are both."""
    if not facts_of(opened):
        return
    st.session_state[_SOURCE] = _MY if state.read(state.SET) == MINE else _OWN
    st.segmented_control(
        "Facts",
        [_OWN, _MY],
        key=_SOURCE,
        required=True,
        on_change=_choose_source,
        help="The facts that ship with the checkpoint, or your own: typed, pasted, or a file.",
    )


def fact_set(opened: Opened) -> FactSet | None:
    """The facts of this view; None with a sentence why where there are none."""
    own = facts_of(opened)
    if own and state.read(state.SET) != MINE:
        return FactSet(own, own, mine=False)
    _bring()
    facts = _mine(own)
    return FactSet(facts, own, mine=True) if facts else None


def _choose_source() -> None:
    mine = st.session_state[_SOURCE] == _MY
    state.write(set=MINE if mine else None, relation=None, subject=None)


def _bring() -> None:
    """Three ways to bring facts."""
    with st.expander("Your facts", expanded=not _text()):
        one, rows, file = st.tabs(["Type one", "Paste rows", "Load a file"])
        with one:
            _type_one()
        with rows, st.form("facts rows", border=False):
            if _BOX not in st.session_state:
                st.session_state[_BOX] = _text()
            st.text_area(
                "Rows",
                key=_BOX,
                height=150,
                placeholder=_EXAMPLE,
                help="CSV or TSV with the columns subject, relation, object and prompt (or "
                "prompts, with ' | ' between them, and heldout_prompts), or a JSON object in each "
                "line. Rows without a prompt are asked in the checkpoint's own words if it knows "
                "the relation.",
            )
            st.form_submit_button("Read these rows", type="primary", on_click=_paste)
        with file:
            st.file_uploader(
                "CSV, TSV or JSONL, UTF-8",
                type=["csv", "tsv", "jsonl", "json", "txt"],
                key=_FILE,
                on_change=_load,
            )
        if said := st.session_state.get(_PROBLEM):
            st.error("The facts were not taken over; those before are kept.", icon="⚠️")
            st.text(said)


def _type_one() -> None:
    with st.form("one fact", border=False):
        columns = st.columns(3)
        for column, (name, example) in zip(
            columns,
            (("subject", "France"), ("relation", "capital"), ("object", "Paris")),
            strict=True,
        ):
            column.text_input(name.capitalize(), key=f"typed {name}", placeholder=example)
        for name, label in (("prompts", "Prompts"), ("heldout", "Held-out prompts (optional)")):
            st.text_area(
                f"{label}, one a line",
                key=f"typed {name}",
                height=80,
                help="Texts that the object completes. Held-out ones are used for the proof alone.",
            )
        st.form_submit_button("Use this fact", type="primary", on_click=_use_one)


def _use_one() -> None:
    typed = {n: st.session_state[f"typed {n}"].strip() for n in ("subject", "relation", "object")}
    for name, column in (("prompts", "prompts"), ("heldout", "heldout_prompts")):
        lines = st.session_state[f"typed {name}"].splitlines()
        typed[column] = [line.strip() for line in lines if line.strip()]
    _take(json.dumps(typed, ensure_ascii=False), "The typed fact")


def _paste() -> None:
    _take(st.session_state[_BOX], "The pasted rows")


def _load() -> None:
    file = st.session_state.get(_FILE)
    if file is None:
        return
    content = file.getvalue()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        st.session_state[_PROBLEM] = (
            f"{file.name} row {row}: found bytes that are not UTF-8; save it as UTF-8."
        )
        return
    _take(text, file.name)


def _take(text: str, name: str) -> None:
    """Let ``text`` be the user's facts, in the session and, where it has room, in the URL."""
    st.session_state.pop(_PROBLEM, None)
    if not text.strip():
        st.session_state[_PROBLEM] = f"{name}: found nothing, expected at least one row."
        return
    st.session_state[_NAME] = name
    packed = _pack(text)
    st.session_state[_TEXT] = text, packed
    state.write(rows=packed, set=MINE, good_rows=None, relation=None, subject=None)


def _pack(text: str) -> str | None:
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    return packed if len(packed) <= _URL_LIMIT else None


def _text() -> str:
    """The user's rows: those of the URL, or else of this session."""
    packed = state.read(state.ROWS)
    kept, known = st.session_state.get(_TEXT, ("", None))
    if packed is None or packed == known:
        return str(kept)
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(
            base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True),
            _READ_LIMIT,
        ).decode()
        if not unpacking.eof:
            raise ValueError
    except (binascii.Error, zlib.error, ValueError):
        st.session_state[_PROBLEM] = "The rows in this address cannot be read: it was cut short."
        text = ""
    st.session_state[_TEXT] = text, packed
    st.session_state[_NAME] = "The rows of this link"
    return text


def _mine(own: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """The user's facts; none where there are none, or bad rows that nobody said to leave out."""
    text = _text()
    if not text.strip():
        st.info("Type a fact, paste rows or load a file above.")
        return ()
    try:
        table = _table(text, own, str(st.session_state.get(_NAME, "The rows")))
    except FactsError as error:
        frame.problem("These rows hold no facts.", error)
        return ()
    for note in table.notes:
        st.text(note)
    if state.read(state.ROWS) is None:
        st.caption("The rows are too many for a link: they live in this session alone.")
    if table.bad and not _left_out(table):
        return ()
    if not table.facts:
        st.error("There is no row that can be used.", icon="⚠️")
    return table.facts


def _left_out(table: FactTable) -> bool:
    """Show the bad rows; True once the user said to leave them out."""
    import pandas as pd

    count = len(table.bad)
    st.error(f"{counted(count, 'row')} cannot be read.", icon="⚠️")
    st.dataframe(
        pd.DataFrame([vars(bad) for bad in table.bad]),
        hide_index=True,
        key="bad rows",
        height="auto" if count < 8 else 280,
        column_config={
            "row": st.column_config.NumberColumn(width="small"),
            "problem": st.column_config.TextColumn(width="large"),
        },
    )
    agreed = state.read(state.GOOD_ROWS) == "1"
    if table.facts and not agreed:
        st.button(
            f"Use only {counted(len(table.facts), 'good fact')}",
            key="use good rows",
            on_click=state.write,
            kwargs={"good_rows": 1},
        )
    return agreed


def _table(text: str, own: tuple[Fact, ...], name: str) -> FactTable:
    from inspector.analyses.facts import facts_digest

    return _read(text, facts_digest(own), name, own)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(text: str, known: str, name: str, _own: tuple[Fact, ...]) -> FactTable:
    from inspector.analyses.fact_tables import parse_facts

    return parse_facts(text, _own, name=name)
