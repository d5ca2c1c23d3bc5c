"""Checkpoints of other families in the app: the report, and a tokenizer that is asked for."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.families.test_meta_tokenizers import StandInEncoding
from tests.families.tiny_meta import params, random_state, write_consolidated
from tests.pages.user_session import UserSession


def test_the_report_of_a_peer_run(tmp_path: Path) -> None:
    config = params(peer_variant=True, swilu_projection=True)
    path = write_consolidated(tmp_path, config, random_state(config, 0))
    session = UserSession("checkpoint", checkpoint=path)
    report = session.table("found").set_index("")["found"]
    assert report["Family"].startswith("meta, because there is a consolidated.pth")
    assert report["Tensors"] == "32 used, 8 ignored, 0 missing"
    assert report["Ignored"].startswith("8: layers.0.feed_forward.")
    assert report["Ignored"].endswith(" and 2 more")
    assert report["Tied"].startswith("2: layers.2.feed_forward.values_v.weight")
    assert report["Tokenizer"] == "bytes, which needs no file, 258 tokens"
    assert list(session.table("site")["weights"]) == ["softmax x gelu, signed"] * 2
    assert any("can be negative" in text.value for text in session.app.text)


def test_a_run_without_memory_opens_with_zero_sites(tmp_path: Path) -> None:
    config = params(is_enabled=False)
    path = write_consolidated(tmp_path, config, random_state(config, 0))
    session = UserSession("checkpoint", checkpoint=path / "consolidated.pth")
    assert "no memory" in session.sentence("headline")
    assert session.app.error == []


def test_the_tokenizers_file_is_asked_for_and_kept_in_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(Encoding=StandInEncoding))
    words = tmp_path / "words.model"
    words.write_bytes(b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256)))
    config = params({"vocab_size": 512})
    config["data"]["tokenizer"] = {"name": "tiktoken", "path": "/gone/words.model"}
    path = write_consolidated(tmp_path / "run", config, random_state(config, 0))
    session = UserSession("checkpoint", checkpoint=path)
    assert session.errors[0] == "This checkpoint could not be opened yet."
    assert "/gone/words.model" in session.errors[1]
    session.app.text_input(key="tokenizer file").set_value(str(words))
    session.run()
    assert session.app.error == []
    assert session.url["tokenizer"] == str(words)
    report = session.table("found").set_index("")["found"]
    assert report["Tokenizer"] == f"tiktoken, {words}, 512 tokens"


def test_a_wrong_file_is_told_and_asked_for_again(tmp_path: Path) -> None:
    config = params()
    config["data"]["tokenizer"] = {"name": "sp", "path": None}
    path = write_consolidated(tmp_path, config, random_state(config, 0))
    session = UserSession("checkpoint", checkpoint=path, tokenizer=tmp_path / "typo")
    assert "no tokenizer file at" in session.errors[1]
    assert session.app.text_input(key="tokenizer file").value == str(tmp_path / "typo")
