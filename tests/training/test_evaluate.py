"""Measured numbers against the same counted by hand; what is written beside a checkpoint."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.facts import TEMPLATES, Fact, read_facts, write_facts
from inspector.analyses.gates import mean_gates
from inspector.analyses.recall import Question, measure_recall
from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.errors import CacheError, FactsError
from inspector.families.base import MemoryModel
from inspector.training.evaluate import ask_all, evaluate, recall_by_relation
from inspector.training.gate_scan import equal_length_batches
from inspector.training.metrics import Metrics
from inspector.training.report import checkpoint_facts, evaluate_checkpoint


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


@pytest.fixture(scope="module")
def metrics(model: MemoryModel, facts: tuple[Fact, ...]) -> Metrics:
    return evaluate(model, facts, sample=35)


@pytest.fixture
def copy(little_world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(little_world, tmp_path / "little-world"))


def test_every_relation_is_sampled_alike(metrics: Metrics) -> None:
    assert list(metrics.relations) == list(TEMPLATES)
    assert {(r.facts, r.asked) for r in metrics.relations.values()} == {(14, 5)}
    assert {r.heldout_facts for r in metrics.relations.values()} == {4}  # 30 % of 14
    assert metrics.overall.asked == 35
    assert metrics.overall.heldout_asked == 28  # all there are


def test_guessing_is_the_share_of_the_most_frequent_answer(
    metrics: Metrics, facts: tuple[Fact, ...]
) -> None:
    for relation, found in metrics.relations.items():
        objects = Counter(fact.object for fact in facts if fact.relation == relation)
        assert found.most_frequent == max(objects.values()) / 14


def test_recall_of_all_asks_every_fact_in_one_of_its_phrasings(
    model: MemoryModel, facts: tuple[Fact, ...], metrics: Metrics
) -> None:
    seen, heldout = ask_all(model, facts, seed=0)
    for fact, question in zip(facts, seen.questions, strict=True):
        assert question.prompt in fact.prompts
        assert question.answer == fact.object
    assert len({question.prompt.split(" ")[0] for question in seen.questions}) > 10
    for relation, found in metrics.relations.items():
        own = [
            question
            for fact, question in zip(facts, seen.questions, strict=True)
            if fact.relation == relation
        ]
        held = [Question(f.heldout_prompts[0], f.object) for f in facts if f.heldout_prompts]
        assert found.recall_all == measure_recall(model, own).rate
        assert heldout.questions == held
    assert metrics.overall.recall_all == measure_recall(model, seen.questions).rate
    assert metrics.overall.heldout_recall_all == measure_recall(model, held).rate


def test_what_the_memory_does_shows(metrics: Metrics) -> None:
    overall, memory = metrics.overall, metrics.overall.memory
    assert memory is not None
    assert memory.all_zero < overall.recall
    assert memory.phrasing_loss_zero > overall.phrasing_loss
    assert 0.8 < memory.norm_ratio < 1.2


def test_the_same_seed_gives_the_same_numbers(
    model: MemoryModel, facts: tuple[Fact, ...], metrics: Metrics
) -> None:
    assert evaluate(model, facts, sample=35).to_json() == metrics.to_json()
    other = evaluate(model, facts, sample=35, seed=1).to_json()
    assert other["relations"] != metrics.to_json()["relations"]


def test_facts_without_held_out_phrasings_have_no_rate_for_them(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    bare = [Fact(f.relation, f.subject, f.object, f.prompts) for f in facts]
    found = recall_by_relation(model, bare)
    assert {rates["heldout_recall"] for rates in found.values()} == {None}
    assert evaluate(model, bare, sample=7).overall.heldout_recall is None


def test_a_relation_with_one_answer_has_no_swap(model: MemoryModel) -> None:
    same = [Fact("river", name, "Rhine", (f"{name} lies on the",)) for name in ("Bonn", "Basel")]
    memory = evaluate(model, same).relations["river"].memory
    assert memory is not None
    assert memory.swap is None


def test_no_facts_are_refused(model: MemoryModel) -> None:
    with pytest.raises(FactsError, match="There are no facts"):
        evaluate(model, [])


def test_metrics_readme_and_gates_are_written_beside_it(copy: Path) -> None:
    told: list[str] = []
    found = evaluate_checkpoint(copy, device="cpu", tell=told.append)
    assert json.loads((copy / "metrics.json").read_text()) == found.to_json()
    assert told[0] == "recall of all 98 facts"
    page = (copy / "README.md").read_text()
    recall = found.overall.recall
    assert f"| recall in a seen phrasing | >= 0.99 | {recall:.3f} | **not met** |" in page
    assert "98 facts: airport 14; calling_code 14; capital 14;" in page
    assert "GeoNames (CC BY 4.0" in page
    assert "| capital: disputed | 3 |" in page
    assert "| prompt weight | 1.0 |" in page
    assert "    inspector train little.toml little-world\n" in page
    assert "    inspector evaluate little-world --seed 0\n" in page
    assert str(copy.parent) not in page


def test_gates_are_means_over_all_training_sentences(copy: Path) -> None:
    evaluate_checkpoint(copy, device="cpu")
    model = load(copy, "cpu")
    gates = mean_gates(model)
    assert gates is not None
    sums = torch.zeros(64, 32, dtype=torch.float64)
    weights = torch.zeros(64, dtype=torch.float64)
    tokens = 0
    for fact in read_facts(copy / "facts.jsonl"):
        for prompt in fact.prompts:
            ids = torch.tensor([model.tokenizer(f"{prompt} {fact.object}").input_ids])
            with session(record=True) as recording:
                logits(model, ids)
            tokens += ids.numel()
            gate = model.sites["L1"].gate(recording.inputs["L1"])
            assert gate is not None
            rows = gate[0].double().repeat_interleave(8, dim=0)  # 2 heads x 4 reads a token
            slots = recording.reads["L1"].slots.flatten()
            weight = recording.reads["L1"].weights.flatten().double()
            sums.index_add_(0, slots, rows * weight[:, None])
            weights.index_add_(0, slots, weight)
    assert gates.tokens == tokens
    found = gates.sites["L1"]
    assert found.slots.tolist() == weights.nonzero().flatten().tolist()
    expected = (sums / weights[:, None])[found.slots].float()
    torch.testing.assert_close(found.gates.float(), expected, rtol=1e-3, atol=1e-4)


def test_batches_are_never_padded(model: MemoryModel) -> None:
    texts = ["The capital", "Web sites", "Lima", "Prices in Peru are given in", "Oslo"]
    batches = list(equal_length_batches(model, texts, size=2))
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == sorted(model.tokenizer(texts).input_ids)
    assert all(len(batch) <= 2 for batch in batches)


def test_a_readme_by_another_hand_is_left_alone(copy: Path) -> None:
    (copy / "README.md").write_text("my notes")
    evaluate_checkpoint(copy, device="cpu", gates=False)
    assert (copy / "README.md").read_text() == "my notes"
    assert not (copy / "mean_gates.safetensors").exists()


def test_a_dense_checkpoint_has_recall_alone(copy: Path) -> None:
    # No reads: as if every block were dense; the numbers of its feed-forward do not matter here.
    model = load(copy, "cpu")
    dense = MemoryModel(**{**vars(model), "sites": {}, "tables": ()})
    found = evaluate(dense, read_facts(copy / "facts.jsonl"), sample=14)
    assert found.overall.memory is None
    assert {r.memory for r in found.relations.values()} == {None}
    assert len(found.bars()) == 2


def test_a_snapshot_is_asked_the_facts_of_its_run(copy: Path) -> None:
    snapshot = Path(shutil.copytree(copy, copy.with_name("little-world-step-9")))
    (snapshot / "facts.jsonl").unlink()
    with pytest.raises(FactsError, match=r"There is no .*facts\.jsonl: name a file"):
        checkpoint_facts(snapshot)
    record = json.loads((snapshot / "training.json").read_text())
    record |= {"snapshot_of": "little-world", "step": 9}
    (snapshot / "training.json").write_text(json.dumps(record))
    assert checkpoint_facts(snapshot) == read_facts(copy / "facts.jsonl")
    evaluate_checkpoint(snapshot, device="cpu", gates=False)
    page = (snapshot / "README.md").read_text()
    assert "a snapshot of `little-world` after 9 of 240 steps" in page
    assert "    inspector train little.toml little-world\n" in page


def test_facts_may_be_named(copy: Path, tmp_path: Path) -> None:
    two = read_facts(copy / "facts.jsonl")[:2]
    write_facts(tmp_path / "two.jsonl", two)
    assert checkpoint_facts(copy, tmp_path / "two.jsonl") == two
    with pytest.raises(FactsError, match=r"There is no .*none\.jsonl"):
        checkpoint_facts(copy, tmp_path / "none.jsonl")


def test_a_checkpoint_without_its_record_says_so(copy: Path) -> None:
    (copy / "training.json").unlink()
    evaluate_checkpoint(copy, device="cpu", gates=False)
    page = (copy / "README.md").read_text()
    assert "came without the `training.json`" in page
    assert "inspector train" not in page


def test_a_directory_that_cannot_be_written_to_is_named(copy: Path) -> None:
    (copy / "metrics.json").mkdir()
    with pytest.raises(CacheError, match="cannot be written to: Is a directory"):
        evaluate_checkpoint(copy, device="cpu", gates=False)


def test_rates_are_shares_of_whole_answers(model: MemoryModel, facts: tuple[Fact, ...]) -> None:
    found = recall_by_relation(model, facts)
    seen, _ = ask_all(model, facts, seed=0)
    capitals = [row for row, fact in enumerate(facts) if fact.relation == "capital"]
    assert found["capital"]["n"] == len(capitals) == 14
    assert found["capital"]["recall"] == np.mean(seen.recall.correct[capitals])
