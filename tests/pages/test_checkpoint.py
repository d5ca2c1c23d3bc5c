"""The checkpoint page: what is open, what it costs, and whether to trust it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from inspector.analyses.costs import measure_costs
from inspector.analyses.gates import FILE
from inspector.capture import load as loading
from inspector.capture.load import SelfCheck, load
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel
from inspector.ui import samples
from inspector.ui.components import visible_text
from tests.pages.user_session import UserSession

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def model(path: Path) -> MemoryModel:
    return load(path, device="cpu")


# --- the load report ----------------------------------------------------------------------------


def test_the_headline_says_how_much_is_memory(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path)
    costs = measure_costs(model)
    assert session.title == "Checkpoint"
    assert session.sentence("headline") == (
        f"tiny keeps {costs.values / costs.total:.0%} of its 0.0 million parameters in 64 memory "
        f"slots, and one token touches {costs.touched_share:.1%} of them all. What is shown here "
        "adds up to what the model computes."
    )


def test_sizes_are_those_of_the_model(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path)
    costs = measure_costs(model)
    shown = {metric.label: metric.value for metric in session.app.metric}
    assert shown == {
        "Memory layers": "2",
        "Slots": "64",
        "Reads per token": "16",
        "Touched per token": f"{costs.touched_share:.1%}",
        "Work per layer": f"{costs.site_flops / 1e3:,.0f} kFLOP",
    }
    assert all(metric.help for metric in session.app.metric)


def test_every_site_and_every_parameter_is_listed(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path)
    parameters = session.table("parameters")
    assert parameters["parameters"].sum() == sum(p.numel() for p in model.module.parameters())
    assert parameters["share"].sum() == pytest.approx(1)
    sites = session.table("site")
    assert list(sites["site"]) == ["L0", "L2"]
    assert list(sites["value table"]) == ["0, shared by L0, L2"] * 2
    assert sites["slots"].tolist() == [64, 64]


def test_the_report_names_what_was_opened(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path)
    report = session.table("found").set_index("")["found"]
    assert report["Path"] == str(path)
    assert report["Fingerprint"] == model.fingerprint
    tensors = load_file(path / "model.safetensors")
    assert report["Tensors"].startswith(f"{len(tensors)} used, 0 ignored")
    assert report["Positions"].startswith("64:")
    assert "300 tokens" in report["Tokenizer"]
    assert report["Value tables"].startswith("1, 1 of them memory-mapped")


def test_every_note_of_the_family_is_shown(
    path: Path, model: MemoryModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notes, limits = ("first note", "second note"), ("no such thing",)
    noted = dataclasses.replace(model.provenance, notes=notes, limits=limits)
    other = dataclasses.replace(model, provenance=noted, path=tmp_path)
    monkeypatch.setattr(loading, "load", lambda *_args, **_options: other)
    session = UserSession("checkpoint", checkpoint=tmp_path)
    texts = [text.value for text in session.app.text]
    assert [text for text in texts if text in (*notes, *limits)] == [*notes, *limits]


# --- trust --------------------------------------------------------------------------------------


def test_the_self_check_lists_every_error(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path)
    check = loading.self_check(model)
    table = session.table("largest error")
    assert list(table["what"]) == [
        "L0: reads + remainder = output",
        "L2: reads + remainder = output",
        "All parts = input of the final norm",
        "With hooks = without hooks",
    ]
    errors = (*check.sites.values(), check.residual, check.hooked)
    assert list(table["largest error"]) == [f"{error:.1e}" for error in errors]
    assert set(table["ok"]) == {"✅"}
    assert [shown.value for shown in session.app.success] == ["Everything adds up, within 1e-05."]


def test_a_failed_self_check_is_red_everywhere(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = SelfCheck({"L0": 1e-7, "L2": 0.3}, 1e-7, float("nan"), 1e-5)
    monkeypatch.setattr(loading, "self_check", lambda _model: wrong)
    session = UserSession("checkpoint", checkpoint=copied)
    assert list(session.table("largest error")["ok"]) == ["✅", "❌", "✅", "❌"]
    assert [e.value for e in session.app.error] == [
        "The parts do not add up: do not trust what is shown here."
    ]
    assert "does NOT add up" in session.sentence("headline")
    assert any(text.startswith("❌") for text in session.markdown())


# --- the first fact -----------------------------------------------------------------------------


def test_the_model_answers_and_the_trace_is_one_click_away(path: Path, model: MemoryModel) -> None:
    session = UserSession("checkpoint", checkpoint=path, pos=1, slot=3, more=12)
    text = "The capital of France is"
    assert session.sentence("asked") == f"Asked “{text}”, it says:"
    best = trace(model, text).top[0][-1][:3]
    bars = session.data("first predictions")["predictions"]
    assert [token for token, _ in bars] == [visible_text(token) for token, _ in best]
    session.press("See what fired")
    assert session.title == "Trace"
    assert session.box == text
    assert session.url == {"checkpoint": str(path), "text": text}


def test_the_question_is_one_of_its_own_facts(copied: Path) -> None:
    rows = [
        {"relation": "airport", "subject": "Lima", "prompts": ["The airport code of Lima is"]},
        {"relation": "currency", "subject": "Japan", "prompts": ["The currency of Japan is the"]},
    ]
    (copied / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    session = UserSession("checkpoint", checkpoint=copied)
    assert session.sentence("asked") == "Asked “The currency of Japan is the”, it says:"


# --- other checkpoints --------------------------------------------------------------------------


def test_a_dense_checkpoint_is_called_dense(tiny_checkpoint: Written) -> None:
    session = UserSession("checkpoint", checkpoint=tiny_checkpoint(memory_layers=[]))
    assert "is a dense model of 0.0 million parameters: no memory." in session.sentence("headline")
    assert list(session.app.metric) == []
    assert len(session.table("largest error")) == 2
    assert session.table("parameters")["parameters"].tolist()[1:] == [0, 0]


def test_with_nothing_to_open_the_page_says_what_to_do() -> None:
    session = UserSession("checkpoint")
    assert [info.value for info in session.app.info] == [
        "No checkpoint is open. Type the path of one into the box at the left."
    ]


def test_a_typed_path_is_opened_and_offered_again(
    path: Path, tiny_checkpoint: Written, sample_folder: Path
) -> None:
    shutil.copytree(tiny_checkpoint(seed=1), sample_folder / "world-facts")
    session = UserSession("checkpoint", pos=3, slot=5, site="L0", token=9, text="kept")
    assert session.sentence("headline").startswith("world-facts keeps")
    session.open_checkpoint(path)
    assert session.sentence("headline").startswith("tiny keeps")
    assert session.url == {"checkpoint": str(path), "text": "kept"}
    later = UserSession("checkpoint")
    assert later.url["checkpoint"] == "world-facts"
    assert samples.recent() == [str(path)]
    offered = later.app.selectbox(key="picked checkpoint").options
    assert len(offered) == 2
    assert offered[0] == "world-facts"
    later.choose("picked checkpoint", str(path))
    assert later.sentence("headline").startswith("tiny keeps")


def test_paths_that_end_alike_are_told_apart(tiny_checkpoint: Written, tmp_path: Path) -> None:
    """Long paths are shown by their end; two that share it are shown in full."""
    end = "a-folder-with-a-long-name/and-a-checkpoint"
    paths = [tmp_path / number / end for number in ("one", "two")]
    for seed, target in enumerate(paths):
        shutil.copytree(tiny_checkpoint(seed=seed), target)
    for target in paths:
        session = UserSession("checkpoint", checkpoint=target)
    picker = session.app.selectbox(key="picked checkpoint")
    assert sorted(picker.options) == sorted(map(str, paths))
    session.choose("picked checkpoint", str(paths[0]))
    assert session.table("found")["found"][0] == str(paths[0])


def test_a_checkpoint_that_was_trained_on_is_opened_anew(copied: Path) -> None:
    session = UserSession("checkpoint", checkpoint=copied)
    before = session.table("found").set_index("")["found"]["Fingerprint"]
    tensors = load_file(copied / "model.safetensors")
    tensors["model.norm.weight"] *= 2
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    session.run()
    after = session.table("found").set_index("")["found"]["Fingerprint"]
    assert after == load(copied, device="cpu").fingerprint != before


# --- what cannot be opened ----------------------------------------------------------------------


def cut_short(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def lose_the_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").unlink()


def lose_a_tensor(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})


def break_the_config(path: Path) -> None:
    (path / "config.json").write_text('{"model_type": "memory_llama", ')


def promise_another_shape(path: Path) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"memory_half_keys": 9}))


def break_the_gates(path: Path) -> None:
    (path / FILE).write_text("no gates")


def lose_everything(path: Path) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, "cut short"),
        (lose_the_tokenizer, "its tokenizer is missing"),
        (lose_a_tensor, "model.norm.weight is missing"),
        (break_the_config, "config.json is not JSON"),
        (promise_another_shape, "do not match its config.json"),
        (lose_everything, "There is nothing at"),
    ],
)
def test_a_broken_checkpoint_is_told_in_place(
    copied: Path, path: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copied)
    session = UserSession("checkpoint", checkpoint=copied, text="kept")
    assert session.title == "Checkpoint"
    assert session.errors[0] == "This checkpoint could not be opened."
    assert said in session.errors[1]
    assert session.app.selectbox(key="picked checkpoint").value == str(copied)
    assert session.url["text"] == "kept"
    session.open_checkpoint(path)
    assert session.sentence("headline").startswith("tiny keeps")


def test_broken_gates_cost_the_static_decoding_alone(copied: Path) -> None:
    break_the_gates(copied)
    session = UserSession("checkpoint", checkpoint=copied)
    assert session.sentence("headline").startswith("copied keeps")
    traced = UserSession("trace", checkpoint=copied, text="Lima is the capital of")
    assert any("Delete it and scan again" in text.value for text in traced.app.text)
    assert traced.shows("slot context")
    assert not traced.shows("slot static")


def test_a_checkpoint_that_cannot_be_opened_is_not_remembered(copied: Path) -> None:
    cut_short(copied)
    UserSession("checkpoint", checkpoint=copied)
    assert samples.recent() == []
