"""What a run learns from, made from its configuration: facts, tokenizer, sentences."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from inspector.analyses.facts import Fact
from inspector.errors import ConfigError, TrainingError
from inspector.training.config import TrainingConfig
from inspector.training.corpus import Corpus
from inspector.training.interventions import Interventions
from inspector.training.tokenizer import make_tokenizer
from inspector.training.world_facts import WorldFacts, build_world_facts, training_sentences


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from: facts, the tokenizer made for them, and their sentences."""

    world: WorldFacts
    tokenizer: PreTrainedTokenizerFast
    corpus: Corpus


def make_data(config: TrainingConfig) -> TrainingData:
    """The data of ``config``: the same each time, and whatever its model is.

    Raises:
        TrainingError: a source of facts is not installed.
        ConfigError: no data can be made from ``config``.
    """
    world = _world(config)
    tokenizer = _tokenizer(config, world.facts)
    return TrainingData(world, tokenizer, _corpus(config, world, tokenizer))


def _world(config: TrainingConfig) -> WorldFacts:
    try:
        return build_world_facts(seed=config.seed, limits=config.limits or None)
    except ImportError as error:
        raise TrainingError(f"The facts cannot be made: {error}.") from None
    except ValueError as error:
        raise ConfigError(f"The facts cannot be made: {error}.") from None


def _corpus(
    config: TrainingConfig, world: WorldFacts, tokenizer: PreTrainedTokenizerFast
) -> Corpus:
    hp = config.optimisation
    asked = [f for f in world.facts for _ in range(config.repeats.get(f.relation, 1))]
    interventions = None
    if hp.silenced or hp.interchanged:
        interventions = Interventions(
            [fact.relation for fact in asked for _ in fact.prompts],
            [fact.object for fact in asked for _ in fact.prompts],
            batch=hp.batch,
            silenced=hp.silenced,
            interchanged=hp.interchanged,
            interchange_after=hp.interchange_after,
            seed=config.seed,
        )
    try:
        return Corpus(
            training_sentences(asked),
            tokenizer,
            batch=hp.batch,
            prompt_weight=hp.prompt_weight,
            seed=config.seed,
            interventions=interventions,
        )
    except ValueError as error:
        raise ConfigError(f"No batches can be made: {error}.") from None


def _tokenizer(config: TrainingConfig, facts: tuple[Fact, ...]) -> PreTrainedTokenizerFast:
    # Answers that are words are counted several times over, so that most become one token, whose
    # value one can read; codes stay out and are spelled from smaller pieces.
    prompts = [prompt for fact in facts for prompt in (*fact.prompts, *fact.heldout_prompts)]
    answers = [f" {f.object}" for f in facts if f.relation != "airport"] * 8
    positions = int(config.model.get("max_position_embeddings", 256))
    return make_tokenizer([*prompts, *answers], config.vocabulary, positions)
