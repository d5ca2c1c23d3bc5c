"""The frame around every page: pickers, what is loaded, and the guard that pages start with."""

from __future__ import annotations

import re
from collections import Counter

import streamlit as st

from inspector.errors import InspectorError, TokenizerNeeded
from inspector.ui import cache, edit_sidebar, hub_download, samples, state

_FRAMED = "framed"
_PICKED, _DEVICE = "picked checkpoint", "picked device"


def guard(page: str) -> None:
    """Make sure that the frame has run; every page calls this first, with its own name.

    A fresh server answers its first deep link by running the page file alone. Then the frame is
    started, and told by the URL where to go on.
    """
    if not st.session_state.get(_FRAMED):
        st.switch_page("app.py", query_params={**st.query_params.to_dict(), state.PAGE: page})


def redirect(pages: dict[str, object]) -> None:
    """Go on to the page that a first deep link asked for, with the rest of its entries."""
    st.session_state[_FRAMED] = True
    wanted = st.query_params.to_dict()
    page = pages.get(wanted.pop(state.PAGE, ""))
    if page is not None:
        st.switch_page(page, query_params=wanted)  # type: ignore[arg-type]


_NARROWER_EDGES = "<style>.stMainBlockContainer{padding-left:3rem;padding-right:3rem}</style>"


def sidebar() -> None:
    """The checkpoint and device pickers."""
    cache.warm_up()
    st.html(_NARROWER_EDGES)  # wide tables need the room at 1280 pixels
    with st.sidebar:
        _checkpoint_picker()
        _device_picker()


def _offered() -> list[str]:
    """What the picker offers: names of samples, then paths opened lately."""
    return [*samples.samples(), *samples.recent()]


def _choice() -> str | None:
    """The checkpoint of this view, by name or path: the one asked for, else the first offered."""
    return state.read(state.CHECKPOINT) or next(iter(_offered()), None)


def _checkpoint_picker() -> None:
    offered, chosen = _offered(), _choice()
    if chosen is not None and chosen not in offered:
        offered.append(chosen)
    st.session_state[_PICKED] = chosen
    short = {choice: choice if len(choice) < 34 else f"…{choice[-32:]}" for choice in offered}
    shared = Counter(short.values())

    def pick() -> None:
        picked = st.session_state[_PICKED]
        # the edits of the checkpoint that is left stay in the session
        gone = dict.fromkeys(("tokenizer", "routing", "pos", "site", "slot", "token", "edits"))
        state.write(checkpoint=picked, **gone)

    st.selectbox(
        "Checkpoint",
        offered,
        key=_PICKED,
        on_change=pick,
        accept_new_options=True,
        # The picker goes by the name it shows, so no two may share one.
        format_func=lambda choice: choice if shared[short.get(choice, "")] != 1 else short[choice],
        placeholder="Pick one, or type a path or org/name",
        help="The samples that ship with the inspector, checkpoints opened lately, or any other: "
        "type its path and press Enter. If the server allows it, also module:function, a loader of "
        "your own.",
    )


def _device_picker() -> None:
    chosen = state.read(state.DEVICE) or "auto"
    devices = ["auto", "cpu", "cuda"]
    if re.fullmatch(r"cuda:\d+", chosen):
        devices.append(chosen)
    st.session_state[_DEVICE] = chosen if chosen in devices else None
    st.segmented_control(
        "Device",
        devices,
        key=_DEVICE,
        required=True,
        on_change=lambda: state.write(device=st.session_state[_DEVICE]),
        help="Where the model runs. auto takes a GPU where there is one.",
    )


def require() -> cache.Opened:
    """The checkpoint of this view; if there's none, says why in place and ends the page."""
    choice = _choice()
    if choice is None:
        st.info("No checkpoint is open. Type the path of one into the box at the left.")
        st.stop()
    if state.read(state.CHECKPOINT) is None:
        state.write(checkpoint=choice)  # so that a link says what it shows
    path = samples.resolve(choice)
    hub_download.wait_until_here(str(path))
    device = state.read(state.DEVICE) or "auto"
    try:
        with st.spinner("Opening the checkpoint …"):
            opened = cache.opened(
                str(path), device, state.read(state.TOKENIZER), state.read(state.ROUTING)
            )
    except TokenizerNeeded as error:
        problem("This checkpoint could not be opened yet.", error)
        _tokenizer_box()
        st.stop()
    except InspectorError as error:
        problem("This checkpoint could not be opened.", error)
        st.stop()
    samples.remember(path)
    _loaded(opened)
    return opened


def _tokenizer_box() -> None:
    """Asks for the file of a tokenizer that does not come with the checkpoint."""

    def give() -> None:
        state.write(tokenizer=st.session_state["tokenizer file"].strip() or None)

    st.session_state["tokenizer file"] = state.read(state.TOKENIZER) or ""
    st.text_input(
        "Tokenizer file",
        key="tokenizer file",
        on_change=give,
        placeholder="The path of the tokenizer it was trained with; press Enter",
    )


def _loaded(opened: cache.Opened) -> None:
    """What is open, below the pickers."""
    model = opened.model
    sites = list(model.sites.values())
    with st.sidebar.container(border=True):
        mark = "✅" if opened.check.passed else "❌"
        st.markdown(f"{mark} **{len(sites)} memory layer{'s' * (len(sites) != 1)}**")
        if sites:
            info = sites[0].info
            st.caption(
                f"{', '.join(model.sites)} · {info.slots:,} slots · {info.heads} heads x "
                f"{info.knn} reads · {opened.costs.total / 1e6:.1f} M parameters · {model.device}"
            )
        else:
            st.caption(f"dense · {opened.costs.total / 1e6:.1f} M parameters · {model.device}")
    with st.sidebar:
        edit_sidebar.show(opened)


def problem(what: str, error: InspectorError) -> None:
    """A sentence in place of a result: what went wrong and what to do, as plain text."""
    with st.container(border=True):
        st.error(what, icon="⚠️")
        st.text(str(error))


def page_title(title: str, caption: str) -> None:
    """The head of a page."""
    st.title(title, anchor=False)
    st.caption(caption)
