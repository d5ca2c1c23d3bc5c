"""The command line on checkpoints of other families."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from inspector import cli
from inspector.errors import TokenizerNeeded
from tests.families.test_meta_tokenizers import StandInEncoding
from tests.families.tiny_meta import params, random_state, write_consolidated


def run(*arguments: str | Path) -> Result:
    options = (*map(str, arguments), "--device", "cpu")
    return CliRunner().invoke(cli.app, options, catch_exceptions=False)


def test_check_reports_what_was_found(tmp_path: Path) -> None:
    config = params(peer_variant=True, swilu_projection=True)
    path = write_consolidated(tmp_path / "run", config, random_state(config, 0))
    file = tmp_path / "check.json"
    result = run("check", path / "consolidated.pth", "--json", file)
    assert result.exit_code == 0
    assert "softmax × gelu" in result.output
    found = json.loads(file.read_text())
    assert (found["family"], found["tensors_used"], len(found["ignored"])) == ("meta", 32, 8)
    assert found["tied"][0] == "layers.2.feed_forward.values_v.weight"
    assert "negative" in found["limits"][0]
    assert found["tokenizer"] == "bytes, which needs no file"
    assert found["sites"]["L2"]["activation"] == "gelu"
    assert found["self_check"]["passed"]


def test_the_tokenizers_file_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(Encoding=StandInEncoding))
    words = tmp_path / "words.model"
    words.write_bytes(b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256)))
    config = params({"vocab_size": 512})
    config["data"]["tokenizer"] = {"name": "tiktoken", "path": None}
    path = write_consolidated(tmp_path / "run", config, random_state(config, 0))
    with pytest.raises(TokenizerNeeded, match="--tokenizer FILE"):
        run("trace", path, "hi")
    file = tmp_path / "trace.json"
    result = run("trace", path, "hi", "--tokenizer", words, "--json", file)
    assert result.exit_code == 0
    assert json.loads(file.read_text())["tokens"] == ["<|begin_of_text|>", "h", "i"]
