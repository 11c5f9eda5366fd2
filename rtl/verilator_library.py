"""A built Verilator design, loaded: batches of cycles in, batches out, or one cycle at a time."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from archsim.contracts.common.errors import ArchsimError
from rtl.verilator_driver import WORD_BITS, words_of


class Library:
    """One design and its present state.

    The value of a port over some cycles is a ``uint64`` array: ``[cycles]`` up to 64 bits of width, else
    ``[cycles, words]``, least significant word first. An input may also be any other integer or bool array (a
    negative value means its two's complement at the port's width), or one integer that holds in every cycle.
    """

    def __init__(self, path: Path, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]) -> None:
        self.path = path
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self._in_slices = _slices(inputs)
        self._out_slices = _slices(outputs)
        self._in_words = sum(words_of(width) for _, width in inputs)
        self._out_words = sum(words_of(width) for _, width in outputs)
        self._lib = ctypes.CDLL(str(path))
        self._lib.archsim_open.restype = ctypes.c_void_p
        self._lib.archsim_close.argtypes = [ctypes.c_void_p]
        self._lib.archsim_close.restype = None
        self._lib.archsim_run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
        self._lib.archsim_run.restype = ctypes.c_int64
        self._model: int | None = None
        self.reset_model()

    def reset_model(self) -> None:
        """Replace the model by a new one, in its state at power-up (before any reset)."""
        self.close()
        self._model = self._lib.archsim_open()

    @property
    def entry(self) -> tuple[int, int]:
        """Address of the C function ``archsim_run(handle, cycles, in, out)`` and the present model's handle.

        For compiled code that reacts in every cycle; the handle holds until :meth:`reset_model` or :meth:`close`.
        """
        if self._model is None:
            raise ArchsimError("the model is closed: call reset_model() before running it")
        return ctypes.cast(self._lib.archsim_run, ctypes.c_void_p).value or 0, self._model

    def close(self) -> None:
        """Free the model; the object can be used again after :meth:`reset_model`."""
        model, self._model = self._model, None
        if model is not None:
            self._lib.archsim_close(model)

    def __del__(self) -> None:
        if getattr(self, "_model", None) is not None:
            self.close()

    def run(
        self, inputs: Mapping[str, np.ndarray | int], cycles: int | None = None, resume: bool = False
    ) -> dict[str, np.ndarray]:
        """Run a batch of cycles and return every output, sampled before each clock edge.

        Args:
            inputs: a value for every input port.
            cycles: how many, needed only if no input is an array.
            resume: go on from the present state; by default the run starts from a new model.
        """
        rows = self._pack(inputs, cycles)
        if not resume:
            self.reset_model()
        out = self.run_rows(rows)
        return {
            name: out[:, part] if self.outputs[name] > WORD_BITS else out[:, part.start]
            for name, part in self._out_slices.items()
        }

    def step(self, inputs: Mapping[str, int]) -> dict[str, int]:
        """One cycle from the present state, for a partner that reacts: plain integers of any width."""
        missing = self.inputs.keys() - inputs.keys()
        if missing or len(inputs) != len(self.inputs):
            self._wrong_names(inputs)
        row = bytearray()
        for name, width in self.inputs.items():
            value = int(inputs[name])
            if not -(1 << width - 1) <= value < 1 << width:
                raise ArchsimError(_too_large(name, width, value))
            row += (value & ((1 << width) - 1)).to_bytes(8 * words_of(width), "little")
        out = self.run_rows(np.frombuffer(row, np.uint64).reshape(1, self._in_words)).tobytes()
        return {
            name: int.from_bytes(out[8 * part.start : 8 * part.stop], "little")
            for name, part in self._out_slices.items()
        }

    def packed(self, inputs: Mapping[str, np.ndarray | int], cycles: int | None = None) -> np.ndarray:
        """Inputs as :meth:`run` takes them, packed for :meth:`run_rows`."""
        return self._pack(inputs, cycles)

    def run_rows(self, rows: np.ndarray) -> np.ndarray:
        """Run packed cycles (``[cycles, words of all inputs]``) from the present state; packed outputs.

        The raw layer under :meth:`run` and :meth:`step`: it checks only the shape, and bits beyond a port's
        width must be 0.
        """
        if self._model is None:
            raise ArchsimError("the model is closed: call reset_model() before running it")
        rows = np.ascontiguousarray(rows, np.uint64)
        if rows.ndim != 2 or rows.shape[1] != self._in_words:
            shape = list(rows.shape)
            raise ArchsimError(f"packed inputs: required shape [cycles, {self._in_words}], given {shape}")
        out = np.zeros((len(rows), self._out_words), np.uint64)
        done = self._lib.archsim_run(self._model, len(rows), rows.ctypes.data, out.ctypes.data)
        if done != len(rows):
            raise ArchsimError(f"{self.path.name}: an assertion failed in cycle {done} of this run")
        return out

    def _pack(self, inputs: Mapping[str, np.ndarray | int], cycles: int | None) -> np.ndarray:
        """All inputs as rows of words, checked."""
        if inputs.keys() != self.inputs.keys():
            self._wrong_names(inputs)
        lengths = {name: np.shape(value)[0] for name, value in inputs.items() if np.ndim(value)}
        if cycles is not None:
            lengths["cycles"] = cycles
        if len(set(lengths.values())) != 1:
            given = lengths or "no array and no `cycles`"
            raise ArchsimError(f"one number of cycles is required, given {given}")
        rows = np.zeros((next(iter(lengths.values())), self._in_words), np.uint64)
        for name, value in inputs.items():
            rows[:, self._in_slices[name]] = _to_words(name, self.inputs[name], value)
        return rows

    def _wrong_names(self, inputs: Mapping[str, object]) -> None:
        missing, unknown = self.inputs.keys() - inputs.keys(), inputs.keys() - self.inputs.keys()
        raise ArchsimError(
            f"{self.path.name}: inputs required {sorted(self.inputs)}; "
            f"missing {sorted(missing)}, unknown {sorted(unknown)}"
        )


def _slices(ports: Sequence[tuple[str, int]]) -> dict[str, slice]:
    """Where in a row of words each port lies."""
    slices = {}
    start = 0
    for name, width in ports:
        slices[name] = slice(start, start + words_of(width))
        start += words_of(width)
    return slices


def _to_words(name: str, width: int, value: np.ndarray | int) -> np.ndarray:
    """A port's values as ``[cycles or 1, words]``, every one within the width."""
    words = words_of(width)
    if isinstance(value, int | np.integer):  # any width, which an array of NumPy's integers cannot hold
        value = int(value)
        if not -(1 << width - 1) <= value < 1 << width:
            raise ArchsimError(_too_large(name, width, value))
        return np.frombuffer((value & ((1 << width) - 1)).to_bytes(8 * words, "little"), np.uint64)[None]
    array = np.asarray(value)
    if array.dtype.kind not in "bui" or array.ndim == 0 or array.shape[1:] != ((words,) if words > 1 else ()):
        raise ArchsimError(
            f"input {name}: required integers of shape [cycles{f', {words}' if words > 1 else ''}], "
            f"given {array.dtype} of shape {list(array.shape)}"
        )
    if width <= WORD_BITS and array.size:
        low, high = int(array.min()), int(array.max())
        if low < -(1 << width - 1) or high >= 1 << width:
            raise ArchsimError(_too_large(name, width, low if low < 0 else high))
    unsigned = array.astype(np.uint64).reshape(-1, words)
    top_bits = width - WORD_BITS * (words - 1)
    top_mask = np.uint64((1 << top_bits) - 1)
    if width <= WORD_BITS:
        return unsigned & top_mask
    if np.any(unsigned[:, -1] & ~top_mask):
        raise ArchsimError(f"input {name}: a value has bits beyond its width of {width}")
    return unsigned


def _too_large(name: str, width: int, value: int) -> str:
    return f"input {name}: required a value of {width} bits, given {value}"
