"""Who decides what is selected: the page, or the user's last click.

A component has two sources for its selection: the argument a page passes on every run (which
may come from the URL) and the clicks of the user. The newer one wins:

1. A click that this run is the first to see.
2. The page's argument, if it differs from the run before, or if the component now shows
   something else (other tokens, other reads): the remembered click meant the old content.
3. Otherwise whatever was selected in the run before.

The browser sends all component states with every run, old ones too, so a click carries a number
of its own (`nonce`) by which a new click is told from an old one that is merely sent again.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import streamlit as st

OnSelect = Callable[[int], None]


@dataclass(frozen=True)
class Selection:
    """What is selected in this run, and the number of the last click that was heeded."""

    value: int | None
    nonce: float


@dataclass
class _Memory:
    asked: int | None
    subject: str
    value: int | None
    nonce: float


def subject_of(texts: Iterable[str]) -> str:
    """A short fingerprint of what a component shows; a click on another subject is void."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def index_within(selected: int | None, count: int) -> int | None:
    """The page's selection as a plain integer, or None where it is out of range."""
    return int(selected) if selected is not None and 0 <= selected < count else None


def current_selection(key: str, asked: int | None, subject: str, count: int) -> Selection:
    """What is selected now, a number below `count` or None; called before the component mounts."""
    memory = _memory(key)
    if memory is None:
        memory = _Memory(asked, subject, asked, nonce=0)
    elif memory.asked != asked or memory.subject != subject:
        memory = _Memory(asked, subject, asked, memory.nonce)
    st.session_state[_memory_key(key)] = memory
    _heed_click(key, memory, count)
    return Selection(memory.value, memory.nonce)


def click_callback(key: str, count: int, on_select: OnSelect | None) -> Callable[[], None]:
    """What Streamlit calls before the run that follows a click: tells the page's `on_select`."""

    def announce() -> None:
        memory = _memory(key)
        if on_select is not None and memory is not None and _heed_click(key, memory, count):
            assert memory.value is not None
            on_select(memory.value)

    return announce


def _heed_click(key: str, memory: _Memory, count: int) -> bool:
    """Take over a click this session has not seen; True if it selected something."""
    state = st.session_state.get(key)
    pick = state.get("pick") if isinstance(state, Mapping) else None
    if not isinstance(pick, Mapping) or pick.get("nonce", 1) == memory.nonce:
        return False
    memory.nonce = pick.get("nonce", 1)
    value = pick.get("value")
    if pick.get("subject", memory.subject) != memory.subject or not _is_index(value, count):
        return False
    memory.value = value
    return True


def _is_index(value: object, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def _memory(key: str) -> _Memory | None:
    memory = st.session_state.get(_memory_key(key))
    return memory if isinstance(memory, _Memory) else None


def _memory_key(key: str) -> str:
    return f"{key}/selection"
