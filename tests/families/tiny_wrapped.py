"""Models as a user has them: a Llama of transformers with lucidrains' modules for feed-forwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PEER_pytorch import PEER
from product_key_memory import PKM
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from inspector.capture.wrap import wrap
from inspector.families.base import MemoryModel
from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.values import ValueTable
from tests.conftest import SENTENCES
from tests.families.tiny_native import POSITIONS, VOCABULARY, tokenizer_of

WIDTH = 32


def pkm(**options: Any) -> PKM:
    """8 x 8 slots, 2 heads, 4 reads a head; ``options`` replace any argument."""
    fields = {"heads": 2, "num_keys": 8, "topk": 4, "dim_head": 8}
    return PKM(WIDTH, **(fields | options))


def peer(**options: Any) -> PEER:
    """8 x 8 slots and 2 heads."""
    fields = {"heads": 2, "num_experts": 64, "num_experts_per_head": 4, "dim_key": 8}
    return PEER(WIDTH, **(fields | options))


def ours(table: ValueTable | None = None) -> ProductKeyMemory:
    """A layer of ours that adds the sum of values itself."""
    shape = MemoryShape(WIDTH, heads=2, knn=4, half_keys=8, d_key=16, d_value=WIDTH)
    return ProductKeyMemory(shape, table or ValueTable(shape.slots, WIDTH))


def llama(*memories: tuple[int, nn.Module], seed: int = 0, **options: Any) -> LlamaForCausalLM:
    """Three blocks, memory in some; every part matters: norms and biases are random."""
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(**(fields | options)))
    for block, memory in memories:
        model.model.layers[block].mlp = memory
    randomise(model, seed)
    return model


def randomise(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew, also tables that no module registers."""
    generator = torch.Generator().manual_seed(seed)
    tables = [m.table for m in model.modules() if isinstance(m, ProductKeyMemory)]
    for module in [model, *{id(table): table for table in tables}.values()]:
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                draw = draw * 0.3
            elif "norm" in name and draw.ndim == 1:
                draw = 1 + draw * 0.2
            elif not ("values" in name or "embed" in name or "keys" in name or name == "weight"):
                draw = draw * draw.shape[-1] ** -0.5
            with torch.no_grad():
                parameter.copy_(draw)


Spec = tuple[int, str, dict[str, Any]]  # block, kind of memory, its options
_MAKERS = {"pkm": pkm, "peer": peer}


def made(specs: Sequence[Spec], seed: int) -> LlamaForCausalLM:
    """The model with these memories; those of ours share one table, which the model owns."""
    table = ValueTable(64, WIDTH)
    memories = [(b, ours(table) if k == "ours" else _MAKERS[k](**o)) for b, k, o in specs]
    model = llama(*memories, seed=seed)
    if any(kind == "ours" for _, kind, _ in specs):
        model.memory_table = table
    return model


def write_user_model(folder: Path, specs: Sequence[Spec], seed: int) -> Path:
    """As a user may keep it: what it's made of, and its weights."""
    folder.mkdir(parents=True)
    model = made(specs, seed)
    (folder / "made.json").write_text(json.dumps(specs))
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder


def read_user_model(folder: Path) -> LlamaForCausalLM:
    """What ``write_user_model`` wrote."""
    model = made(json.loads((folder / "made.json").read_text()), seed=0)
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return model.eval()


def open_user_model(folder: Path, device: str, dtype: torch.dtype | None = None) -> MemoryModel:
    """The same, wrapped."""
    return wrap(read_user_model(folder).to(device, dtype), tokenizer_of(SENTENCES))


def plain_logits(folder: Path, ids: Tensor) -> Tensor:
    """The user's model as it is, never seen by the inspector."""
    with torch.inference_mode():
        found: Tensor = read_user_model(folder)(input_ids=ids, use_cache=False).logits
    return found
