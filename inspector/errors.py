"""The errors a user can cause, as one tree.

InspectorError
├── CheckpointError
│   ├── CheckpointNotFound
│   ├── CheckpointMismatch
│   ├── UnsafeCheckpoint
│   ├── UnknownFamily
│   ├── TokenizerNeeded
│   └── SelfCheckFailed
├── PromptError
│   ├── EmptyPrompt
│   ├── PromptTooLong
│   └── UnknownToken
├── DeviceUnavailable
├── SlotError
├── EditError
│   └── PatchError
├── FactsError
├── CorpusError
├── ComparisonError
├── CacheError
├── SearchError
├── NotShown
├── Cancelled
└── TrainingError
    └── ConfigError

Every message is a full sentence: what was found, what was expected and what would work.
The app shows it in place; the command line prints it on stderr and exits with 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class InspectorError(Exception):
    """Anything that went wrong in a way the user can set right."""


class CheckpointError(InspectorError):
    """A checkpoint cannot be opened, or cannot be trusted."""


class CheckpointNotFound(CheckpointError):
    """Nothing that could be opened lies at this path or under this hub name."""


class CheckpointMismatch(CheckpointError):
    """The tensors are not those that the config asks for; ``names`` are the ones at fault."""

    def __init__(self, message: str, names: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


class UnsafeCheckpoint(CheckpointError):
    """Opening it would run code that came with it."""


class UnknownFamily(CheckpointError):
    """No family of ``inspector.families`` recognises this checkpoint."""


class TokenizerNeeded(CheckpointError):
    """The checkpoint doesn't bring its tokenizer: the user has to say where its file is."""


class SelfCheckFailed(CheckpointError):
    """The contributions of the reads do not add up to what the model computed."""


class PromptError(InspectorError):
    """A prompt cannot be traced."""


class EmptyPrompt(PromptError):
    """The prompt has no tokens."""


class PromptTooLong(PromptError):
    """The prompt has more tokens than the model has positions."""


class UnknownToken(PromptError):
    """A token, given by its text or by its number, is not in the vocabulary."""


class DeviceUnavailable(InspectorError):
    """The device is not there, or has not enough free memory."""


class SlotError(InspectorError):
    """A slot is out of range, or an address such as ``L4·H2·(431,77)`` cannot be read."""


class EditError(InspectorError):
    """An edit of slots cannot be read, or cannot be made in this model."""


class PatchError(EditError):
    """A patch is damaged, was made for another checkpoint, or conflicts with another."""


class FactsError(InspectorError):
    """A file of facts has a row that cannot be read; ``row`` counts from 1."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class CorpusError(InspectorError):
    """A corpus cannot be read; ``file`` is where, and ``row`` counts from 1."""

    def __init__(self, message: str, file: Path | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.row = row


class ComparisonError(InspectorError):
    """Two checkpoints have nothing of the kind to hold side by side."""


class CacheError(InspectorError):
    """A stored result cannot be read or written."""


class SearchError(InspectorError):
    """What to search for is empty, no regular expression, or needs a scan first."""


class NotShown(InspectorError):
    """It cannot be said of this kind of model, as when an output is no sum of its reads."""


class Cancelled(InspectorError):
    """Long work was stopped by the user before it had anything to keep."""


class TrainingError(InspectorError):
    """A training run cannot start or go on."""


class ConfigError(TrainingError):
    """The settings of a training run contradict each other."""
