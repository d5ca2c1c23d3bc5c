"""Example prompts, one for each relation of a checkpoint's own facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector.ui.prompt import fact_prompts


def write(folder: Path, *facts: tuple[str, str, str]) -> str:
    rows = [{"relation": r, "subject": s, "prompts": [p, "x"]} for r, s, p in facts]
    (folder / "facts.jsonl").write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder)


def test_one_prompt_a_relation_in_a_fixed_order(tmp_path: Path) -> None:
    found = fact_prompts(
        write(
            tmp_path,
            ("river", "Nile", "The Nile flows through"),
            ("currency", "Peru", "The currency of Peru is the"),
            ("capital", "Peru", "The capital of Peru is"),
            ("river", "Rhine", "The Rhine flows through"),
        )
    )
    assert found == (
        ("capital", "The capital of Peru is"),
        ("currency", "The currency of Peru is the"),
        ("river", "The Nile flows through"),
    )


def test_the_best_known_subject_is_taken_wherever_it_stands(tmp_path: Path) -> None:
    found = fact_prompts(
        write(
            tmp_path,
            ("capital", "Peru", "The capital of Peru is"),
            ("capital", "France", "The capital of France is"),
            ("capital", "Spain", "The capital of Spain is"),
        )
    )
    assert found == (("capital", "The capital of France is"),)


def test_a_checkpoint_without_facts_has_no_examples(tmp_path: Path) -> None:
    assert fact_prompts(str(tmp_path)) == ()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        '{"relation": "capital", "subject": "Peru", "prompts": []}',
        '{"relation": "capital", "prompts": ["x"]}',
        '{"relation": "capital", "subject": "Peru", "prompts": null}',
        '{"relation": "capital", "subject": "Peru", "prompts": {"a": 1}}',
    ],
)
def test_a_broken_file_offers_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / "facts.jsonl").write_text(line)
    assert fact_prompts(str(tmp_path)) == ()


def test_a_file_of_other_bytes_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_bytes(b"\xff\xfe\x00")
    assert fact_prompts(str(tmp_path)) == ()
