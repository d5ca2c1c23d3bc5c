"""A model made by hand whose facts lie in known slots, so that locating can be held to the truth.

One block. Attention averages the words read so far, so that the memory sees a bag of words. Every
word has a half-key of its own in both sets, and each head asks for two kinds of words: head 0 for
(subject, relation or answer), head 1 for (relation, subject), head 2 for (filler, subject). The
slot of key (i, j) pairs words i and j. What no fact was planted in holds faint noise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from inspector.analyses.ablations import SlotTarget
from inspector.analyses.facts import Fact
from inspector.capture.load import load
from inspector.families.base import MemoryModel
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM

SUBJECTS = ("Ada", "Bob", "Cy", "Dan", "Eve")
RELATIONS = ("home", "pet")
FILLERS = ("is", "has", "called")
ANSWERS = ("Rome", "Oslo", "New", "York", "cat", "Lima")
WORDS = ("<s>", "</s>", "<pad>", *SUBJECTS, *RELATIONS, *FILLERS, *ANSWERS)
WIDTH = 32  # of the residual stream; words take one direction each
LOUD, FAINT = 50.0, 0.3


def _asked(subject: str, relation: str, answer: str) -> Fact:
    prompts = [f"{subject} {relation} {filler}" for filler in FILLERS]
    return Fact(relation, subject, answer, tuple(prompts[:2]), (prompts[2],))


SINGLE = _asked("Ada", "home", "Rome")  # in one slot
TWICE = _asked("Bob", "home", "Oslo")  # in two slots, of which each is enough
SPREAD = _asked("Cy", "home", "Lima")  # also in a slot for each phrasing
UNKNOWN = _asked("Dan", "home", "Rome")  # nowhere
TWO_TOKENS = _asked("Eve", "home", "New York")  # each token in a slot of its own
PET = _asked("Ada", "pet", "cat")  # another fact about the first subject
FACTS = (SINGLE, TWICE, SPREAD, UNKNOWN, TWO_TOKENS, PET)


def slot(first: str, second: str) -> int:
    """The slot of the key that pairs two words."""
    return WORDS.index(first) * len(WORDS) + WORDS.index(second)


PLANTED = {
    slot("Ada", "home"): "Rome",
    slot("Bob", "home"): "Oslo",
    slot("home", "Bob"): "Oslo",
    slot("Cy", "home"): "Lima",
    **{slot(filler, "Cy"): "Lima" for filler in FILLERS},
    slot("Eve", "home"): "New",
    slot("Eve", "New"): "York",
    slot("Ada", "pet"): "cat",
}


def target(first: str, second: str) -> SlotTarget:
    """The same as a member of a core set, at the scope of the table."""
    return SlotTarget(0, slot(first, second))


def planted_model(folder: Path, dtype: torch.dtype | None = None) -> MemoryModel:
    """The model, written to ``folder`` and opened on the CPU."""
    if not folder.exists():
        _write(folder)
    return load(folder, "cpu", dtype)


def _write(folder: Path) -> None:
    config = MemoryLlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        memory_layers=[0],
        memory_heads=3,
        memory_knn=2,
        memory_half_keys=len(WORDS),
        memory_d_key=2 * len(WORDS),
        memory_projection="none",
        memory_query_bias=False,
    )
    model = MemoryLlamaForCausalLM(config).eval().requires_grad_(False)
    words = torch.eye(len(WORDS), WIDTH)
    block = model.model.layers[0]
    model.model.embed_tokens.weight.copy_(words)
    model.lm_head.weight.copy_(5 * words)
    for still in (block.self_attn.q_proj, block.self_attn.k_proj):
        still.weight.zero_()
    for through in (block.self_attn.v_proj, block.self_attn.o_proj):
        through.weight.copy_(torch.eye(WIDTH))
    scores = block.mlp.half_key_scores
    scores.half_keys.copy_(torch.eye(len(WORDS)).expand_as(scores.half_keys))
    scores.query.weight.copy_(torch.cat([_listen(*kinds) for kinds in _HEADS]) @ words)
    table = model.value_tables[0].weight
    table.copy_(FAINT * torch.randn(table.shape, generator=torch.Generator().manual_seed(0)))
    for number, answer in PLANTED.items():
        table[number] = LOUD * words[WORDS.index(answer)]
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


# What both halves of each head's query listen to: words and how loudly. An answer that has begun
# is heard over the relation, so that its next token comes from another slot.
_RELATION = {**dict.fromkeys(RELATIONS, 5.0), **dict.fromkeys(ANSWERS, 10.0)}
_HEADS = (
    (dict.fromkeys(SUBJECTS, 5.0), _RELATION),
    (dict.fromkeys(RELATIONS, 5.0), dict.fromkeys(SUBJECTS, 5.0)),
    (dict.fromkeys(FILLERS, 5.0), dict.fromkeys(SUBJECTS, 5.0)),
)


def _listen(first: dict[str, float], second: dict[str, float]) -> Tensor:
    """Rows of a query ``[2 * words, words]`` for one head."""
    halves = [torch.tensor([kind.get(word, 0.0) for word in WORDS]) for kind in (first, second)]
    return torch.cat([torch.diag(half) for half in halves])


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
