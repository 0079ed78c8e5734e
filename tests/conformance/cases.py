"""The vectors' programs: every instruction, every operand's edges, every fault."""

import arithmetic as num
from machine import ISA, Item, parse_queue

LANES, WORDS = 32, 64
F32 = [0, 1 << 31, 0x3F800000, 0xBF800000, 1, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFA00001,
       0x3FC00000, 0x4B800000, 0x4B800001, 0x3DCCCCCD, 0xC2B17218, 0x42B17218, 0x5F3504F3, 0x33800000, 0xB3800001]
I32 = [0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0x0000FFFF, 0x00010000, 0xFFFF7FFF, 0x00008000, 0x12345678, 0x0000007F, 0xFFFFFF80]


class Random:
    """A fixed sequence, so that the vectors are the same each time."""

    def __init__(self, seed):
        self.state = seed * 2654435761 + 1

    def bits(self, count):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return self.state >> 33 & (1 << count) - 1 if count <= 31 else (self.bits(count - 16) << 16 | self.bits(16))

    def word(self):
        return bytes(self.bits(8) for _ in range(LANES))


class Case:
    """A program under construction: queues, memory, regions."""

    def __init__(self, name, chips=1):
        self.name, self.chips = name, chips
        self.queues, self.clock, self.memory, self.regions, self.stated = {}, {}, {}, [], None

    def at(self, queue, cycle, *texts):
        """An instruction in a cycle; further ones follow it without a wait. Behind a sync or deskew cycles start anew."""
        queue = queue if "/" in queue else "0/" + queue
        items = self.queues.setdefault(queue, [])
        now = self.clock.get(queue, 0)
        assert cycle >= now, (self.name, queue, cycle, now)
        while cycle > now:
            step = min(cycle - now, 65535)
            items.append(f"nop {step}")
            now += step
        for text in texts:
            items.append(text)
            item = Item(text)
            if item.mnemonic in ("sync", "deskew"):
                now = 0
            elif item.mnemonic == "repeat":
                now += item["count"] * item["distance"]
            elif item.mnemonic == "nop":
                now += item["count"]
            elif item.mnemonic != "ifetch" and not item.paired:
                now += 1
        self.clock[queue] = now
        return self

    def put(self, place, *words):
        """Words of memory from a place such as e0:3 on."""
        name, word = place.split(":")
        name = name if "/" in name else "0/" + name
        for offset, content in enumerate(words):
            self.memory[name, int(word) + offset] = bytes(content)
        return self

    def region(self, kind, place, count=1):
        name, word = place.split(":")
        self.regions.append((kind, name if "/" in name else "0/" + name, int(word), count))
        return self

    def program(self):
        queues = {parse_queue(name): [Item(text) for text in items] for name, items in self.queues.items()}
        return {"queues": queues, "memory": self.memory, "regions": self.regions, "stated": self.stated, "chips": self.chips}


def planes(values, width):
    """Words of 32-bit values, 32 a word: for each byte of the width its list of words."""
    values = values + [0] * (-len(values) % LANES)
    words = [values[start : start + LANES] for start in range(0, len(values), LANES)]
    return [[bytes(v >> 8 * byte & 255 for v in word) for word in words] for byte in range(width)], len(words)


def vxm(name, text, columns, width, out, alu=0):
    """An ALU operation over columns of values: sources stream in from the west, results go out east."""
    case, op = Case(name), 7
    count = 1
    for number, column in enumerate(columns):
        content, count = planes(column, width)
        for byte, words in enumerate(content):
            case.put(f"w{4 * number + byte}:0", *words)
            again = [f"repeat {count - 1}, 1, 1"] if count > 1 else []
            case.at(f"mem.w{4 * number + byte}", op - 5 - number, f"read 0, e{4 * number + byte}", *again)
    again = [f"repeat {count - 1}, 1, 0"] if count > 1 else []
    case.at(f"vxm.{alu}", op, text, *again)
    delay = 8 if text.split()[0] in ("exp", "tanh", "rsqrt", "reciprocal") else 4
    for byte in range(out):
        again = [f"repeat {count - 1}, 1, 1"] if count > 1 else []
        case.at(f"mem.e{byte}", op + delay + 1, f"write 0, e{16 + byte}", *again)
    return case


def pairs(values):
    return [a for a in values for _ in values], [b for _ in values for b in values]


def arithmetic():
    random = Random(1)
    a, b = pairs(F32)
    ia, ib = pairs(I32)
    more = [random.bits(32) for _ in range(64)], [random.bits(32) for _ in range(64)]
    for mnemonic in ("add", "sub", "mul"):
        yield vxm(f"{mnemonic}-f32", f"{mnemonic} f32, e16, e0, e4", [a + more[0], b + more[1]], 4, 4)
        for kind in ("sat", "mod"):
            yield vxm(f"{mnemonic}-{kind}", f"{mnemonic} {kind}, e16, e0, e4", [ia, ib], 4, 4, alu=15)
        for kind, width in (("sat16", 2), ("mod16", 2), ("sat8", 1), ("mod8", 1)):
            yield vxm(f"{mnemonic}-{kind}", f"{mnemonic} {kind}, e16, e0, e4", [ia, ib], width, width, alu=3)
    for mnemonic in ("negate", "abs"):
        yield vxm(f"{mnemonic}-f32", f"{mnemonic} f32, e16, e0", [F32], 4, 4)
        for kind, width in (("sat", 4), ("mod", 4), ("sat16", 2), ("mod16", 2), ("sat8", 1), ("mod8", 1)):
            yield vxm(f"{mnemonic}-{kind}", f"{mnemonic} {kind}, e16, e0", [I32], width, width)
    for mnemonic in ("max", "min", "greater", "equal"):
        yield vxm(f"{mnemonic}-f32", f"{mnemonic} f32, e16, e0, e4", [a, b], 4, 4)
        yield vxm(f"{mnemonic}-i32", f"{mnemonic} i32, e16, e0, e4", [ia, ib], 4, 4)
    yield vxm("relu-f32", "relu f32, e16, e0", [F32], 4, 4)
    yield vxm("relu-i32", "relu i32, e16, e0", [I32], 4, 4)
    conditions = [0, 1, 0x80000000, 0x00010000, 0xFFFFFFFF, 0x100] * 5
    yield vxm("mask", "mask e16, e0, e4", [conditions, more[0][:30]], 4, 4)
    yield vxm("select", "select e16, e0, e4, e8", [conditions, more[0][:30], more[1][:30]], 4, 4)


def conversions():
    random = Random(2)
    edges = {
        "i8": [0, 1, 127, 128, 255], "i16": [0, 1, 127, 128, 129, 0x7FFF, 0x8000, 0xFFFF, 0xFF80, 0xFF7F, 2049, 257],
        "i32": I32 + [2049, 65519, 65520, 0x01000001, 0x01010001, 0x01008001, 0x01018000, 0x7FFFFF80],
        "f16": [0, 0x8000, 1, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E01, 0xFD00, 0x3800, 0x3E00, 0x57F0, 0x57F8, 0xD808],
        "bf16": [0, 0x8000, 1, 0x8001, 0x007F, 0x0080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC1, 0xFFA0, 0x3F00, 0x3FC0, 0x42FE, 0x42FF, 0x4780, 0x477F],
        "f32": F32 + [0x477FEFFF, 0x477FF000, 0x33000000, 0x33000001, 0x387FFFFF, 0x3F000000, 0x3FC00000, 0x40200000, 0x42FF0000, 0x42FE8000, 0xC3008000,
                      0x4EFFFFFF, 0x4F000000, 0xCF000000, 0x46FFFF00, 0x3F808000, 0x3F818000, 0x7F7F8000],
    }
    for source, values in edges.items():
        width = num.width(source)
        column = values + [random.bits(8 * width) for _ in range(64 - len(values))]
        for target in edges:
            yield vxm(f"convert-{source}-{target}", f"convert {source}, {target}, e16, e0", [column], width, num.width(target))


def functions():
    random = Random(3)
    # Values of moderate size beside the edges; 0x3c000000 is 2^-7, where tanh changes its form.
    moderate = [random.bits(1) << 31 | (0x3A000000 + random.bits(27)) for _ in range(90)]
    column = F32 + [0x3C000000, 0x3BFFFFFF, 0x42B0C0A5, 0xC2CFF1B5, 0xC2AEAC50, 0x43480000, 0x7EFFFFFF, 0x00400000, 0x7F000001] + moderate
    for mnemonic in ("exp", "tanh", "rsqrt", "reciprocal"):
        yield vxm(mnemonic, f"{mnemonic} e16, e0", [column], 4, 4)


def latches():
    case = Case("latch-and-immediates")
    case.at("vxm.0", 0, "add f32, _, #x3f800000, #x40490fdb", "add mod, _, #i-1, #i2147483647")
    case.at("vxm.15", 4, "negate f32, e12, a0", "select e28, a0, a0, a0")
    for byte in range(4):
        case.at(f"mem.e{byte}", 9, f"write 63, e{12 + byte}")
        case.at(f"mem.e{byte}", 10, f"write 0, e{28 + byte}")
    yield case
    # A narrow result is zero-extended in the latch; narrow operands take the low bytes.
    case = Case("latch-narrow")
    case.at("vxm.1", 0, "sub mod8, _, #i3, #i5")
    case.at("vxm.2", 4, "add mod, w0, a1, #i256", "convert i8, i32, w4, a1", "add sat8, w8, a1, #i-127")
    for byte in range(4):
        case.at(f"mem.w{byte}", 9, f"write 1, w{byte}")
        case.at(f"mem.w{byte}", 10, f"write 2, w{4 + byte}")
    case.at("mem.w4", 12, "write 3, w8")
    yield case


def memory():
    random = Random(4)
    for side, out in (("e", "e"), ("w", "w")):
        case = Case(f"read-write-{side}").put(f"{side}0:0", random.word()).put(f"{side}0:63", random.word())
        # Outward over all positions, words and streams at their ends.
        case.at(f"mem.{side}0", 0, f"read 0, {out}0", f"read 63, {out}31")
        case.at(f"mem.{side}19", 8, f"write 63, {out}0", f"write 0, {out}31")
        yield case
    case = Case("write-then-read").put("e4:0", random.word())
    case.at("mem.e4", 0, "read 0, w0").at("mem.e0", 5, "write 31, w0").at("mem.e0", 8, "read 31, e1").at("mem.e8", 14, "write 32, e1")
    yield case
    case = Case("pair").put("e0:0", random.word()).put("e4:33", random.word())
    case.at("mem.e0", 0, "read 0, e0").at("mem.e4", 5, "read 33, e1", "& write 0, e0").at("mem.e8", 10, "write 1, e1")
    yield case
    case = Case("consumers-share-and-a-producer-replaces").put("e0:0", random.word()).put("e4:1", random.word())
    # The value of e0 passes e4 in the cycle in which e4 puts its own on the same stream; e4 still takes the old one.
    case.at("mem.e0", 0, "read 0, e0").at("mem.e4", 1, "read 1, e0").at("mem.e4", 5, "write 9, e0").at("mem.e5", 5, "write 9, e0")
    case.at("mem.e8", 6, "write 9, e0")
    yield case
    case = Case("repeat-strides").put("e0:4", *[random.word() for _ in range(4)])
    case.at("mem.e0", 0, "read 7, e3", "repeat 3, 2, -1").at("mem.e4", 5, "write 40, e3", "repeat 3, 2, 5")
    yield case
    case = Case("nop-longest").put("e0:0", random.word())
    case.at("mem.e0", 65535, "read 0, e0").at("mem.e4", 65540, "write 0, e0")
    yield case
    for bits, low, high in ((0, 0xFF, 0xFF), (1, 3, 0), (5, 0xE9, 0x7F), (2, 0, 0)):
        address = lambda value: bytes([value] + [0xEE] * 31)
        base = 32
        case = Case(f"gather-{bits}").put(f"e8:{base}", *[random.word() for _ in range(1 << bits)])
        case.put("e0:0", address(low)).put("e1:0", address(high))
        case.at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3")
        case.at("mem.e8", 6, f"gather w0, e2, {base}, {bits}").at("mem.e4", 13, "write 5, w0")
        yield case
        case = Case(f"scatter-{bits}").put("e0:0", address(low)).put("e1:0", address(high)).put("e2:0", random.word())
        for number in range(3):
            case.at(f"mem.e{number}", 0, f"read 0, e{(30, 31, 4)[number]}")
        case.at("mem.e8", 6, f"scatter e4, e30, {base}, {bits}")
        yield case


def switches():
    random = Random(5)

    def through(name, text, widths, out, unit=0, words=None, dst=16):
        """Sources from slices e0.. eastward to the SXM, results back west to the same slices."""
        case, slot = Case(name), 0
        for number, (first, width) in enumerate(widths):
            for byte in range(width):
                content = words[number][byte] if words and words[number] else random.word()
                position = slot // 4 + 1
                case.put(f"e{slot}:0", content).at(f"mem.e{slot}", position, f"read 0, e{first + byte}")
                slot += 1
        case.at(f"sxm.e{unit}", 10, text)
        delay = 6 if text.split()[0] in ("shift_superlanes", "permute") else 4
        for byte in range(out):
            position = byte // 4 + 1
            case.at(f"mem.e{byte}", 10 + delay + 6 - position, f"write {byte % 32 + 1}, w{dst + byte}")
        return case

    for by in (1, 15, -15, 0, -1):
        for edge in ("zero", "wrap"):
            width = {1: 1, 15: 2, -15: 4, 0: 1, -1: 1}[by]
            yield through(f"shift_lanes-{by}-{edge}", f"shift_lanes {width}, e0, w16, {by}, {edge}", [(0, width)], width, unit=7)
    for by in (1, -1, 0):
        for edge in ("zero", "wrap"):
            width = {1: 1, -1: 2, 0: 4}[by]
            first = 32 - width
            yield through(f"shift_superlanes-{by}-{edge}", f"shift_superlanes {width}, e{first}, w16, {by}, {edge}", [(first, width)], width)
    yield through("transpose", "transpose e0, w16", [(0, 16)], 16, unit=1)
    identity, reverse = bytes(range(LANES)), bytes(range(LANES - 1, -1, -1))
    zero = bytes(LANES)
    twice = bytes([3, 3, 4, 4] + list(range(4, LANES)))
    beyond = (bytes([0, 1, 32, 255] + list(range(4, LANES))), bytes([1, 0, 0, 255] + [0] * 28))
    for name, map_words in (("identity", (identity, zero)), ("reverse", (reverse, zero)), ("twice", (twice, zero)), ("beyond", beyond)):
        yield through(f"permute-{name}", "permute 2, e0, e4, w16", [(0, 2), (4, 2)], 2, words=[None, map_words])
    yield through("permute-1", "permute 1, e3, e4, w16", [(3, 1), (4, 2)], 1, words=[None, (reverse, zero)])
    yield through("permute-4", "permute 4, e0, e4, w16", [(0, 4), (4, 2)], 4, words=[None, (reverse, zero)])
    for name, numbers in (("edges", bytes([0, 15, 16, 255] * 8)), ("replicate", bytes([7] * LANES)), ("reverse", bytes([15 - lane % 16 for lane in range(LANES)]))):
        yield through(f"distribute-{name}", "distribute 1, e0, e4, w16", [(0, 1), (4, 1)], 1, words=[None, (numbers,)])
    yield through("distribute-2", "distribute 2, e2, e4, w16", [(2, 2), (4, 1)], 2, words=[None, (bytes([9] * LANES),)])
    yield through("distribute-4", "distribute 4, e0, e4, w16", [(0, 4), (4, 1)], 4, words=[None, (bytes([3] * LANES),)])
    yield through("rotate-3", "rotate 3, e0, w16", [(0, 1)], 9)
    yield through("rotate-4", "rotate 4, e0, w16", [(0, 1)], 16, unit=5)
    mask = bytes([0, 1, 128, 0] * 8)
    for width in (1, 2, 4):
        yield through(f"select_lanes-{width}", f"select_lanes {width}, e0, e4, e8, w16", [(0, width), (4, width), (8, 1)], width, words=[None, None, (mask,)])


def plane_case(name, side, plane, rows, orientation, form, activations, weights, held=None):
    """Rows of weights, an install, passes; results come back to slices 0 to 3 of the side."""
    out, back = ("e", "w") if side == "e" else ("w", "e")
    case, lanes = Case(name), LANES
    loads = rows // 16
    halves = 2 if form == "f16" else 1
    # Slices 0 to 15 feed streams 0 to 15; position p reads so that the row is at the planes (position 7) in cycle 14.
    for row in range(16):
        position, at = row // 4 + 1, 0
        for half in range(halves):
            words = [weights[half][load * 16 + row] for load in range(loads)]
            case.put(f"{side}{row}:{8 + 4 * half}", *words)
            again = [f"repeat {loads - 1}, 1, 1"] if loads > 1 else []
            case.at(f"mem.{side}{row}", 3 + position + half * loads, f"read {8 + 4 * half}, {out}{row}", *again)
    again = [f"repeat {loads - 1}, 1, 16"] if loads > 1 else []
    loader = {"i8": [plane], "f16": [0, 1], "widen": [plane]}[form]
    for half, which in enumerate(loader):
        at = 14 + half * loads
        case.at(f"mxm.{side}{which}.lw", at, f"lw {out}0, 0, {orientation}, {'widen' if form == 'widen' else 'bytes'}", *again)
    install = 14 + loads * halves
    for which in ([plane] if form == "i8" else [0, 1]):
        case.at(f"mxm.{side}{which}.iw", install, f"iw {rows}")
    first, fmt = install + 4, "i8" if form == "i8" else "f16"
    step = 1 if fmt == "i8" else 2
    for number, activation in enumerate(activations):
        at = first + number * step
        for byte, content in enumerate(activation):
            # Slices 16 and 17 at position 5.
            case.put(f"{side}{16 + byte}:{number}", content)
            case.at(f"mem.{side}{16 + byte}", at - 6, f"read {number}, {out}{16 + byte}")
        case.at(f"mxm.{side}{plane}.abc", at, f"abc {fmt}, {out}16, {back + '0' if held is None else '_'}")
        result = at + 14
        if held is not None:
            case.at(f"mxm.{side}{plane}.acc", result, f"acc {held[number]}, {back}0")
            result += 2
        for byte in range(4):
            case.at(f"mem.{side}{byte}", result + 6, f"write {40 + number}, {back}{byte}")
    return case


def planes_of(values):
    return [bytes(v & 255 for v in values), bytes(v >> 8 for v in values)]


def matrix():
    random = Random(6)
    int8 = [[random.word() for _ in range(LANES)]]
    act8 = [[random.word()] for _ in range(3)]
    extreme = [[bytes([128] * LANES) for _ in range(LANES)]]
    for side, plane in (("e", 0), ("e", 1), ("w", 0), ("w", 1)):
        yield plane_case(f"pass-i8-{side}{plane}", side, plane, 32, "out" if plane else "in", "i8", act8[:1], int8)
    for rows, orientation in ((16, "out"), (16, "in"), (32, "out")):
        yield plane_case(f"pass-i8-rows-{rows}-{orientation}", "e", 0, rows, orientation, "i8", act8[:1], int8)
    yield plane_case("pass-i8-extreme", "e", 0, 32, "out", "i8", [[bytes([128] * LANES)], [bytes([127] * LANES)]], extreme)
    normal = lambda: random.bits(1) << 15 | (10 + random.bits(3)) << 10 | random.bits(10)
    half_rows = [[normal() for _ in range(LANES)] for _ in range(LANES)]
    specials = [[0x7BFF] * 16 + [0xFBFF] * 16, [0x7C00] + [0x3C00] * 31, [0x7C00, 0xFC00] + [0] * 30, [0x7E55] + [0] * 31, [1] * LANES, [0x8000] * LANES,
                [0x3C00, 0x1400] + [0] * 30, [0x3C00, 0x0001, 0x1000] + [0] * 29]
    rows = specials + half_rows[len(specials):]
    weights = [[planes_of(row)[half] for row in rows] for half in range(2)]
    ones = planes_of([0x3C00] * LANES)
    mixed = planes_of([normal() for _ in range(LANES)])
    infinite = planes_of([0x7C00] + [0x3C00] * 31)
    tiny = planes_of([0x0001] * LANES)
    yield plane_case("pass-f16", "e", 0, 32, "out", "f16", [ones, mixed], weights)
    yield plane_case("pass-f16-special-activations", "w", 0, 32, "out", "f16", [infinite, tiny], weights)
    yield plane_case("pass-f16-in", "e", 0, 16, "in", "f16", [mixed, infinite], weights)
    yield plane_case("widen-out", "e", 0, 32, "out", "widen", [mixed, ones], int8)
    yield plane_case("widen-in", "w", 0, 16, "in", "widen", [mixed], int8)
    case = plane_case("widen-from-odd-plane", "e", 0, 32, "out", "widen", [mixed], int8)
    case.queues["0/mxm.e1.lw"] = case.queues.pop("0/mxm.e0.lw")
    yield case
    yield plane_case("acc-i8", "e", 0, 32, "out", "i8", act8, int8, held=["7, set", "7, add", "0, set"])
    yield plane_case("acc-f16", "e", 0, 32, "out", "f16", [ones, mixed, ones], weights, held=["0, set", "0, add", "0, add"])
    yield plane_case("acc-odd-plane", "w", 1, 16, "out", "i8", act8[:2], int8, held=["3, set", "3, add"])


def control():
    random = Random(7)
    base = lambda name: Case(name).put("e0:3", random.word())
    yield base("sync-notify").at("mem.e0", 2, "sync").at("mem.e0", 0, "read 3, e0").at("mem.e4", 9, "sync").at("mem.e4", 5, "write 1, e0").at("sxm.e0", 4, "notify")
    case = base("sync-twice").at("mem.e0", 0, "sync", "sync").at("mem.e0", 0, "read 3, e0").at("mem.e4", 0, "sync", "sync").at("mem.e4", 5, "write 1, e0")
    yield case.at("vxm.0", 0, "notify", "nop 50", "notify")
    case = base("config").at("mem.e0", 0, "read 3, e0", "read 3, e1").at("mem.e4", 0, "config 1").at("mem.e4", 5, "write 1, e0", "config 2")
    yield case.at("mem.e8", 7, "write 1, e1")
    case = base("config-latch").at("vxm.0", 0, "config 1", "add mod, _, #i5, #i6").at("vxm.1", 5, "add mod, e0, a0, #i1")
    for byte in range(4):
        case.at(f"mem.e{byte}", 10, f"write 0, e{byte}")
    yield case
    yield ifetch("ifetch", ["add mod, e0, #i40, #i2", "nop 3", "mul f32, e4, #x40000000, #x3f000000"])
    yield ifetch("ifetch-nothing", [])
    pair = Case("send-receive", 2).put("e0:0", random.word(), random.word())
    pair.at("mem.e0", 0, "read 0, e0", "nop 2", "read 1, e0").at("c2c.0", 10, "send e0", "nop 2", "send e0")
    pair.at("1/c2c.0", 226, "receive w5", "nop 9", "receive w31").at("1/mem.e0", 236, "write 0, w5").at("1/mem.e0", 246, "write 1, w31")
    yield pair
    case = Case("deskew", 2).put("e0:0", random.word()).at("mem.e0", 0, "read 0, e0").at("c2c.0", 10, "send e0")
    yield case.at("1/c2c.0", 0, "deskew").at("1/c2c.0", 0, "receive w0").at("1/mem.e0", 266, "write 0, w0")
    case = Case("deskew-at-overflow", 2).put("e0:0", random.word()).at("mem.e0", 0, "read 0, e0").at("c2c.0", 10, "send e0")
    yield case.at("1/c2c.0", 256, "deskew").at("1/c2c.0", 0, "receive w0").at("1/mem.e0", 522, "write 0, w0")


def ifetch(name, texts, kind="code", src="w2", at=5, change=None):
    block = b"".join(Item(text).bits() for text in texts)
    block = bytearray(block + bytes(2 * LANES - len(block)))
    for offset, content in (change or {}).items():
        block[offset] = content
    case = Case(name).put("e0:0", block[:LANES]).put("e1:0", block[LANES:])
    case.region(kind, "e0:0").region(kind, "e1:0")
    return case.at("mem.e0", 0, "read 0, w2").at("mem.e1", 0, "read 0, w3").at("vxm.0", at, f"ifetch {src}")


def faults():
    word = Random(8).word()
    read = lambda name: Case(name).put("e0:0", word)
    # Ranges: each operand one beyond its last value, each queue one beyond the last.
    for name, queue, text in [
        ("word", "mem.e0", "read 64, e0"), ("stream", "mem.e0", "read 0, e32"), ("stream-group", "sxm.e0", "transpose e32, w0"), ("write-word", "mem.e0", "write 64, e0"),
        ("window", "mem.e0", "gather e0, e2, 31, 1"), ("window-word", "mem.e0", "scatter e0, e2, 64, 0"), ("latch", "vxm.0", "exp _, a16"),
        ("row", "mxm.e0.lw", "lw e0, 32, out, bytes"), ("rows", "mxm.e0.iw", "iw 48"), ("odd-plane", "mxm.e1.abc", "abc f16, e0, _"),
        ("accumulator", "mxm.e0.acc", "acc 8, set, _"), ("lanes", "sxm.e0", "shift_lanes 1, e0, w0, 16, zero"), ("lanes-down", "sxm.e0", "shift_lanes 1, e0, w0, -16, wrap"),
        ("superlanes", "sxm.e0", "shift_superlanes 1, e0, w0, 2, zero"), ("transposer", "sxm.e2", "transpose e0, w0"), ("config", "mem.e0", "config 3"),
        ("config-none", "vxm.0", "config 0"), ("link", "c2c.1", "send e0"), ("link-receive", "c2c.1", "receive w0"),
        ("slice", "mem.e20", "read 0, e0"), ("alu", "vxm.16", "exp _, #i0"), ("plane", "mxm.w2.iw", "iw 16"), ("switch", "sxm.w8", "transpose e0, w0"), ("c2c", "c2c.2", "deskew"),
    ]:
        yield Case(f"range-overflow-{name}").at(queue, 3, text)
    # Chips that the system of two does not have.
    yield Case("range-overflow-chip", 4).at("vxm.16", 0, "exp _, #i0").at("3/mem.e0", 0, "read 0, e0").at("2/vxm.3", 0, "nop 4")
    yield Case("range-overflow-chip-image", 4).put("3/e0:0", word).at("2/vxm.0", 0, "nop 4")
    yield Case("range-overflow-chip-region", 3).region("const", "2/w1:4").at("2/vxm.0", 0, "nop 4")
    yield Case("range-overflow-chip-stated", 3).at("vxm.0", 0, "exp _, #i0")
    deep = read("queue-overflow").at("mem.e0", 0, *["read 0, e0"] * 25)
    yield deep
    case = ifetch("queue-overflow-fetched", ["nop 1"] * 10)
    yield case.at("vxm.0", 5, *["nop 1"] * 17)
    # Two accesses of one kind, and of both kinds in one bank.
    case = read("port-conflict-read").put("e4:0", *[word] * 3).put("e1:0", bytes(LANES)).at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3")
    yield case.at("mem.e4", 5, "gather e8, e2, 0, 1", "nop 1", "read 2, e9")
    case = read("port-conflict-write").put("e1:0", bytes(LANES)).put("e2:0", word).put("e2:1", word)
    case.at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3").at("mem.e2", 0, "read 0, e4", "nop 1", "read 1, e4")
    yield case.at("mem.e4", 5, "scatter e4, e2, 0, 1", "nop 1", "write 40, e4")
    yield read("bank-conflict").put("e4:5", word).at("mem.e0", 0, "read 0, e0").at("mem.e4", 5, "write 1, e0", "nop 1", "read 5, e1")
    yield read("no-bank-conflict").put("e4:32", word).at("mem.e0", 0, "read 0, e0").at("mem.e4", 5, "write 1, e0", "nop 1", "read 32, e1")
    yield read("register-empty-early").at("mem.e0", 0, "read 0, e0").at("mem.e4", 4, "write 0, e0")
    yield read("register-empty-late").at("mem.e0", 0, "read 0, e0").at("mem.e4", 6, "write 0, e0")
    yield read("register-empty-own-position").at("mem.e0", 0, "read 0, e0").at("mem.e1", 4, "write 0, e0")
    yield Case("register-empty-latch").at("vxm.0", 0, "exp _, #i0").at("vxm.1", 7, "exp _, a0")
    yield Case("word-uninitialised").at("mem.e0", 0, "read 7, e0")
    case = Case("word-uninitialised-gather").put("e0:0", bytes(LANES)).put("e1:0", bytes(LANES)).put("e4:0", word)
    yield case.at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3").at("mem.e4", 5, "gather e0, e2, 0, 1")
    case = Case("word-uninitialised-after-scatter").put("e0:0", bytes(LANES)).put("e1:0", bytes(LANES)).put("e2:0", word)
    case.at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3").at("mem.e2", 0, "read 0, e4")
    yield case.at("mem.e4", 5, "scatter e4, e2, 8, 0", "nop 9", "read 8, e5")
    for kind in ("const", "code"):
        yield read(f"protected-write-{kind}").region(kind, "e4:8").at("mem.e0", 0, "read 0, e0").at("mem.e4", 5, "write 8, e0")
    case = read("protected-write-scatter").put("e1:0", bytes(LANES)).put("e2:0", word).region("const", "e4:9")
    case.at("mem.e0", 0, "read 0, e2").at("mem.e1", 0, "read 0, e3").at("mem.e2", 0, "read 0, e4")
    yield case.at("mem.e4", 5, "scatter e4, e2, 8, 1")
    yield read("two-producers").put("e1:0", word).at("mem.e0", 0, "read 0, e0").at("mem.e1", 0, "read 0, e0")
    yield Case("alu-booked-twice").at("vxm.0", 0, "exp _, #i0").at("vxm.0", 4, "add mod, _, #i1, #i1")
    weights = [[bytes(LANES) for _ in range(LANES)]]
    act = [[bytes(LANES)]]
    make = lambda name, **more: plane_case(name, "e", 0, 32, "out", more.get("form", "i8"), more.get("act", act), more.get("weights", weights), more.get("held"))
    case = make("buffer-not-full")
    case.queues["0/mxm.e0.iw"] = ["nop 15", "iw 32"]
    yield case
    case = make("buffer-not-full-beyond")
    case.queues["0/mxm.e0.iw"] = ["nop 16", "iw 16"]
    yield case
    case = make("buffer-overwritten")
    case.queues["0/mxm.e0.lw"] = ["nop 14", "lw e0, 0, out, bytes", "lw e0, 0, out, bytes"]
    yield case
    case = make("buffer-overwritten-orientation")
    case.queues["0/mxm.e0.lw"] = ["nop 14", "lw e0, 0, out, bytes", "lw e0, 16, in, bytes"]
    yield case
    case = make("buffer-overwritten-widen", form="widen", act=[[bytes(LANES)] * 2])
    case.queues["0/mxm.e1.lw"] = ["nop 15", "lw e0, 0, out, bytes"]
    yield case
    case = make("weights-missing")
    case.queues["0/mxm.e0.abc"] = ["nop 19", "abc i8, e16, w0"]
    case.at("mem.e18", 13, "read 0, e16").put("e18:0", word)
    case.queues["0/mem.e16"] = case.queues.pop("0/mem.e18")
    case.memory["0/e16", 0] = word
    yield case
    case = make("weights-missing-odd-plane", form="widen", act=[[bytes(LANES)] * 2])
    case.queues["0/mxm.e1.iw"] = ["nop 18", "iw 32"]
    yield case
    half = [[bytes(LANES) for _ in range(LANES)] for _ in range(2)]
    case = make("plane-busy-pass", form="f16", act=[[bytes(LANES)] * 2] * 2, weights=half)
    case.queues["0/mxm.e0.abc"] = ["nop 22", "abc f16, e16, w0", "abc f16, e16, w0"]
    for byte in range(2):
        case.queues[f"0/mem.e{16 + byte}"] = ["nop 16", f"read 0, e{16 + byte}", "repeat 1, 1, 1"]
    yield case
    case = make("plane-busy-install", form="f16", act=[[bytes(LANES)] * 2], weights=half)
    case.queues["0/mxm.e1.lw"] = ["nop 16", "lw e0, 0, out, bytes", "repeat 1, 1, 16", "lw e0, 0, out, bytes"]
    case.queues["0/mxm.e1.iw"] = ["nop 18", "iw 32", "iw 16"]
    for row in range(16):
        # One more row in cycle 18; what stands behind it keeps its time.
        items = case.queues[f"0/mem.e{row}"]
        at = len(items) - 1 - items[::-1].index("repeat 1, 1, 1")
        items[at] = "repeat 2, 1, 0"
        if at + 1 < len(items):
            items[at + 1] = f"nop {int(items[at + 1].split()[1]) - 1}"
    yield case
    case = make("accumulator-misuse-result-not-taken", held=["0, set"])
    del case.queues["0/mxm.e0.acc"]
    for byte in range(4):
        case.queues[f"0/mem.e{byte}"] = case.queues[f"0/mem.e{byte}"][:3]
    yield case
    yield Case("accumulator-misuse-no-result").at("mxm.e0.acc", 5, "acc 0, set, w0")
    yield make("accumulator-misuse-never-set", held=["0, add"])
    case = make("accumulator-misuse-format", form="f16", act=[[bytes(LANES)] * 2] * 2, weights=half, held=["0, set", "0, add"])
    case.queues["0/mxm.e0.abc"] = ["nop 22", "abc f16, e16, _", "nop 1", "abc i8, e16, _"]
    yield case
    case = read("cycles-mismatch").at("mem.e0", 0, "read 0, e0")
    case.stated = 7
    yield case
    yield Case("barrier-missing").at("mem.e0", 4, "sync").at("vxm.0", 0, "exp _, #i0")
    yield Case("barrier-missing-passed").at("mem.e0", 35, "sync").at("vxm.0", 0, "notify")
    case = Case("receive-before-arrival", 2).put("e0:0", word).at("mem.e0", 0, "read 0, e0").at("c2c.0", 10, "send e0")
    yield case.at("1/c2c.0", 225, "receive w0")
    yield Case("receive-before-arrival-nothing", 2).at("1/c2c.0", 0, "receive w0")
    case = Case("link-busy", 2).put("e0:0", word).at("mem.e0", 0, "read 0, e0", "repeat 4, 1, 0")
    yield case.at("c2c.0", 10, "send e0", "nop 1", "send e0")
    add = ["add mod, e0, #i40, #i2"]
    yield ifetch("fetch-not-code-const", add, kind="const")
    yield ifetch("fetch-not-code-input", add).region("input", "e1:0")
    case = ifetch("fetch-not-code-power", add, at=6)
    for number in range(2):
        case.queues[f"0/mem.e{number}"] = ["config 1", f"read 0, w{2 + number}"]
    yield case
    yield ifetch("fetch-invalid-opcode", add, change={12: 0xFF})
    yield ifetch("fetch-invalid-bits", add, change={11: 0xFF})
    yield ifetch("fetch-invalid-operand", add, change={1: 0x70})
    yield ifetch("fetch-invalid-padding", add, change={63: 1})
    yield ifetch("fetch-invalid-unit", ["read 0, e0"])
    yield ifetch("fetch-invalid-repeat", ["repeat 1, 1, 0"])


GROUPS = {
    "arithmetic": arithmetic, "conversions": conversions, "functions": functions, "latches": latches, "memory": memory,
    "switches": switches, "matrix": matrix, "control": control, "faults": faults,
}
assert ISA.rows
