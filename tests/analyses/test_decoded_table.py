"""Whole tables decode as their slots do, find what was planted, and are kept and resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inspector.analyses import decoded_table
from inspector.analyses.decoded_store import BLOCK
from inspector.analyses.decoded_table import DecodedTable, decode_table, stored_decoding
from inspector.analyses.decoding import decode
from inspector.analyses.gates import MeanGates, measure_mean_gates
from inspector.analyses.slot_decoder import SlotDecoder
from inspector.analyses.token_search import slots_for_tokens
from inspector.analyses.unembedding import null_vectors
from inspector.analyses.value_quality import nulls_of
from inspector.capture.load import load
from inspector.errors import CacheError, Cancelled, SlotError
from inspector.families.base import MemoryModel

Written = Callable[..., Path]
TABLE = "model.value_tables.0.weight"
COLUMNS = (
    *("promoted", "promoted_logits", "suppressed", "suppressed_logits"),
    *("standing", "p_value", "fallback"),
)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(memory_half_keys=50), device="cpu")  # 2,500 slots: two blocks


@pytest.fixture(scope="module")
def gates(model: MemoryModel) -> MeanGates:
    return measured(model)


def measured(model: MemoryModel) -> MeanGates:
    return measure_mean_gates(model, [torch.arange(120).reshape(4, 30)], "some tokens")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: DecodedTable, other: DecodedTable) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


# --- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["raw", "static"])
def test_a_table_decodes_as_its_slots_do(model: MemoryModel, gates: MeanGates, gate: str) -> None:
    whole = decode_table(model, "L2", gate, gates=gates)
    assert (whole.site, whole.gate, len(whole), whole.top) == ("L2", gate, 2_500, 20)
    slots = [0, 1, 99, BLOCK - 1, BLOCK, 2_499]
    some = decode(model, slots, "L2", gate, top=20, gates=gates)
    for name in COLUMNS[:4]:
        assert np.array_equal(getattr(whole, name)[slots], getattr(some, name))
    assert np.array_equal(whole.fallback[slots], some.fallback)
    assert whole.standing[slots] == pytest.approx(some.standing, rel=1e-6)
    # Of the table p-values may be finer, which never raises them and leaves what passes alone.
    assert (whole.p_value[slots] <= some.p_value).all()
    assert np.array_equal(whole.passes[slots], some.passes)


@pytest.mark.parametrize("gate", ["raw", "static"])
def test_one_slot_says_the_same_alone(model: MemoryModel, gates: MeanGates, gate: str) -> None:
    decoder = SlotDecoder(model, model.site("L2"), gate, gates)
    together = decoder.rows(torch.arange(40), 20)
    for slot in (0, 7, 39):
        alone = decoder.rows(torch.tensor([slot]), 20)
        assert torch.equal(alone.ends.promoted[0], together.ends.promoted[slot])
        assert torch.equal(alone.ends.promoted_logits[0], together.ends.promoted_logits[slot])
        assert alone.p_value[0] == together.p_value[slot]


def planted_model(
    source: Path, target: Path, gate: str
) -> tuple[MemoryModel, MeanGates, list[int]]:
    """A table of null values but for twenty, which write a token's unembedding and some noise."""
    original = load(source, device="cpu")
    scanned = measured(original)
    head = original.backbone.unembedding()
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randperm(300, generator=generator)[:20]
    written = 6 * head[tokens] / head[tokens].norm(dim=-1, keepdim=True)
    written = written + 0.1 * torch.randn(20, 32, generator=generator)
    table = original.module.state_dict()[TABLE].clone()
    if gate == "static":
        weight = original.module.state_dict()["model.layers.2.mlp.value_proj.weight"]
        mean, _ = scanned.rows("L2", torch.arange(20))
        written = torch.linalg.solve(weight, written.T).T / mean
        written = written / written.norm(dim=-1, keepdim=True) * table.norm(dim=-1).mean()
    table[:20] = written
    path = Path(shutil.copytree(source, target))
    tensors = load_file(path / "model.safetensors")
    tensors[TABLE] = table
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return load(path, device="cpu"), scanned, tokens.tolist()


@pytest.mark.parametrize("gate", ["raw", "static"])
def test_planted_tokens_are_found_and_are_significant(
    tiny_checkpoint: Written, tmp_path: Path, gate: str
) -> None:
    source = tiny_checkpoint(memory_half_keys=20)
    model, scanned, tokens = planted_model(source, tmp_path / "planted", gate)
    found = decode_table(model, "L2", gate, gates=scanned)
    assert found.promoted[:20, 0].tolist() == tokens
    assert found.passes[:20].all()
    assert found.significant[:20].sum() >= 16  # a token whose row is short stands out less
    assert found.passes[20:].mean() < 0.1  # the rest is noise
    assert found.significant[20:].sum() <= 3  # 5 % of those called significant, and luck
    hits = slots_for_tokens(found, np.array(tokens), end="promoted", within=1)
    assert set(range(20)) <= set(hits.slots.tolist())
    assert set(hits.slots[hits.significant].tolist()) == set(
        np.flatnonzero(found.significant[:20]).tolist()
    )


@pytest.mark.parametrize("gate", ["raw", "static"])
def test_of_null_values_none_or_few_are_significant(
    tiny_checkpoint: Written, tmp_path: Path, gate: str
) -> None:
    """2,500 values with the covariance of their own table, far from isotropic."""
    source = tiny_checkpoint(memory_half_keys=50)
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(32, 32, generator=generator) * torch.logspace(0, -2, 32)[:, None]
    covariance_of = torch.randn(4_000, 32, generator=generator) @ mixing
    path = Path(shutil.copytree(source, tmp_path / "null"))
    tensors = load_file(path / "model.safetensors")
    tensors[TABLE] = null_vectors(covariance_of, 2_500, seed=9).float()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    null = load(path, device="cpu")
    found = decode_table(null, "L2", gate, gates=measured(null))
    # All slots meet the same null vectors: where these place the threshold sways all together.
    assert found.passes.mean() <= 0.05 + 2 * 0.022
    assert found.significant.sum() <= 2


def test_p_values_are_made_as_fine_as_the_table_asks_for(
    model: MemoryModel, gates: MeanGates
) -> None:
    """Against drawing all null vectors of a slot, by hand."""
    found = decode_table(model, "L2", "static", gates=gates)
    slot = int(found.p_value.argmin())
    gate, _ = gates.rows("L2", torch.tensor([slot]))
    state = model.module.state_dict()
    head = state["lm_head.weight"] * state["model.norm.weight"]
    vectors = (nulls_of(model.site("L2").table) * gate) @ state[
        "model.layers.2.mlp.value_proj.weight"
    ].T
    logits = vectors @ head.T
    nulls = (logits.max(-1).values - logits.mean(-1)) / logits.std(-1, correction=0)
    for drawn in (499, 2_499, 9_999):
        share = (1 + int((nulls[:drawn] >= found.standing[slot]).sum())) / (1 + drawn)
        if found.p_value[slot] == pytest.approx(share):
            break
    else:
        pytest.fail(f"{found.p_value[slot]} is no share of null vectors")


# --- kept, resumed, stopped ---------------------------------------------------------------------


def test_it_is_kept_and_not_made_twice(
    model: MemoryModel, gates: MeanGates, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_decoding(model, "L2", "static", gates=gates) is None
    made = decode_table(model, "L2", "static", gates=gates)
    monkeypatch.setattr(SlotDecoder, "rows", None)  # nothing may be decoded again
    monkeypatch.setattr(SlotDecoder, "finer", None)
    stored = stored_decoding(model, "L2", "static", gates=gates)
    assert stored is not None
    assert same(made, stored)
    assert same(made, decode_table(model, "L2", "static", gates=gates))
    assert not list(empty_cache.rglob("*.part"))


def test_other_questions_have_other_answers(
    model: MemoryModel, gates: MeanGates, empty_cache: Path
) -> None:
    decode_table(model, "L2", "static", gates=gates)
    assert stored_decoding(model, "L0", "static", gates=gates) is None
    assert stored_decoding(model, "L2", "static", top=5, gates=gates) is None
    assert stored_decoding(model, "L2", "raw", gates=gates) is None
    others = measure_mean_gates(model, [torch.arange(60).reshape(2, 30)], "some tokens")
    assert stored_decoding(model, "L2", "static", gates=others) is None
    assert stored_decoding(replace(model, fingerprint="0" * 64), "L2", gates=gates) is None


def test_raw_values_of_a_shared_table_are_decoded_once(
    model: MemoryModel, empty_cache: Path
) -> None:
    made = decode_table(model, "L0", "raw")
    found = stored_decoding(model, "L2", "raw")
    assert found is not None
    assert (found.site, same(made, found)) == ("L2", True)


def test_stopped_work_goes_on_where_it_was(
    model: MemoryModel, gates: MeanGates, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled, match="goes on from there"):
        decode_table(
            model,
            "L2",
            "static",
            gates=gates,
            report=lambda now, total: done.append(now),
            cancel=lambda: BLOCK in done,
        )
    assert [file.name for file in empty_cache.rglob("*.parquet")] == ["0000000000.parquet"]
    assert stored_decoding(model, "L2", "static", gates=gates) is None
    decoded: list[int] = []
    rows = SlotDecoder.rows

    def counted(self: SlotDecoder, slots: torch.Tensor, *others: object) -> object:
        decoded.extend(slots.tolist())
        return rows(self, slots, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(SlotDecoder, "rows", counted)
    resumed = decode_table(model, "L2", "static", gates=gates)
    assert decoded == list(range(BLOCK, 2_500))
    monkeypatch.setenv("INSPECTOR_CACHE", str(empty_cache / "another"))
    assert same(resumed, decode_table(model, "L2", "static", gates=gates))


def test_it_can_be_stopped_while_null_vectors_are_drawn(
    model: MemoryModel, gates: MeanGates, empty_cache: Path
) -> None:
    asked = iter([False] * 4)
    with pytest.raises(Cancelled):
        decode_table(model, "L2", gates=gates, cancel=lambda: next(asked, True))
    assert not list(empty_cache.rglob("*.parquet"))


def test_progress_ends_with_all(model: MemoryModel, gates: MeanGates, empty_cache: Path) -> None:
    for gate, total in (("raw", 2_500), ("static", 5_000)):
        told: list[tuple[int, int]] = []
        decode_table(
            model, "L2", gate, gates=gates, report=lambda *now, told=told: told.append(now)
        )
        assert told[-1] == (total, total)
        assert told == sorted(told)


@pytest.mark.parametrize("damage", [b"", b"PAR1 no parquet at all PAR1"])
def test_a_damaged_block_is_made_again(
    model: MemoryModel, empty_cache: Path, damage: bytes
) -> None:
    made = decode_table(model, "L2", "raw")
    for file in empty_cache.rglob("*.parquet"):
        file.write_bytes(damage)
    assert stored_decoding(model, "L2", "raw") is None
    assert same(made, decode_table(model, "L2", "raw"))
    assert stored_decoding(model, "L2", "raw") is not None


def test_a_cache_that_cannot_be_written_is_told(
    model: MemoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "file"))
    found = decode_table(model, "L2", "raw")
    assert "not cached" in found.note
    assert len(found) == 2_500


# --- refusals and frames ------------------------------------------------------------------------


def test_static_without_a_scan_is_told(model: MemoryModel) -> None:
    with pytest.raises(CacheError, match="no scan of its own"):
        decode_table(model, "L2", "static")
    assert stored_decoding(model, "L2", "static") is None


def test_sites_and_gates_that_are_not_there_are_told(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="no site L1"):
        decode_table(model, "L1")
    with pytest.raises(ValueError, match="must be one of raw, static"):
        decode_table(model, "L2", "context")


def test_parts_that_disagree_are_refused(model: MemoryModel) -> None:
    whole = decode_table(model, "L2", "raw")
    with pytest.raises(ValueError, match="parts of other lengths"):
        replace(whole, standing=whole.standing[:3])
    with pytest.raises(ValueError, match="as many tokens as logits"):
        replace(whole, suppressed=whole.suppressed[:, :3])


def test_the_frame_is_that_of_decode(model: MemoryModel) -> None:
    whole, slots = decode_table(model, "L2", "raw"), np.array([5, 2_400, 7])
    frame = whole.to_frame(slots)
    other = decode(model, slots.tolist(), "L2", "raw", top=20).to_frame()
    for name in ("site", "gate", "slot", "promoted", "suppressed", "suppressed_logits", "passes"):
        assert frame[name].tolist() == other[name].tolist()
    assert len(whole.to_frame()) == 2_500
    assert decoded_table.TESTED_AT == 0.05
