"""What of two checkpoints can be held side by side, and why the rest cannot."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.families.base import MemoryModel


@dataclass(frozen=True)
class Comparability:
    """Which parts of two checkpoints compare.

    Predictions as texts, recall and usage measures always do. ``vocabulary``: token by token, as a
    KL divergence needs. ``tables`` that both have with as many half-keys a set: slot by slot.
    ``values`` of them also have one width, so that drift can be told. ``half_keys``: sites whose
    half-keys match in number and width. ``reasons`` say in sentences what does not compare.
    """

    vocabulary: bool
    tables: tuple[int, ...]
    values: tuple[int, ...]
    half_keys: tuple[str, ...]
    reasons: tuple[str, ...]


def compare_sizes(first: MemoryModel, second: MemoryModel) -> Comparability:
    """Hold the sizes and tokenizers of two checkpoints against each other."""
    reasons: list[str] = []
    vocabulary = _same_vocabulary(first, second, reasons)
    tables, values = _tables(first, second, reasons)
    half_keys = _half_keys(first, second, tables, reasons)
    return Comparability(vocabulary, tables, values, half_keys, tuple(reasons))


def _same_vocabulary(first: MemoryModel, second: MemoryModel, reasons: list[str]) -> bool:
    sizes = first.backbone.head.out_features, second.backbone.head.out_features
    tokenizers = first.tokenizer, second.tokenizer
    same = sizes[0] == sizes[1] and all(
        tokenizers[0].convert_ids_to_tokens(token) == tokenizers[1].convert_ids_to_tokens(token)
        for token in range(sizes[0])
    )
    if not same:
        reasons.append(
            f"Their tokenizers differ ({sizes[0]:,} and {sizes[1]:,} tokens): predictions and "
            "recall are compared as texts, and KL divergence is left out."
        )
    return same


def _tables(
    first: MemoryModel, second: MemoryModel, reasons: list[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    dense = [model.name for model in (first, second) if not model.sites]
    if dense:
        reasons.append(
            f"{' and '.join(dense)} has no memory layers: usage, slots and values are left out."
            if len(dense) == 1
            else "Neither has memory layers: usage, slots and values are left out."
        )
        return (), ()
    tables, values = [], []
    for table in range(max(len(first.tables), len(second.tables))):
        sizes = [_half_key_count(model, table) for model in (first, second)]
        if None in sizes:
            reasons.append(f"Only one of them has a value table {table}: it is left out.")
        elif sizes[0] != sizes[1]:
            reasons.append(
                f"Table {table} has {sizes[0]} half-keys a set in one and {sizes[1]} in the other: "
                "slots of the same number are not the same key, so slots are left out. Usage "
                "measures still compare."
            )
        else:
            tables.append(table)
            widths = first.tables[table].d_value, second.tables[table].d_value
            if widths[0] == widths[1]:
                values.append(table)
            else:
                reasons.append(
                    f"Values of table {table} have {widths[0]} and {widths[1]} dimensions: their "
                    "drift is left out."
                )
    return tuple(tables), tuple(values)


def _half_key_count(model: MemoryModel, table: int) -> int | None:
    names = model.sites_of(table)
    return model.site(names[0]).info.half_keys if names else None


def _half_keys(
    first: MemoryModel, second: MemoryModel, tables: tuple[int, ...], reasons: list[str]
) -> tuple[str, ...]:
    if not (first.sites and second.sites):
        return ()
    found, missing = [], []
    for name, site in first.sites.items():
        other = second.sites.get(name)
        alike = other is not None and other.info.table == site.info.table in tables
        if other is None or not alike:
            missing.append(name)
        elif site.half_keys().shape == other.half_keys().shape:
            found.append(name)
        else:
            missing.append(name)
    missing += [name for name in second.sites if name not in first.sites]
    if missing and tables:
        reasons.append(f"Half-keys of {', '.join(missing)} have no counterpart of their sizes.")
    return tuple(found)
