"""Our own Streamlit components: token strip, grid of product keys, table of reads, chips, bars.

Each is one typed function whose docstring states its data contract; its HTML, CSS and
JavaScript lie beside it. They take their colours from the theme, work by keyboard, and write
text that a model or a file produced with `textContent` alone.
"""

from inspector.capture.visible_text import visible_text
from inspector.ui.components.context_list import ContextRow, context_list
from inspector.ui.components.decoding_rows import DecodingRow, decoding_rows
from inspector.ui.components.key_grid import GridRead, key_grid
from inspector.ui.components.point_map import point_map
from inspector.ui.components.point_map_data import Colouring, MapLabel, MapPoints, Tips
from inspector.ui.components.prediction_bars import prediction_bars
from inspector.ui.components.read_table import ReadRow, read_table
from inspector.ui.components.sentence import sentence
from inspector.ui.components.token_chips import token_chips
from inspector.ui.components.token_strip import token_strip

__all__ = [
    "Colouring",
    "ContextRow",
    "DecodingRow",
    "GridRead",
    "MapLabel",
    "MapPoints",
    "ReadRow",
    "Tips",
    "context_list",
    "decoding_rows",
    "key_grid",
    "point_map",
    "prediction_bars",
    "read_table",
    "sentence",
    "token_chips",
    "token_strip",
    "visible_text",
]
