"""The facts page: what it shows is what the analyses find; edits stay in their session."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from inspector.analyses.edit_list import SlotEdit
from inspector.analyses.facts import Fact, read_facts, write_facts
from inspector.analyses.locate import locate
from inspector.analyses.proof import prove
from inspector.analyses.recall import Question, measure_recall
from inspector.capture.load import load
from inspector.families.base import MemoryModel
from inspector.ui import facts_patches
from tests.analyses.planted_facts import (
    FACTS,
    SINGLE,
    SPREAD,
    TWICE,
    TWO_TOKENS,
    UNKNOWN,
    planted_model,
    slot,
)
from tests.pages.user_session import UserSession

ROME = slot("Ada", "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    folder = tmp_path_factory.mktemp("facts") / "planted"
    found = planted_model(folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return found


@pytest.fixture(scope="module")
def path(model: MemoryModel) -> Path:
    return model.path


def labels(session: UserSession) -> list[str]:
    return [button.label for button in session.app.button]


def about(path: Path, subject: str, **entries: object) -> UserSession:
    return UserSession("facts", checkpoint=path, relation="home", subject=subject, **entries)


# --- locate -------------------------------------------------------------------------------------


def test_a_fact_is_located_as_the_analysis_does(path: Path, model: MemoryModel) -> None:
    session = about(path, "Bob")
    report = locate(model, TWICE)
    assert session.sentence("fact headline") == (
        f"The home of Bob: the model says Oslo in 3 of 3 phrasings. {report.summary()}"
    )
    shown = session.table("direct")
    assert shown["slot"].tolist() == report.to_frame()["slot"].tolist()
    own = {slot("Bob", "home"), slot("home", "Bob")}
    assert set(shown.loc[shown["in zero core"], "slot"]) == own
    n = model.site("L0").info.half_keys
    assert {f"({s // n},{s % n})" for s in own} <= set(labels(session))
    phrasings = session.table("heldout")
    assert phrasings["use"].tolist() == ["locate", "locate", "prove"]


def test_a_link_without_a_fact_shows_one_and_names_it(path: Path) -> None:
    session = UserSession("facts", checkpoint=path)
    assert {"relation", "subject"} <= set(session.url)
    again = UserSession("facts", **session.url)
    assert again.sentence("fact headline") == session.sentence("fact headline")


def test_the_scope_is_part_of_the_link(path: Path, model: MemoryModel) -> None:
    session = about(path, "Ada")
    session.choose("scope picker", "head")
    assert session.url["scope"] == "head"
    core = locate(model, SINGLE, scope="head").cores["zero"]
    assert core.members[0].head is not None
    address = model.site("L0").info.address(ROME, core.members[0].head)
    assert address in labels(session)


def test_a_token_of_a_phrasing_shows_its_reads_alone(path: Path, model: MemoryModel) -> None:
    session = about(path, "Ada")
    everything = len(session.table("direct"))
    session.pick("fact strip 1", 2)
    assert (session.url["asked"], session.url["pos"]) == ("1", "2")
    shown = session.table("direct")
    assert set(shown["pos"]) == {2}
    assert set(shown["prompt"]) == {SINGLE.prompts[1]}
    assert len(shown) < everything
    session.press("Show all reads")
    assert len(session.table("direct")) == everything


def test_an_answer_of_several_tokens(path: Path) -> None:
    session = about(path, "Eve")
    assert "the model says New York" in session.sentence("fact headline")
    assert "New" in session.data("fact strip 0")["tokens"]
    assert TWO_TOKENS.object == "New York"


def test_what_cannot_be_located_is_said(path: Path, model: MemoryModel) -> None:
    unknown = about(path, UNKNOWN.subject)
    assert "does not know this fact" in unknown.sentence("fact headline")
    spread = about(path, SPREAD.subject)
    assert "no core set for zero" in spread.sentence("fact headline")
    for session in (unknown, spread):
        session.choose("section picker", "Prove")
        assert any("nothing to prove" in text for text in session.errors)
        assert "Prove it" not in labels(session)


def test_a_fact_that_is_not_there_is_told_and_nothing_lost(path: Path) -> None:
    session = about(path, "Zoe")
    assert "There is no such fact." in session.errors
    session.app.text_input(key="fact box").set_value("pet of Ada")
    session.run()
    assert (session.url["relation"], session.url["subject"]) == ("pet", "Ada")
    assert "the model says cat" in session.sentence("fact headline")
    session.app.text_input(key="fact box").set_value("<b>nobody</b>")
    session.run()
    assert any("No fact is about '<b>nobody</b>'" in text for text in session.errors)
    assert "the model says cat" in session.sentence("fact headline")
    assert not any("<b>" in text for text in session.markdown())


# --- prove --------------------------------------------------------------------------------------


def test_the_proof_is_what_the_analysis_finds(path: Path, model: MemoryModel) -> None:
    session = about(path, "Ada", section="Prove")
    session.press("Prove it")
    session.until(lambda: session.shows("proof verdict"))
    expected = prove(model, FACTS, locate(model, SINGLE))
    assert expected.proven
    assert session.sentence("proof verdict") == expected.verdict()
    assert session.table("ablated")["prompt"].tolist() == list(SINGLE.heldout_prompts)
    metrics = {metric.label: metric.value for metric in session.app.metric}
    assert metrics["Lost, core set"] == "100%"
    kept = f"{expected.unrelated_kept} of {expected.unrelated}"
    assert metrics["Unrelated kept"] == kept
    assert session.table("donor")["says_donor"].tolist() == [
        swap.says_donor for swap in expected.swaps
    ]


# --- overlap and the set ------------------------------------------------------------------------


def test_overlap_says_what_slots_are_about(path: Path) -> None:
    session = about(path, "Ada", section="Overlap")
    session.press("Compare its phrasings")
    session.until(lambda: len(session.app.get("plotly_chart")) == 1)
    session.choose("among picker", "relation")
    session.press("Map the relation")
    session.until(lambda: session.shows("map headline"))
    assert session.sentence("map headline").startswith("3 of 5 facts of the relation")
    assert session.table("about")["about"].tolist() == ["this fact"]
    session.choose("among picker", "subject")
    session.press("Compare the subject's facts")
    session.until(lambda: any("subject_facts" in n.value for n in session.app.dataframe))
    both = session.table("about")
    assert both[["relation_facts", "subject_facts"]].to_numpy().tolist() == [[2, 1]]
    assert "Of this fact's 1 slots, 1 are in no other core set compared." in session.errors


def test_recall_of_the_set_keeps_held_out_phrasings_apart(path: Path) -> None:
    session = about(path, "Ada", section="Fact set")
    session.press("Ask this checkpoint all 6 facts")
    session.until(lambda: session.shows("recall headline"))
    rows = session.table("heldout_recall").set_index("relation")
    assert rows.loc["home", ["n", "heldout_n"]].tolist() == [5, 5]
    # the model never ends a text, so that whole answers begin but do not stop
    assert rows.loc["home", "begins"] == pytest.approx(0.8)


def test_many_facts_are_proven_and_those_without_a_core_set_counted(path: Path) -> None:
    session = about(path, "Ada", section="Fact set")
    session.press("Prove 6 facts")
    session.until(lambda: any("control_lost" in n.value for n in session.app.dataframe))
    rows = next(n.value for n in session.app.dataframe if "no_core_set" in n.value)
    assert rows["kind"].tolist() == ["zero", "mask"]
    assert rows["facts"].tolist() == [6, 6]
    assert rows["unknown"].tolist() == [1, 1]
    assert rows["no_core_set"].tolist() == [1, 1]


# --- the user's own facts -----------------------------------------------------------------------

GOOD = "subject,relation,object,prompt\nAda,home,Rome,Ada home is\nBob,home,Oslo,Bob home is\n"


def pasted(path: Path, rows: str) -> UserSession:
    session = UserSession("facts", checkpoint=path, set="mine")
    session.app.text_area(key="facts pasted").set_value(rows)
    session.press("Read these rows")
    return session


def test_pasted_rows_are_a_set_that_a_link_keeps(path: Path) -> None:
    session = pasted(path, GOOD)
    assert "the model says Rome in 1 of 1" in session.sentence("fact headline")
    again = UserSession("facts", **session.url)
    assert again.sentence("fact headline") == session.sentence("fact headline")


def test_bad_rows_are_numbered_and_good_ones_used_only_if_the_user_says_so(path: Path) -> None:
    session = pasted(path, GOOD + "Cy,home,,Cy home is\n,home,Rome,x\n")
    assert session.app.error[0].value == "2 rows cannot be read."
    assert session.table("problem")["row"].tolist() == [4, 5]
    assert not session.shows("fact headline")
    session.press("Use only 2 good facts")
    assert session.shows("fact headline")
    assert session.table("problem")["row"].tolist() == [4, 5]


def test_rows_that_hold_no_facts_are_told_in_words(path: Path) -> None:
    session = pasted(path, "subject,object\nAda,Rome\n")
    assert "These rows hold no facts." in session.errors
    assert any("no column relation" in text for text in session.errors)


def test_a_typed_fact_is_located(path: Path) -> None:
    session = UserSession("facts", checkpoint=path, set="mine")
    typed = {"subject": "Ada", "relation": "pet", "object": "cat"}
    for name, text in typed.items():
        session.app.text_input(key=f"typed {name}").set_value(text)
    session.app.text_area(key="typed prompts").set_value("Ada pet is\nAda pet has")
    session.press("Use this fact")
    assert "the model says cat in 2 of 2" in session.sentence("fact headline")


def test_a_garbled_link_loses_nothing_else(path: Path) -> None:
    session = UserSession("facts", checkpoint=path, set="mine", rows="!!", section="Nonsense")
    assert not session.shows("fact headline")
    assert any("cannot be read" in text for text in session.errors)


# --- edits --------------------------------------------------------------------------------------


def test_a_core_set_is_edited_in_this_session_alone(path: Path) -> None:
    session, other = about(path, "Ada"), about(path, "Ada")
    session.press("Add to edits: zero 1 slot")
    assert "edits" in session.url
    session.choose("section picker", "Edit")
    other.choose("section picker", "Edit")
    assert "Rome" in session.sentence("edits headline")
    assert session.data("edits Original")["predictions"][0][0] == "Rome"
    assert session.data("edits Edited")["predictions"][0][0] != "Rome"
    assert not other.shows("edits headline")
    assert "edits" not in other.url

    traced = {"checkpoint": path, "text": "Ada home is"}
    edited = UserSession("trace", **traced, edits=session.url["edits"])
    plain = UserSession("trace", **traced)
    assert edited.shows("edits headline")
    assert not plain.shows("edits headline")
    assert plain.data("predictions")["predictions"][0][0] == "Rome"
    assert edited.data("predictions") != plain.data("predictions")
    first = edited.data("edits Original")["predictions"][0]
    assert first == plain.data("predictions")["predictions"][0]


def test_switching_undoing_and_clearing(path: Path) -> None:
    session = about(path, "Ada", section="Edit")
    session.app.text_input(key="edit slots").set_value(f"{ROME}, 7")
    session.press("Add to edits")
    switch = session.app.toggle(key="edit on 0")
    assert switch.label == "zero 2 slots"
    assert session.data("edits Edited")["predictions"][0][0] != "Rome"
    switch.set_value(False)
    session.run()
    assert not session.shows("edits headline")
    session.press("Undo")
    assert session.shows("edits headline")
    session.press("Clear")
    assert not session.app.toggle
    assert "edits" not in session.url
    session.press("Undo")
    assert session.app.toggle(key="edit on 0").value is True
    session.press("✕")
    assert not session.app.toggle


@pytest.mark.parametrize(
    ("kind", "slots", "boxes", "said"),
    [
        ("zero", "", {}, "No slots are named"),
        ("mask", "99999", {}, "99999"),
        ("swap", "3", {}, "takes two slots"),
        ("replace", "3", {}, "Fill in one of them"),
        ("replace", "3", {"edit from": "5 6"}, "that of one slot"),
    ],
)
def test_an_edit_that_makes_no_sense_is_told(
    path: Path, kind: str, slots: str, boxes: dict[str, str], said: str
) -> None:
    session = about(path, "Ada", section="Edit")
    session.choose("edit kind", kind)
    for key, text in ({"edit slots": slots} | boxes).items():
        session.app.text_input(key=key).set_value(text)
    session.press("Add to edits")
    assert "This edit cannot be made." in session.errors
    assert any(said in text for text in session.errors)
    assert not session.app.toggle


def test_a_value_is_replaced_by_another_slots(path: Path) -> None:
    session = about(path, "Ada", section="Edit")
    session.choose("edit kind", "replace")
    session.app.text_input(key="edit slots").set_value(str(ROME))
    session.app.text_input(key="edit from").set_value(str(slot("Bob", "home")))
    session.press("Add to edits")
    assert session.data("edits Original")["predictions"][0][0] == "Rome"
    assert session.data("edits Edited")["predictions"][0][0] == "Oslo"
    assert session.app.toggle(key="edit on 0").label == "replace slot " + str(ROME)


def test_slots_of_the_map_can_be_edited(path: Path) -> None:
    session = about(path, "Ada", section="Edit", slots=f"{ROME},9")
    session.press("From the map (2)")
    assert session.app.text_input(key="edit slots").value == f"{ROME} 9"


def test_edits_that_do_not_fit_act_on_nothing(path: Path) -> None:
    from inspector.analyses.edit_files import edits_to_url

    packed = edits_to_url([SlotEdit("zero", (10**6,))])
    session = UserSession("trace", checkpoint=path, text="Ada home is", edits=packed)
    assert "These edits do not fit this checkpoint: none of them acts." in [
        error.value for error in session.app.error
    ]
    assert not session.shows("edits headline")
    cut = UserSession("trace", checkpoint=path, text="Ada home is", edits="abc")
    assert "The edits of this link were not taken over." in [e.value for e in cut.app.error]


# --- make it say --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(little_world: Path) -> Fact:
    """A fact that the trained checkpoint knows in every phrasing."""
    model = load(little_world, device="cpu")
    for fact in read_facts(little_world / "facts.jsonl"):
        asked = [Question(prompt, fact.object) for prompt in fact.prompts]
        if fact.heldout_prompts and measure_recall(model, asked).correct.all():
            return fact
    raise AssertionError("it knows none")


def rewriting(path: Path, fact: Fact, **entries: object) -> UserSession:
    named = {"relation": fact.relation, "subject": fact.subject}
    return UserSession("facts", checkpoint=path, section="Make it say", **named, **entries)


def test_a_fact_gets_another_answer_and_the_edit_is_used(little_world: Path, known: Fact) -> None:
    facts = read_facts(little_world / "facts.jsonl")
    other = next(f.object for f in facts if f.relation == known.relation and f != known)
    session = rewriting(little_world, known)
    session.press("Make it say")
    assert "The new answer is empty. Type what the model is to say instead." in session.errors
    session.app.text_input(key="new answer").set_value(other)
    session.press("Make it say")
    session.until(lambda: session.shows("rewrite message"))
    assert session.sentence("rewrite message").startswith(
        f"Done. The {known.relation} of {known.subject} is {other}, in all"
    )
    metrics = {metric.label: metric.value for metric in session.app.metric}
    assert metrics["Efficacy"] == "100%"
    session.press("Look at what else changes")
    session.until(lambda: session.shows("safety headline"))
    changes = [row["weight"] for row in session.data("safety contexts")["rows"]]
    assert changes == sorted(changes)
    session.press("Use this edit")
    session.choose("section picker", "Edit")
    written = [code.value for code in session.app.code]
    assert known.object in written[0]
    assert other in written[1]
    assert not rewriting(little_world, known).app.toggle


def test_an_edit_that_cannot_succeed_says_so(path: Path) -> None:
    """What the planted slots say is far too loud for the steps there are."""
    session = rewriting(path, SINGLE)
    session.app.text_input(key="new answer").set_value("Oslo")
    session.press("Make it say")
    session.until(lambda: session.shows("rewrite message"))
    said = session.sentence("rewrite message")
    assert said.startswith("Not reached. This edit did not succeed after 150 steps")
    assert "Use this attempt anyway" in labels(session)
    assert any("not offered as a patch" in text for text in session.markdown())


def test_facts_of_a_user_are_enough_where_the_checkpoint_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scan of its own facts, and no corpus: what the user brought stands in."""
    monkeypatch.setattr(facts_patches, "SAMPLE", 20)
    bare = planted_model(tmp_path / "bare").path
    lines = [json.dumps(vars(fact)) for fact in FACTS]
    session = UserSession("facts", checkpoint=bare, section="Make it say")
    assert "Type a fact, paste rows or load a file above." in [i.value for i in session.app.info]
    session.app.text_area(key="facts pasted").set_value("\n".join(lines))
    session.press("Read these rows")
    session.app.text_input(key="new answer").set_value("Oslo")
    session.press("Make it say")
    session.until(lambda: session.shows("rewrite message"))
    session.press("Look at what else changes")
    session.until(lambda: session.shows("safety headline"))
    sampled = session.sentence("safety headline")
    assert "a sample: documents drawn at random with seed 0 from the corpus's" in sampled
    session.press("Look at the whole corpus")
    session.until(lambda: "a sample" not in session.sentence("safety headline"))
    whole = session.sentence("safety headline")
    few, total, every, *_ = (
        int(number.replace(",", ""))
        for said, count in ((sampled, 2), (whole, 1))
        for number in re.findall(r"([\d,]+) tokens", said)[:count]
    )
    assert 20 <= few < total == every
    assert session.data("safety contexts")["rows"]


def test_recall_beside_another_sample(path: Path, sample_folder: Path) -> None:
    planted_model(sample_folder / "![](http")  # no link or picture is made of a name
    planted_model(sample_folder / "second")
    session = about(path, "Ada", section="Fact set")
    session.choose("recall beside", "second")
    assert session.url["other"] == "second"
    for name in ("this checkpoint", "the other"):
        if f"Ask {name} all 6 facts" in labels(session):  # else another test has asked it
            session.press(f"Ask {name} all 6 facts")
        session.until(lambda: session.shows("recall headline") and not session.app.get("progress"))
    rows = session.table("heldout_recall")
    assert rows["model"].tolist() == ["planted", "second"] * 2
    assert rows["begins"].iloc[0] == rows["begins"].iloc[1]
    assert not any("![](" in text for text in session.markdown())


def test_a_fact_is_forgotten(little_world: Path, known: Fact) -> None:
    session = rewriting(little_world, known)
    session.press("Forget it")
    session.until(lambda: session.shows("rewrite message"))
    assert session.sentence("rewrite message").startswith(
        f"Done. The {known.relation} of {known.subject} is no longer {known.object}, in all"
    )
