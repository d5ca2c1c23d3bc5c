"""Meta's tokenizers. Those of other packages are asked through stand-ins of the same interface."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.errors import CheckpointError, TokenizerNeeded
from inspector.families.base import MemoryModel
from inspector.families.meta_tokenizers import byte_tokenizer
from tests.families.tiny_meta import params, random_state, write_consolidated


def written(folder: Path, name: str, path: str | None, *, add_bos: bool = True) -> Path:
    config = params()
    config["data"] |= {"tokenizer": {"name": name, "path": path}, "add_bos": add_bos}
    return write_consolidated(folder, config, random_state(config, 0))


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["hello", "é ☃ \0\n", "  two ", "<|bos|><|eos|>", "\x80\xff", "🧠"]
)
def test_a_byte_is_a_token(text: str) -> None:
    ids = byte_tokenizer(add_bos=True)(text).input_ids
    assert ids == [256, *text.encode()]
    assert byte_tokenizer(add_bos=False)(text).input_ids == [*text.encode()]
    assert byte_tokenizer(add_bos=True).decode(ids[1:]) == text


def test_byte_tokens_have_numbers_and_names() -> None:
    tokenizer = byte_tokenizer(add_bos=True)
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (258, 256, 257)
    assert tokenizer(["a", "bc"]).input_ids == [[256, 97], [256, 98, 99]]
    assert [tokenizer.decode([byte]) for byte in (65, 32, 10)] == ["A", " ", "\n"]
    assert tokenizer.convert_ids_to_tokens(300) is None


def test_texts_are_traced_byte_by_byte(tmp_path: Path) -> None:
    model = load(written(tmp_path, "bytes", None), device="cpu")
    assert trace(model, "Hi é").tokens == ("<|bos|>", "H", "i", " ", "Ã", "©")
    bare = load(written(tmp_path / "bare", "bytes", None, add_bos=False), device="cpu")
    assert trace(bare, "Hi").tokens == ("H", "i")


# --- where the file is --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sp", "tiktoken"])
def test_a_path_that_is_missing_is_asked_for(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "/gone/of/the/trainer/tokenizer.model")
    with pytest.raises(TokenizerNeeded, match=f"needs its {name} tokenizer") as caught:
        load(path, device="cpu")
    assert "/gone/of/the/trainer/tokenizer.model" in str(caught.value)
    assert "--tokenizer FILE" in str(caught.value)
    with pytest.raises(TokenizerNeeded, match=r"no tokenizer file at .*typo"):
        load(path, device="cpu", tokenizer=tmp_path / "typo")


def test_no_path_at_all_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TokenizerNeeded, match="does not come with it"):
        load(written(tmp_path, "sp", None), device="cpu")


@pytest.mark.parametrize(("name", "package"), [("sp", "sentencepiece"), ("tiktoken", "tiktoken")])
def test_a_package_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "words").write_text("x")
    path = written(tmp_path / "run", name, None)
    with pytest.raises(CheckpointError, match=f"`pip install {package}`"):
        load(path, device="cpu", tokenizer=tmp_path / "words")


# --- the packages -------------------------------------------------------------------------------

PIECES = ["<unk>", "<s>", "</s>", "\u2581the", "\u2581cat", "s", "<0x41>"]


class StandInSentencePiece:
    """Words of ``PIECES``, as SentencePiece splits and joins them."""

    def __init__(self, model_file: str) -> None:
        if Path(model_file).read_text() != "pieces":
            raise RuntimeError("Internal: could not parse ModelProto\nmore")

    def vocab_size(self) -> int:
        return len(PIECES)

    def bos_id(self) -> int:
        return 1

    def eos_id(self) -> int:
        return 2

    def encode(self, text: str) -> list[int]:
        found, rest = [], "\u2581" + text.replace(" ", "\u2581")
        while rest:
            piece = next(p for p in PIECES if rest.startswith(p))
            found.append(PIECES.index(piece))
            rest = rest.removeprefix(piece)
        return found

    def decode(self, ids: list[int]) -> str:
        shown = "".join(PIECES[i] for i in ids if i > 2)
        return shown.replace("\u2581", " ").removeprefix(" ")

    def id_to_piece(self, token: int) -> str:
        return PIECES[token]


class StandInEncoding:
    """Single bytes alone, as tiktoken encodes a text none of whose pairs is known."""

    def __init__(self, name: str, pat_str: str, mergeable_ranks: Any, special_tokens: Any) -> None:
        assert r"\p{N}{1,3}" in pat_str
        assert name == "words"
        self.names = {**{rank: token for token, rank in mergeable_ranks.items()}}
        self.names |= {place: token.encode() for token, place in special_tokens.items()}
        assert sorted(self.names) == list(range(len(self.names)))
        self.n_vocab = len(self.names)

    def encode_ordinary(self, text: str) -> list[int]:
        places = {token: place for place, token in self.names.items()}
        return [places[bytes([byte])] for byte in text.encode()]

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.names[i] for i in ids).decode(errors="replace")

    def decode_single_token_bytes(self, token: int) -> bytes:
        return self.names[token]


def open_with(tmp_path: Path, name: str, content: bytes, *, size: int = 600) -> MemoryModel:
    words = tmp_path / "words.model"
    words.write_bytes(content)
    config = params({"vocab_size": size})
    config["data"]["tokenizer"] = {"name": name, "path": "elsewhere/words.model"}
    path = write_consolidated(tmp_path / "run", config, random_state(config, 0))
    return load(path, device="cpu", tokenizer=words)


@pytest.fixture
def sentencepiece(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(SentencePieceProcessor=StandInSentencePiece)
    monkeypatch.setitem(sys.modules, "sentencepiece", package)


@pytest.fixture
def tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(Encoding=StandInEncoding))


RANKS = b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256))


@pytest.mark.usefixtures("sentencepiece")
def test_sentencepiece_through_its_package(tmp_path: Path) -> None:
    model = open_with(tmp_path, "sp", b"pieces")
    tokenizer = model.tokenizer
    assert tokenizer("the cats").input_ids == [1, 3, 4, 5]
    assert tokenizer(["the", "cat"], verbose=False).input_ids == [[1, 3], [1, 4]]
    assert tokenizer("cat", add_special_tokens=False).input_ids == [4]
    assert tokenizer.decode([3, 4, 5]) == "the cats"
    assert trace(model, "the cats").tokens == ("<s>", " the", " cat", "s")
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (7, 1, 2)
    assert model.token_text(599) == "<599>"
    assert model.provenance.tokenizer.startswith("sp, ")


@pytest.mark.usefixtures("tiktoken")
def test_tiktoken_through_its_package(tmp_path: Path) -> None:
    model = open_with(tmp_path, "tiktoken", RANKS)
    tokenizer = model.tokenizer
    assert tokenizer("hi").input_ids == [256, 104, 105]
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (512, 256, 257)
    assert trace(model, "é").tokens == ("<|begin_of_text|>", r"\xc3", r"\xa9")


@pytest.mark.usefixtures("sentencepiece", "tiktoken")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("sp", b"other", r"could not parse ModelProto\.$"),
        ("tiktoken", b"no ranks", "cannot be read as a tokenizer of tiktoken"),
        ("tiktoken", b"\xff\xfe", "cannot be read as a tokenizer of tiktoken"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_told(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(CheckpointError, match=told):
        open_with(tmp_path, name, content)


@pytest.mark.usefixtures("tiktoken")
def test_a_tokenizer_of_another_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has 512 tokens, but the model knows 511"):
        open_with(tmp_path, "tiktoken", RANKS, size=511)


@pytest.mark.usefixtures("sentencepiece")
def test_the_trainers_own_path_and_the_runs_folder_are_looked_at(tmp_path: Path) -> None:
    config = params()
    config["data"]["tokenizer"] = {"name": "sp", "path": "elsewhere/words.model"}
    path = write_consolidated(tmp_path / "run", config, random_state(config, 0))
    (path / "words.model").write_text("pieces")
    beside = load(path, device="cpu")
    (path / "words.model").rename(tmp_path / "words.model")
    config["data"]["tokenizer"]["path"] = str(tmp_path / "words.model")
    again = load(write_consolidated(path, config, random_state(config, 0)), device="cpu")
    assert beside.tokenizer("the").input_ids == again.tokenizer("the").input_ids == [1, 3]
