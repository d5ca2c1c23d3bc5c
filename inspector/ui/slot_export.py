"""The slot page as one HTML file that opens without a server and asks nobody for anything.

Everything that a model or a file produced is escaped. plotly.js (4.5 MB) is put in once.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

import pandas as pd
import streamlit as st

from inspector.capture.visible_text import visible_text
from inspector.ui import slot_evidence
from inspector.ui.slot_cache import SlotStudy
from inspector.ui.slot_page import SlotView, parts_of_headline
from inspector.ui.slot_passes import Pass

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding
    from inspector.analyses.slot_contexts import ReadContext

_ROWS: Final = 50
# The page may use what is in it, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE: Final = """
:root { color-scheme: light dark; --text: #1a1f2e; --back: #fff; --card: #f5f6fa; --line: #e3e6ee;
  --soft: #5d6478; --up: #4f46e5; --down: #d6333a; }
@media (prefers-color-scheme: dark) { :root { --text: #e7e9f0; --back: #0e1118; --card: #181c26;
  --line: #2a3040; --soft: #9aa1b5; --up: #8b8cf6; --down: #f2777c; } }
* { box-sizing: border-box; }
body { max-width: 1180px; margin: 0 auto; padding: 2rem 1.5rem; background: var(--back);
  color: var(--text); font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
section { margin: 1rem 0; padding: 1rem 1.2rem; border: 1px solid var(--line); border-radius: 8px;
  overflow-x: auto; }
.lead { font-size: 1.1rem; } .soft, .about { color: var(--soft); font-size: .85rem; }
code, mark, .chip { font-family: ui-monospace, monospace; white-space: pre-wrap; }
mark, .chip { padding: 0 .4em; border-radius: 5px; color: inherit;
  background: color-mix(in srgb, var(--up) 26%, transparent); }
.chip { display: inline-block; margin: 1px 2px; font-size: .85rem; }
.chip.down { background: color-mix(in srgb, var(--down) 24%, transparent); }
table { width: 100%; border-collapse: collapse; font-size: .87rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1rem; }
.pair > section { margin: 0; }
"""


def download(view: SlotView, study: SlotStudy | None, asked: Pass | None) -> None:
    """The button; the file is made when it's pressed."""
    info, address = view.report.info, view.address
    i, j = info.pair(address.slot)
    st.download_button(
        "Save this page as one HTML file",
        partial(_bytes, view, study, asked),
        file_name=f"slot_{info.name}_{i}_{j}.html",
        mime="text/html",
        on_click="ignore",
        key="slot export",
        help="It opens without a server and asks nobody for anything. About 5 MB: the library "
        "that draws the figures is in it.",
    )


def _bytes(view: SlotView, study: SlotStudy | None, asked: Pass | None) -> bytes:
    return page(view, study, asked).encode()


def page(view: SlotView, study: SlotStudy | None, asked: Pass | None) -> str:
    """The whole file."""
    title = escape(f"{view.report.text} · {view.opened.model.name}")
    parts = [_lead(view, study), _decodings(view), _contexts(view), *_studied(view, study, asked)]
    parts += [_half_keys(view), _about(view)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"{''.join(parts)}</body></html>\n"
    )


def _card(title: str, body: str, note: str = "") -> str:
    under = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{body}{under}</section>"


def _table(frame: pd.DataFrame) -> str:
    shown = frame.head(_ROWS).map(lambda cell: ", ".join(cell) if isinstance(cell, list) else cell)
    text = shown.to_html(index=False, escape=True, border=0, float_format=lambda x: f"{x:.4g}")
    rest = len(frame) - len(shown)
    return str(text) + (f'<p class="soft">{rest:,} more rows</p>' if rest > 0 else "")


def _lead(view: SlotView, study: SlotStudy | None) -> str:
    words = []
    for part in parts_of_headline(view, study):
        text, kind = part if isinstance(part, tuple) else (part, "text")
        if kind == "token":
            words.append(f"<mark><bdi>{escape(visible_text(text))}</bdi></mark>")
        else:
            words.append(f"<b>{escape(text)}</b>" if kind == "strong" else escape(text))
    return f'<p class="lead">{"".join(words)}</p>'


def _decodings(view: SlotView) -> str:
    rows = "".join(_decoding(name, each) for name, each in view.report.decodings())
    head = "<tr><th>decoding</th><th>promoted</th><th>suppressed</th><th>quality</th></tr>"
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in view.report.notes)
    return _card(
        "What it says",
        f"<table>{head}{rows}</table>{notes}",
        "Quality: the top logit in standard deviations over the vocabulary; p: the share of random "
        "values with the table's covariance that stand as high.",
    )


def _decoding(name: str, decoding: Decoding) -> str:
    from inspector.analyses.value_quality import p_in_words

    def chips(texts: list[str], kind: str) -> str:
        return "".join(
            f'<span class="chip {kind}"><bdi>{escape(visible_text(t))}</bdi></span>' for t in texts
        )

    if decoding.fallback[0]:
        name += " (site's mean)"
    promoted = chips(decoding.texts(decoding.promoted[0]), "up")
    suppressed = chips(decoding.texts(decoding.suppressed[0]), "down")
    quality = f"{decoding.standing[0]:.1f} σ, {p_in_words(float(decoding.p_value[0]))}"
    cells = (f"<b>{escape(name)}</b>", promoted, suppressed, escape(quality))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _contexts(view: SlotView) -> str:
    if not view.report.contexts:
        return ""
    rows = "".join(_context(view, each) for each in view.report.contexts)
    head = "<tr><th></th><th>read by</th><th>coefficient</th><th>text</th></tr>"
    return _card(
        "Where it fires",
        f"<table>{head}{rows}</table>",
        "The four strongest reads of the scan; the others are drawn at random from the quarters "
        "of a sample of its reads, with the scan's seed.",
    )


def _context(view: SlotView, context: ReadContext) -> str:
    def text(ids: tuple[int, ...]) -> str:
        shown = (visible_text(view.opened.model.token_text(token)) for token in ids)
        return escape("".join(shown))

    words = (
        f"<code>{text(context.prefix[:-1])}<mark>{text(context.prefix[-1:])}</mark>"
        f"{text(context.following)}</code>"
    )
    place = escape(f"{context.site}·H{context.head}")
    cells = (escape(context.kind), place, f"{context.coefficient:.3f}", words)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _studied(view: SlotView, study: SlotStudy | None, asked: Pass | None) -> list[str]:
    """What needs a scan or the facts; figures with their tables."""
    from inspector.figures import slot as figures

    parts: list[str] = []
    use = view.report.usage
    if use is not None:
        figure = figures.standalone(figures.reader_figure(use), with_library=True)
        parts.append(_card("Who reads it", figure + _table(use.to_frame())))
    if study is not None and len(study.reads.token):
        shown = figures.weight_figure(study.reads.coefficient, study.every)
        figure = figures.standalone(shown, with_library=use is None)
        drawn = slot_evidence.sampled(study.index)
        parts.append(_card("How strongly", figure, drawn))
        triggers = _table(slot_evidence.trigger_frame(view, study))
        parts.append(_card("What sets it off", triggers, drawn))
        figure = figures.standalone(figures.ablation_figure(study.ablation), with_library=False)
        table = _table(study.ablation.to_frame())
        parts.append(
            _card("What it does", figure + table, f"{drawn} {slot_evidence.control_note(study)}")
        )
    found = None if asked is None else asked.result()
    if found is not None:
        carried = slot_evidence.fact_frame(found, view)
        table = _table(carried) if len(carried) else '<p class="soft">None.</p>'
        parts.append(_card("Facts whose answer it carries", table))
    return parts


def _half_keys(view: SlotView) -> str:
    from inspector.analyses.slot_half_keys import half_key_frame

    return _card("Its half-keys", _table(half_key_frame(view.report.half_keys)))


def _about(view: SlotView) -> str:
    model = view.opened.model
    lines = [f"Checkpoint {model.name}, fingerprint {model.fingerprint[:16]}."]
    if view.usage is not None:
        whole = "" if view.usage.complete else ", stopped before its end"
        lines.append(
            f"Scan of {view.usage.corpus}: {view.usage.tokens:,} tokens in "
            f"{view.usage.documents:,} documents{whole}, seed {view.usage.seed}."
        )
    return f'<p class="about">{escape(" ".join(lines))}</p>'
