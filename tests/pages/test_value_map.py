"""The value map page: drawn once, coloured, searched, selected, and found again by its URL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState

from inspector.analyses.decoded_table import decode_table
from inspector.analyses.edit_files import edits_to_url
from inspector.analyses.edit_list import SlotEdit
from inspector.analyses.token_search import matching_tokens, slots_for_text
from inspector.analyses.value_map import ValueMap, value_map
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.families.base import MemoryModel
from inspector.ui.components.point_map_data import MapPoints, format_area, points_inside
from inspector.ui.edit_state import NOT_HERE
from inspector.ui.map_words import TOP
from tests.analyses.planted_map import SLOTS, write_map_model
from tests.pages.user_session import UserSession

Written = Callable[..., Path]
TOKENS = np.array([40, 90, 140, 200])
BOX = [[0, 0], [30_000, 0], [30_000, 65_535], [0, 65_535]]


@pytest.fixture(scope="module")
def planted(
    tiny_checkpoint: Written, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    """A checkpoint whose 400 values speak for four tokens, and which slot is about which."""
    folder = tmp_path_factory.mktemp("planted") / "planted"
    path, about = write_map_model(tiny_checkpoint, folder, TOKENS)
    return path, TOKENS[about]


@pytest.fixture(scope="module")
def model(planted: tuple[Path, np.ndarray]) -> MemoryModel:
    return load(planted[0], device="cpu")


@pytest.fixture(scope="module")
def drawn(model: MemoryModel) -> ValueMap:
    return value_map(model, None, cache=False)


def opened(path: Path, **entries: object) -> UserSession:
    """A session that sees the map, with all its values decoded."""
    session = UserSession("value_map", checkpoint=path, **entries)
    session.until(lambda: session.shows("value map"))
    session.until(lambda: session.data("value map")["parts"]["tips"] is not None)
    return session


def draw(session: UserSession, corners: list[list[int]]) -> None:
    """Draw an area on the map, as the browser sends it."""
    component = session._components()["value map"]
    data = session.data("value map")
    area = {"area": {"corners": corners, "subject": data["subject"], "nonce": 7}}
    session._send(WidgetState(id=component.id, json_value=json.dumps(area)))


def part(session: UserSession, name: str) -> tuple[dict[str, Any], bytes]:
    packed = bytes(session._components()[f"value map/{name}"].bytes)
    length = int.from_bytes(packed[:4], "little")
    return json.loads(packed[4 : 4 + length]), packed[4 + length :]


def text_of(model: MemoryModel, token: int) -> str:
    return model.token_text(int(token)).strip()


def test_the_map_is_shown_as_the_engine_drew_it(
    planted: tuple[Path, np.ndarray], drawn: ValueMap
) -> None:
    session = opened(planted[0])
    assert session.title == "Value map"
    head, cells = part(session, "points")
    assert head["count"] == SLOTS
    units = np.frombuffer(cells, "<u2", 2 * SLOTS).reshape(SLOTS, 2)
    assert (units == MapPoints(drawn.slots, drawn.xy).units).all()
    assert session.data("value map")["colouring"]["categories"] == list(drawn.cluster_names)
    said = session.sentence("map headline")
    assert f"{SLOTS} values, by their rows, into {len(drawn.cluster_names)} groups" in said
    assert any(
        f"Trustworthiness {drawn.trustworthiness:.3f}" in c.value for c in session.app.caption
    )


def test_a_search_lights_all_slots_of_a_token_and_no_other_is_lost(
    planted: tuple[Path, np.ndarray], model: MemoryModel
) -> None:
    path, about = planted
    token = int(TOKENS[1])
    query = text_of(model, token)
    session = opened(path, search=query)
    wanted = matching_tokens(model, query)
    assert token in wanted
    decoded = decode_table(model)
    hits = np.isin(decoded.promoted[:, :TOP], wanted).any(1)
    assert hits[about == token].all()
    lit = np.unpackbits(np.frombuffer(part(session, "lit")[1], np.uint8), bitorder="little")
    assert (lit[:SLOTS] == hits).all()
    assert session.data("value map")["points"] == SLOTS
    listed = session.table("address")["slot"].tolist()
    assert set(listed) == set(np.flatnonzero(hits).tolist())
    best = np.flatnonzero(np.isin(decoded.promoted[:, 0], wanted)).tolist()
    assert set(listed[: len(best)]) == set(best)


def test_a_text_lights_the_slots_that_it_reads_the_most_specific_first(
    planted: tuple[Path, np.ndarray], model: MemoryModel, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n" * 4)
    text = "Oslo is the capital"
    entries = {"corpus": corpus, "column": "text", "search": text, "how": "text"}
    session = opened(planted[0], **entries)
    session.until(lambda: session.data("value map")["parts"]["lit"] is not None)
    read = slots_for_text(model, text, scan(model, corpus, cache=False)).to_frame()
    lit = np.unpackbits(np.frombuffer(part(session, "lit")[1], np.uint8), bitorder="little")
    assert set(np.flatnonzero(lit[:SLOTS])) == set(read["slot"])
    assert session.table("address")["slot"].tolist() == read["slot"].tolist()
    said = f"{len(read):,} of {SLOTS} values are read by this text"
    assert any(said in line.value for line in session.app.text)


def test_a_text_needs_a_scan_to_be_held_against(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0], search="Oslo is cold", how="text")
    assert any("known after a scan" in text for text in session.errors)
    assert session.data("value map")["parts"]["lit"] is None


def test_an_expression_that_cannot_be_read_is_told_in_words(
    planted: tuple[Path, np.ndarray],
) -> None:
    session = opened(planted[0], search="(", how="regex")
    assert any("no regular expression" in text for text in session.errors)
    assert session.data("value map")["parts"]["lit"] is None


def test_a_click_opens_the_slot_and_the_url_says_so(
    planted: tuple[Path, np.ndarray], model: MemoryModel, drawn: ValueMap
) -> None:
    path, about = planted
    session = opened(path)
    session.pick("value map", 37)
    assert session.url["slot"] == "37"
    i, j = divmod(37, int(SLOTS**0.5))
    assert session.app.code[0].value == f"({i},{j})"
    near = session.table("distance")["slot"].tolist()
    assert near == drawn.neighbours[37][: len(near)].tolist()
    assert session.data("value map")["marked"] == near[:8]
    chips = session.data("map slot L0 static")["promoted"]
    assert chips[0][0].replace("·", " ") == model.token_text(int(about[37]))


def test_an_area_lists_what_lies_in_it_and_survives_a_reload(
    planted: tuple[Path, np.ndarray], drawn: ValueMap
) -> None:
    session = opened(planted[0])
    draw(session, BOX)
    corners = tuple((x, y) for x, y in BOX)
    inside = points_inside(MapPoints(drawn.slots, drawn.xy).units, corners)
    assert 0 < inside.sum() < SLOTS
    assert session.table("address")["slot"].tolist() == drawn.slots[inside].tolist()
    assert session.url["area"].endswith(f":{format_area(corners)}")
    again = opened(planted[0], area=session.url["area"])
    assert again.data("value map")["area"] == BOX
    assert again.table("address")["slot"].tolist() == drawn.slots[inside].tolist()


def test_an_area_of_another_map_is_no_area(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0], area="000000:0,0 9,0 0,9")
    assert session.data("value map")["area"] == []


def test_colours_change_alone(planted: tuple[Path, np.ndarray], model: MemoryModel) -> None:
    session = opened(planted[0])
    before = session.data("value map")["parts"]
    session.choose("map colour", "norm")
    after = session.data("value map")["parts"]
    assert session.url["colour"] == "norm"
    assert {name for name in before if before[name] != after[name]} == {"colours"}
    cells = part(session, "colours")[1]
    values = np.frombuffer(cells, "<f4", SLOTS, offset=SLOTS)
    norms = model.tables[0].weight.norm(dim=1).numpy()
    assert np.allclose(values, norms, atol=1e-5)


def test_lit_slots_are_handed_to_other_pages(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0])
    draw(session, BOX)
    listed = session.table("address")["slot"].tolist()
    (button,) = [b for b in session.app.button if b.key == "send slots"]
    button.click()
    session.run()
    checkpoint, slots = session.app.session_state["selected slots"]
    assert checkpoint == str(planted[0])
    assert list(slots) == listed
    fits = len(listed) <= 200
    assert session.url.get("slots") == (",".join(map(str, listed)) if fits else None)


def test_a_random_slot_is_one_of_the_lit(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0])
    draw(session, BOX)
    listed = session.table("address")["slot"].tolist()
    session.press("Random")
    assert int(session.url["slot"]) in listed


def test_a_scan_brings_colours_of_usage(planted: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n" * 4)
    without = opened(planted[0])
    (picker,) = [box for box in without.app.selectbox if box.key == "map colour"]
    assert not any("reads" in option for option in picker.options)
    session = opened(planted[0], corpus=corpus, column="text", colour="reads")
    session.until(lambda: session.data("value map")["colouring"]["kind"] == "ramp")
    reads = session.table("address")["reads"]
    assert reads.sum() > 0
    assert reads.is_monotonic_decreasing
    values = np.frombuffer(part(session, "colours")[1], "<f4", SLOTS, offset=SLOTS)
    assert values.sum() == reads.sum()
    (picker,) = [box for box in session.app.selectbox if box.key == "map colour"]
    assert {"verdict", "share of reads by L0", "share of reads by L2"} <= set(picker.options)


def test_a_sample_of_the_slots_says_so(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0], points=100, near=5)
    assert part(session, "points")[0]["count"] == 100
    assert any("Sampled: 100 of 400" in caption.value for caption in session.app.caption)


def test_the_slots_left_out_can_be_placed(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0], points=100, near=6)
    drawn = part(session, "points")
    session.press("Place the other 300 slots")
    session.until(lambda: part(session, "points")[0]["count"] == SLOTS)
    assert drawn[0]["count"] == 100
    assert any("300 slots were then placed" in c.value for c in session.app.caption)
    assert not any(button.key == "place rest" for button in session.app.button)
    assert len(session.table("address")) == SLOTS


def test_what_a_gated_site_writes_is_not_offered_without_a_scan_of_gates(
    tiny_checkpoint: Written,
) -> None:
    session = UserSession("value_map", checkpoint=tiny_checkpoint())
    session.until(lambda: session.shows("value map"))
    (shown,) = [group for group in session.app.button_group if group.key == "map site"]
    assert len(shown.options) == 1
    assert any("only after a scan of gates" in caption.value for caption in session.app.caption)


def test_with_edits_on_it_says_that_they_do_not_act_here(
    planted: tuple[Path, np.ndarray], drawn: ValueMap
) -> None:
    edits = edits_to_url([SlotEdit("zero", (int(drawn.slots[0]),))])
    edited = opened(planted[0], edits=edits)
    assert NOT_HERE in [info.value for info in edited.app.info]
    assert NOT_HERE not in [info.value for info in opened(planted[0]).app.info]


def test_a_checkpoint_without_memory_has_no_values(tiny_checkpoint: Written) -> None:
    session = UserSession("value_map", checkpoint=tiny_checkpoint(memory_layers=[]))
    assert any("no memory layers" in info.value for info in session.app.info)


def test_untrusted_names_are_no_markdown(planted: tuple[Path, np.ndarray]) -> None:
    session = opened(planted[0], slot=3)
    names = session.data("value map")["colouring"]["categories"]
    told = "\n".join(session.markdown())
    assert not [name for name in names if len(name) > 4 and name in told]
