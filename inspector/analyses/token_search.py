"""From words to slots: the tokens that a query means, and the slots that speak for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from inspector.analyses.decoded_table import DecodedTable
from inspector.analyses.slot_tfidf import SlotTfidf, slot_tfidf
from inspector.analyses.token_texts import token_texts
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.errors import EmptyPrompt, InspectorError, SearchError
from inspector.families.base import MemoryModel

How = Literal["word", "prefix", "regex"]
End = Literal["promoted", "suppressed"]

_LONGEST: Final = 1_000  # characters of a query


def matching_tokens(model: MemoryModel, query: str, how: How = "word") -> np.ndarray:
    """The tokens that ``query`` means, ``[token]`` int32, ascending. Upper and lower case differ.

    ``word``: the tokens that write exactly this word, after a space or not. Where none does, the
    first piece of the word as it's written inside a text, after a space: an answer of several
    tokens begins with it, but other words may too (``search_note`` says so). ``prefix``: tokens
    whose text, a space before it aside, begins so. ``regex``: tokens in whose text, a space before
    it included, an RE2 expression is found; RE2 takes time in proportion to the text, whatever the
    expression.

    Raises:
        SearchError: the query is empty or too long, or no regular expression.
    """
    _check(query)
    texts = token_texts(model)
    if how == "regex":
        return _matching(texts, query)
    if how == "prefix":
        return _where([text.removeprefix(" ").startswith(query) for text in texts])
    if how != "word":
        raise ValueError(f"how = {how!r} must be word, prefix or regex")
    word = query.strip()
    found = _where([text.removeprefix(" ") == word for text in texts])
    return found if len(found) else np.array(_pieces(model, word)[:1], dtype=np.int32)


def search_note(model: MemoryModel, query: str, how: How, tokens: np.ndarray) -> str:
    """What was searched for, where that isn't the word itself; else nothing."""
    word, texts = query.strip(), token_texts(model)
    if not len(tokens):
        return f"No token of {model.name} matches {query!r}."
    if how != "word" or texts[int(tokens[0])].removeprefix(" ") == word:
        return ""
    pieces = [texts[token] for token in _pieces(model, word)]
    return (
        f"{word!r} is written in {len(pieces)} tokens, {', '.join(map(repr, pieces))}: slots are "
        f"found for the first, which other words may begin with too."
    )


def _check(query: str) -> None:
    if not query.strip():
        raise SearchError("The search is empty. Type a word, or the beginning of one.")
    if len(query) > _LONGEST:
        raise SearchError(f"The search has {len(query):,} characters; at most {_LONGEST:,} work.")
    try:
        query.encode()
    except UnicodeEncodeError:
        raise SearchError("The search is not valid UTF-8. Type it as text.") from None


def _matching(texts: tuple[str, ...], expression: str) -> np.ndarray:
    try:
        return _where(
            pc.match_substring_regex(pa.array(texts, pa.string()), expression).to_pylist()
        )
    except pa.ArrowInvalid as problem:
        reason = str(problem).removeprefix("Invalid regular expression: ")
        raise SearchError(
            f"{expression!r} is no regular expression ({reason}). RE2's syntax is understood: "
            "no look-around, no back-references, and a backslash before a character meant as it is."
        ) from None


def _where(matches: list[bool]) -> np.ndarray:
    return np.flatnonzero(np.array(matches, dtype=bool)).astype(np.int32)


def _pieces(model: MemoryModel, word: str) -> list[int]:
    """The tokens of ``word`` inside a text, after a space."""
    ends = (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id)
    ids = [int(token) for token in model.tokenizer(f" {word}").input_ids]
    known = range(model.backbone.head.out_features)
    pieces = [token for token in ids if token in known and token not in ends]
    texts = token_texts(model)
    while len(pieces) > 1 and not texts[pieces[0]].strip():
        pieces = pieces[1:]  # the space is a token of its own: it says nothing of the word
    return pieces


@dataclass(frozen=True, eq=False)
class TokenSlots:
    """Slots that promote or suppress some tokens, strongest first: one item a slot and token.

    All ``[hit]``: ``slots`` int64, ``tokens`` int32, ``promoted`` True where the token is among
    those promoted and False where among those suppressed, ``rank`` from 1, ``logit`` float32, and
    the slot's own ``standing``, ``p_value``, ``passes``, ``significant``.
    """

    site: str
    gate: str
    slots: np.ndarray
    tokens: np.ndarray
    texts: tuple[str, ...]
    promoted: np.ndarray
    rank: np.ndarray
    logit: np.ndarray
    standing: np.ndarray
    p_value: np.ndarray
    passes: np.ndarray
    significant: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        if any(len(getattr(self, name)) != len(self.slots) for name in _HIT):
            raise ValueError("slots found for tokens disagree in length with what is said of them")

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot and token."""
        return pd.DataFrame(
            {
                "site": self.site,
                "gate": self.gate,
                "slot": self.slots,
                "end": np.where(self.promoted, "promoted", "suppressed"),
                "token": list(self.texts),
                "token_id": self.tokens,
                **{name: getattr(self, name) for name in _HIT[4:]},
            }
        )


_HIT: Final = (
    *("tokens", "texts", "promoted", "slots"),
    *("rank", "logit", "standing", "p_value", "passes", "significant"),
)


def slots_for_tokens(
    decoded: DecodedTable, tokens: np.ndarray, *, end: End | None = None, within: int | None = None
) -> TokenSlots:
    """The slots that have one of ``tokens`` among those they promote or suppress.

    Best rank first, of equal ranks the larger logit in size, then the lower slot.

    Args:
        decoded: all slots of a table.
        tokens: token ids, as from ``matching_tokens``.
        end: only slots that promote it, or only those that suppress it; both by default.
        within: the token is among the first so many; among all that were kept by default.
    """
    parts = []
    for name in ("promoted", "suppressed"):
        if end in (None, name):
            ids = getattr(decoded, name)[:, :within]
            slots, ranks = np.nonzero(np.isin(ids, tokens))
            logits = getattr(decoded, f"{name}_logits")[slots, ranks]
            parts.append(
                (slots, ids[slots, ranks], slots * 0 == (name != "promoted"), ranks, logits)
            )
    slots, ids, promoted, ranks, logits = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    order = np.lexsort((slots, -np.abs(logits), ranks))
    chosen = slots[order]
    return TokenSlots(
        site=decoded.site,
        gate=decoded.gate,
        slots=chosen,
        tokens=ids[order],
        texts=tuple(decoded.texts(ids[order])),
        promoted=promoted[order],
        rank=ranks[order] + 1,
        logit=logits[order],
        standing=decoded.standing[chosen],
        p_value=decoded.p_value[chosen],
        passes=decoded.passes[chosen],
        significant=decoded.significant[chosen],
    )


def slots_for_text(model: MemoryModel, text: str, background: Usage, table: int = 0) -> SlotTfidf:
    """The slots that ``text`` reads most specifically: TF-IDF against a scan of a corpus.

    The text is run through the model; see ``slot_tfidf``, whose result's ``to_frame`` lists the
    slots, highest score first.

    Raises:
        EmptyPrompt: the text is empty.
        InspectorError: the background is of another checkpoint.
    """
    if not text.strip():
        raise EmptyPrompt("The text is empty. Type what to look for slots with.")
    if background.fingerprint != model.fingerprint:
        raise InspectorError(
            f"The background was scanned with another checkpoint than {model.name}. Scan a corpus "
            "with this one: `inspector scan` does."
        )
    return slot_tfidf(scan(model, [text], cache=False), background, table)
