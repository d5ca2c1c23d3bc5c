"""``inspector decode CHECKPOINT``: what values say, and which slots speak for a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from inspector.capture.visible_text import visible_text
from inspector.cli import payloads, tables
from inspector.cli.commands import Checkpoint, Device, Json, app
from inspector.cli.output import progress, say, show
from inspector.errors import CacheError, InspectorError, SearchError, SlotError

if TYPE_CHECKING:
    from inspector.analyses.decoded_table import DecodedTable
    from inspector.analyses.token_search import How, TokenSlots
    from inspector.families.base import MemoryModel

_PRINTED: Final = 50  # slots found, of each decoding
_HEAD: Final = ("site", "gate", "table", "slots", "pass", "significant", "site's mean gate")
_HIT_HEAD: Final = ("slot", "address", "gate", "", "token", "rank", "logit", "standing", "p")


@app.command()
def decode(  # noqa: PLR0913, PLR0917  an option each
    checkpoint: Checkpoint,
    slots: Annotated[
        str | None, typer.Option(help="Only these: 1,2,3.", show_default=False)
    ] = None,
    site: Annotated[str | None, typer.Option(help="A site such as L2; else all.")] = None,
    gate: Annotated[
        str | None, typer.Option(help="raw or static; else both, or raw with --slots.")
    ] = None,
    find: Annotated[
        str | None, typer.Option(help="Print the slots that promote or suppress this word.")
    ] = None,
    prefix: Annotated[bool, typer.Option("--prefix", help="--find tokens that begin so.")] = False,
    regex: Annotated[bool, typer.Option("--regex", help="--find an expression (RE2).")] = False,
    out: Annotated[Path | None, typer.Option(help="Write all rows to this Parquet file.")] = None,
    json_file: Json = None,
    device: Device = "auto",
    top: Annotated[
        int | None, typer.Option(min=1, help="Tokens kept: 20, or 5 with --slots.")
    ] = None,
) -> None:
    """What values say: the tokens that all values of all tables, or some, promote and suppress.

    A whole decoding is kept in the cache folder; stopped, the same command goes on.
    """
    if gate not in (None, "raw", "static"):
        raise SlotError(f"There is no gate {gate!r} to decode through: choose raw or static.")
    if find is None and (prefix or regex):
        raise SearchError("--prefix and --regex say how to --find: give a word to find, too.")
    if prefix and regex:
        raise SearchError("Choose one of --prefix and --regex.")
    if slots is not None:
        if find is not None or out is not None:
            raise SlotError("--slots prints some slots; --find and --out are of whole tables.")
        _print_some(checkpoint, slots, (site, gate or "raw"), top or 5, (json_file, device))
        return
    from inspector.capture.load import load

    model = load(checkpoint, device)
    search = None if find is None else _Search(model, find, _how(prefix, regex))
    decodings, missing = _decode_all(model, site, gate, top or 20)
    if out is not None:
        from inspector.analyses.decoded_export import write_decodings

        write_decodings(out, model, decodings)
        say(f"Wrote {sum(map(len, decodings)):,} rows to {out}.")
    payload = _payload(model, decodings, missing, out)
    table = _summary(model, payload)
    if search is not None:
        table, payload["found"] = search.among(decodings)
    show(table, payload, json_file)


def _how(prefix: bool, regex: bool) -> How:
    if prefix:
        return "prefix"
    return "regex" if regex else "word"


def _print_some(
    checkpoint: Path,
    slots: str,
    site_and_gate: tuple[str | None, str],
    top: int,
    json_and_device: tuple[Path | None, str],
) -> None:
    try:
        numbers = [int(number) for number in slots.split(",")]
    except ValueError:
        raise SlotError(f"Slots are numbers such as 1,2,3; found {slots!r}.") from None

    from inspector.analyses.decoding import decode as run_decode
    from inspector.analyses.gates import mean_gates
    from inspector.capture.load import load

    (site, gate), (json_file, device) = site_and_gate, json_and_device
    model = load(checkpoint, device)
    chosen = model.site(site or next(iter(model.sites), "L0")).info
    gates = mean_gates(model) if gate == "static" else None
    if gate == "static" and chosen.gated and gates is None:
        raise CacheError(
            f"{model.name} has no scan of its own that says how {chosen.name} gates each slot. "
            "`inspector evaluate` makes it; --gate raw does without."
        )
    found = run_decode(model, numbers, chosen.name, gate, top=top, gates=gates)
    show(tables.of_decoding(found, chosen), payloads.of_decoding(found, chosen), json_file)


# --- whole tables -------------------------------------------------------------------------------


def _decode_all(
    model: MemoryModel, site: str | None, gate: str | None, top: int
) -> tuple[list[DecodedTable], list[str]]:
    """Every decoding there is of what was asked for, and why others are missing.

    Raises:
        InspectorError: there is none.
    """
    from inspector.analyses.decoded_table import decode_table

    names = [model.site(site).info.name] if site else list(model.sites)
    firsts = {model.sites[name].info.table: name for name in reversed(names)}
    asked = [(name, "raw") for name in firsts.values()] if gate != "static" else []
    asked += [(name, "static") for name in names] if gate != "raw" else []
    decodings, missing = [], []
    for name, through in sorted(asked, key=lambda each: names.index(each[0])):
        try:
            with progress(f"decoding {name} {through}") as report:
                decodings.append(decode_table(model, name, through, top=top, report=report))
        except (CacheError, SlotError) as problem:
            missing.append(str(problem))
        except KeyboardInterrupt:
            say("Stopped. The same command goes on from here.")
            raise typer.Exit(130) from None
    for note in dict.fromkeys([*missing, *(each.note for each in decodings if each.note)]):
        say(note)
    if not decodings:
        raise InspectorError(f"Nothing of {model.name} could be decoded.")
    return decodings, missing


def _payload(
    model: MemoryModel, decodings: list[DecodedTable], missing: list[str], out: Path | None
) -> dict[str, Any]:
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "out": None if out is None else str(out),
        "missing": missing,
        "decodings": [
            {
                "site": each.site,
                "gate": each.gate,
                "table": model.site(each.site).info.table,
                "slots": len(each),
                "top": each.top,
                "passing": int(each.passes.sum()),
                "significant": int(each.significant.sum()),
                "fallback": int(each.fallback.sum()),
                "smallest_p_value": float(each.p_value.min()),
            }
            for each in decodings
        ],
    }


def _summary(model: MemoryModel, payload: dict[str, Any]) -> Table:
    """A line for each decoding."""
    caption = (
        "pass: stands out from null vectors at 5 %, each slot by itself (5 % of noise does); "
        "significant: after Benjamini and Hochberg at 5 %"
    )
    table = Table(box=None, pad_edge=False, caption=Text(caption), caption_justify="left")
    for number, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if number > 1 else "left")
    for row in payload["decodings"]:
        table.add_row(
            "all" if row["gate"] == "raw" else row["site"],
            row["gate"],
            str(row["table"]),
            f"{row['slots']:,}",
            f"{row['passing']:,} ({row['passing'] / row['slots']:.1%})",
            f"{row['significant']:,}",
            f"{row['fallback']:,}",
        )
    return table


# --- search -------------------------------------------------------------------------------------


class _Search:
    """What was searched for, looked up before minutes go by with decoding."""

    def __init__(self, model: MemoryModel, query: str, how: How) -> None:
        from inspector.analyses.token_search import matching_tokens, search_note

        self.model = model
        self.tokens = matching_tokens(model, query, how)
        self.about = {
            "query": query,
            "how": how,
            "note": search_note(model, query, how, self.tokens),
            "tokens": [model.token_text(token) for token in self.tokens.tolist()],
        }
        if self.about["note"]:
            say(str(self.about["note"]))

    def among(self, decodings: list[DecodedTable]) -> tuple[Table, dict[str, Any]]:
        """The slots that speak for it: the first of each decoding as a table, and all."""
        from inspector.analyses.token_search import slots_for_tokens

        table = Table(box=None, pad_edge=False)
        for name in _HIT_HEAD:
            table.add_column(name)
        rows = []
        for decoded in decodings:
            found = list(_hits(self.model, slots_for_tokens(decoded, self.tokens)))
            for row in found[:_PRINTED]:
                table.add_row(*map(Text, _cells(row)))
            if len(found) > _PRINTED:
                say(f"{decoded.site} {decoded.gate}: {len(found):,} found, {_PRINTED} printed.")
            rows += found
        return table, {**self.about, "slots": rows}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["slot"]),
        row["address"],
        row["gate"],
        "promotes" if row["end"] == "promoted" else "suppresses",
        visible_text(row["token"]),
        str(row["rank"]),
        f"{row['logit']:.2f}",
        f"{row['standing']:.2f}",
        f"{row['p_value']:.4f}",
    )


def _hits(model: MemoryModel, found: TokenSlots) -> Iterator[dict[str, Any]]:
    info = model.site(found.site).info
    for row in found.to_frame().to_dict("records"):
        yield {**{str(k): v for k, v in row.items()}, "address": info.address(int(row["slot"]))}
