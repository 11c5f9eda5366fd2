"""Vector unit in hardware: P serial adders with a table each, one divider, two registers (contract: ``contracts.vector``)."""

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import Component, Out

from archsim.contracts.vector import RECIPROCAL, ROOT, SCALE, TABLE, VectorParams
from rtl.payload import elements, load_port, shape, stream_in, stream_out
from rtl.units.sram import Sram


class VectorUnit(Component):
    """Scales, tables, sums, reciprocals and roots of rows of P elements.

    Ports:

    * ``i``: stream of ``params.i`` (P elements, constants and biases, the operation and its marks). Ready while no
      row is held and in the cycle in which the one that is held is finished.
    * ``o``: stream of ``params.o`` (P results, last), valid from the cycle after the finish of a row until it is taken.
    * ``weight``: ``params.i_weight``, always ready: an entry of the table; not while a row is in the unit.
    * ``state``: ``params.state``, the total and the scalar.

    ``i.ready`` follows ``o.ready`` within a cycle: a result that is taken lets the next row finish, and another one in.
    """

    def __init__(self, params: VectorParams):
        self.params = params
        super().__init__({
            "i": stream_in(params.i), "o": stream_out(params.o), "weight": load_port(params.i_weight),
            "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Control of the phases; the data of each is a method of its own."""
        params, m = self.params, Module()
        row = Signal(shape(params.i))
        decoding, working, offered = Signal(), Signal(), Signal()  # phases of the row; the result register is full
        more = Signal()  # work is left
        finish, accept = Signal(), Signal()
        m.d.comb += [
            finish.eq(working & ~more & (~offered | self.o.ready)),
            self.i.ready.eq(finish | ~(decoding | working)),
            accept.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(offered),
        ]
        # cycle 0: accept a row; cycle 1: decode it; cycles 2 ..: work; then finish; then offer
        m.d.sync += decoding.eq(accept)
        with m.If(accept):
            m.d.sync += row.eq(self.i.payload)
        with m.If(decoding):
            m.d.sync += working.eq(1)
        with m.Elif(finish):
            m.d.sync += working.eq(0)
        with m.If(finish):
            m.d.sync += [offered.eq(1), self.o.payload.last.eq(row.last)]
        with m.Elif(self.o.ready):
            m.d.sync += offered.eq(0)

        total, scalar = self.state.total, self.state.scalar
        sums, adding = self._adders(m, row, decoding, working, total, scalar)
        result, dividing = self._divider(m, row, decoding, working, total)
        m.d.comb += more.eq(adding | dividing)
        entries = self._tables(m, row, decoding)
        values = []
        for p, (entry, summed) in enumerate(zip(entries, sums, strict=True)):
            value = Signal(signed(params.product_bits), name=f"value_{p}")
            with m.Switch(row.op):
                with m.Case(SCALE):
                    m.d.comb += value.eq(summed >> row.shift)
                with m.Case(TABLE):
                    m.d.comb += value.eq(entry)
                with m.Default():
                    m.d.comb += value.eq(0 if p else result)
            values.append(value)
        self._results(m, row, values, finish, total, scalar)
        return m

    def _adders(self, m, row, decoding, working, total, scalar):
        """One adder an element: the digits from the highest place, then the total; the sums, and whether work is left."""
        params = self.params
        bits = params.operand_bits
        x, constants = elements(row, params.i, "x"), elements(row, params.i, "constant")
        places, left, center = Signal(bits), Signal(5), Signal()
        # cycle 1: signed digits: the places in which 3/2 and 1/2 of an operand differ
        signs, union = [], 0
        for p in range(params.elements):
            operand = Mux(row.operand[1], _saturated(x[p], bits), Mux(row.operand[0], scalar, constants[p]))
            value, half, more_half = Signal(signed(bits)), Signal(signed(bits)), Signal(signed(bits + 1))
            plus, minus = Signal(bits, name=f"plus_{p}"), Signal(bits, name=f"minus_{p}")
            m.d.comb += [value.eq(operand), half.eq(value >> 1), more_half.eq(value + half)]
            differ = Signal(bits)
            m.d.comb += differ.eq(more_half ^ half)
            union |= differ
            with m.If(decoding):
                m.d.sync += [plus.eq(differ & more_half), minus.eq(differ & half)]
            signs.append((plus, minus))
        # cycle 2 ..: the highest place that is left
        one_hot, active = Signal(bits), Signal()
        below = places[::-1] & -places[::-1]
        m.d.comb += [one_hot.eq(below[:bits][::-1]), active.eq(places.any() & left.any())]
        with m.If(decoding):
            m.d.sync += [places.eq(Mux(row.op == SCALE, union, 0)), left.eq(row.digits)]
            m.d.sync += center.eq(row.center & (row.op == SCALE))
        with m.Elif(working & active):
            m.d.sync += [places.eq(places & ~one_hot), left.eq(left - 1)]
        with m.Elif(working):
            m.d.sync += center.eq(0)

        sums = []
        for p, (plus, minus) in enumerate(signs):
            moved = _moved(x[p], one_hot)
            negative, used = Signal(name=f"negative_{p}"), Signal(name=f"used_{p}")
            term = Signal(signed(params.product_bits), name=f"term_{p}")
            summed = Signal(signed(params.product_bits), name=f"sum_{p}")
            m.d.comb += [
                term.eq(Mux(active, moved, total)),
                negative.eq(Mux(active, (minus & one_hot).any(), 1)),
                used.eq(Mux(active, ((plus | minus) & one_hot).any(), center)),
            ]
            # One adder: the lowest bits, 1 and the carry, make the carry of a subtraction.
            added = Cat(C(1, 1), summed).as_signed() + Cat(negative, term ^ negative.replicate(len(term))).as_signed()
            with m.If(decoding):
                m.d.sync += summed.eq(0)
            with m.Elif(working & used):
                m.d.sync += summed.eq(added[1:])
            sums.append(summed)
        return sums, active | center

    def _divider(self, m, row, decoding, working, total):
        """Restoring division and square root with one subtractor: the result, and whether work is left."""
        params = self.params
        left, fresh = Signal(7), Signal()  # steps to come; none was made
        remainder, result = Signal(params.sum_bits), Signal(params.membrane_bits - 1)
        rooting, negative = row.op == ROOT, total < 0
        pairs = Array([C(0, 2), *(Cat(total[place], total[place + 1]) for place in range(0, 2 * params.root_bits, 2))])

        difference, digit = Signal(signed(params.sum_bits + 2)), Signal()
        minuend = Mux(rooting, Cat(pairs[left], remainder)[: params.sum_bits + 1], Cat(fresh, remainder))
        subtrahend = Mux(rooting, Cat(C(1, 2), result), total.as_unsigned())
        m.d.comb += [difference.eq(minuend - subtrahend), digit.eq(difference >= 0)]
        with m.If(decoding):
            m.d.sync += [remainder.eq(0), result.eq(0), fresh.eq(1)]
            steps = Mux(row.op == RECIPROCAL, row.shift + 1, params.root_bits)
            m.d.sync += left.eq(Mux(row.op[1], steps, 0))
        with m.Elif(working & left.any()):
            m.d.sync += [left.eq(left - 1), fresh.eq(0), remainder.eq(Mux(digit, difference, minuend))]
            m.d.sync += result.eq(Mux(result[-1], ~C(0, len(result)), Cat(digit, result)))
        ended = Signal(params.membrane_bits - 1)
        m.d.comb += ended.eq(Mux(rooting, Mux(negative, 0, result), Mux(total > 0, result, ~C(0, len(result)))))
        return ended, left.any()

    def _tables(self, m, row, decoding):
        """The tables, a copy an element, read while the row is decoded: the entries from the next cycle on."""
        params, entries = self.params, []
        load = self.weight.payload
        for p, x in enumerate(elements(row, params.i, "x")):
            m.submodules[f"table_{p}"] = table = Sram(params.table)
            place = _saturated(x >> row.shift, params.table_bits)
            m.d.comb += [
                table.read.en.eq(decoding & (row.op == TABLE)),
                table.read.addr.eq(Cat(place[:-1], ~place[-1])),
                table.write.en.eq(self.weight.valid),
                table.write.addr.eq(load.row),
                table.write.data.eq(load.data),
            ]
            entries.append(table.read.data.as_signed())
        return entries

    def _results(self, m, row, values, finish, total, scalar):
        """The result register; the scalar follows with it, the total a cycle later."""
        params = self.params
        y, added = elements(self.o.payload, params.o, "y"), 0
        for p, (value, bias) in enumerate(zip(values, elements(row, params.i, "bias"), strict=True)):
            result = Signal(signed(params.membrane_bits), name=f"result_{p}")
            m.d.comb += result.eq(_saturated(value + bias, params.membrane_bits))
            with m.If(finish):
                m.d.sync += y[p].eq(result)
            if p == 0:
                with m.If(finish & row.keep):
                    m.d.sync += scalar.eq(_saturated(result, params.operand_bits))
            added += y[p]
        add, fresh = Signal(), Signal()
        m.d.sync += add.eq(finish & row.accumulate)
        with m.If(finish):
            m.d.sync += fresh.eq(row.first)
        with m.If(add):
            m.d.sync += total.eq(_saturated(Mux(fresh, 0, total) + added, params.sum_bits))


def _moved(x, one_hot):
    """``x`` moved to the left by the place of the only set bit."""
    for bit in range((len(one_hot) - 1).bit_length()):
        chosen = Cat(one_hot[place] for place in range(len(one_hot)) if place >> bit & 1).any()
        x = Mux(chosen, Cat(C(0, 1 << bit), x).as_signed(), x)
    return x


def _saturated(value, bits):
    """The nearest value of ``bits`` bits to a signed one: itself if all bits above are its sign."""
    if len(value) <= bits:
        return value
    sign, above = value[-1], value[bits - 1 : -1]
    fits = Mux(sign, above.all(), ~above.any())
    return Mux(fits, value[:bits], Cat((~sign).replicate(bits - 1), sign)).as_signed()
