"""Results as tables for a terminal. Token text is shown as it is and never taken for markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from inspector.capture.visible_text import visible_text
from inspector.cli.payloads import Predictions

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding
    from inspector.analyses.revive import ReviveOutcome
    from inspector.capture.trace import Trace
    from inspector.families.base import MemoryModel, SiteInfo
    from inspector.training.metrics import Metrics


def of_trace(found: Trace, best: Predictions, top: int) -> Table:
    """One row a token: what it predicts, and each site's ``top`` strongest reads."""
    rows = []
    for pos, (token, position) in enumerate(zip(found.tokens, best, strict=True)):
        said = "\n".join(f"{visible_text(text)} {chance:.0%}" for text, chance in position)
        reads = (_strongest(found, name, pos, top) for name in found.reads)
        rows.append((str(pos), visible_text(token), said, *reads))
    return _table(("", "token", "predicts", *found.reads), rows)


def _strongest(found: Trace, name: str, pos: int, top: int) -> str:
    """Addresses and weights of the reads that count most at one position, a line each."""
    reads, info = found.reads[name], found.sites[name]
    strength = reads.coefficients[0, pos].abs().flatten()
    weights, slots = reads.weights[0, pos].flatten(), reads.slots[0, pos].flatten()
    order = strength.argsort(descending=True, stable=True)[:top].tolist()
    return "\n".join(
        f"{info.address(int(slots[read]), read // info.knn)} {float(weights[read]):.3f}"
        for read in order
    )


def of_check(payload: Mapping[str, Any], model: MemoryModel) -> Table:
    """The load report and the self-check, a line each."""
    check = payload["self_check"]
    about = [(k.replace("_", " "), v) for k, v in payload.items() if k not in _OWN_LINES]
    rows = [(name, _plain(value)) for name, value in about]
    rows += [(name, _describe(site.info)) for name, site in model.sites.items()]
    errors = {**check["sites"], "residual stream": check["residual"], "hooked": check["hooked"]}
    rows += [
        (f"error, {name}", "not known" if error is None else f"{error:.1e}")
        for name, error in errors.items()
    ]
    rows += [("self-check", "passed" if check["passed"] else "FAILED")]
    rows += [("tolerance", f"{check['tolerance']:.0e}")]
    return _table(("", ""), rows)


_OWN_LINES: Final = ("sites", "self_check")


def _describe(info: SiteInfo) -> str:
    gate = "gated" if info.gated else "no gate"
    activation = "" if info.activation == "none" else f" × {info.activation}"
    whole = "" if info.additive else ", its output is no sum of its reads"
    return (
        f"table {info.table}, {info.heads} heads × {info.knn} reads, n = {info.half_keys}, "
        f"{info.slots:,} slots, d_key {info.d_key}, d_value {info.d_value}, {gate}, "
        f"{info.normalisation}{activation}{whole}"
    )


def _plain(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def of_decoding(found: Decoding, site: SiteInfo) -> Table:
    """One row a slot: its tokens, and how far its value stands out from noise."""
    head = ("slot", "address", "promotes", "suppresses", "standing", "p", "")
    rows = [
        (
            str(row["slot"]),
            site.address(int(row["slot"])),
            " ".join(map(visible_text, row["promoted"])),
            " ".join(map(visible_text, row["suppressed"])),
            f"{row['standing']:.2f}",
            f"{row['p_value']:.4f}",
            "never read: the site's mean gate" if row["fallback"] else "",
        )
        for row in found.to_frame().to_dict("records")
    ]
    return _table(head, rows)


def of_bars(metrics: Metrics) -> Table:
    """What a checkpoint is held to, and whether it is met."""
    rows = [
        (bar.name, bar.bound, _rate(bar.measured), "met" if bar.met else "not met")
        for bar in metrics.bars()
    ]
    return _table((metrics.checkpoint, "bar", "measured", ""), rows)


def of_revival(found: ReviveOutcome) -> Table:
    """One row for each number of half-keys that was tried: what it did to held-out text."""
    head = ("revived", "read", "KL a token", "recall", "effective slots", "")
    before = ("none", "", "", _rate(found.recall), f"{sum(found.effective.values()):,.0f}", "")
    rows = [
        (
            f"{each.revived:,} of {found.dead:,}",
            "–" if each.read is None else f"{each.read / each.revived:.0%}",
            f"{each.kl:.4f}",
            _rate(each.recall),
            "–" if each.effective is None else f"{sum(each.effective.values()):,.0f}",
            each.complaint or ("chosen" if each is found.result else ""),
        )
        for each in found.attempts
    ]
    return _table(head, [before, *rows] if rows else [])


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(head))
    for column in head:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*map(Text, row))
    return table
