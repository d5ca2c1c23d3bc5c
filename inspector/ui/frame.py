"""The frame around every page: pickers, what is loaded, and the guard that pages start with."""

from __future__ import annotations

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import cache, samples, state

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


def sidebar() -> None:
    """The checkpoint and device pickers."""
    cache.warm_up()
    with st.sidebar:
        _checkpoint_picker()
        _device_picker()


def _checkpoint_picker() -> None:
    offered = [*samples.samples(), *samples.recent()]
    chosen = state.read(state.CHECKPOINT) or (offered[0] if offered else None)
    if chosen is not None and chosen not in offered:
        offered.append(chosen)
    st.session_state[_PICKED] = chosen

    def pick() -> None:
        picked = st.session_state[_PICKED]
        state.write(checkpoint=picked, pos=None, site=None, slot=None)

    st.selectbox(
        "Checkpoint",
        offered,
        key=_PICKED,
        on_change=pick,
        accept_new_options=True,
        format_func=lambda choice: choice if len(choice) < 34 else f"…{choice[-32:]}",
        placeholder="Pick one, or type a path",
        help="The samples that ship with the inspector, checkpoints opened lately, or any other: "
        "type the path of its directory and press Enter.",
    )


def _device_picker() -> None:
    chosen = state.read(state.DEVICE)
    st.session_state[_DEVICE] = chosen if chosen in ("auto", "cpu", "cuda") else "auto"
    st.segmented_control(
        "Device",
        ["auto", "cpu", "cuda"],
        key=_DEVICE,
        required=True,
        on_change=lambda: state.write(device=st.session_state[_DEVICE]),
        help="Where the model runs. auto takes a GPU where there is one.",
    )


def require() -> cache.Opened:
    """The checkpoint of this view; if there's none, says why in place and ends the page."""
    choice = state.read(state.CHECKPOINT) or next(iter(samples.samples()), None)
    if choice is None:
        st.info("No checkpoint is open. Type the path of one into the box at the left.")
        st.stop()
    path = samples.resolve(choice)
    device = state.read(state.DEVICE) or "auto"
    try:
        with st.spinner("Opening the checkpoint …"):
            opened = cache.opened(str(path), device)
    except InspectorError as error:
        problem("This checkpoint could not be opened.", error)
        st.stop()
    samples.remember(path)
    _loaded(opened)
    return opened


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


def problem(what: str, error: InspectorError) -> None:
    """A sentence in place of a result: what went wrong and what to do, as plain text."""
    with st.container(border=True):
        st.error(what, icon="⚠️")
        st.text(str(error))


def page_title(title: str, caption: str) -> None:
    """The head of a page."""
    st.title(title, anchor=False)
    st.caption(caption)
