"""The figures of the facts page hold the numbers of what they draw."""

import numpy as np
import pytest

from inspector.analyses.ablations import SlotTarget
from inspector.analyses.core_overlap import overlap
from inspector.analyses.facts import write_facts
from inspector.analyses.locate import locate
from inspector.analyses.proof import Proof, prove
from inspector.figures.facts import overlap_figure, proof_figure, short
from tests.analyses.planted_facts import FACTS, SINGLE, planted_model


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    folder = tmp_path_factory.mktemp("figure") / "planted"
    model = planted_model(folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return prove(model, FACTS, locate(model, SINGLE))


def test_a_proof_has_a_bar_each_and_an_interval_for_the_control(proof: Proof) -> None:
    figure = proof_figure(proof)
    bar, *points = figure.data
    means = [proof.before.mean(), proof.ablated.mean(), proof.control_probability.mean()]
    assert list(bar.x) == pytest.approx(means)
    low, high = proof.control_interval()
    assert bar.error_x.array[2] == pytest.approx(max(0, high - means[2]))
    assert bar.error_x.arrayminus[2] == pytest.approx(max(0, means[2] - low))
    assert list(bar.error_x.array[:2]) == [0, 0]
    assert [list(each.x) for each in points] == [
        pytest.approx(list(each))
        for each in (proof.before, proof.ablated, proof.control_probability.mean(0))
    ]


def test_a_matrix_has_a_cell_for_every_pair() -> None:
    members = [SlotTarget(0, number) for number in range(4)]
    found = overlap({"a": members[:2], "<b>x</b>": members[1:3], "none": []})
    (heat,) = overlap_figure(found).data
    np.testing.assert_allclose(heat.z, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, np.nan]], rtol=1e-6)
    assert list(overlap_figure(found).layout.yaxis.ticktext) == [
        "a",
        "&lt;b&gt;x&lt;/b&gt;",
        "none",
    ]


def test_labels_are_short_and_no_html() -> None:
    assert short("a" * 50) == "a" * 33 + "…"
    assert short("<a href='x'>") == "&lt;a href='x'&gt;"
