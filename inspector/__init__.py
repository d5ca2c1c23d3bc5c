"""Look inside product-key memory layers: which slots fire, what they hold, what they do.

>>> import inspector
>>> model = inspector.load("sample_checkpoints/world-facts")
>>> trace = inspector.trace(model, "The capital of France is")
>>> trace.reads["L1"].slots.shape  # [batch pos head knn]
>>> inspector.decode(model, [17, 42], site="L1", gate="raw").to_frame()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding, decode
    from inspector.analyses.edit_block import edit
    from inspector.analyses.locate import FactReport, locate
    from inspector.analyses.value_map import ValueMap, value_map
    from inspector.capture.load import SelfCheck, load, self_check
    from inspector.capture.scan import scan
    from inspector.capture.trace import Reads, Trace, trace
    from inspector.capture.usage import Usage
    from inspector.capture.wrap import wrap
    from inspector.errors import InspectorError
    from inspector.families.base import MemoryModel, SiteInfo

__all__ = [
    "Decoding",
    "FactReport",
    "InspectorError",
    "MemoryModel",
    "Reads",
    "SelfCheck",
    "SiteInfo",
    "Trace",
    "Usage",
    "ValueMap",
    "decode",
    "edit",
    "load",
    "locate",
    "scan",
    "self_check",
    "trace",
    "value_map",
    "wrap",
]

# torch and transformers take seconds to import, so names are fetched when they are first used.
_HOMES = {
    "Decoding": "analyses.decoding",
    "FactReport": "analyses.locate",
    "InspectorError": "errors",
    "MemoryModel": "families.base",
    "Reads": "capture.trace",
    "SelfCheck": "capture.load",
    "SiteInfo": "families.base",
    "Trace": "capture.trace",
    "Usage": "capture.usage",
    "ValueMap": "analyses.value_map",
    "decode": "analyses.decoding",
    "edit": "analyses.edit_block",
    "load": "capture.load",
    "locate": "analyses.locate",
    "scan": "capture.scan",
    "self_check": "capture.load",
    "trace": "capture.trace",
    "value_map": "analyses.value_map",
    "wrap": "capture.wrap",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'inspector' has no attribute {name!r}")
    return getattr(import_module(f"inspector.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
