"""Test support: rows of memories as bits and words, and the inputs that write them."""

from collections.abc import Mapping

import numpy as np


def load_inputs(data: Mapping[str, np.ndarray], depths: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Inputs that write rows of bits, uint8 [(bank,) row, bits], to the ports of their names, for banks of these depths."""
    cycles = max(1, *(np.count_nonzero(contents.any(axis=-1)) for contents in data.values()))
    inputs = {}
    for name, contents in data.items():
        where = np.argwhere(contents.any(axis=-1))  # [rows, (bank,) row]
        address = [bits(where[:, -1:], max(1, (depths[name] - 1).bit_length()))]
        bank = [bits(where[:, :1], max(1, (len(contents) - 1).bit_length()))] if where.shape[1] == 2 else []
        payload = np.concatenate([*bank, *address, contents[tuple(where.T)]], axis=1)
        words = to_words(np.pad(payload, ((0, cycles - len(where)), (0, 0))))
        inputs[f"{name}__valid"] = np.arange(cycles) < len(where)
        inputs[f"{name}__payload"] = words if payload.shape[1] > 64 else words[:, 0]
    return inputs


def bits(values: np.ndarray, width: int) -> np.ndarray:
    """Bits of integers [..., elements] as uint8 [..., elements * width], lowest first."""
    taken = values[..., None] >> np.arange(width).astype(values.dtype) & values.dtype.type(1)
    return taken.astype(np.uint8).reshape(*values.shape[:-1], values.shape[-1] * width)


def to_words(rows: np.ndarray) -> np.ndarray:
    """Rows of bits as uint64 [rows, words]."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 64)))
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def integers(words: np.ndarray, width: int, count: int) -> np.ndarray:
    """``count`` unsigned integers of ``width`` bits from the low end of each row of words, uint64 [rows, count]."""
    rows = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    parts = rows[:, : width * count].reshape(len(rows), count, width).astype(np.uint64)
    return (parts << np.arange(width, dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)
