"""The safety view, against passes text by text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.corpus_sample import sample_corpus
from inspector.analyses.safety import SafetyProgress, safety_view
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.capture.value_edits import NewValues
from inspector.errors import CorpusError, SlotError
from inspector.families.base import MemoryModel
from tests.conftest import SENTENCES

TEXTS = [*SENTENCES, SENTENCES[0], "Lima is big."]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_half_keys=16), device="cpu")


@pytest.fixture(scope="module")
def edit(model: MemoryModel) -> NewValues:
    slots = trace(model, SENTENCES[0]).reads["L2"].slots[0, 4, 0, :2]
    return NewValues(0, slots, torch.full((2, 32), 0.5))


def by_hand(
    model: MemoryModel, edit: NewValues
) -> tuple[dict[tuple[int, ...], tuple[float, float, int]], list[float]]:
    contexts: dict[tuple[int, ...], tuple[float, float, int]] = {}
    later = []
    for text in TEXTS:
        plain, edited = trace(model, text), trace(model, text, edits=[edit])
        ids = plain.ids[0].tolist()
        seen = False
        for pos in range(len(ids) - 1):
            chances = [
                float(t.logits[0, pos].double().log_softmax(-1)[ids[pos + 1]])
                for t in (plain, edited)
            ]
            reads = [r.slots[0, pos] for r in plain.reads.values()]
            if any(torch.isin(each, edit.slots).any() for each in reads):
                seen, key = True, tuple(ids[: pos + 2])
                times = contexts.get(key, (0.0, 0.0, 0))[2]
                contexts[key] = (*chances, times + 1)
            elif seen:
                later.append(chances[1] - chances[0])
    return contexts, later


def test_it_finds_every_context_and_what_it_suffers(model: MemoryModel, edit: NewValues) -> None:
    expected, later = by_hand(model, edit)
    found = safety_view(model, [edit], TEXTS)
    assert found.complete
    assert found.contexts == len(expected) > 3
    worst = sorted(expected.items(), key=lambda item: item[1][1] - item[1][0])
    changes = [after - before for _, (before, after, _) in worst]
    assert found.change.tolist() == pytest.approx(changes, abs=1e-4)
    before = torch.tensor([each[0] for _, each in worst]).exp()
    assert found.before.tolist() == pytest.approx(before.tolist(), rel=1e-3)
    assert sorted(found.times.tolist()) == sorted(times for _, (_, _, times) in worst)
    assert max(found.times) == 2  # one text is there twice
    ids, _ = worst[0]
    assert found.texts[0] == "".join(map(model.token_text, ids[:-1]))
    assert found.following[0] == model.token_text(ids[-1])
    assert found.later == len(later) > 0
    assert found.later_mean == pytest.approx(sum(later) / len(later), abs=1e-4)
    assert found.later_worst == pytest.approx(min(0, *later), abs=1e-4)
    told = found.to_json(2)
    assert told["contexts"] == found.contexts
    assert told["reads"] == sum(times for _, (_, _, times) in worst)
    assert [row["text"] for row in told["worst"]] == list(found.texts[:2])
    assert found.worse_than(0.0) == sum(change < 0 for change in changes)


def test_texts_are_told_of_the_worst_alone(model: MemoryModel, edit: NewValues) -> None:
    whole, few = safety_view(model, [edit], TEXTS), safety_view(model, [edit], TEXTS, keep=2)
    assert few.texts == whole.texts[:2]
    assert few.to_frame().change.tolist() == whole.to_frame().change.tolist()
    assert few.to_frame().text.tolist()[2:] == [""] * (few.contexts - 2)


def test_values_that_nothing_reads_have_no_contexts(model: MemoryModel) -> None:
    read = {
        slot
        for text in TEXTS
        for reads in trace(model, text).reads.values()
        for slot in reads.slots.flatten().tolist()
    }
    free = next(slot for slot in range(256) if slot not in read)
    found = safety_view(model, [NewValues(0, torch.tensor([free]), torch.ones(1, 32))], TEXTS)
    assert (found.contexts, found.later, found.complete) == (0, 0, True)
    assert found.to_json()["mean_change"] == 0.0
    assert len(found.to_frame()) == 0


def test_it_tells_how_far_it_is_and_can_be_cancelled(model: MemoryModel, edit: NewValues) -> None:
    told: list[SafetyProgress] = []
    whole = safety_view(model, [edit], TEXTS * 40, report=told.append)
    assert told[-1].tokens == whole.tokens
    assert told[-1].contexts == whole.contexts
    assert told[-1].worst == pytest.approx(whole.change[0])
    assert len(told) > 1
    stopped = safety_view(model, [edit], TEXTS * 40, cancel=lambda: len(told) > 0)
    assert (stopped.tokens, stopped.complete) == (0, False)
    drawing = safety_view(model, [edit], TEXTS * 40, tokens=20, cancel=lambda: True)
    assert (drawing.tokens, drawing.complete, drawing.contexts) == (0, False, 0)


def test_a_sample_is_drawn_at_random_and_says_so(model: MemoryModel, edit: NewValues) -> None:
    told: list[SafetyProgress] = []
    whole = safety_view(model, [edit], TEXTS)
    few = safety_view(model, [edit], TEXTS, tokens=40, seed=4, report=told.append)
    windows = sample_corpus(model, open_corpus(TEXTS), 40, 4)
    assert windows is not None
    texts = [model.tokenizer.decode(window.ids[1:]) for window in windows.windows]
    assert texts != TEXTS[: len(texts)]
    alone = safety_view(model, [edit], texts)
    assert (few.tokens, few.contexts) == (alone.tokens, alone.contexts)
    assert few.change.tolist() == pytest.approx(alone.change.tolist(), abs=1e-4)
    assert 40 <= few.tokens < whole.tokens == few.drawn_from
    assert not few.complete
    assert (few.to_json()["drawn_from"], few.to_json()["seed"]) == (whole.tokens, 4)
    assert whole.drawn_from is None
    assert (told[0].tokens, told[0].share) == (0, None)
    assert (told[-1].tokens, told[-1].share) == (few.tokens, 1.0)


def test_a_sample_that_holds_all_is_complete(model: MemoryModel, edit: NewValues) -> None:
    whole, drawn = (safety_view(model, [edit], TEXTS, tokens=tokens) for tokens in (None, 10**6))
    assert drawn.complete
    assert drawn.drawn_from == drawn.tokens == whole.tokens
    assert drawn.change.tolist() == pytest.approx(whole.change.tolist(), abs=1e-4)


def test_what_cannot_be_looked_at_is_said(model: MemoryModel, tmp_path: Path) -> None:
    with pytest.raises(SlotError, match="0 to 255"):
        safety_view(model, [NewValues(0, torch.tensor([256]), torch.ones(1, 32))], TEXTS)
    with pytest.raises(CorpusError, match="no file"):
        safety_view(model, [], tmp_path / "missing")
