"""Mean gates: what a loop over every read finds, kept in a file and refused when it is broken."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inspector.analyses.gates import (
    FILE,
    MeanGates,
    SiteGates,
    mean_gates,
    measure_mean_gates,
    read_mean_gates,
    write_mean_gates,
)
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.errors import CacheError
from inspector.families.base import MemoryModel

Written = Callable[..., Path]

BATCHES = (
    torch.tensor([[0, 10, 20], [0, 30, 40]]),
    torch.tensor([[0, 10, 20, 50, 60], [0, 77, 88, 99, 120], [0, 4, 5, 6, 7]]),
)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def gates(model: MemoryModel) -> MeanGates:
    return measure_mean_gates(model, BATCHES, "five rows")


def gates_by_hand(
    model: MemoryModel, name: str, batches: Sequence[Tensor]
) -> tuple[dict[int, Tensor], Tensor]:
    """The weighted mean gate of every slot read, and of the site: one read after another."""
    sums: dict[int, Tensor] = defaultdict(lambda: torch.zeros(32, dtype=torch.float64))
    weights: dict[int, float] = defaultdict(float)
    state = {key: tensor.double() for key, tensor in model.module.state_dict().items()}
    own = f"model.layers.{name[1:]}.mlp.gate_proj"
    for ids in batches:
        found = trace(model, ids=ids)
        reads = found.reads[name]
        for row, pos in torch.cartesian_prod(*map(torch.arange, ids.shape)).tolist():
            x = found.inputs[name][row, pos].double()
            inner = state[f"{own}.weight"] @ x + state[f"{own}.bias"]
            gate = inner * inner.sigmoid()
            for slot, weight in zip(
                reads.slots[row, pos].flatten().tolist(),
                reads.weights[row, pos].flatten().tolist(),
                strict=True,
            ):
                sums[slot] += weight * gate
                weights[slot] += weight
    means = {slot: sums[slot] / weights[slot] for slot in sums}
    return means, sum(sums.values()) / sum(weights.values())


@pytest.mark.parametrize("name", ["L0", "L2"])
def test_mean_gates_are_those_of_a_loop_over_all_reads(
    model: MemoryModel, gates: MeanGates, name: str
) -> None:
    means, mean = gates_by_hand(model, name, BATCHES)
    own = gates.sites[name]
    assert own.slots.tolist() == sorted(means)
    expected = torch.stack([means[slot] for slot in sorted(means)])
    assert torch.allclose(own.gates.double(), expected, atol=1e-5)
    assert torch.allclose(own.mean.double(), mean, atol=1e-5)
    assert (gates.tokens, gates.corpus) == (21, "five rows")
    assert gates.fingerprint == model.fingerprint


def test_a_slot_never_read_gets_the_mean_of_the_site(gates: MeanGates) -> None:
    own = gates.sites["L0"]
    unread = sorted(set(range(64)) - set(own.slots.tolist()))
    assert unread, "every slot was read: the test needs fewer tokens"
    wanted = torch.tensor([unread[-1], int(own.slots[3]), unread[0]])
    rows, seen = gates.rows("L0", wanted)
    assert seen.tolist() == [False, True, False]
    assert torch.equal(rows, torch.stack([own.mean, own.gates[3], own.mean]))


def test_a_scan_without_reads_still_answers() -> None:
    nothing = SiteGates(torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.ones(4))
    rows, seen = MeanGates({"L0": nothing}, "", "", 0).rows("L0", torch.tensor([0, 63]))
    assert torch.equal(rows, torch.ones(2, 4))
    assert seen.tolist() == [False, False]


def test_layers_without_gates_are_left_out(tiny_checkpoint: Written) -> None:
    plain = load(tiny_checkpoint(memory_projection="none"), device="cpu")
    assert measure_mean_gates(plain, BATCHES, "five rows").sites == {}


def test_parts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        SiteGates(torch.arange(3), torch.zeros(2, 4), torch.zeros(4))
    with pytest.raises(ValueError, match="disagree"):
        SiteGates(torch.arange(2), torch.zeros(2, 4), torch.zeros(5))


# --- on disk ------------------------------------------------------------------------------------


def test_what_was_written_is_read(gates: MeanGates, tmp_path: Path) -> None:
    file = tmp_path / FILE
    write_mean_gates(file, gates)
    found = read_mean_gates(file)
    assert (found.fingerprint, found.corpus, found.tokens) == (gates.fingerprint, "five rows", 21)
    assert found.sites.keys() == gates.sites.keys()
    for name, own in found.sites.items():
        assert torch.equal(own.slots, gates.sites[name].slots)
        torch.testing.assert_close(own.gates.float(), gates.sites[name].gates, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(own.mean.float(), gates.sites[name].mean, rtol=1e-3, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_gates_beside_a_checkpoint_are_its_own_or_none(
    tiny_checkpoint: Written, gates: MeanGates, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(tiny_checkpoint(), tmp_path / "copy"))
    assert mean_gates(load(path, device="cpu")) is None
    write_mean_gates(path / FILE, gates)
    found = mean_gates(load(path, device="cpu"))
    assert found is not None
    assert found.tokens == 21
    config = path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_scaling": None}))
    assert mean_gates(load(path, device="cpu")) is None, "gates of other weights were used"


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_tensor(file: Path) -> None:
    tensors = load_file(file)
    del tensors["L0.mean"]
    save_file(tensors, file, {"fingerprint": "f", "corpus": "c", "tokens": "1"})


def lose_rows(file: Path) -> None:
    tensors = load_file(file)
    tensors["L2.gates"] = tensors["L2.gates"][:-1].contiguous()
    save_file(tensors, file, {"fingerprint": "f", "corpus": "c", "tokens": "1"})


def lose_metadata(file: Path) -> None:
    save_file(load_file(file), file)


def count_in_words(file: Path) -> None:
    save_file(load_file(file), file, {"fingerprint": "f", "corpus": "c", "tokens": "many"})


def write_text_instead(file: Path) -> None:
    file.write_text("these are no gates")


@pytest.mark.parametrize(
    "damage",
    [cut_short, lose_a_tensor, lose_rows, lose_metadata, count_in_words, write_text_instead],
)
def test_a_broken_file_is_told(
    gates: MeanGates, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / FILE
    write_mean_gates(file, gates)
    damage(file)
    with pytest.raises(CacheError, match=r"holds no mean gates .* Delete it and scan again"):
        read_mean_gates(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="holds no mean gates"):
        read_mean_gates(tmp_path / FILE)
