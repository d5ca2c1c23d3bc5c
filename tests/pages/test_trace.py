"""The trace page: what it shows is what the model did, and nothing typed is ever lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.decoding import decode, gate_at
from inspector.analyses.direct_effect import MEAN, direct_effect
from inspector.analyses.gates import FILE, measure_mean_gates, write_mean_gates
from inspector.analyses.token_measures import entropy, next_token_probability, weight_on_slot
from inspector.capture.generate import continue_greedily
from inspector.capture.load import load
from inspector.capture.loaders import VARIABLE
from inspector.capture.trace import Trace, encode, trace
from inspector.families.base import MemoryModel
from inspector.ui import samples
from inspector.ui.components import visible_text
from tests.families.tiny_meta import params, random_state, write_consolidated
from tests.pages.user_session import UserSession

Written = Callable[..., Path]
TEXT = "Lima is the capital of"
MARKUP = "<img src=x onerror=alert()> ![](//x.y/z.png) **b** :smile:"


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def model(path: Path) -> MemoryModel:
    return load(path, device="cpu")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, TEXT)


def link(path: Path, **entries: object) -> UserSession:
    return UserSession("trace", checkpoint=path, **({"text": TEXT} | entries))


def shown_tokens(found: Trace) -> list[str]:
    return [visible_text(token) for token in found.tokens]


# --- what is shown is what the model did --------------------------------------------------------


def test_the_page_shows_the_last_token_of_the_text_first(
    path: Path, model: MemoryModel, traced: Trace
) -> None:
    session = link(path)
    assert session.title == "Trace"
    assert session.box == TEXT
    last = len(traced.tokens) - 1
    strip = session.data("strip")
    assert (strip["tokens"], strip["selected"]) == (shown_tokens(traced), last)
    best, probability = traced.top[0][last][0]
    assert session.sentence("headline").startswith(
        f"After {visible_text(traced.tokens[last])} the model says {visible_text(best)} "
        f"{probability:.1%}"
    )
    bars = session.data("predictions")["predictions"]
    expected = traced.probabilities()[0, last].topk(len(bars))
    texts = [visible_text(model.token_text(token)) for token in expected.indices.tolist()]
    assert len(bars) >= 5
    assert [text for text, _ in bars] == texts
    assert [p for _, p in bars] == pytest.approx(expected.values.tolist())


def test_every_read_is_in_the_table_with_its_own_figures(
    path: Path, model: MemoryModel, traced: Trace
) -> None:
    session = link(path, pos=3, site="L0")
    reads = traced.reads["L0"]
    best, other = traced.logits[0, 3].topk(2).indices.tolist()
    effects = direct_effect(model, traced, 3, best, other).reads["L0"].flatten()
    rows = session.data("reads L0")["rows"]
    assert len(rows) == 8
    said = decode(model, reads.slots[0, 3].flatten(), "L0", gate_at(model, traced, "L0", 3))
    tokens = said.to_frame()
    for number, row in enumerate(rows):
        head, rank = divmod(number, 4)
        slot = int(reads.slots[0, 3, head, rank])
        assert row["address"] == f"L0·H{head}·({slot // 8},{slot % 8})"
        assert row["score"] == pytest.approx(float(reads.scores[0, 3, head, rank]))
        assert row["weight"] == pytest.approx(float(reads.weights[0, 3, head, rank]))
        assert row["share"] == pytest.approx(row["weight"] / 2)  # each of two heads gives out 1
        assert row["effect"] == pytest.approx(float(effects[number]), abs=1e-6)
        for side in ("promoted", "suppressed"):
            shown = [visible_text(token) for token in tokens[side][number]]
            assert [text for text, _ in row[side]] == shown
    marks = session.data("grid L0")["reads"]
    assert [mark["slot"] for mark in marks] == reads.slots[0, 3].flatten().tolist()
    assert [mark["weight"] for mark in marks] == [row["weight"] for row in rows]


def test_the_strongest_site_and_slot_are_opened_unless_chosen(
    path: Path, model: MemoryModel, traced: Trace
) -> None:
    best, other = traced.logits[0, 2].topk(2).indices.tolist()
    reads = direct_effect(model, traced, 2, best, other).reads
    site = max(reads, key=lambda name: reads[name].sum())
    slot = int(traced.reads[site].slots[0, 2].flatten()[int(reads[site].argmax())])
    session = link(path, pos=2)
    assert session.app.button_group(key="site picker").value == site
    assert session.data(f"grid {site}")["selected"] == slot
    other_site = "L0" if site == "L2" else "L2"
    session.choose("site picker", other_site)
    assert session.url["site"] == other_site
    assert session.shows(f"reads {other_site}")


def test_entropy_and_the_actual_next_token(path: Path, traced: Trace) -> None:
    session = link(path, pos=2)
    shown = {metric.label: metric.value for metric in session.app.metric}
    assert shown == {
        "Entropy": f"{entropy(traced)[2]:.2f} nats",
        "Actual next token": f"{next_token_probability(traced)[3]:.1%}",
    }
    session.pick("strip", len(traced.tokens) - 1)
    shown = {metric.label: metric.value for metric in session.app.metric}
    assert shown["Actual next token"] == "none yet"


@pytest.mark.parametrize("measure", ["probability", "entropy", "weight on slot"])
def test_tokens_are_coloured_by_the_measure(path: Path, traced: Trace, measure: str) -> None:
    slot = int(traced.reads["L2"].slots[0, 4, 1, 0])
    session = link(path, measure=measure, site="L2", slot=slot)
    expected = {
        "probability": next_token_probability(traced),
        "entropy": entropy(traced) / np.log(300),
        "weight on slot": weight_on_slot(traced, slot, "L2"),
    }[measure]
    if measure == "weight on slot":
        expected = expected / expected.max()
    strip = session.data("strip")
    assert strip["intensities"] == pytest.approx(np.nan_to_num(expected), abs=1e-3)
    assert "nothing predicts the first token" in link(path).data("strip")["tips"][0]


def test_weight_is_coloured_for_the_slot_that_is_shown(path: Path, traced: Trace) -> None:
    """Also where the user chose none, and still after a click on another token."""
    session = link(path, measure="weight on slot", pos=4, site="L0")
    shown = session.data("grid L0")["selected"]
    weights = weight_on_slot(traced, shown, "L0")
    assert weights[4] > 0
    assert session.data("strip")["intensities"][4] == pytest.approx(
        weights[4] / weights.max(), abs=1e-3
    )
    assert f"({shown // 8},{shown % 8}): {weights[4]:.3g}" in session.data("strip")["tips"][4]
    before = session.data("strip")["intensities"]
    session.pick("strip", 1)
    assert session.url["slot"] == str(shown)
    assert session.data("strip")["intensities"] == before
    session.choose("measure picker", "entropy")
    session.pick("strip", 2)
    assert "slot" not in session.url


def test_the_three_decodings_of_a_slot(copied: Path) -> None:
    model = load(copied, device="cpu")
    gates = measure_mean_gates(model, [encode(model, TEXT)], "this text")
    write_mean_gates(copied / FILE, gates)
    found = trace(model, TEXT)
    slot = int(found.reads["L2"].slots[0, 3, 0, 0])
    session = link(copied, pos=3, site="L2", slot=slot)
    for gate, key in (
        (gate_at(model, found, "L2", 3), "slot context"),
        ("static", "slot static"),
        ("raw", "slot raw"),
    ):
        expected = decode(model, [slot], "L2", gate, gates=gates).to_frame().iloc[0]
        chips = session.data(key)
        for side in ("promoted", "suppressed"):
            shown = [visible_text(token) for token in expected[side]]
            assert [text for text, _ in chips[side]] == shown
            assert [x for _, x in chips[side]] == pytest.approx(
                expected[f"{side}_logits"], rel=2e-3
            )
    unread = next(s for s in range(64) if not (found.reads["L2"].slots == s).any())
    session.pick("grid L2", unread)
    assert not session.shows("slot context")
    assert session.app.code[0].value == f"L2·({unread // 8},{unread % 8})"
    assert "Never read in the scan: the site's mean gate stands in." in session.markdown()


def test_without_a_scan_the_page_says_so(path: Path) -> None:
    session = link(path)
    assert not session.shows("slot static")
    assert any("Known only after a scan" in text for text in session.markdown())


def test_values_of_another_width_have_no_raw_decoding(tiny_checkpoint: Written) -> None:
    session = link(tiny_checkpoint(memory_d_value=24))
    assert not session.shows("slot raw")
    assert any("raw values cannot be decoded" in text for text in session.markdown())


@pytest.mark.parametrize(
    "options",
    [
        {"memory_projection": "none"},
        {"memory_tables": [0, 1]},
        {"dtype": torch.bfloat16},
        {"memory_sigmoid_gate": True, "tie_word_embeddings": True},
    ],
)
def test_other_kinds_of_memory_are_shown(
    tiny_checkpoint: Written, options: dict[str, object]
) -> None:
    session = link(tiny_checkpoint(**options), measure="weight on slot")
    assert session.errors[:1] != ["Nothing was traced."]
    assert session.shows("slot context")


def test_where_coefficients_can_be_negative_shares_are_of_their_magnitude(tmp_path: Path) -> None:
    config = params(peer_variant=True, swilu_projection=True)
    peer = write_consolidated(tmp_path, config, random_state(config, 0))
    session = link(peer)
    found = trace(load(peer, device="cpu"), TEXT)
    (key,) = [key for key in session._components() if key.startswith("reads ")]
    reads = found.reads[key.removeprefix("reads ")]
    coefficients = reads.coefficients[0, -1].flatten()
    assert coefficients.min() < 0 < coefficients.max()
    rows = session.data(key)["rows"]
    assert [row["coefficient"] for row in rows] == pytest.approx(coefficients.tolist())
    shares = coefficients.abs() / coefficients.abs().sum()
    assert [row["share"] for row in rows] == pytest.approx(shares.tolist())
    assert any("(coefficient " in text.value for text in session.app.text)


def test_where_coefficients_are_the_weights_they_are_shown_once(path: Path) -> None:
    columns = [column["name"] for column in link(path).data("reads L0")["columns"]]
    assert "weight" in columns
    assert "coefficient" not in columns


MIXED = """
from tests.conftest import SENTENCES
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import llama, peer, pkm

def mixed():
    return llama((0, pkm(norm_output=True)), (2, peer())), tokenizer_of(SENTENCES)
"""


def test_the_sentence_leaves_out_what_is_no_sum_of_reads_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mixed_models.py").write_text(MIXED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "1")
    session = UserSession(
        "trace", checkpoint="mixed_models:mixed", device="cpu", text=TEXT, site="L0"
    )
    said = session.sentence("headline")
    assert "of them directly. What L0 wrote is no sum over reads, and not in it." in said
    rows = session.data("reads L0")["rows"]
    assert rows[0]["effect"] is None
    assert rows[0]["promoted"] == []
    assert sum(row["share"] for row in rows) == pytest.approx(1)


# --- who wrote it -------------------------------------------------------------------------------


def test_another_token_is_explained_against_the_mean(
    path: Path, model: MemoryModel, traced: Trace
) -> None:
    session = link(path, pos=3)
    following = int(traced.ids[0, 4])
    session.choose("token picker", following)
    session.choose("against picker", "mean")
    assert (session.url["token"], session.url["against"]) == (str(following), "mean")
    total = direct_effect(model, traced, 3, following, MEAN).total
    assert any(f"All bars sum to {total:+.3f} logits" in text for text in session.markdown())
    assert "over the mean of all tokens" in session.sentence("headline")
    session.pick("strip", 1)
    assert "token" not in session.url


def test_tokens_of_one_name_are_told_apart(path: Path, model: MemoryModel) -> None:
    """Control bytes are all shown as one sign; the picker must not take one for another."""
    first, second = model.tokenizer("\x01\x02").input_ids[1:3]
    session = link(path, pos=1, token=first, text="\x01\x02")
    picker = session.app.selectbox(key="token picker")
    assert len(set(picker.options)) == len(picker.options)
    session.choose("token picker", second)
    assert session.url["token"] == str(second)


# --- links --------------------------------------------------------------------------------------


def test_a_link_is_read_and_written_back(path: Path) -> None:
    session = link(path, pos=2, site="L0", slot=13, measure="entropy", against="mean", token=40)
    entries = {
        "checkpoint": str(path),
        "text": TEXT,
        "pos": "2",
        "site": "L0",
        "slot": "13",
        "measure": "entropy",
        "against": "mean",
        "token": "40",
    }
    assert session.url == entries
    assert session.data("strip")["selected"] == 2
    assert session.data("grid L0")["selected"] == 13
    again = UserSession("trace", **session.url)
    assert again.data("reads L0") == session.data("reads L0")
    assert again.sentence("headline") == session.sentence("headline")


def test_clicks_are_written_into_the_link(path: Path, traced: Trace) -> None:
    session = link(path, slot=3)
    session.pick("strip", 2)
    assert session.url["pos"] == "2"
    assert "slot" not in session.url
    site = str(session.app.button_group(key="site picker").value)
    session.pick(f"grid {site}", 21)
    assert (session.url["site"], session.url["slot"]) == (site, "21")
    assert (
        session.data(f"reads {site}")["selected"] is None
        or (traced.reads[site].slots[0, 2] == 21).any()
    )
    session.pick(f"reads {site}", 5)
    slot = int(traced.reads[site].slots[0, 2].flatten()[5])
    assert session.url["slot"] == str(slot)
    assert session.data(f"grid {site}")["selected"] == slot


@pytest.mark.parametrize(
    "entries",
    [
        {"pos": -4},
        {"pos": 400},
        {"pos": "two"},
        {"pos": 10**30},
        {"slot": 64},
        {"slot": -1},
        {"slot": 10**30, "measure": "weight on slot"},
        {"slot": "x", "measure": "weight on slot"},
        {"site": "L1"},
        {"site": "", "slot": ""},
        {"measure": "beauty"},
        {"token": 10**30, "against": "everything"},
        {"token": -1},
        {"more": -3},
        {"more": 10**30},
        {"more": "many"},
    ],
)
def test_a_link_with_wrong_entries_shows_the_nearest_view(
    path: Path, entries: dict[str, object]
) -> None:
    session = link(path, **entries)
    assert session.errors[:1] != ["Nothing was traced."]
    assert session.shows("headline")
    assert session.box == TEXT


# --- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The prompt is empty. Type a few words for the model to continue."),
        (" \t ", "The prompt is empty."),
        ("words " * 40, "64 positions"),
    ],
)
@pytest.mark.parametrize("button", ["Trace", "Generate"])
def test_a_text_that_cannot_be_traced_is_told_and_kept(
    path: Path, text: str, said: str, button: str
) -> None:
    session = link(path)
    session.submit(text, button)
    assert session.errors[0] == "Nothing was traced."
    assert said in session.errors[1]
    assert session.box == text
    assert session.url["text"] == text
    session.submit(TEXT)
    assert session.shows("headline")


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b\x07c\x1b[31m",
        "line one\nline two\r\n\tthree",
        "😀 emoji 👩‍👩‍👧‍👦 and flags 🇫🇷",
        "\u200b\u202eright to left\u2066",
        "שלום עולם",
        MARKUP,
        "<s> </s> <pad>",
        "a" * 60,
    ],
)
def test_any_other_text_is_traced_as_it_is(path: Path, model: MemoryModel, text: str) -> None:
    session = link(path)
    session.submit(text)
    assert session.box == text
    assert session.data("strip")["tokens"] == shown_tokens(trace(model, text))
    for position in (0, 1):
        session.pick("strip", position)
        assert session.shows("headline")
    assert not any("<img" in shown or "![" in shown for shown in session.markdown())


def test_text_from_a_link_never_becomes_markup(path: Path) -> None:
    session = link(path, text=MARKUP, pos=MARKUP, site=MARKUP, slot=MARKUP, device=MARKUP)
    session = link(path, text=MARKUP, measure=MARKUP, pos=MARKUP, site=MARKUP, slot=MARKUP)
    assert not any("<img" in shown or "![" in shown for shown in session.markdown())


def test_a_new_text_starts_from_its_own_end(path: Path, model: MemoryModel) -> None:
    session = link(path, pos=1, slot=3, site="L0", token=7)
    session.submit("Kenya speaks")
    assert session.url == {"checkpoint": str(path), "text": "Kenya speaks", "site": "L0"}
    tokens = trace(model, "Kenya speaks").tokens
    assert session.data("strip")["selected"] == len(tokens) - 1


def test_the_model_writes_on_and_what_it_wrote_is_traced(path: Path, model: MemoryModel) -> None:
    session = link(path)
    session.submit("Kenya speaks", "Generate")
    prompt = encode(model, "Kenya speaks")
    written = continue_greedily(model, prompt, 12)
    strip = session.data("strip")
    assert strip["tokens"] == shown_tokens(trace(model, ids=written))
    assert strip["promptLength"] == prompt.shape[1]
    assert strip["selected"] == prompt.shape[1] - 1
    assert (session.url["more"], session.box) == ("12", "Kenya speaks")
    session.pick("strip", written.shape[1] - 1)
    assert session.shows("headline")
    session.press("Trace")
    assert "more" not in session.url
    assert len(session.data("strip")["tokens"]) == prompt.shape[1]


def test_what_the_model_writes_ends_with_its_positions(path: Path, model: MemoryModel) -> None:
    text = "a" * 60  # 61 of 64 tokens
    assert encode(model, text).shape[1] == 61
    session = link(path, text=text, more=12)
    assert len(session.data("strip")["tokens"]) <= 64
    full = link(path, text="a" * 63, more=12)
    assert len(full.data("strip")["tokens"]) == 64


def test_two_users_do_not_see_each_other(path: Path) -> None:
    one, two = link(path), link(path, text="Kenya speaks")
    one.pick("strip", 2)
    two.submit("India is paid with the")
    one.run()
    assert (one.box, one.url["pos"]) == (TEXT, "2")
    assert (two.box, "pos" in two.url) == ("India is paid with the", False)


# --- examples -----------------------------------------------------------------------------------


def with_facts(path: Path, *lines: str) -> Path:
    (path / "facts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fact(relation: str, subject: str, prompt: str) -> str:
    return json.dumps({"relation": relation, "subject": subject, "prompts": [prompt]})


def test_example_facts_are_one_click_away(copied: Path) -> None:
    path = with_facts(
        copied,
        fact("calling_code", "Peru", "The calling code of Peru is"),
        fact("capital", "Peru", "The capital of Peru is"),
        "",
        fact("capital", "France", "The capital of France is"),
    )
    session = link(path, pos=1, slot=2)
    labels = [b.label for b in session.app.button if b.key and b.key.startswith("example")]
    assert labels == ["capital", "calling code"]
    session.press("calling code")
    assert session.box == session.url["text"] == "The calling code of Peru is"
    assert not {"pos", "slot"} & session.url.keys()
    session.press("capital")
    assert session.box == "The capital of France is"


def test_an_example_replaces_what_was_typed_and_not_sent(copied: Path) -> None:
    session = link(with_facts(copied, fact("capital", "Peru", "The capital of Peru is")))
    session.press("capital")
    session.submit("something else")
    session.press("capital")
    assert session.box == "The capital of Peru is"


@pytest.mark.parametrize("line", ["{", "[]", "5", '{"relation": "capital"}', '{"relation": []}'])
def test_a_broken_file_of_facts_offers_no_examples(copied: Path, line: str) -> None:
    session = link(with_facts(copied, line))
    assert session.shows("headline")
    assert [b for b in session.app.button if b.key and b.key.startswith("example")] == []


def test_a_relation_that_is_markup_is_not_shown(copied: Path) -> None:
    session = link(with_facts(copied, fact(MARKUP, "Peru", "The capital of Peru is")))
    session.press("relation 1")
    assert session.box == "The capital of Peru is"
    assert not any("![" in shown for shown in session.markdown())


# --- checkpoints --------------------------------------------------------------------------------


def test_a_dense_checkpoint_shows_what_it_has(tiny_checkpoint: Written) -> None:
    session = link(tiny_checkpoint(memory_layers=[]), measure="weight on slot", slot=3, site="L0")
    assert session.shows("predictions")
    assert [info.value for info in session.app.info] == [
        "This checkpoint has no memory layers: there are no reads to show."
    ]
    offered = session.app.button_group(key="measure picker").options
    assert offered == ["probability", "entropy"]
    assert [b.label for b in session.app.get("download_button")] == [
        "Predictions (CSV)",
        "Direct effects (CSV)",
    ]


def broken(path: Path) -> Path:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    return path


def test_a_checkpoint_that_fails_keeps_the_text(path: Path, copied: Path) -> None:
    session = link(path, pos=2)
    session.submit("typed with care")
    session.open_checkpoint(broken(copied))
    assert session.errors[0] == "This checkpoint could not be opened."
    assert "cut short" in session.errors[1]
    session.open_checkpoint(path)
    assert session.box == "typed with care"
    assert session.shows("headline")


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("nowhere/to/be/found", "There is nothing at nowhere/to/be/found"),
        ("~nobody-of-this-name/x", "Give the full path"),
        ("a\x00b", "There is nothing at"),
        ("x" * 5000, "cannot be opened"),
        (str(Path(__file__).parent), "of no family that can be opened here"),
        (__file__, "of no family that can be opened here"),
    ],
)
def test_a_path_that_is_no_checkpoint_is_told(checkpoint: str, said: str) -> None:
    session = UserSession("trace", checkpoint=checkpoint, text="kept")
    assert session.errors[0] == "This checkpoint could not be opened."
    assert said in session.errors[1]
    assert session.url["text"] == "kept"


@pytest.mark.parametrize("device", ["meta", "quantum", "cuda:99", MARKUP])
def test_a_device_that_is_not_there_is_told(path: Path, device: str) -> None:
    session = link(path, device=device)
    assert session.errors[0] == "This checkpoint could not be opened."
    assert "cannot be used here" in session.errors[1]
    session.choose("picked device", "cpu")
    assert session.shows("headline")


def test_a_sample_is_known_by_its_name(
    tiny_checkpoint: Written, sample_folder: Path, model: MemoryModel
) -> None:
    shutil.copytree(tiny_checkpoint(), sample_folder / "world-facts")
    shutil.copytree(tiny_checkpoint(seed=1), sample_folder / "another")
    assert list(samples.samples()) == ["world-facts", "another"]
    session = UserSession("trace")
    assert session.url["checkpoint"] == "world-facts"
    assert session.box == session.url["text"] == "The capital of France is"
    assert session.data("strip")["tokens"] == shown_tokens(trace(model, session.box))
