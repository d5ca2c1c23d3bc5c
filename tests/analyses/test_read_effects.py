"""Effects of single reads: direct ones, gradients, ablations, each computed another way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from inspector.analyses.answers import answer_margins, answer_scores, score_answers
from inspector.analyses.direct_effect import direct_effect
from inspector.analyses.read_effects import ReadEffects, first_order_effects, read_effects
from inspector.analyses.recall import Question, QuestionBatch, question_batch
from inspector.capture.edits import ScaleReads, ZeroReads
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel

QUESTIONS = [Question("Jakarta is", "the capital"), Question("Lima", "is big")]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), "cpu", torch.float64)


@pytest.fixture(scope="module")
def batch(model: MemoryModel) -> QuestionBatch:
    return question_batch(model, QUESTIONS)


@pytest.fixture(scope="module")
def effects(model: MemoryModel, batch: QuestionBatch) -> ReadEffects:
    return read_effects(model, batch, exact=10)


def exact_norm(self: LlamaRMSNorm, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x * (x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()


@pytest.mark.parametrize("measure", ["logprob", "margin"])
def test_gradients_equal_finite_differences(
    model: MemoryModel, batch: QuestionBatch, measure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # transformers' norm rounds to float32, in which differences this small are noise
    monkeypatch.setattr(LlamaRMSNorm, "forward", exact_norm)

    def value(factors: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            if measure == "margin":
                return answer_margins(model, batch, [ScaleReads(factors)])
            return answer_scores(model, batch, [ScaleReads(factors)]).logprob

    found = (
        first_order_effects(model, batch, answer_margins)
        if measure == "margin"
        else first_order_effects(model, batch)
    )
    shape = found["L0"].shape
    for name, place in (("L0", (0, 2, 1, 0)), ("L2", (1, 1, 0, 3)), ("L0", (1, 0, 0, 1))):
        step = 1e-5
        sides = []
        for sign in (1, -1):
            factors = {site: torch.ones(shape, dtype=torch.float64) for site in found}
            factors[name][place] += sign * step
            sides.append(value(factors))
        difference = float((sides[0] - sides[1])[place[0]]) / (2 * step)
        assert float(found[name][place]) == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_direct_effects_are_those_of_the_trace_page(
    model: MemoryModel, batch: QuestionBatch, effects: ReadEffects
) -> None:
    frame = effects.to_frame()
    for row, question in enumerate(QUESTIONS):
        ids = model.tokenizer(f"{question.prompt} {question.answer}").input_ids
        traced = trace(model, ids=[ids])
        start = len(model.tokenizer(question.prompt).input_ids) - 1
        for pos in range(start, len(ids)):
            scores = traced.logits[0, pos].clone()
            token = [*ids, 1][pos + 1]
            scores[token] = -torch.inf
            expected = direct_effect(model, traced, pos, token, int(scores.argmax())).reads
            own = frame[(frame["phrasing"] == row) & (frame["pos"] == pos)]
            for read in own.to_dict("records"):
                assert read["answering"]
                assert read["direct"] == pytest.approx(
                    expected[read["site"]][read["head"], read["rank"]], rel=1e-6, abs=1e-9
                )
    early = effects.direct[~effects.answering]
    assert len(early) > 0
    assert not early.any()


def test_exact_effects_are_those_of_zeroing_one_read_at_a_time(
    model: MemoryModel, batch: QuestionBatch, effects: ReadEffects
) -> None:
    tried = np.flatnonzero(~np.isnan(effects.exact))
    before = score_answers(model, batch).logprob
    for row in (0, 1):
        own = np.flatnonzero(effects.phrasing == row)
        strongest = set(own[np.argsort(-np.abs(effects.margin[own]))[:10]])
        assert set(tried) & set(own) == strongest
    for read in tried[::4]:
        name, row = effects.sites[effects.site[read]], effects.phrasing[read]
        site = model.sites[name].info
        mask = torch.zeros(*batch.ids.shape, site.heads, site.knn, dtype=torch.bool)
        mask[row, effects.pos[read], effects.head[read], effects.rank[read]] = True
        after = score_answers(model, batch, [ZeroReads({name: mask})]).logprob
        assert effects.exact[read] == pytest.approx(float((before - after)[row]), rel=1e-9)


def test_every_read_up_to_the_answers_end_is_there_once(
    model: MemoryModel, batch: QuestionBatch, effects: ReadEffects
) -> None:
    reads = sum(site.info.heads * site.info.knn for site in model.sites.values())
    positions = sum(
        len(model.tokenizer(f"{q.prompt} {q.answer}").input_ids) for q in QUESTIONS
    )  # the end of text is produced at the last of these
    assert len(effects) == reads * positions
    frame = effects.to_frame()
    assert not frame.duplicated(["phrasing", "pos", "site", "head", "rank"]).any()
    assert frame["margin"].abs().is_monotonic_decreasing


def test_fields_of_unequal_length_are_refused(effects: ReadEffects) -> None:
    fields = {**vars(effects), "slot": effects.slot[:-1]}
    with pytest.raises(ValueError, match="disagree in length"):
        ReadEffects(**fields)
