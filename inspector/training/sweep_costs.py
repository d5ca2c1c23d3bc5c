"""What one token costs a model: parameters held and touched, arithmetic and time, all measured.

Arithmetic is what ``torch.utils.flop_counter`` counts in one forward pass (matrix products and
attention), plus what it does not know of a memory: the weighted sum of values and the lookup's
comparisons. Norms, activations, softmax and the embedding's row are counted by neither.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.training.sweep_config import lookup_operations

SENTENCES: Final = 64
POSITIONS: Final = 16  # about as long as the longest of the training sentences
ROUNDS: Final = 25


@dataclass(frozen=True)
class TokenCosts:
    """What one token of a sentence of 16 costs in a forward pass, and what the model holds.

    ``counted`` operations by the flop counter, ``values`` in the sums of values and ``lookup`` in
    the choice of slots, which it does not count; a multiply-add is two. ``head`` of the counted
    ones go into the logits. ``active`` parameters are all but the values no read touches.
    """

    counted: int
    values: int
    lookup: int
    head: int
    parameters: int
    active: int
    table: int  # parameters in values

    @property
    def flops(self) -> int:
        """All operations of one token."""
        return self.counted + self.values + self.lookup


def measure_token_costs(model: MemoryLlamaForCausalLM) -> TokenCosts:
    """Count ``model``'s parameters, and its arithmetic for one token."""
    config = model.config
    # The counter knows attention's products, but not the processor's fused form of them.
    plainly = sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), plainly, FlopCounterMode(display=False) as counter:
        model(input_ids=_ids(config.vocab_size), use_cache=False)
    shapes = [layer.shape for layer in model.memory_layers.values()]
    touched = sum(shape.heads * shape.knn * shape.d_value for shape in shapes)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    table = sum(table.weight.numel() for table in model.value_tables)
    return TokenCosts(
        counted=round(counter.get_total_flops() / (SENTENCES * POSITIONS)),
        values=2 * touched,
        lookup=sum(lookup_operations(shape) for shape in shapes),
        head=2 * config.hidden_size * config.vocab_size,
        parameters=parameters,
        active=parameters - table + touched,
        table=table,
    )


def measure_times(
    models: Mapping[str, MemoryLlamaForCausalLM],
    rounds: int = ROUNDS,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, dict[str, float]]:
    """Microseconds a token in a forward pass: median and quartiles over interleaved rounds.

    Every round runs each model once, so that what else the machine does meets all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 2):  # the first two warm up
        tell(f"timing the models, round {max(0, number - 1)} of {rounds}")
        for name, model in models.items():
            seconds = _forward_seconds(model)
            if number >= 2:
                taken[name].append(1e6 * seconds / (SENTENCES * POSITIONS))
    return {name: _spread(values) for name, values in taken.items()}


def _forward_seconds(model: MemoryLlamaForCausalLM) -> float:
    ids = _ids(model.config.vocab_size)
    start = time.perf_counter()
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    return time.perf_counter() - start


def _spread(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def _ids(vocabulary: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (SENTENCES, POSITIONS), generator=generator)


def machine() -> dict[str, Any]:
    """What the times depend on."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": "cpu"}
