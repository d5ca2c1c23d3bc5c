"""Register a component from the files that lie beside this module."""

from importlib import resources

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_FOLDER = resources.files(__package__)


def register(name: str, *parts: str) -> ComponentRenderer:
    """Register `name.html`, `name.css` and `name.js`, each after the same files of `parts`.

    Parts are pieces several components use (a tooltip, the selection); a file that does not
    exist is an empty one. Streamlit takes one string of each kind, so the pieces are joined:
    names at the top level of a JavaScript file must differ between the parts of one component.
    """
    pieces = (*parts, name)
    return st.components.v2.component(
        f"inspector_{name}",
        html=_joined(pieces, "html"),
        css=_joined(pieces, "css"),
        js=_joined(pieces, "js"),
    )


def _joined(pieces: tuple[str, ...], extension: str) -> str:
    files = (_FOLDER / f"{piece}.{extension}" for piece in pieces)
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
