"""A scan counts what the model did: every number against a recount of every single read."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inspector
from inspector.capture import scan_recorder, scan_windows
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.scan import ScanProgress, scan
from inspector.capture.session import logits, run_sites, session
from inspector.capture.usage import Usage
from inspector.errors import CheckpointError, CorpusError, UnknownToken
from inspector.families.base import MemoryModel
from tests.capture.recount import (
    Recount,
    Seen,
    check_co_firing,
    check_half_keys,
    check_reads,
    check_tables,
    recount,
    shown,
    strongest,
)
from tests.conftest import SENTENCES

VARIANTS: dict[str, dict[str, Any]] = {
    "shared table": {},
    "separate tables": {"memory_tables": [0, 1]},
    "knn above n": {"memory_knn": 12},
    "every slot": {"memory_half_keys": 2, "memory_knn": 4},
    "one head": {"memory_heads": 1, "memory_knn": 1},
    "norms": {"memory_query_norm": "layer", "memory_key_norm": "rms"},
}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Documents of one token to several windows; some come twice, many begin alike."""
    draw = random.Random(seed)
    texts = [draw.choice(SENTENCES)[: draw.randint(1, 30)] for _ in range(count)]
    texts.insert(3, " ".join(SENTENCES) * 2)
    return texts


CORPUS = sentences(40)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks even for a small corpus: of 128 tokens where a token has 16 reads."""
    monkeypatch.setattr(scan_recorder, "_CHUNK_READS", 2048)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys(), scope="module")
def variant(request: pytest.FixtureRequest, tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


@pytest.fixture(scope="module")
def truth(variant: MemoryModel) -> Recount:
    return recount(variant, CORPUS)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def test_every_count_equals_a_recount_of_every_read(variant: MemoryModel, truth: Recount) -> None:
    usage = scan(variant, CORPUS, cache=False, batch_tokens=200)
    assert usage.complete
    check_reads(usage, truth)
    check_tables(usage, truth)
    check_half_keys(usage, truth)
    check_co_firing(usage, truth)


def test_the_strongest_reads_are_the_strongest(variant: MemoryModel, truth: Recount) -> None:
    usage = scan(variant, CORPUS, cache=False)
    for table, contexts in usage.contexts.items():
        for slot in range(len(usage.tables[table].documents)):
            assert shown(contexts, slot, 0) == strongest(truth, usage, table, slot)


def test_contexts_shown_are_reads_that_happened(model: MemoryModel) -> None:
    usage, truth = scan(model, CORPUS, cache=False), recount(model, CORPUS)
    happened = {(r.slot, int(r.site[1:]), r.head, r.token): r for r in truth.reads if r.fresh}
    found = usage.contexts[0]
    rows = zip(found.slot, found.site, found.head, found.token, found.weight, strict=True)
    for *place, weight in rows:
        assert weight == pytest.approx(happened[tuple(map(int, place))].coefficient, abs=1e-6)
    order = np.lexsort((-np.abs(found.weight), found.kind, found.slot))
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_heads_that_are_alike_fire_together(model: MemoryModel) -> None:
    scores = model.sites["L0"].module.half_key_scores  # type: ignore[union-attr]
    kept = {name: p.clone() for name, p in scores.named_parameters()}
    try:
        with torch.no_grad():
            scores.half_keys[1] = scores.half_keys[0]
            scores.query.weight[16:] = scores.query.weight[:16]
            scores.query.bias[16:] = scores.query.bias[:16]
        usage = scan(model, CORPUS, cache=False)
    finally:
        with torch.no_grad():
            for name, parameter in scores.named_parameters():
                parameter.copy_(kept[name])
    assert (usage.sites["L0"].co_firing == usage.tokens).all()


@pytest.mark.parametrize("knn", [3, 4])  # a tie at the last rank, and one before it
def test_equal_half_keys_are_ranked_in_their_order(
    tiny_checkpoint: Callable[..., Path], knn: int
) -> None:
    model = load(tiny_checkpoint(memory_knn=knn), device="cpu")
    keys = model.sites["L0"].module.half_key_scores.half_keys  # type: ignore[union-attr]
    with torch.no_grad():
        keys[:, :, 4:] = keys[:, :, :4]
    usage, truth = scan(model, CORPUS, cache=False), recount(model, CORPUS)
    check_half_keys(usage, truth)
    check_reads(usage, truth)


# --- what must not matter -----------------------------------------------------------------------


def counts(usage: Usage) -> dict[str, np.ndarray]:
    """All that no order of the documents may change."""
    names = ("reads", "contexts", "half_hits", "half_rank", "margin_counts", "co_firing")
    found = {f"{n}.{k}": getattr(site, k) for n, site in usage.sites.items() for k in names}
    return found | {f"{t}.documents": table.documents for t, table in usage.tables.items()}


def assert_same_counts(one: Usage, other: Usage) -> None:
    left, right = counts(one), counts(other)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    for site, usage in one.sites.items():
        np.testing.assert_allclose(usage.weights, other.sites[site].weights, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 7, 64, 100_000])
def test_the_size_of_batches_does_not_matter(model: MemoryModel, batch_tokens: int) -> None:
    usage = scan(model, CORPUS, cache=False, batch_tokens=batch_tokens)
    other = scan(model, CORPUS, cache=False, batch_tokens=333)
    assert_same_counts(usage, other)
    np.testing.assert_array_equal(usage.contexts[0].token, other.contexts[0].token)
    np.testing.assert_array_equal(usage.tables[0].coverage, other.tables[0].coverage)
    np.testing.assert_allclose(
        usage.sites["L2"].query_sample, other.sites["L2"].query_sample, atol=1e-4
    )


def test_the_order_of_documents_does_not_matter(model: MemoryModel) -> None:
    shuffled = random.Random(1).sample(CORPUS, len(CORPUS))
    one, other = (scan(model, corpus, cache=False) for corpus in (CORPUS, shuffled))
    assert one.token_ids.tolist() != other.token_ids.tolist()
    assert one.distinct_contexts == other.distinct_contexts
    assert_same_counts(one, other)


def test_the_size_of_chunks_does_not_matter(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = scan(model, CORPUS, cache=False)
    monkeypatch.setattr(scan_recorder, "_CHUNK_READS", 2**21)
    large = scan(model, CORPUS, cache=False)
    assert_same_counts(small, large)
    for field in ("slot", "kind", "site", "head", "token"):
        np.testing.assert_array_equal(
            getattr(small.contexts[0], field), getattr(large.contexts[0], field)
        )


def test_padding_is_never_counted(model: MemoryModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch padded with one token or with another gives the same counts."""
    corpus = ["a", " ".join(SENTENCES)[:90]]
    expected = scan(model, corpus, cache=False)
    pad = scan_windows._pad

    def other_padding(chunk: Any, windows: Any, device: Any) -> scan_windows.Batch:
        batch = pad(chunk, windows, device)
        assert batch.real is not None  # else nothing is padded, and this tests nothing
        ids = torch.full_like(batch.ids, 77)
        ids.view(-1)[batch.real] = batch.ids.view(-1)[batch.real]
        return scan_windows.Batch(ids, batch.real, batch.tokens, batch.windows)

    monkeypatch.setattr(scan_windows, "_pad", other_padding)
    usage = scan(model, corpus, cache=False)
    assert_same_counts(usage, expected)
    assert usage.reads == usage.tokens * 16
    check_reads(usage, recount(model, corpus))


def test_a_prefix_that_comes_again_is_one_context(model: MemoryModel) -> None:
    once, thrice = (scan(model, [SENTENCES[0]] * times, cache=False) for times in (1, 3))
    assert thrice.tokens == 3 * once.tokens
    assert thrice.distinct_contexts == once.distinct_contexts == once.tokens
    for name, site in once.sites.items():
        np.testing.assert_array_equal(site.contexts, site.reads)
        np.testing.assert_array_equal(thrice.sites[name].contexts, site.contexts)
        np.testing.assert_array_equal(thrice.sites[name].reads, 3 * site.reads)


# --- samples ------------------------------------------------------------------------------------


def test_queries_are_those_of_the_tokens_in_order(model: MemoryModel) -> None:
    usage, truth = scan(model, CORPUS, cache=False), recount(model, CORPUS)
    for name, site in usage.sites.items():
        expected = np.stack(truth.queries[name])
        np.testing.assert_allclose(site.query_sample, expected, atol=1e-4)
        np.testing.assert_allclose(site.query_mean, expected.mean(0), atol=1e-4)


def test_queries_of_a_long_corpus_are_a_fair_sample(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A position's chance is that of all others: chi-square over tenths of the corpus."""
    from inspector.capture.scan_queries import QuerySample

    infos = {name: site.info for name, site in model.sites.items()}
    hits = np.zeros(10)
    for seed in range(20):
        sample = QuerySample(infos, seed)
        for start in range(0, 50_000, 7_000):
            sample.plan(start, min(7_000, 50_000 - start))
        assert len(set(sample.token.tolist())) == len(sample.token) == 8192
        hits += np.bincount(sample.token.numpy() // 5_000, minlength=10)
    expected = hits.sum() / 10
    assert ((hits - expected) ** 2 / expected).sum() < 27.9  # 0.1 % of chi-square with 9 degrees


# --- limits, progress, cancelling ---------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 2, 50, 129, 300])
def test_it_stops_at_the_token(model: MemoryModel, tokens: int) -> None:
    usage = scan(model, CORPUS, tokens, cache=False)
    assert (usage.tokens, usage.complete) == (tokens, False)
    check_reads(usage, recount(model, CORPUS, tokens))
    check_tables(usage, recount(model, CORPUS, tokens))


def test_a_limit_beyond_the_corpus_is_none(model: MemoryModel) -> None:
    whole = scan(model, CORPUS, cache=False)
    for tokens in (whole.tokens, whole.tokens + 1):
        usage = scan(model, CORPUS, tokens, cache=False)
        assert (usage.tokens, usage.complete) == (whole.tokens, True)
    assert not scan(model, CORPUS, whole.tokens - 1, cache=False).complete


def test_a_corpus_shorter_than_a_batch(model: MemoryModel) -> None:
    usage = scan(model, ["a"], cache=False, batch_tokens=10**6)
    check_reads(usage, recount(model, ["a"]))
    assert usage.complete


def test_progress_counts_up_to_the_end(model: MemoryModel) -> None:
    told: list[ScanProgress] = []
    usage = scan(model, CORPUS, cache=False, batch_tokens=64, report=told.append)
    done = [progress.tokens for progress in told]
    assert done == sorted(done)
    assert len(told) > 5
    assert (told[-1].tokens, told[-1].total) == (usage.tokens,) * 2
    assert all(p.total is not None and p.total >= p.tokens for p in told)
    assert all(p.tokens_per_s > 0 for p in told)
    told.clear()
    scan(model, CORPUS, 100, cache=False, report=told.append)
    assert told[0].total == 100
    told.clear()
    scan(model, iter(CORPUS), cache=False, report=told.append)
    assert told[0].total is None


@pytest.mark.parametrize("batches", [0, 1, 4, 9])
def test_cancelling_keeps_what_was_counted(model: MemoryModel, batches: int) -> None:
    asked = iter(range(10**6))
    told: list[ScanProgress] = []
    usage = scan(
        model,
        CORPUS,
        batch_tokens=40,
        cache=False,
        report=told.append,
        cancel=lambda: next(asked) == batches,
    )
    assert not usage.complete
    assert usage.tokens == (told[-1].tokens if told else 0)
    assert len(told) == batches
    assert usage.reads == usage.tokens * 16
    assert len(usage.token_ids) == usage.tokens
    for site in usage.sites.values():
        assert site.half_hits.sum() == usage.tokens * 2 * 2 * 4
        assert np.isfinite(site.query_mean).all()
    if batches:
        assert usage.documents == len(usage.document_starts) > 0
        assert usage.contexts[0].token.max() < usage.tokens


# --- what cannot be scanned ---------------------------------------------------------------------


def test_a_model_without_memory_is_refused(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(memory_layers=[]), device="cpu")
    with pytest.raises(CheckpointError, match="no memory layers"):
        scan(model, CORPUS)


def test_an_empty_corpus_is_refused(model: MemoryModel) -> None:
    with pytest.raises(CorpusError, match="no text"):
        scan(model, ["", " \n"])


def test_limits_below_one_are_refused(model: MemoryModel) -> None:
    for options in ({"tokens": 0}, {"batch_tokens": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            scan(model, CORPUS, **options)  # type: ignore[arg-type]


def test_a_tokenizer_of_another_model_is_refused(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(vocab_size=280), device="cpu")
    with pytest.raises(UnknownToken, match="280"):
        scan(model, CORPUS)


# --- the session's part -------------------------------------------------------------------------


def test_an_observer_sees_what_a_recording_holds(model: MemoryModel) -> None:
    ids, seen = torch.tensor([[0, 41, 7, 299, 5]]), Seen()
    with session(record=True, observer=seen) as recording:
        logits(model, ids)
    for name, site in model.sites.items():
        reads = site.select(torch.from_numpy(seen.half_scores[name]), None)
        assert torch.equal(reads.slots, recording.reads[name].slots[0])
        queries = site.queries(recording.inputs[name])[0]
        np.testing.assert_array_equal(seen.queries[name], queries.numpy())


def test_running_the_sites_leaves_the_head_out(model: MemoryModel) -> None:
    called: list[Sequence[Any]] = []
    handle = model.backbone.head.register_forward_hook(lambda *args: called.append(args))
    try:
        with session(record=True) as recording:
            run_sites(model, torch.tensor([[0, 41, 7]]))
    finally:
        handle.remove()
    assert list(recording.reads) == ["L0", "L2"]
    assert not called


def test_the_public_names() -> None:
    assert inspector.scan is scan
    assert inspector.Usage is Usage


def test_a_frame_has_a_row_for_every_slot_read(model: MemoryModel) -> None:
    usage = scan(model, CORPUS, cache=False)
    frame = usage.to_frame()
    assert frame.reads.sum() == usage.reads
    assert (frame.reads > 0).all()
    assert (frame.slot == frame.i * 8 + frame.j).all()
    row = frame.iloc[-1]
    assert usage.sites[row.site].reads[row["head"], row.slot] == row.reads


def test_scans_are_told_apart_by_their_text_and_not_by_what_it_is_called(
    model: MemoryModel, tmp_path: Path
) -> None:
    file = tmp_path / "corpus.csv"
    file.write_text(
        "a,b\n" + "".join(f"{one},{other}\n" for one, other in zip("uvwx", "vwxy", strict=True))
    )
    found = [
        scan(model, open_corpus(file, column), 6, cache=False).identity
        for column in ("a", "b", "a")
    ]
    assert found[0] == found[2] != found[1]
    seeded = scan(model, open_corpus(file, "a"), 6, seed=1, cache=False)
    assert seeded.identity != found[0]
