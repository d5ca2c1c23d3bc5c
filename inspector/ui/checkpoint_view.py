"""What the checkpoint page is made of: the load report in words a newcomer understands."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import cache, prompt, state
from inspector.ui.cache import Opened
from inspector.ui.components import prediction_bars, sentence


def headline(opened: Opened) -> None:
    """What was opened, in one sentence."""
    model, costs = opened.model, opened.costs
    parts: list[str | tuple[str, str]] = [(model.name, "strong")]
    if model.sites:
        slots = sum(table.slots for table in model.tables)
        parts += [
            " keeps ",
            (f"{costs.values / costs.total:.0%}", "strong"),
            f" of its {costs.total / 1e6:.1f} million parameters in ",
            (f"{slots:,} memory slots", "strong"),
            ", and one token touches ",
            (f"{costs.touched_share:.1%}", "strong"),
            " of them all. ",
        ]
    else:
        parts += [f" is a dense model of {costs.total / 1e6:.1f} million parameters: no memory. "]
    parts += [
        "What is shown here "
        + ("adds up to what the model computes." if opened.check.passed else "does NOT add up.")
    ]
    sentence(parts, key="headline")


def first_fact(opened: Opened) -> None:
    """The model at work: what it says after one prompt, and the way to the trace."""
    examples = prompt.fact_prompts(str(opened.model.path))
    text = examples[0][1] if examples else prompt.DEFAULT
    try:
        trace, _ = cache.traced(opened, text)
    except InspectorError as error:
        st.text(str(error))
        return
    said, action = st.columns([4, 1], vertical_alignment="center")
    with said:
        sentence(["Asked “", (text, "quote"), "”, it says:"], key="asked")
        prediction_bars(trace.top[0][-1][:3], key="first predictions")
    if action.button("See what fired", type="primary", width="stretch", key="to trace"):
        state.write(text=text, more=None, pos=None, slot=None, token=None)
        st.switch_page("pages/trace.py", query_params=st.query_params.to_dict())


_MEANINGS = {
    "Memory layers": "Blocks whose feed-forward network was replaced by a memory, named after the "
    "block.",
    "Slots": "Every pair of a half-key of set 1 and a half-key of set 2 is a key, and each key "
    "addresses one slot: a learned vector in the value table.",
    "Reads per token": "At every memory layer each head picks its best slots for a token and adds "
    "their values, weighted by a softmax of their scores.",
    "Touched per token": "Share of all parameters that one token needs: the backbone, all "
    "half-keys, and of the value table only the rows it reads.",
    "Work per layer": "Floating-point operations for one token: query, half-key scores, candidate "
    "sums, weighted sum and projections. A dense feed-forward network of the width below it takes "
    "as many.",
}


def figures(opened: Opened) -> None:
    """The sizes that matter, each with its meaning."""
    from inspector.analyses.costs import equal_width

    model, costs = opened.model, opened.costs
    if not model.sites:
        return
    info = next(iter(model.sites.values())).info
    reads = sum(site.info.heads * site.info.knn for site in model.sites.values())
    cells = {
        "Memory layers": (f"{len(model.sites)}", ", ".join(model.sites)),
        "Slots": (f"{info.slots:,}", f"{info.half_keys} x {info.half_keys} keys"),
        "Reads per token": (f"{reads}", f"{info.heads} heads x {info.knn} x {len(model.sites)}"),
        "Touched per token": (f"{costs.touched_share:.1%}", f"of {costs.total / 1e6:.2f} M"),
        "Work per layer": (
            f"{costs.site_flops / 1e3:,.0f} kFLOP",
            f"= dense width {equal_width(costs, info.d_model):.0f}",
        ),
    }
    for column, (label, (value, note)) in zip(st.columns(len(cells)), cells.items(), strict=True):
        column.metric(
            label,
            value,
            note,
            delta_color="off",
            delta_arrow="off",
            help=_MEANINGS[label],
            border=True,
            height="stretch",
        )


def self_check(opened: Opened) -> None:
    """The errors of the self-check, red past tolerance."""
    check = opened.check
    st.subheader(
        "Self-check",
        anchor=False,
        help="On a probe of random tokens: do all reads plus the remainder give what each memory "
        "layer really put out, do all parts together give what the final norm saw, and does the "
        "model compute the same with and without the inspector's hooks? Errors are relative to "
        "the largest magnitude.",
    )
    if check.passed:
        st.success(f"Everything adds up, within {check.tolerance:.0e}.", icon="✅")
    else:
        st.error("The parts do not add up: do not trust what is shown here.", icon="❌")
    rows = [(f"{name}: reads + remainder = output", error) for name, error in check.sites.items()]
    if check.residual is not None:
        rows += [("All parts = input of the final norm", check.residual)]
    rows += [("With hooks = without hooks", check.hooked)]
    frame = pd.DataFrame(
        {
            "what": [what for what, _ in rows],
            "largest error": [f"{error:.1e}" for _, error in rows],
            "ok": ["✅" if error <= check.tolerance else "❌" for _, error in rows],
        }
    )
    st.dataframe(frame, hide_index=True, key="self-check")
    whole = [name for name in opened.model.sites if name not in check.sites]
    if whole:
        st.caption(
            f"Not checked read by read, and shown without contributions: {', '.join(whole)}. "
            "What they put out is no sum of their reads."
        )
    if check.residual is None:
        st.caption("The parts of this model could not be told apart: no direct effects are shown.")


def parameters(opened: Opened) -> None:
    """Where the parameters are."""
    costs = opened.costs
    st.subheader(
        "Parameters",
        anchor=False,
        help="The backbone is everything but memory: embeddings, attention, norms, dense "
        "feed-forward networks, queries and projections. A value table that several memory layers "
        "share is counted once.",
    )
    frame = costs.to_frame()
    frame["share"] = frame["parameters"] / costs.total
    st.dataframe(
        frame,
        hide_index=True,
        key="parameters",
        column_config={
            "parameters": st.column_config.NumberColumn(format="localized"),
            "share": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
        },
    )
    st.caption(f"{costs.total:,} in all, as {str(opened.model.dtype).removeprefix('torch.')}.")


def sites(opened: Opened) -> None:
    """One row a memory layer."""
    model = opened.model
    st.subheader("Memory layers", anchor=False)
    rows = []
    for name, site in model.sites.items():
        info = site.info
        rows.append(
            {
                "site": name,
                "heads": info.heads,
                "reads per head (k)": info.knn,
                "half-keys per set (n)": info.half_keys,
                "slots": info.slots,
                "d_key": info.d_key,
                "d_value": info.d_value,
                "gated": info.gated,
                "weights": info.normalisation
                + ("" if info.activation == "none" else f" x {info.activation}, signed"),
                "value table": _shared(model.sites_of(info.table), info.table),
                "stored as": str(site.table.weight.dtype).removeprefix("torch."),
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="sites")


def _shared(names: tuple[str, ...], table: int) -> str:
    return f"{table}, shared by {', '.join(names)}" if len(names) > 1 else f"{table}, its own"


def _named(names: tuple[str, ...], none: str) -> str:
    """How many, and the first of them by name."""
    if not names:
        return none
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{len(names)}: {', '.join(names[:6])}{more}"


def provenance(opened: Opened) -> None:
    """How it was recognised and what was read."""
    model, found = opened.model, opened.model.provenance
    st.subheader("Load report", anchor=False)
    mapped = sum(table.mapped for table in model.tables)
    rows = {
        "Path": str(model.path),
        "Family": f"{found.family}, because {found.recognised_by}",
        "Tensors": f"{found.tensors_used} used, {len(found.ignored)} ignored, 0 missing",
        "Ignored": _named(found.ignored, "nothing"),
        "Tied": _named(found.tied, "nothing"),
        "Value tables": f"{len(model.tables)}, {mapped} of them memory-mapped: only rows that are "
        "read are fetched",
        "Tokenizer": f"{found.tokenizer or type(model.tokenizer).__name__}, "
        f"{len(model.tokenizer):,} tokens",
        "Positions": f"{model.positions:,}: the longest text, in tokens",
        "Device": f"{model.device}, opened and checked in {opened.seconds:.2f} s",
        "Fingerprint": model.fingerprint,
    }
    frame = pd.DataFrame({"": list(rows), "found": list(rows.values())})
    st.dataframe(frame, hide_index=True, height="content", key="report")
    # As text: they may name files, and must be read to their end.
    for title, told in (("How it was opened", found.notes), ("What it cannot show", found.limits)):
        if told:
            st.caption(title)
            for sentence_ in told:
                st.text(sentence_)
    if not found.limits:
        st.caption("There is nothing this family cannot show.")
