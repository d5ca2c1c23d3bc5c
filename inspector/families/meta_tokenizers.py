"""The three tokenizers of Meta's training code: bytes, SentencePiece and tiktoken."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer
from transformers import BatchEncoding, PreTrainedTokenizerFast

from inspector.errors import CheckpointError, TokenizerNeeded
from inspector.families.base import Tokenizer
from inspector.families.meta_params import Params
from inspector.families.roots import check_root

_BOS, _EOS = "<|bos|>", "<|eos|>"

# Splits text before byte pairs are merged; the one published with Llama 3.
_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL: Final = {"<|begin_of_text|>": 0, "<|end_of_text|>": 1}


def read_tokenizer(
    params: Params, given: Path | None, vocabulary: int
) -> tuple[Tokenizer, Path | None]:
    """The tokenizer that ``params`` names, and the file it came from.

    ``given`` is the file the user named, else it's the path in ``params``, if that is there.

    Raises:
        TokenizerNeeded: it's a file, and nobody said where that is.
        CheckpointError: its package isn't installed, or the file cannot be read.
    """
    if params.tokenizer == "bytes":
        return byte_tokenizer(params.add_bos), None
    if params.tokenizer not in _OPENERS:
        raise CheckpointError(
            f"{params.file} names the tokenizer {params.tokenizer!r}; those that can be opened are "
            "bytes, sp and tiktoken."
        )
    file = _find(params, given)
    core = _OPENERS[params.tokenizer](file)
    if len(core) > vocabulary:
        raise CheckpointError(
            f"The tokenizer {file} has {len(core):,} tokens, but the model knows {vocabulary:,}: "
            "it is another model's."
        )
    return WrappedTokenizer(core, params.add_bos), file


def _find(params: Params, given: Path | None) -> Path:
    if given is not None:
        if not given.is_file():
            raise TokenizerNeeded(f"There is no tokenizer file at {given}. Give the path of one.")
        return given
    said = params.tokenizer_path
    places = [] if said is None else [Path(said), params.file.parent / Path(said).name]
    for place in places:
        if place.is_file():
            check_root(place)
            return place
    where = f" It was at {said} where it was trained." if said else ""
    raise TokenizerNeeded(
        f"This checkpoint needs its {params.tokenizer} tokenizer, a file that does not come with "
        f"it.{where} Say where it is: `--tokenizer FILE`, `inspector.load(..., tokenizer=FILE)`, "
        "or in the app the box below this message."
    )


def byte_tokenizer(add_bos: bool) -> PreTrainedTokenizerFast:
    """One token a byte, then 256 that begins and 257 that ends a text."""
    alphabet = _byte_alphabet()
    core = FastTokenizer(models.BPE({alphabet[byte]: byte for byte in range(256)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in (_BOS, _EOS)])
    if add_bos:
        core.post_processor = processors.TemplateProcessing(
            single=f"{_BOS} $A", special_tokens=[(_BOS, 256)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=_BOS,
        eos_token=_EOS,
        split_special_tokens=True,  # a text that spells one is only a text
    )


def _byte_alphabet() -> list[str]:
    """The visible character that stands for each byte in byte-level vocabularies."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(rest)) for byte in range(256)]


class Core(Protocol):
    """What a tokenizer's own package offers, in one form."""

    bos: int
    eos: int

    def __len__(self) -> int:
        """Number of tokens."""

    def encode(self, text: str) -> list[int]:
        """Tokens of ``text``, none added."""

    def decode(self, ids: list[int]) -> str:
        """The text of some tokens."""

    def spelling(self, token: int) -> str:
        """How one token is written in the tokenizer's file."""


class _SentencePiece:
    """A SentencePiece model file."""

    def __init__(self, file: Path) -> None:
        package = _package("sentencepiece", file)
        try:
            self._core = package.SentencePieceProcessor(model_file=str(file))
        except Exception as error:  # noqa: BLE001  the package raises what it likes
            raise _broken(file, "SentencePiece", error) from None
        self.bos, self.eos = self._core.bos_id(), self._core.eos_id()

    def __len__(self) -> int:
        return int(self._core.vocab_size())

    def encode(self, text: str) -> list[int]:
        return list(self._core.encode(text))

    def decode(self, ids: list[int]) -> str:
        text = str(self._core.decode(ids))
        # Of a text's first piece the package drops the space; of a token alone it's to be seen.
        opens = len(ids) == 1 and text and self.spelling(ids[0]).startswith("\u2581")
        return f" {text}" if opens and not text.startswith(" ") else text

    def spelling(self, token: int) -> str:
        return str(self._core.id_to_piece(token))


class _TikToken:
    """A file of byte pairs by rank, with 256 special tokens behind them."""

    def __init__(self, file: Path) -> None:
        package = _package("tiktoken", file)
        try:
            # Not by the package's own reader: that keeps files by their path, changed or not.
            lines = [line.split() for line in file.read_bytes().splitlines() if line.strip()]
            ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
            names = {place: name for name, place in _SPECIAL.items()}
            special = {
                names.get(place, f"<|special_{place}|>"): len(ranks) + place for place in range(256)
            }
            self._core = package.Encoding(
                name=file.stem, pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=special
            )
        except Exception as error:  # noqa: BLE001  the package raises what it likes
            raise _broken(file, "tiktoken", error) from None
        self.bos, self.eos = (len(ranks) + place for place in _SPECIAL.values())

    def __len__(self) -> int:
        return int(self._core.n_vocab)

    def encode(self, text: str) -> list[int]:
        return list(self._core.encode_ordinary(text))  # what spells a special token is only text

    def decode(self, ids: list[int]) -> str:
        return str(self._core.decode(ids))

    def spelling(self, token: int) -> str:
        return repr(self._core.decode_single_token_bytes(token))[2:-1]


_OPENERS: Final[dict[str, Callable[[Path], Core]]] = {"sp": _SentencePiece, "tiktoken": _TikToken}


def _package(name: str, file: Path) -> Any:
    try:
        return import_module(name)
    except ImportError:
        top = name.split(".", 1)[0]
        raise CheckpointError(
            f"The tokenizer {file} needs the package {top}, which isn't installed. "
            f"`pip install {top}` adds it."
        ) from None


def _broken(file: Path, kind: str, error: Exception) -> CheckpointError:
    reason = str(error).split("\n", 1)[0] or type(error).__name__
    return CheckpointError(f"{file} cannot be read as a tokenizer of {kind}: {reason}.")


class WrappedTokenizer:
    """A tokenizer of another package, as the inspector asks for one (``base.Tokenizer``)."""

    def __init__(self, core: Core, add_bos: bool) -> None:
        """With ``add_bos``, texts begin with the token that the model saw first in training."""
        self._core = core
        self._opening = [core.bos] if add_bos and core.bos >= 0 else []
        self.bos_token_id = self._opening[0] if self._opening else None
        self.eos_token_id = core.eos if core.eos >= 0 else None

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self._core)

    def __call__(
        self, text: str | Sequence[str], add_special_tokens: bool = True, **_options: Any
    ) -> BatchEncoding:
        """``input_ids`` of one text, or of each."""
        opening = self._opening if add_special_tokens else []
        if isinstance(text, str):
            return BatchEncoding({"input_ids": [*opening, *self._core.encode(text)]})
        rows = [[*opening, *self._core.encode(part)] for part in text]
        return BatchEncoding({"input_ids": rows})

    def decode(self, token_ids: Any) -> str:
        """The text of some tokens; those that only pad the vocabulary have none."""
        return self._core.decode([int(token) for token in token_ids if token < len(self)])

    def convert_ids_to_tokens(self, ids: int) -> str | None:
        """How the tokenizer itself spells a token; None if it has no such token."""
        return self._core.spelling(ids) if 0 <= ids < len(self) else None
