"""Core sets in a model whose facts lie in known slots, and against every subset there is."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from inspector.analyses.ablations import ABLATIONS, Ablation, SlotTarget, score_ablations
from inspector.analyses.core_sets import CoreSet, common_slots, find_core_set
from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.phrasings import ask_fact
from inspector.analyses.read_effects import read_effects
from inspector.analyses.recall import QuestionBatch
from inspector.capture.load import load
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import (
    PET,
    SINGLE,
    SPREAD,
    TWICE,
    TWO_TOKENS,
    planted_model,
    target,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


def located(
    model: MemoryModel, fact: Fact, kind: Ablation = "zero", clear: float = 3.0
) -> tuple[CoreSet, QuestionBatch, list[SlotTarget]]:
    batch = ask_fact(model, fact).batch(model, "locate")
    effects = read_effects(model, batch, exact=0)
    core = find_core_set(model, batch, effects, kind, clear=clear)
    return core, batch, common_slots(model, effects, "table", len(batch.ids), core.searched)


@pytest.mark.parametrize("kind", ABLATIONS)
@pytest.mark.parametrize(
    ("fact", "slots"),
    [
        (SINGLE, {target("Ada", "home")}),
        (PET, {target("Ada", "pet")}),
        (TWICE, {target("Bob", "home"), target("home", "Bob")}),
    ],
    ids=["one slot", "another fact of the subject", "two slots"],
)
def test_the_core_set_is_the_slots_that_the_fact_was_planted_in(
    planted: MemoryModel, kind: Ablation, fact: Fact, slots: set[SlotTarget]
) -> None:
    core, _, _ = located(planted, fact, kind)
    assert set(core.members) == slots
    assert core.fewest


@pytest.mark.parametrize("kind", ABLATIONS)
def test_of_an_answer_of_two_tokens_either_token_is_enough(
    planted: MemoryModel, kind: Ablation
) -> None:
    core, _, _ = located(planted, TWO_TOKENS, kind)
    assert core.members in [(target("Eve", "home"),), (target("Eve", "New"),)]
    assert core.fewest


@pytest.mark.parametrize("kind", ABLATIONS)
def test_a_fact_that_every_phrasing_reads_elsewhere_too_has_none_and_says_why(
    planted: MemoryModel, kind: Ablation
) -> None:
    core, _, _ = located(planted, SPREAD, kind)
    assert core.members == ()
    assert "with all of these ablated the answer is still given" in core.why
    assert core.common > 0


def keeps(
    model: MemoryModel, batch: QuestionBatch, core: CoreSet, members: tuple[SlotTarget, ...]
) -> bool:
    """Whether some phrasing keeps the answer, or nearly, with ``members`` ablated."""
    found = score_ablations(model, batch, [members], core.kind)
    return bool((found.kept | (found.lead > -core.clear)).any())


@pytest.mark.parametrize("kind", ABLATIONS)
@pytest.mark.parametrize("clear", [0.0, 3.0])
def test_no_member_can_be_left_out(little_world: Path, kind: Ablation, clear: float) -> None:
    model = load(little_world, "cpu")
    sizes = []
    for fact in read_facts(little_world / "facts.jsonl")[::7]:
        if not ask_fact(model, fact).known:
            continue
        core, batch, common = located(model, fact, kind, clear)
        if not core.members:
            continue
        sizes.append(len(core.members))
        assert set(core.members) <= set(common)
        assert core.clear <= clear
        assert not keeps(model, batch, core, core.members)
        assert not score_ablations(model, batch, [core.members], kind).kept.any()
        for out in core.members:
            rest = tuple(member for member in core.members if member != out)
            assert keeps(model, batch, core, rest)
    assert len(sizes) >= 3
    assert max(sizes) > 1


def test_fewest_is_said_only_of_sets_that_no_smaller_one_replaces(little_world: Path) -> None:
    model = load(little_world, "cpu")
    said = []
    for fact in read_facts(little_world / "facts.jsonl")[::7]:
        if not ask_fact(model, fact).known:
            continue
        core, batch, common = located(model, fact)
        smaller = [s for n in range(1, len(core.members)) for s in combinations(common, n)]
        if not core.members or len(smaller) > 400:
            continue
        found = any(not keeps(model, batch, core, members) for members in smaller)
        assert core.fewest == (not found)
        said.append(core.fewest)
    assert True in said


def test_narrower_scopes_name_their_sites_and_heads(planted: MemoryModel) -> None:
    batch = ask_fact(planted, TWICE).batch(planted, "locate")
    effects = read_effects(planted, batch, exact=0)
    first, second = target("Bob", "home").slot, target("home", "Bob").slot
    for scope, heads in (("site", (None, None)), ("head", (0, 1)), ("read", (0, 1))):
        core = find_core_set(planted, batch, effects, "zero", scope)  # type: ignore[arg-type]
        assert set(core.members) == {
            SlotTarget(0, first, "L0", heads[0]),
            SlotTarget(0, second, "L0", heads[1]),
        }


def test_a_core_set_has_members_or_a_reason() -> None:
    with pytest.raises(ValueError, match="a reason"):
        CoreSet("zero", "table", (), 3, "answer")
    with pytest.raises(ValueError, match="expected one of"):
        CoreSet("drop", "table", (SlotTarget(0, 1),), 3, "answer")  # type: ignore[arg-type]


def test_a_core_set_as_a_table_and_as_plain_values(tiny_checkpoint: Callable[..., Path]) -> None:
    core = CoreSet(
        "zero", "head", (SlotTarget(0, 7, "L2", 1), SlotTarget(0, 3, "L0", 0)), 5, "answer"
    )
    assert core.slots == (7, 3)
    assert core.to_frame().to_dict("list") == {
        "table": [0, 0],
        "slot": [7, 3],
        "site": ["L2", "L0"],
        "head": [1, 0],
    }
    assert core.to_json()["members"][0] == {"table": 0, "slot": 7, "site": "L2", "head": 1}
