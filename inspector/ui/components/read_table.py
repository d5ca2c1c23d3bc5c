"""A table of reads: where each looked, how strongly, and what its value says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from inspector.ui.components.assets import register
from inspector.ui.components.selection import (
    OnSelect,
    click_callback,
    current_selection,
    index_within,
    subject_of,
)
from inspector.ui.components.token_chips import shown_scores

TokenScores = tuple[tuple[str, float], ...]

_TABLE = register("read_table", "tooltip", "selection", "theme", "numbers", "chips", "read_cells")
_MOST_ROWS = 1_000


@dataclass(frozen=True)
class ReadRow:
    """One read, as a row. A figure that is None, or an empty list of tokens, leaves its cell empty.

    `head` is None where a row stands for a slot rather than for a read of it. `promoted` and
    `suppressed` hold (token, logit), strongest first.
    """

    address: str
    site: str
    head: int | None
    slot: int
    score: float | None = None
    weight: float | None = None
    share: float | None = None
    effect: float | None = None
    promoted: TokenScores = ()
    suppressed: TokenScores = ()
    quality: float | None = None
    coefficient: float | None = None


@dataclass(frozen=True)
class _Column:
    name: str
    title: str
    kind: str
    help: str


_COLUMNS = (
    _Column("address", "Address", "address", "Site, head and key (i, j) of the slot."),
    _Column("head", "Head", "badge", "The head that read."),
    _Column("score", "Score", "number", "Before normalisation."),
    _Column("weight", "Weight", "bar", "After normalisation."),
    _Column("coefficient", "Coefficient", "number", "What multiplied the value."),
    _Column("share", "Share", "percent", "Of all weight at this site and token."),
    _Column("effect", "Effect", "diverging", "Right: promotes. Left: suppresses."),
    _Column("suppressed", "Suppressed", "suppressed", "Tokens this value makes less likely."),
    _Column("promoted", "Promoted", "promoted", "Tokens this value makes more likely."),
    _Column("quality", "Quality", "number", "How far the decoding stands above chance."),
)


def read_table(
    rows: Sequence[ReadRow],
    *,
    key: str,
    selected: int | None,
    height: int = 384,
    helps: Mapping[str, str] | None = None,
    titles: Mapping[str, str] | None = None,
    on_select: OnSelect | None = None,
) -> int | None:
    """Show reads as a table and return the index (into `rows`) of the selected one.

    A column appears if at least one row has a value for it. Bars and chips are scaled to the
    largest magnitude in their column. `helps` replaces the help text of a column, by the name of
    its field: say there which contrast an effect is on, and what a share is of; `titles` likewise
    replaces what stands at its head. The user may sort
    by a click on a header; indices always mean the given order.

    `selected` wins over earlier clicks when it differs from the last run's, or when the addresses
    do; out of range it selects nothing. `on_select` is called with the new index before the run
    that a click starts.

    Raises ValueError for more than 1,000 rows or a figure that is not finite.
    """
    _check(rows)
    subject = subject_of(row.address for row in rows)
    asked = index_within(selected, len(rows))
    chosen = current_selection(key, asked, subject, len(rows))
    _TABLE(
        key=key,
        data={
            "columns": _used_columns(rows, helps or {}, titles or {}),
            "rows": [_packed(row) for row in rows],
            "height": height,
            "selected": chosen.value,
            "subject": subject,
            "nonce": chosen.nonce,
        },
        on_pick_change=click_callback(key, len(rows), on_select),
    )
    return chosen.value


def _used_columns(
    rows: Sequence[ReadRow], helps: Mapping[str, str], titles: Mapping[str, str]
) -> list[dict[str, str]]:
    return [
        {
            **vars(column),
            "title": titles.get(column.name, column.title),
            "help": helps.get(column.name, column.help),
        }
        for column in _COLUMNS
        if any(_is_given(getattr(row, column.name)) for row in rows)
    ]


def _is_given(value: object) -> bool:
    return bool(value) if isinstance(value, tuple) else value is not None


def _packed(row: ReadRow) -> dict[str, object]:
    head = "" if row.head is None else f", head {row.head}"
    return {
        "address": row.address,
        "place": f"{row.address}\nslot {row.slot:,} of {row.site}{head}",
        "head": None if row.head is None else int(row.head),
        "score": _number(row.score),
        "weight": _number(row.weight),
        "coefficient": _number(row.coefficient),
        "share": _number(row.share),
        "effect": _number(row.effect),
        "promoted": shown_scores(row.promoted),
        "suppressed": shown_scores(row.suppressed),
        "quality": _number(row.quality),
    }


def _number(figure: float | None) -> float | None:
    """A plain float: a NumPy scalar would keep Streamlit from writing JSON."""
    return None if figure is None else float(figure)


def _check(rows: Sequence[ReadRow]) -> None:
    if len(rows) > _MOST_ROWS:
        raise ValueError(
            f"The table of reads shows up to {_MOST_ROWS:,} rows, but was given {len(rows):,}; "
            f"pass the strongest ones."
        )
    for row in rows:
        tokens = (*row.promoted, *row.suppressed)
        figures = (row.score, row.weight, row.share, row.effect, row.quality)
        for figure in (*figures, *(score for _, score in tokens)):
            if figure is not None and not isfinite(figure):
                raise ValueError(f"The figures of {row.address} hold {figure}, which is no number.")
