"""Test support: random programs of the expert engine, and what they do to the memories, worked out row by row."""

from typing import NamedTuple

import numpy as np

from archsim.contracts import experts as contract
from archsim.contracts import router
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import COLLECT, DISPATCH, TOPK
from archsim.units.sram import Memories

ROWS, SCORES = 512, 64
"""Rows of each bank; rows of the partial-sum banks in which scores lie."""


def chip_of(
    name: str, cores: int, lanes: int, columns: int, neurons: int, bits: int, depth: int, membranes: int = 0
) -> ChipParams:
    """A chip with an expert engine; ``membranes``: it dispatches them too."""
    return ChipParams(
        name=name, clock_mhz=100.0, cores=cores, lanes=lanes, columns=columns, neurons=neurons, weight_bits=4,
        membrane_bits=bits, weight_rows=64, param_rows=4, spike_in_rows=ROWS, spike_out_rows=ROWS,
        residual_rows=ROWS, psum_rows=ROWS, reduce_rows=4, attention_rows=8, count_rows=64, count_bits=8,
        dram_bus_bytes=4, dram_latency_cycles=5, dram_burst_bytes=4, dram_outstanding=4, queue_rows=64,
        crossbar_depth=depth, route_rows=96, dispatch_membranes=membranes,
    )  # fmt: skip


CHIPS = [
    chip_of("experts_usual", 4, 2, 8, 4, 12, 2), chip_of("experts_least", 2, 1, 2, 1, 8, 1),
    chip_of("experts_odd", 3, 3, 5, 5, 9, 4), chip_of("experts_wide", 5, 1, 64, 16, 24, 2),
    chip_of("experts_membranes", 4, 2, 8, 4, 12, 2, 1), chip_of("experts_membranes_narrow", 3, 4, 8, 2, 9, 1, 1),
]  # fmt: skip
"""A usual one; the least; no power of two; rows of membranes of 384 bits. Two dispatch membranes, of the latter narrower than
rows of spikes."""


class Step(NamedTuple):
    """An instruction: its opcode and fields."""

    opcode: int
    fields: dict[str, int]


def filled(chip: ChipParams, rng) -> Memories:
    """Memories of random spikes, membranes and sums; few values among the sums, so that scores tie."""
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    top, half = np.iinfo(np.uint64).max >> np.uint64(64 - chip.columns), 1 << (chip.membrane_bits - 1)
    for core in memories.cores:
        for bank in (core.spike_in, core.spike_out):
            bank[:] = rng.integers(0, top, bank.shape, np.uint64, endpoint=True)
        core.residual[:] = rng.integers(-half, half, core.residual.shape)
        core.psum[:] = rng.integers(-2, 3, core.psum.shape)
    return memories


class Layer(NamedTuple):
    """What the instructions of a layer share: experts, choices, capacity, places, regions, home cores and their tokens."""

    experts: int
    choices: int
    capacity: int
    place: list[int]
    region: list[int]
    tokens: dict[int, int]


def random_layer(chip: ChipParams, rng) -> Layer:
    """Experts anywhere, all on one core, or one after the other; any home cores; sometimes no room for most choices."""
    experts = int(rng.integers(2, router.MAX_EXPERTS + 1))
    choices = int(rng.integers(1, min(experts, rng.choice([2, router.MAX_CHOICES])) + 1))
    kind = rng.choice(["any", "hot", "turn"])
    place = {
        "any": rng.integers(0, chip.cores, experts), "hot": np.full(experts, rng.integers(chip.cores)),
        "turn": np.arange(experts) % chip.cores,
    }[kind].tolist()  # fmt: skip
    region = [place[:expert].count(core) for expert, core in enumerate(place)]
    homes = [core for core in range(chip.cores) if rng.random() < 0.7] or [0]
    room = min(96 // (len(homes) * choices), 8)  # the choices of all fit one table
    tokens = {core: int(rng.integers(1, room + 1)) for core in homes}
    capacity = int(rng.choice([0, 1, 2, 5]))
    if capacity == 0 and max(region) + 1 << sum(tokens.values()).bit_length() > ROWS:
        capacity = 5  # there is no room for all tokens at every expert of a core
    return Layer(experts, choices, capacity, place, region, tokens)


def topk(chip: ChipParams, layer: Layer, entry: int, rng) -> list[Step]:
    """Choices for the tokens of every home core; the first begins the layer."""
    steps, blocks = [], -(-layer.experts // chip.neurons)
    for number, (core, tokens) in enumerate(layer.tokens.items()):
        psum = int(rng.integers(2)) if tokens * blocks <= SCORES else 0
        stride = blocks + int(rng.integers(3)) * (tokens * (blocks + 2) <= SCORES)
        base = int(rng.integers(0, (SCORES if psum else ROWS) - tokens * stride + 1))
        steps.append(Step(TOPK, {
            "core": core, "psum": psum, "score_base": base, "score_token": stride, "tokens": tokens, "blocks": blocks,
            "experts": layer.experts, "choices": layer.choices, "capacity": layer.capacity, "first": int(number == 0),
            "entry": entry,
        }))  # fmt: skip
    return steps


def packed(nibbles: list[int]) -> int:
    return sum(nibble << 4 * number for number, nibble in enumerate(nibbles))


def routing(chip: ChipParams, layer: Layer, entry: int, opcode: int, membranes: int, rng) -> Step:
    """A DISPATCH or COLLECT of a layer's choices whose rows exist and do not meet."""
    slots = layer.capacity or sum(layer.tokens.values())
    regions, tokens = max(layer.region) + 1, max(layer.tokens.values())
    limit, apart = 9, opcode == DISPATCH and membranes
    while True:
        rows = int(rng.integers(1, limit))
        shift, other = contract.slot_shifts(rows + int(rng.integers(2)) * (limit > 4))
        size = contract.slot_rows(slots, shift, other).bit_length()
        choice = rows if opcode == COLLECT else int(rng.integers(2))
        token = choice * layer.choices + (rows if opcode == DISPATCH else 0)
        held = tokens * token + rows + layer.choices  # rows of a home core at most
        if (regions << size) + held * apart <= ROWS:
            break
        limit = max(2, limit - 1)
    home = int(rng.integers(0, ROWS - held))
    expert_base = int(rng.integers(0, ROWS - (regions << size) + 1))
    if apart:  # tokens and slots share a bank
        home, expert_base = _apart(held, regions << size, rng)
    return Step(opcode, {
        "cores": sum(1 << core for core in layer.tokens), "entry": entry, "experts": layer.experts,
        "place": packed(layer.place), "region": packed(layer.region), "region_shift": size, "slot_shift": shift,
        "other_shift": other, "expert_base": expert_base, "home_base": home,
        "home_token": token, "home_choice": choice, "rows": rows, "source_bank": int(rng.integers(2)),
        "bank": int(rng.integers(2)), "membranes": membranes,
    })  # fmt: skip


def _apart(one: int, other: int, rng) -> tuple[int, int]:
    """First rows of two ranges of a bank that do not meet, in either order."""
    gap = int(rng.integers(0, ROWS - one - other + 1))
    return (0, one + gap) if rng.integers(2) else (other + gap, 0)


def random_program(chip: ChipParams, rng, layers: int = 3) -> list[Step]:
    """Layers one after the other: choices, packets to the experts (of both kinds if the chip has them), answers of both kinds."""
    steps = []
    for _ in range(layers):
        layer = random_layer(chip, rng)
        entry = int(rng.integers(0, 96 - max(layer.tokens.values()) * layer.choices + 1))
        steps += topk(chip, layer, entry, rng)
        steps += [routing(chip, layer, entry, DISPATCH, membranes, rng) for membranes in range(1 + chip.dispatch_membranes)]
        steps += [routing(chip, layer, entry, COLLECT, membranes, rng) for membranes in (0, 1)]
    return steps


class Expected:
    """Carries programs out by plain loops: tables, counts and banks, without time."""

    def __init__(self, chip: ChipParams, memories: Memories):
        self.chip, self.memories = chip, memories
        self.counts = [0] * router.MAX_EXPERTS
        self.routes: dict[tuple[int, int], tuple[int, int, int, int, int]] = {}

    def run(self, step: Step) -> None:
        if step.opcode == TOPK:
            self.topk(step.fields)
        else:
            self.route(step.opcode, step.fields)

    def topk(self, f) -> None:
        core, entry = self.memories.cores[f["core"]], f["entry"]
        if f["first"]:
            self.counts = [0] * router.MAX_EXPERTS
        for token in range(f["tokens"]):
            first = f["score_base"] + token * f["score_token"]
            bank = core.psum if f["psum"] else core.residual
            scores = bank[first : first + f["blocks"]].reshape(-1).tolist()[: f["experts"]]
            order = sorted(range(len(scores)), key=lambda expert: (-scores[expert], expert))[: f["choices"]]
            for expert in order:
                slot = self.counts[expert]
                kept = int(not f["capacity"] or slot < f["capacity"])
                self.counts[expert] += kept
                last = int(expert == order[-1])
                end = int(last and token == f["tokens"] - 1)
                self.routes[f["core"], entry] = (expert, slot, kept, last, end)
                entry += 1

    def route(self, opcode, f) -> None:
        """Every kept choice of every home core: rows from one side to the other."""
        moved = []
        distance = ((1 << f["slot_shift"]) + (1 << f["other_shift"])) // 2
        for home in (core for core in range(self.chip.cores) if f["cores"] >> core & 1):
            entry, token, choice, end = f["entry"], 0, 0, 0
            while not end:
                expert, slot, kept, last, end = self.routes[home, entry]
                place, region = (f[name] >> 4 * expert & 15 for name in ("place", "region"))
                here = f["home_base"] + token * f["home_token"] + choice * f["home_choice"]
                there = f["expert_base"] + slot * distance + region * 2 ** f["region_shift"]
                if kept:
                    moved.append((home, here, place, there))
                entry, token, choice = entry + 1, token + last, 0 if last else choice + 1
        rows, written = f["rows"], []
        for home, here, place, there in moved:
            if opcode == DISPATCH and f["membranes"]:
                data = self.memories.cores[home].residual[here : here + rows]
                at = (self.memories.cores[place].residual, there)
            elif opcode == DISPATCH:
                source, target = self.memories.cores[home].spike_out, self.memories.cores[place].spike_in
                data, at = source[f["source_bank"], here : here + rows], (target[f["bank"]], there)
            elif f["membranes"]:
                data = self.memories.cores[place].residual[there : there + rows]
                at = (self.memories.cores[home].psum, here)
            else:
                source, target = self.memories.cores[place].spike_out, self.memories.cores[home].spike_in
                data, at = source[f["source_bank"], there : there + rows], (target[f["bank"]], here)
            written.append((*at, data.copy()))
        for bank, first, data in written:
            bank[first : first + rows] = data
