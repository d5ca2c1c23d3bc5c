"""Traces: what they hold, show and refuse, and that threads do not meet."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from inspector.capture.contributions import read_contributions, rebuild_output
from inspector.capture.edits import MaskSlots, ZeroPositions, ZeroSlots
from inspector.capture.load import load
from inspector.capture.lookup_edits import Edit
from inspector.capture.trace import Trace, trace
from inspector.errors import EmptyPrompt, PromptTooLong, UnknownToken
from inspector.families.base import MemoryModel
from tests.families.conformance import observe

TEXT = "Jakarta is the capital of"


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, TEXT)


def same(one: Trace, other: Trace) -> bool:
    """Whether two traces are the same to the last bit."""
    pairs = [(one.ids, other.ids), (one.logits, other.logits)]
    pairs += [(one.inputs[name], other.inputs[name]) for name in one.sites]
    pairs += [
        (getattr(one.reads[name], kind), getattr(other.reads[name], kind))
        for name in one.sites
        for kind in ("slots", "scores", "weights", "coefficients")
    ]
    pairs += [(one.residual.final, other.residual.final)]
    return one.top == other.top and all(torch.equal(a, b) for a, b in pairs)


# --- what a trace holds -------------------------------------------------------------------------


def test_a_trace_of_a_text(model: MemoryModel, traced: Trace) -> None:
    assert "".join(traced.tokens) == f"<s>{TEXT}"
    assert traced.ids.tolist() == [model.tokenizer(TEXT).input_ids]
    length = len(traced.tokens)
    assert traced.logits.shape == (1, length, 300)
    assert list(traced.reads) == list(traced.sites) == ["L0", "L2"]
    assert traced.reads["L2"].slots.shape == (1, length, 2, 4)
    seen = observe(model, traced.ids)
    assert torch.equal(traced.logits, seen.logits)
    for name in traced.sites:
        assert torch.equal(traced.reads[name].slots, seen.reads[name].slots)
        assert torch.equal(traced.inputs[name], seen.inputs[name])
        assert torch.equal(traced.residual.sites[name], seen.outputs[name])


def test_a_trace_of_ids_has_a_row_for_each(model: MemoryModel) -> None:
    ids = [[0, 41, 7], [0, 3, 299]]
    both = trace(model, ids=ids)
    assert both.ids.tolist() == ids
    assert both.texts == tuple(tuple(map(model.token_text, row)) for row in ids)
    assert both.tokens == both.texts[0]
    assert same(both, trace(model, ids=torch.tensor(ids)))
    alone = trace(model, ids=ids[1:])
    torch.testing.assert_close(both.logits[1:], alone.logits, atol=1e-5, rtol=1e-5)


def test_predictions_are_the_five_most_probable(model: MemoryModel, traced: Trace) -> None:
    probabilities = traced.probabilities()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:2]))
    for pos, best in enumerate(traced.top[0]):
        order = sorted(range(300), key=lambda t: -probabilities[0, pos, t].item())[:5]
        assert [text for text, _ in best] == [model.token_text(t) for t in order]
        assert [p for _, p in best] == pytest.approx(probabilities[0, pos, order].tolist())


def test_contributions_and_remainder_rebuild_each_site(model: MemoryModel, traced: Trace) -> None:
    with torch.no_grad():
        for name, site in model.sites.items():
            x, reads = traced.inputs[name], traced.reads[name]
            assert read_contributions(site, x, reads).shape == (*reads.slots.shape, 32)
            rebuilt, output = rebuild_output(site, x, reads), traced.residual.sites[name]
            torch.testing.assert_close(rebuilt, output, atol=1e-5, rtol=1e-5)


def test_an_edited_trace_shows_the_reads_as_edited(model: MemoryModel, traced: Trace) -> None:
    best = traced.reads["L0"].slots[0, -1, 0, :1]
    zeroed = trace(model, TEXT, edits=[ZeroSlots(best)]).reads["L0"]
    hit = zeroed.slots == best
    assert torch.equal(zeroed.slots, traced.reads["L0"].slots)
    assert not zeroed.coefficients[hit].any()
    assert torch.equal(zeroed.weights, traced.reads["L0"].weights)
    masked = trace(model, TEXT, edits=[MaskSlots(best)]).reads["L0"]
    assert not (masked.slots == best).any()
    assert same(trace(model, TEXT), traced)


def test_a_model_without_memory_can_be_traced(tiny_checkpoint: Callable[..., Path]) -> None:
    found = trace(load(tiny_checkpoint(memory_layers=[]), device="cpu"), TEXT)
    assert found.to_json()["sites"] == {}
    assert found.to_frame().empty
    assert found.tokens[1].startswith("J")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_trace_in_half_precision(
    tiny_checkpoint: Callable[..., Path], dtype: torch.dtype
) -> None:
    found = trace(load(tiny_checkpoint(dtype=dtype), device="cpu"), TEXT)
    assert found.logits.dtype == dtype
    assert found.reads["L0"].scores.dtype == torch.float32
    assert found.to_frame()["weight"].dtype == "float32"


# --- how it shows itself ------------------------------------------------------------------------


def test_a_frame_has_a_row_for_each_read(model: MemoryModel) -> None:
    found = trace(model, ids=[[0, 41, 7], [0, 3, 299]])
    frame = found.to_frame()
    assert len(frame) == 2 * (2 * 3 * 2 * 4)
    assert not frame.duplicated(["site", "batch", "pos", "head", "rank"]).any()
    for row in frame.to_dict("records"):
        reads = found.reads[row["site"]]
        at = row["batch"], row["pos"], row["head"], row["rank"]
        assert row["slot"] == reads.slots[at].item() == row["i"] * 8 + row["j"]
        assert row["token"] == found.texts[row["batch"]][row["pos"]]
        for kind in ("score", "weight", "coefficient"):
            assert row[kind] == getattr(reads, f"{kind}s")[at].item()


def test_json_has_the_names_of_the_records(model: MemoryModel) -> None:
    found = trace(
        model, ids=[[0, 41, 7], [0, 3, 299]], edits=[ZeroPositions(sites=frozenset({"L2"}))]
    )
    for row in (0, 1):
        plain = json.loads(json.dumps(found.to_json(row)))
        assert plain.keys() == {"tokens", "predictions", "sites"}
        assert plain["tokens"] == list(found.texts[row])
        assert [p[0]["token"] for p in plain["predictions"]] == [p[0][0] for p in found.top[row]]
        assert [p[4]["probability"] for p in plain["predictions"]] == [
            p[4][1] for p in found.top[row]
        ]
        for name, site in plain["sites"].items():
            assert site.keys() == {"slots", "scores", "weights", "coefficients"}
            for kind, numbers in site.items():
                assert numbers == getattr(found.reads[name], kind)[row].tolist()
        assert not torch.tensor(plain["sites"]["L2"]["coefficients"]).any()


class Cells(HTMLParser):
    """The tags of a page and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_shows_tokens_predictions_and_strongest_reads(traced: Trace) -> None:
    cells = Cells(traced._repr_html_())
    assert cells.tags == {"table", "tr", "th", "td", "code"}
    for pos, text in enumerate(traced.tokens):
        assert repr(text) in cells.texts
        assert repr(traced.top[0][pos][0][0]) in cells.texts
        for name in traced.sites:
            head, rank = divmod(int(traced.reads[name].weights[0, pos].argmax()), 4)
            i, j = divmod(int(traced.reads[name].slots[0, pos, head, rank]), 8)
            assert f"{name}·H{head}·({i},{j})" in cells.texts


def test_tokens_that_look_like_html_stay_text(model: MemoryModel, traced: Trace) -> None:
    evil = "<script>alert('&amp;')</script>"
    texts = ((evil, *traced.texts[0][1:]),)
    shown = dataclasses.replace(traced, texts=texts, token_text=lambda token: evil)
    cells = Cells(shown._repr_html_())
    assert cells.tags == {"table", "tr", "th", "td", "code"}
    assert cells.texts.count(repr(evil)) == 1 + len(traced.tokens)  # the token, the predictions
    assert Cells(trace(model, "a <b>&lt; c")._repr_html_()).tags == cells.tags


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_prompt(model: MemoryModel, text: str) -> None:
    with pytest.raises(EmptyPrompt, match=r"The prompt is empty\. Type a few words"):
        trace(model, text)


@pytest.mark.parametrize("ids", [[], [[]], [1, 2], torch.zeros(0, 3, dtype=torch.int64)])
def test_empty_ids(model: MemoryModel, ids: Sequence[Sequence[int]]) -> None:
    with pytest.raises(EmptyPrompt, match=r"ids must be \[batch pos\] and not empty"):
        trace(model, ids=ids)


def test_a_prompt_that_is_too_long(model: MemoryModel) -> None:
    assert trace(model, ids=[[5] * 64]).logits.shape[1] == 64
    told = "The prompt has 65 tokens; tiny has 64 positions. Shorten it by 1 token"
    with pytest.raises(PromptTooLong, match=told):
        trace(model, ids=[[5] * 65])
    with pytest.raises(PromptTooLong, match="has 64 positions"):
        trace(model, "Jakarta " * 100)


@pytest.mark.parametrize("token", [-1, 300])
def test_a_token_that_is_not_there(model: MemoryModel, token: int) -> None:
    with pytest.raises(UnknownToken, match="between 0 and 299"):
        trace(model, ids=[[0, token]])


def test_a_tokenizer_that_knows_more_tokens_than_the_model(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    small = load(tiny_checkpoint(vocab_size=260), device="cpu")
    with pytest.raises(UnknownToken, match="between 0 and 259"):
        trace(small, TEXT)


def test_a_model_that_knows_more_tokens_than_its_tokenizer(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    large = load(tiny_checkpoint(vocab_size=3000), device="cpu")
    found = trace(large, ids=[[0, 2999]])
    assert found.tokens == ("<s>", "<2999>")


def test_a_text_or_ids_and_not_both(model: MemoryModel) -> None:
    with pytest.raises(ValueError, match="give either a text or ids"):
        trace(model)
    with pytest.raises(ValueError, match="give either a text or ids"):
        trace(model, TEXT, ids=[[1]])


def test_parts_that_disagree_make_no_trace(traced: Trace) -> None:
    with pytest.raises(ValueError, match=r"ids \(1, \d+\) and logits"):
        dataclasses.replace(traced, logits=traced.logits[:, :-1])
    reads = dataclasses.replace(traced.reads["L0"], weights=traced.reads["L0"].weights[:, 1:])
    with pytest.raises(ValueError, match="L0: reads"):
        dataclasses.replace(traced, reads={"L0": reads})


# --- many at once -------------------------------------------------------------------------------


def test_thirty_two_threads_on_one_model_do_not_meet(model: MemoryModel) -> None:
    generator = torch.Generator().manual_seed(7)
    jobs: list[tuple[torch.Tensor, list[Edit]]] = []
    for number in range(32):
        ids = torch.randint(300, (1 + number % 3, 4 + number % 9), generator=generator)
        slots = torch.randperm(64, generator=generator)[:20]
        edits: list[list[Edit]] = [
            [],
            [ZeroSlots(slots)],
            [MaskSlots(slots)],
            [ZeroPositions(torch.rand(ids.shape, generator=generator) < 0.5)],
        ]
        jobs.append((ids, edits[number % 4]))
    alone = [trace(model, ids=ids, edits=edits) for ids, edits in jobs]
    start = threading.Barrier(32)

    def work(number: int) -> list[Trace]:
        start.wait(timeout=60)
        ids, edits = jobs[number]
        return [trace(model, ids=ids, edits=edits) for _ in range(3)]

    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(work, range(32)))
    for number, traces in enumerate(found):
        assert all(same(one, alone[number]) for one in traces), f"thread {number}"
