"""Does the stepped attention unit compute spike attention, in the cycles worked out by hand and by the law?"""

import numpy as np
import pytest

from archsim.contracts import attention as contract
from archsim.contracts import core, neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES
from archsim.stepped import attention
from archsim.units.sram import AttentionMemory

CHIP = ChipParams(
    name="tiny", clock_mhz=100.0, cores=1, lanes=4, columns=8, neurons=4, weight_bits=8, membrane_bits=16,
    weight_rows=8, param_rows=8, spike_in_rows=8, spike_out_rows=8, residual_rows=8, psum_rows=8, reduce_rows=8,
    attention_rows=1024, count_rows=2048, count_bits=8, dram_bus_bytes=8, dram_latency_cycles=10, dram_burst_bytes=32,
    dram_outstanding=2, queue_rows=64,
)  # fmt: skip

ONE = {
    "tokens": 1, "tile": 1, "steps": 1, "lanes": 1, "map_words": 1, "words": 1, "head_words": 1, "segment": 8,
    "count_step": 1, "neuron": neuron.LIF, "threshold": 1, "blocks": 1, "out_words": 1, "token_rows": 1,
    "out_token_rows": 1,
}  # fmt: skip
"""One token, one word, one step, one block."""


def tiny(q=(), k=(), v=()):
    memory = AttentionMemory.empty(CHIP)
    for bank, words in ((0, q), (2, k), (3, v)):
        memory.spikes[bank, : len(words), 0] = words
    return memory


# ------------------------------------------------------------------------------ cycles by hand


def test_kv_of_three_events():
    # Two tokens, K words of 2 and 1 events: added in 5, 6, 7, the last result written in 8, end 9. Both tokens meet in row 0.
    memory = tiny(k=[0b11, 0b01], v=[0b101, 0b111])
    memory.counts[:] = 99
    assert attention.attend(ATTEND_KV, ONE | {"tokens": 2}, CHIP, memory) == 9
    assert memory.counts[0].tolist() == [2, 1, 2, 0, 0, 0, 0, 0]
    assert memory.counts[1].tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert not memory.counts[2:8].any()
    assert (memory.counts[8:] == 99).all()


def test_kv_forwards_the_count_of_the_event_before():
    # Tokens one after another in the same row: 6 events, added in 5..10, end 12.
    memory = tiny(k=[1] * 6, v=[0b1000_0001] * 6)
    assert attention.attend(ATTEND_KV, ONE | {"tokens": 6}, CHIP, memory) == 12
    assert memory.counts[0].tolist() == [6, 0, 0, 0, 0, 0, 0, 6]


@pytest.mark.parametrize("popcount", [0, 1])
@pytest.mark.parametrize("segment", [1, 2, 4, 8])
def test_kv_of_heads_within_a_word(segment, popcount):
    k, v = np.random.default_rng(segment).integers(0, 256, (2, 9)).tolist()
    memory = tiny(k=k, v=v)
    attention.attend(ATTEND_KV, ONE | {"tokens": 9, "segment": segment, "popcount": popcount}, CHIP, memory)
    assert memory.counts[:8].tolist() == contract.reference_kv(k, v, 8, segment)


def test_kv_by_popcount_of_two_tokens():
    # Words taken in 2 and 3; 8 transposed words for 2 cycles each, the last read of a count row in 19, written in 21, end 22.
    memory = tiny(k=[0b11, 0b01], v=[0b101, 0b111])
    memory.counts[:] = 99
    assert attention.attend(ATTEND_KV, ONE | {"tokens": 2, "popcount": 1}, CHIP, memory) == 22
    assert memory.counts[0].tolist() == [2, 1, 2, 0, 0, 0, 0, 0]
    assert memory.counts[1].tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert not memory.counts[2:8].any()
    assert (memory.counts[8:] == 99).all()


def test_kv_by_popcount_of_a_block_and_a_token():
    # 8 words in 2..9, their 16 cycles in 10..25; the ninth word in 26, 16 cycles in 27..42; end 45.
    memory = tiny(k=[1] * 9, v=[0b1000_0001] * 9)
    assert attention.attend(ATTEND_KV, ONE | {"tokens": 9, "popcount": 1}, CHIP, memory) == 45
    assert memory.counts[0].tolist() == [9, 0, 0, 0, 0, 0, 0, 9]
    assert not memory.counts[1:8].any()


def test_kv_by_popcount_of_all_columns_at_once():
    # P = M: a row a cycle. 2 steps x 2 words, each 1 cycle in and 8 out: words in 2, 11, 20, 29, last row in 37, end 40.
    memory = tiny(k=[1, 2, 4, 8], v=[1, 2, 4, 8])
    fields = ONE | {"steps": 2, "words": 2, "map_words": 2, "count_step": 2, "popcount": 1}
    assert attention.attend(ATTEND_KV, fields, CHIP.replace(neurons=8), memory) == 40
    assert [memory.counts[9 * number, number] for number in range(4)] == [1, 1, 1, 1]
    assert memory.counts.sum() == 4


def test_q_of_one_event():
    # As one event in a core: added 5, handed over 6, block taken 7, written 10, end 11.
    memory = tiny(q=[0b10])
    memory.counts[1] = [0, 2, 4, 1, 9, 9, 9, 9]
    assert attention.attend(ATTEND_Q, ONE, CHIP, memory) == 11
    assert memory.out[0, 0, 0] == 0b0110  # (0 + 2) >> 1 reaches 1, (0 + 1) >> 1 does not


def test_scores_of_one_token():
    # 1 read, 2 word, 3 popcount, 4 added, 5 handed over, 6 block taken, 9 written, end 10.
    memory = tiny(q=[0b0111], k=[0b1110], v=[0b0101])
    assert attention.attend(ATTEND_SCORES, ONE, CHIP, memory) == 10
    assert memory.out[0, 0, 0] == 0b0101  # score 2


def test_gate_of_one_token():
    # 1 read, 2 answer, 3 added, 4 handed over, 5 block taken, 8 granule leaves; then 9 read, 10 answer, 11 AND, 12 written, end 13.
    memory = tiny(q=[0b0111], k=[0b1110], v=[0b0101])
    assert attention.attend(ATTEND_GATE, ONE | {"neuron": neuron.IF_ZERO}, CHIP, memory) == 13
    assert memory.out[0, 0, 0] == 0b0100


def test_gate_of_two_steps_and_three_rows():
    # Step 0 is added in 3..5, handed over 6, taken 7; step 1 is added in 6..8, handed over 9, taken 10 (the gap ends in 10 too);
    # the last gate granule leaves in 13; three rows are written in 17..19, end 20.
    memory = tiny(q=[1, 1, 1], k=[1, 1, 1], v=[1, 1, 1])
    assert attention.attend(ATTEND_GATE, ONE | {"tokens": 3, "tile": 3, "steps": 2, "lanes": 2}, CHIP, memory) == 20


def test_words_of_64_channels():
    chip = CHIP.replace(columns=64, neurons=32)
    fields = ONE | {"segment": 64, "blocks": 2, "threshold": 32}
    full = (1 << 64) - 1
    opcodes = (ATTEND_SCORES, ATTEND_KV, ATTEND_KV, ATTEND_Q, ATTEND_GATE)
    for opcode, popcount in zip(opcodes, (0, 0, 1, 0, 0), strict=True):
        memory = AttentionMemory.empty(chip)
        memory.spikes[:, 0, 0] = full
        threshold = 1 if opcode == ATTEND_GATE else 32
        if opcode == ATTEND_Q:
            memory.counts[:64] = 1
        more = {"threshold": threshold, "neuron": neuron.IF_ZERO, "popcount": popcount}
        attention.attend(opcode, fields | more, chip, memory)
        if opcode == ATTEND_KV:
            assert (memory.counts[:64] == 1).all()
            assert not memory.counts[64:].any()
        else:
            assert memory.out[0, 0, 0] == full


def test_an_instruction_without_work_is_refused():
    with pytest.raises(ArchsimError, match="1 or more required"):
        attention.attend(ATTEND_Q, ONE | {"tile": 0}, CHIP, tiny())


# ------------------------------------------------------------------------------ random attention, against NumPy


def fire(y, threshold, kind):
    """Spikes of membrane inputs [token, step, channel] over the steps, by the equations of the neurons."""
    v = np.full((y.shape[0], y.shape[2]), threshold // 2 if kind == neuron.IF_HALF else 0)
    spikes = np.zeros_like(y)
    for t in range(y.shape[1]):
        h = np.floor_divide(v + y[:, t], 2) if kind == neuron.LIF else v + y[:, t]
        spikes[:, t] = (h >= threshold) & (kind != neuron.NONE)
        v = np.where(spikes[:, t], 0 if kind == neuron.LIF else h - threshold, h)
    return spikes


class Attention:
    """Random Q, K and V [token, step, channel] in memory, and the instruction for some of their words."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.chip = chip = CHIP.replace(lanes=int(rng.choice([1, 2, 4])), neurons=int(rng.choice([2, 4, 8])))
        self.steps = int(rng.integers(1, 7))
        self.used = chip.lanes_used(self.steps)
        self.slices = self.steps // self.used
        self.tokens, self.tile = int(rng.choice([1, 2, 3, 4, 5, 6, 8, 16, 19])), int(rng.integers(1, 4))
        self.head_words = int(rng.choice([1, 1, 2]))
        self.segment = int(rng.choice([1, 2, 4, 8])) if self.head_words == 1 else 8
        self.words = self.head_words * int(rng.integers(1, 3))
        self.first = self.head_words * int(rng.integers(0, 2))
        self.map_words = self.first + self.words + int(rng.integers(0, 2))
        self.kind, self.threshold = int(rng.integers(0, 4)), int(rng.integers(1, 8))
        self.shift = int(rng.integers(-2, 2))
        self.memory = AttentionMemory.empty(chip)
        self.memory.out[:] = rng.integers(0, 256, self.memory.out.shape)
        self.memory.counts[:] = rng.integers(0, 256, self.memory.counts.shape)
        density = rng.choice([0.1, 0.5])
        self.q, self.k, self.v = (
            (rng.random((count, self.steps, self.map_words * 8)) < density).astype(np.int64)
            for count in (self.tile, self.tokens, self.tokens)
        )
        for bank, base, spikes in ((1, 7, self.q), (2, 3, self.k), (3, 4, self.v)):
            self.memory.spikes[bank, base : base + len(spikes) * self.slices * self.map_words, : self.used] = self.pack(
                spikes
            )

    def pack(self, spikes):
        """[token, step, channel] -> rows [(token, slice, word), lane]."""
        bits = spikes.reshape(len(spikes), self.slices, self.used, -1, 8).transpose(0, 1, 3, 2, 4)
        return np.packbits(bits.astype(np.uint8), axis=4, bitorder="little").reshape(-1, self.used).astype(np.uint64)

    @property
    def fields(self):
        return {
            "q_bank": 1, "q_base": 7, "k_base": 3, "v_base": 4, "tokens": self.tokens, "tile": self.tile,
            "steps": self.steps, "lanes": self.used, "map_words": self.map_words, "first_word": self.first,
            "words": self.words, "head_words": self.head_words, "segment": self.segment, "count_base": 2,
            "count_step": self.words * self.head_words, "token_rows": self.slices * self.map_words,
            "out_token_rows": self.slices * self.map_words, "neuron": self.kind, "threshold": self.threshold,
            "shift": self.shift, "blocks": self.chip.blocks, "out_bank": 1, "out_base": 2,
            "out_words": self.map_words,
        }  # fmt: skip

    def channels(self, spikes):
        """The channels of the instruction, by head: [token, step, head, channel of the head]."""
        part = spikes[:, :, 8 * self.first : 8 * (self.first + self.words)]
        return part.reshape(*part.shape[:2], -1, self.segment * self.head_words)

    def word_events(self, spikes):
        """Events of each word of the instruction [token, step, word]."""
        part = spikes[:, :, 8 * self.first : 8 * (self.first + self.words)]
        return np.maximum(1, part.reshape(*part.shape[:2], -1, 8).sum(axis=3))

    def expected_out(self, sums):
        """Output bank for attention sums [token, step, channel of the instruction]."""
        y = np.floor(sums / 2.0**self.shift).astype(np.int64)
        return self.written(fire(y, self.threshold, self.kind))

    def written(self, spikes):
        """The output bank, with spikes [token, step, channel of the instruction] in place."""
        out = self.memory.out.copy()
        whole = np.zeros((self.tile, self.steps, self.map_words * 8), np.int64)
        whole[:, :, 8 * self.first : 8 * (self.first + self.words)] = spikes
        rows = self.pack(whole).reshape(self.tile * self.slices, self.map_words, self.used)
        target = out[1, 2 : 2 + rows.shape[0] * self.map_words].reshape(rows.shape[0], self.map_words, -1)
        ends = slice(self.first, self.first + self.words)
        target[:, ends] = 0  # lanes that are not used hold no old spikes
        target[:, ends, : self.used] = rows[:, ends]
        return out

    def group_law(self, first_add, groups):
        """Cycle in which the last block is taken, by the law of the core."""
        handover, taken = first_add, 0
        for cycles in groups:
            handover, taken = core.group_end(handover, taken, int(cycles), self.chip.blocks)
        return taken


@pytest.mark.parametrize("popcount", [0, 1])
@pytest.mark.parametrize("seed", range(60))
def test_random_kv_and_q(seed, popcount):
    case = Attention(seed)
    q, k, v = (case.channels(spikes) for spikes in (case.q, case.k, case.v))
    products = np.einsum("nthc,nthd->thcd", k, v)
    counts_before = case.memory.counts.copy()
    cycles = attention.attend(ATTEND_KV, case.fields | {"popcount": popcount}, case.chip, case.memory)
    if popcount:
        pairs = case.steps * case.words * case.head_words
        assert cycles == contract.popcount_cycles(case.tokens, pairs, case.chip.columns, case.chip.neurons)
    else:
        assert cycles == contract.kv_cycles(int(case.word_events(case.k).sum()) * case.head_words)
    used = case.steps * case.words * case.head_words * 8
    counts = case.memory.counts[16 : 16 + used].reshape(case.steps, case.words, case.head_words, 8, 8)
    for (t, head, c, d), count in np.ndenumerate(products):
        at, to = (head * case.segment * case.head_words + channel for channel in (c, d))
        assert counts[t, to // 8, at // 8 % case.head_words, at % 8, to % 8] == count
    assert counts.sum() == products.sum()
    counts_before[16 : 16 + used] = case.memory.counts[16 : 16 + used]
    assert np.array_equal(case.memory.counts, counts_before)

    expected = case.expected_out(np.einsum("nthc,thcd->nthd", q, products).reshape(case.tile, case.steps, -1))
    groups = case.word_events(case.q).reshape(case.tile, case.steps, -1, case.head_words).sum(axis=3)
    groups = np.repeat(groups, case.head_words, axis=2).transpose(0, 2, 1).reshape(-1)
    cycles = attention.attend(ATTEND_Q, case.fields, case.chip, case.memory)
    assert cycles == case.group_law(contract.FIRST_ADD, groups) + core.drain(0)
    assert np.array_equal(case.memory.out, expected)


@pytest.mark.parametrize("seed", range(100, 160))
def test_random_scores(seed):
    case = Attention(seed)
    q, k, v = (case.channels(spikes) for spikes in (case.q, case.k, case.v))
    scores = np.einsum("ithc,jthc->thij", q, k)
    expected = case.expected_out(np.einsum("thij,jthd->ithd", scores, v).reshape(case.tile, case.steps, -1))
    cycles = attention.attend(ATTEND_SCORES, case.fields, case.chip, case.memory)
    groups = [case.tokens * case.head_words] * (case.tile * case.words * case.steps)
    assert cycles == case.group_law(contract.FIRST_SCORE, groups) + core.drain(0)
    assert np.array_equal(case.memory.out, expected)


@pytest.mark.parametrize("seed", range(200, 260))
def test_random_gate(seed):
    case = Attention(seed)
    q, k, v = (case.channels(spikes).reshape(len(spikes), case.steps, -1) for spikes in (case.q, case.k, case.v))
    y = np.floor((k * v).sum(axis=0, keepdims=True) / 2.0**case.shift).astype(np.int64)
    expected = case.written(q * fire(y, case.threshold, case.kind))
    cycles = attention.attend(ATTEND_GATE, case.fields, case.chip, case.memory)
    taken = case.group_law(contract.FIRST_GATE, [case.tokens] * (case.words * case.steps))
    rows = case.tile * case.slices * case.words
    assert cycles == taken + neuron.LATENCY + rows + contract.GATE_OVERHEAD
    assert np.array_equal(case.memory.out, expected)
