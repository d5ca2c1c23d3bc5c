"""The pictures of the teaching page, a function for each step of a lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector.ui import cache
from inspector.ui.components import prediction_bars, token_chips
from inspector.ui.lookup_stage import Stage

if TYPE_CHECKING:
    import numpy as np

    from inspector.analyses.lookup_costs import LookupCost

_LAST_SIZE = 4096


def _chart(figure: Any, key: str) -> None:
    st.plotly_chart(figure, key=f"lookup {key}", config={"displayModeBar": False})


def _slider(label: str, low: int, high: int, value: int, key: str) -> int:
    """A slider of one step; where there is nothing to slide, the value alone."""
    if low >= high:
        return low
    return int(st.slider(label, low, high, min(max(value, low), high), key=f"lookup slide {key}"))


def query(stage: Stage) -> None:
    """The query's numbers."""
    from inspector.figures.lookup import query_figure

    _chart(query_figure(stage.walk, split=False), "query")
    numbers = stage.walk.query.ravel()
    at = _slider("Look at dimension", 0, len(numbers) - 1, 0, "query")
    st.text(f"dimension {at} of the query: {numbers[at]:.4g}")


def split(stage: Stage) -> None:
    """The two halves."""
    from inspector.figures.lookup import query_figure

    _chart(query_figure(stage.walk, split=True), "split")
    half = stage.walk.query.shape[1]
    at = _slider("Look at dimension", 0, 2 * half - 1, 0, "split")
    st.text(f"dimension {at} is number {at % half} of the half for set {at // half + 1}")


def score(stage: Stage) -> None:
    """All half scores, and one of them worked out."""
    from inspector.figures.lookup import half_scores_figure

    walk = stage.walk
    _chart(half_scores_figure(walk), "scores")
    at = _slider("Look at half-key", 0, walk.n - 1, int(walk.best[0][0]), "scores")
    lines = []
    for half in range(2):
        pairs = list(zip(walk.query[half], walk.half_keys[half][at], strict=True))
        terms = " + ".join(f"{q:g}×{k:g}" for q, k in pairs[:3])
        more = " + …" if len(pairs) > 3 else ""
        terms = terms if stage.tiny else " + ".join(f"{q:.2f}×{k:.2f}" for q, k in pairs[:3])
        found = walk.half_scores[half][at]
        lines.append(f"set {half + 1}, half-key {at}:  {terms}{more} = {found:.4g}")
    st.text("\n".join(lines))


def keep(stage: Stage) -> None:
    """The best of each set."""
    from inspector.figures.lookup import half_scores_figure

    ranks = stage.walk.best.shape[1]
    place = st.empty()
    kept = _slider("Keep the best", 1, ranks, ranks, "kept")
    with place:
        _chart(half_scores_figure(stage.walk, kept), "kept")


def candidates(stage: Stage) -> None:
    """The grid of candidates."""
    from inspector.figures.lookup import candidates_figure

    walk, ranks = stage.walk, stage.walk.best.shape[1]
    place = st.empty()
    kept = _slider("Keep the best of each set", 1, ranks, ranks, "candidates")
    with place:
        _chart(candidates_figure(walk, kept), "candidates")
    needed = int(walk.needed[:kept, :kept].sum())
    st.text(
        f"{kept} × {kept} = {kept**2} candidates, of {walk.n**2:,} keys. "
        f"Only {needed} of them can be among the best {walk.knn}."
    )


def best(stage: Stage) -> None:
    """The best sums, framed."""
    from inspector.figures.lookup import candidates_figure

    walk = stage.walk
    place = st.empty()
    framed = _slider("Frame the best", 1, walk.knn, walk.knn, "best")
    with place:
        _chart(candidates_figure(walk, walk.best.shape[1], framed), "best")
    i, j = walk.pair(framed - 1)
    first, second = walk.half_scores[0, i], walk.half_scores[1, j]
    st.text(f"number {framed}: {first:.4g} + {second:.4g} = {walk.scores[framed - 1]:.4g}")


def slots(stage: Stage) -> None:
    """From pairs to slot numbers."""
    walk = stage.walk
    rank = _slider("Read number", 1, walk.knn, 1, "slots") - 1
    i, j = walk.pair(rank)
    st.code(f"slot = i × n + j = {i} × {walk.n} + {j} = {i * walk.n + j}", language=None)
    frame = walk.to_frame()[["i", "j", "slot", "score_i", "score_j", "score"]]
    st.table(frame.iloc[: max(5, rank + 1)][-5:].round(3).set_index("slot"))
    if stage.tiny:
        from inspector.analyses.tiny_memory import question

        st.text(f"key ({i}, {j}) asks for: {question(int(walk.slots[rank]))}")


def values(stage: Stage) -> None:
    """The values fetched, and what one of them says."""
    from inspector.figures.lookup import vectors_figure

    walk = stage.walk
    rows = [(f"value of {stage.address(int(slot))}", v) for slot, v in _rows(stage)]
    _chart(vectors_figure(rows[:6]), "values")
    rank = _slider("What says the value of read number", 1, walk.knn, 1, "values") - 1
    if stage.opened is None:
        from inspector.analyses.tiny_memory import STRENGTH, word

        slot = int(walk.slots[rank])
        st.text(f"the value of slot {slot} is {STRENGTH} at “{word(slot)}” and 0 at all others")
        return
    from inspector.ui import state

    pos = state.read_number(state.POS)
    decoded = cache.decoded_reads(stage.opened, stage.text, 0, _pos(stage, pos), stage.site)
    row = decoded.to_frame().iloc[stage.head * walk.knn + rank]
    token_chips(
        list(zip(row["promoted"], row["promoted_logits"], strict=True)),
        list(zip(row["suppressed"], row["suppressed_logits"], strict=True)),
        key="lookup value says",
    )


def _pos(stage: Stage, asked: int | None) -> int:
    assert stage.opened is not None
    trace, _ = cache.traced(stage.opened, stage.text)
    last = len(trace.tokens) - 1
    return last if asked is None else min(max(asked, 0), last)


def _rows(stage: Stage) -> list[tuple[int, np.ndarray]]:
    return list(zip(stage.walk.slots.tolist(), stage.walk.values, strict=True))


def weighted(stage: Stage) -> None:
    """Weights, and the sum they make."""
    from inspector.figures.lookup import vectors_figure, weights_figure

    walk = stage.walk
    left, right = st.columns([2, 3])
    upto = _slider("Add up the best", 1, walk.knn, walk.knn, "weighted")
    labels = [stage.address(int(slot)) for slot in walk.slots]
    summed = walk.coefficients[:upto] @ walk.values[:upto]
    with left:
        _chart(weights_figure(walk, upto, labels), "weights")
    with right:
        _chart(vectors_figure([("so far", summed), ("whole sum", walk.total)]), "sum")
    share = float(walk.weights[:upto].sum())
    st.text(f"the best {upto} carry {share:.1%} of the weight")


def gate(stage: Stage) -> None:
    """Sum over heads, gate, projection."""
    from inspector.figures.lookup import vectors_figure

    if stage.effect is None:
        _chart(vectors_figure([("sum = output", stage.walk.total)]), "gate")
        return
    effect = stage.effect
    rows = [("sum of all heads", effect.summed)]
    if effect.gate is not None:
        rows += [("gate", effect.gate), ("gated sum", effect.summed * effect.gate)]
    _chart(vectors_figure(rows, own_scales=True), "gate")
    at = _slider("Look at dimension", 0, len(effect.summed) - 1, 0, "gate")
    if effect.gate is None:
        st.text(f"dimension {at}: {effect.summed[at]:.4g}")
    else:
        product = effect.summed[at] * effect.gate[at]
        st.text(f"dimension {at}: {effect.summed[at]:.4g} × {effect.gate[at]:.4g} = {product:.4g}")


def logits(stage: Stage) -> None:
    """What it does to the next token."""
    if stage.effect is None:
        _tiny_logits(stage)
        return
    effect = stage.effect
    shown = _slider("Tokens shown", 1, len(effect.with_reads), len(effect.with_reads), "logits")
    pushed, kept, left = st.columns([5, 4, 4])
    with pushed:
        st.markdown("**Pushed down and up**, in logits")
        token_chips(effect.promoted[:shown], effect.suppressed[:shown], key="lookup pushed")
    with kept:
        st.markdown("**Predicted** with these reads")
        prediction_bars(effect.with_reads[:shown], key="lookup with")
    with left:
        st.markdown(f"**Predicted** with {stage.site}'s reads here zeroed")
        prediction_bars(effect.without_reads[:shown], key="lookup without")


def _tiny_logits(stage: Stage) -> None:
    import numpy as np

    from inspector.analyses.tiny_memory import word

    scores = stage.walk.total
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    order = np.argsort(-scores, kind="stable")
    shown = _slider("Words shown", 1, 8, 4, "tiny logits")
    left, right = st.columns(2)
    with left:
        st.markdown("**Logits**: the weighted sum itself")
        st.dataframe(
            {
                "word": [word(int(slot)) for slot in order[:shown]],
                "logit": [round(float(scores[slot]), 3) for slot in order[:shown]],
            },
            hide_index=True,
        )
    with right:
        st.markdown("**Probabilities**: their softmax")
        prediction_bars(
            [(word(int(slot)), float(chances[slot])) for slot in order[:shown]], key="tiny words"
        )


def price(stage: Stage) -> None:
    """The proof by exhaustive search, and what both ways cost as n grows."""
    from inspector.analyses.lookup_costs import SIZES, count_costs
    from inspector.analyses.lookup_walk import search_all_keys
    from inspector.figures.lookup import costs_figure

    found = search_all_keys(stage.walk)
    verdict = "the same slots in the same order" if found.equal else "OTHER slots"
    st.text(
        f"{'✓' if found.equal else '✗'} A search over all {found.keys:,} keys, just now, finds "
        f"{verdict}: {', '.join(map(str, found.slots[:8]))}{' …' if stage.walk.knn > 8 else ''}"
    )
    left, right = st.columns([3, 2])
    with right:
        n = int(st.select_slider("Half-keys per set, n", SIZES, 1000, key="lookup slide price"))
        shown = st.segmented_control(
            "Price in",
            ["multiplications", "milliseconds"],
            default="multiplications",
            required=True,
            key="lookup price in",
        )
    costs = measured(stage.d_key, stage.walk.knn) if shown == "milliseconds" else _counted(stage)
    with left:
        _chart(costs_figure(costs, n, measured=shown == "milliseconds"), "costs")
    ours, compared, flat, flat_compared = count_costs(n, stage.d_key, stage.walk.knn)
    with right:
        st.table(
            {
                f"{n * n:,} slots": ["scored", "multiplied", "compared"],
                "product keys": [f"{2 * n:,} halves", f"{ours:,}", f"{compared:,}"],
                "every key": [f"{n * n:,}", f"{flat:,}", f"{flat_compared:,}"],
            },
            hide_index=True,
        )
        if shown == "milliseconds":
            cost = next(cost for cost in costs if cost.n == n)
            st.text(f"{cost.milliseconds:.3f} ms against {cost.flat_milliseconds:.3f} ms")


def _counted(stage: Stage) -> tuple[LookupCost, ...]:
    from inspector.analyses.lookup_costs import SIZES, LookupCost, count_costs

    knn = stage.walk.knn
    return tuple(
        LookupCost(n, n * n, *count_costs(n, stage.d_key, knn), float("nan"), float("nan"))
        for n in SIZES
    )


@st.cache_resource(max_entries=8, show_spinner="Measuring both ways on this machine …")
def measured(d_key: int, knn: int) -> tuple[LookupCost, ...]:
    """Both prices, timed on this machine once."""
    from inspector.analyses.lookup_costs import measure_costs_by_size

    return measure_costs_by_size(d_key, knn)
