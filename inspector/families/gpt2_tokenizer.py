"""The byte pairs of GPT-2, from whichever files they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from transformers import PreTrainedTokenizerFast

from inspector.errors import CheckpointError, TokenizerNeeded
from inspector.families.tokenizer_files import check_numbers, check_tokenizer_json, read_json

_END: Final = "<|endoftext|>"
_WHOLE: Final = "tokenizer.json"
_PAIRS: Final = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_NAMES: Final = (_WHOLE, *(name for pair in _PAIRS for name in pair))


def read_gpt2_tokenizer(
    beside: Path, given: Path | None, vocabulary: int
) -> tuple[PreTrainedTokenizerFast, Path]:
    """The tokenizer that lies in the folder ``beside``, or where the user says, and its file.

    ``vocabulary`` is the number of tokens that the model knows: it may be padded.

    Raises:
        TokenizerNeeded: it isn't there, and nobody said where it is.
        CheckpointError: its files cannot be read, or are another model's.
    """
    file = _find(beside, given)
    try:
        core = _read(file)
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001  the package raises what it likes
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise CheckpointError(f"{file} cannot be read as GPT-2's tokenizer: {reason}.") from None
    if core.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f"The tokenizer {file} has {core.get_vocab_size():,} tokens, but the model knows "
            f"{vocabulary:,}: it is another model's."
        )
    known = core.token_to_id(_END) is not None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=_END if known else None,
        split_special_tokens=True,  # a text that spells one is only a text
    )
    return tokenizer, file


def _find(beside: Path, given: Path | None) -> Path:
    if given is not None:
        found = _in_folder(given) if given.is_dir() else given
        if found is None or not found.is_file():
            raise TokenizerNeeded(
                f"There is no tokenizer at {given}. Give the path of GPT-2's {_WHOLE}, or of its "
                f"{' and '.join(_PAIRS[0])}."
            )
        return found
    found = _in_folder(beside)
    if found is None:
        raise TokenizerNeeded(
            "This checkpoint needs the tokenizer of GPT-2, which does not come with it. Put its "
            f"{_WHOLE} (or {' and '.join(_PAIRS[0])}) into {beside}, or say where it is: "
            "`--tokenizer FILE`, `inspector.load(..., tokenizer=FILE)`, or in the app the box "
            "below this message."
        )
    return found


def _in_folder(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)


def _read(file: Path) -> FastTokenizer:
    vocabulary, merges = file, None
    for names in _PAIRS:
        if file.name in names:
            vocabulary, merges = (file.with_name(name) for name in names)
    if merges is None:
        check_tokenizer_json(vocabulary)
        return FastTokenizer.from_str(file.read_text(encoding="utf-8"))
    ranks = read_json(vocabulary)
    check_numbers(vocabulary, iter(ranks.values()))
    lines = merges.read_text(encoding="utf-8").splitlines()
    rules = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    pairs = [(first, second) for first, second in rules]
    core = FastTokenizer(models.BPE(ranks, pairs))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if _END in ranks:
        core.add_special_tokens([AddedToken(_END, special=True)])
    return core
