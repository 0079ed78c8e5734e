"""The machine, from docs/timing.md and docs/isa.md alone: steps every cycle of a program, names the first fault."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import arithmetic as num

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"


class Chip:
    """Figures of the chip description, and what docs/timing.md derives from them."""

    def __init__(self, path):
        for name, figure in tomllib.loads(path.read_text()).items():
            setattr(self, name, figure["value"] if isinstance(figure, dict) else figure)
        self.lanes = self.superlanes * self.lanes_per_superlane
        self.words = self.banks * self.words_per_bank
        self.mem_positions = -(-self.slices_per_side // self.slices_per_position)

    def delay(self, name):
        return 0 if name == "none" else getattr(self, name)

    def position(self, queue):
        kind = queue[0]
        if kind == 1:
            return 0
        if kind == 4:
            return (self.mem_positions + 2) * (1 if queue[1] * 2 < self.c2c_queues else -1)
        out = {0: queue[2] // self.slices_per_position + 1, 2: self.mem_positions + 2, 3: self.mem_positions + 1}[kind]
        return out if queue[1] == 0 else -out

    def has(self, queue):
        kind = queue[0]
        number = queue[1] if kind in (1, 4) else queue[2]
        counts = {0: self.slices_per_side, 1: self.alus, 2: self.planes_per_side, 3: self.sxm_per_side, 4: self.c2c_queues}
        return number < counts[kind]


class Isa:
    """The instruction table as docs/isa.md prints it."""

    def __init__(self):
        page = (DOCS / "isa.md").read_text()
        self.kinds, self.rows, self.rules = {}, {}, {}
        for kind, bits, written in re.findall(r"^\| (\w+) \| (\d+) \| (.*?) \|", page, re.M):
            words = re.findall(r"`(\w+)`", written) if written.startswith("one of") else None
            self.kinds[kind] = (int(bits), words)
        usage = r"^\| 0x([0-9a-f]{2}) \| `(\w+)(?: ([^`]*))?` \| (\w+) \| (\w+) \|"
        for code, mnemonic, operands, unit, delay in re.findall(usage, page, re.M):
            section = page[page.index(f"\n### `{mnemonic}"):]
            section = section[: section.find("\n#", 5)]
            fields = re.findall(r"^\| (\w+) \| [\d.]+ \| ([A-Z]\w+) \|$", section, re.M)
            strided = re.search(r"A repeat strides over `(\w+)`", section)
            names = [name.strip() for name in operands.split(",")] if operands else []
            assert [name for name, _ in fields] == names, mnemonic
            self.rows[mnemonic] = (int(code, 16), unit, delay, fields, strided and strided[1])
        self.opcodes = {row[0]: mnemonic for mnemonic, row in self.rows.items()}
        for number, name in re.findall(r"^\| (\d+) \| ([a-z-]+) \|", page, re.M):
            self.rules[name] = int(number)


ISA = Isa()


def parse_stream(text):
    return (0 if text[0] == "e" else 1, int(text[1:]))


def parse_queue(text):
    """(kind, ..) in the order of queues; a name such as 0/mem.e3."""
    chip, name = text.split("/")
    unit, rest = name.split(".", 1)
    kind = ["mem", "vxm", "mxm", "sxm", "c2c"].index(unit)
    if kind in (1, 4):
        return int(chip), (kind, int(rest))
    side = 0 if rest[0] == "e" else 1
    number, _, port = rest[1:].partition(".")
    ports = {"lw": 0, "iw": 1, "abc": 2, "acc": 3}
    return int(chip), (kind, side, int(number)) + ((ports[port],) if port else ())


class Item:
    def __init__(self, text):
        self.paired = text.startswith("& ")
        mnemonic, _, rest = text.removeprefix("& ").partition(" ")
        self.mnemonic = mnemonic
        self.code, self.unit, self.delay, self.fields, self.strided = ISA.rows[mnemonic]
        texts = [part.strip() for part in rest.split(",")] if rest else []
        assert len(texts) == len(self.fields), text
        self.values = {name: value(kind, part) for (name, kind), part in zip(self.fields, texts)}

    def __getitem__(self, name):
        return self.values[name]

    def bits(self):
        """Opcode, pair flag, operands, most significant bit first, zero bits to a whole byte."""
        out, count = self.code << 1 | self.paired, 9
        for name, kind in self.fields:
            size = ISA.kinds[kind][0]
            out, count = out << size | encoded(kind, self.values[name]) & ((1 << size) - 1), count + size
        padding = -count % 8
        return (out << padding).to_bytes((count + padding) // 8, "big")

    def moved(self, stride, times):
        """As a Repeat issues it."""
        item = Item.__new__(Item)
        item.__dict__ = dict(self.__dict__, values=dict(self.values))
        if self.strided:
            size = ISA.kinds[dict(self.fields)[self.strided]][0]
            item.values[self.strided] = (self[self.strided] + stride * times) % (1 << size)
        return item


def value(kind, text):
    words = ISA.kinds[kind][1]
    if words:
        return text
    if kind == "Stream":
        return parse_stream(text)
    if kind == "Target":
        return None if text == "_" else parse_stream(text)
    if kind == "Source":
        if text[0] == "a":
            return ("latch", int(text[1:]))
        if text[0] == "#":
            form, digits = text[1], text[2:]
            return ("immediate", int(digits, 16) if form == "x" else int(digits) & 0xFFFFFFFF)
        return ("stream", parse_stream(text))
    return int(text)


def encoded(kind, given):
    words = ISA.kinds[kind][1]
    if words:
        return words.index(given)
    if kind == "Stream":
        return given[0] << 7 | given[1]
    if kind == "Target":
        return 0 if given is None else 1 << 8 | given[0] << 7 | given[1]
    if kind == "Source":
        form, inner = given
        return {"stream": 0, "latch": 1, "immediate": 2}[form] << 32 | (encoded("Stream", inner) if form == "stream" else inner)
    return given


def decode_block(block):
    """Items of two fetched vectors, or None where there are none that can stand there."""
    items, at = [], 0
    while at < len(block) and block[at]:
        if block[at] not in ISA.opcodes:
            return None
        fields = ISA.rows[ISA.opcodes[block[at]]][3]
        length = -(-(9 + sum(ISA.kinds[kind][0] for _, kind in fields)) // 8)
        bits = int.from_bytes(block[at : at + length], "big")
        used = 9 + sum(ISA.kinds[kind][0] for _, kind in fields)
        if at + length > len(block) or bits & ((1 << 8 * length - used) - 1) or bits >> 8 * length - 9 & 1 and not items:
            return None
        left = 8 * length - 9
        texts = []
        for _, kind in fields:
            left -= ISA.kinds[kind][0]
            texts.append(written(kind, bits >> left & ((1 << ISA.kinds[kind][0]) - 1)))
        if None in texts:
            return None
        items.append(Item(f"{ISA.opcodes[block[at]]} {', '.join(texts)}".strip()))
        at += length
    if any(block[at:]) or items and items[0].mnemonic == "repeat":
        return None
    return items


def written(kind, bits):
    size, words = ISA.kinds[kind]
    if words:
        return words[bits] if bits < len(words) else None
    stream = lambda code: f"{'ew'[code >> 7]}{code & 127}"
    if kind == "Stream":
        return stream(bits)
    if kind == "Target":
        return stream(bits & 255) if bits >> 8 else "_"
    if kind == "Source":
        return [stream(bits & 255), f"a{bits & 255}", f"#x{bits & 0xFFFFFFFF:x}"][bits >> 32]
    if kind in ("Shift", "Stride") and bits >> (size - 1):
        bits -= 1 << size
    return str(bits)


def arithmetic_bytes(word):
    return {"sat16": 2, "mod16": 2, "sat8": 1, "mod8": 1}.get(word, 4)


def source_width(item):
    if item.mnemonic == "convert":
        return num.width(item["from"])
    return arithmetic_bytes(item["arithmetic"]) if "arithmetic" in item.values else 4


def result_width(item):
    return num.width(item["to"]) if item.mnemonic == "convert" else source_width(item)


def lanes_in(item):
    """Stream groups that an instruction takes, in order: (first, width)."""
    given, name = item.values, item.mnemonic
    if item.unit == "vxm":
        sources = [given[key] for key in ("condition", "a", "b") if key in given]
        return [(inner, source_width(item)) for form, inner in sources if form == "stream"]
    width = int(given.get("width", 1))
    return {
        "write": lambda: [(given["src"], 1)],
        "gather": lambda: [(given["map"], 2)],
        "scatter": lambda: [(given["src"], 1), (given["map"], 2)],
        "lw": lambda: [(given["src"], 16)],
        "abc": lambda: [(given["src"], 2 if given["format"] == "f16" else 1)],
        "ifetch": lambda: [(given["src"], 2)],
        "send": lambda: [(given["src"], 1)],
        "shift_lanes": lambda: [(given["src"], width)],
        "shift_superlanes": lambda: [(given["src"], width)],
        "transpose": lambda: [(given["src"], 16)],
        "permute": lambda: [(given["src"], width), (given["map"], 2)],
        "distribute": lambda: [(given["src"], width), (given["map"], 1)],
        "rotate": lambda: [(given["src"], 1)],
        "select_lanes": lambda: [(given["a"], width), (given["b"], width), (given["mask"], 1)],
    }.get(name, list)()


def lanes_out(item):
    given, name = item.values, item.mnemonic
    dst = given.get("dst")
    if dst is None:
        return []
    if item.unit == "vxm":
        return [(dst, result_width(item))]
    width = {"abc": 4, "acc": 4, "transpose": 16, "rotate": int(given.get("side", 1)) ** 2}.get(name, int(given.get("width", 1)))
    return [(dst, width)]


def alu(item, a, b, c):
    """One lane of an ALU operation."""
    given, name = item.values, item.mnemonic
    if name == "mask":
        return b if a else 0
    if name == "select":
        return b if a else c
    if name == "convert":
        return num.convert(given["from"], given["to"], a)
    if name in ("exp", "tanh", "rsqrt", "reciprocal"):
        return getattr(num, name)(a)
    kind = given.get("arithmetic") or given["number"]
    if kind == "f32":
        return {
            "add": lambda: num.add(a, b),
            "sub": lambda: num.add(a, num.neg(b)),
            "mul": lambda: num.mul(a, b),
            "negate": lambda: num.neg(a),
            "abs": lambda: num.neg(a) if a >> 31 else num.neg(num.neg(a)),
            "max": lambda: num.extreme(a, b, max),
            "min": lambda: num.extreme(a, b, min),
            "relu": lambda: num.extreme(a, 0, max),
            "greater": lambda: num.compare(a, b, lambda x, y: x > y),
            "equal": lambda: num.compare(a, b, lambda x, y: x == y),
        }[name]()
    size = 8 * source_width(item)
    x, y = num.signed(a, size), num.signed(b, size)
    if name in ("greater", "equal"):
        return int(x > y if name == "greater" else x == y)
    exact = {
        "add": x + y, "sub": x - y, "mul": x * y, "negate": -x, "abs": abs(x),
        "max": max(x, y), "min": min(x, y), "relu": max(x, 0),
    }[name]
    if kind.startswith("sat"):
        exact = num.clamp(exact, size)
    return exact & ((1 << size) - 1)


def switch(item, taken, lanes):
    """What a switch unit makes of its stream groups: lists of vectors."""
    given, name = item.values, item.mnemonic
    src = taken[0]
    if name in ("shift_lanes", "shift_superlanes"):
        block, group = (1, 16) if name == "shift_lanes" else (16, lanes)
        out = []
        for vector in src:
            moved = [0] * lanes
            for lane in range(lanes):
                start, within = lane - lane % group, lane % group
                origin = within - given["by"] * block
                if given["edge"] == "wrap":
                    origin %= group
                if 0 <= origin < group:
                    moved[lane] = vector[start + origin]
            out.append(bytes(moved))
        return out
    if name == "transpose":
        return [bytes(src[lane % 16][lane - lane % 16 + row] for lane in range(lanes)) for row in range(16)]
    if name == "permute":
        low, high = taken[1]
        seen, places = set(), []
        for lane in range(lanes):
            origin = low[lane] | high[lane] << 8
            places.append(origin if origin < lanes and origin not in seen else None)
            seen.add(origin)
        return [bytes(0 if p is None else vector[p] for p in places) for vector in src]
    if name == "distribute":
        numbers = taken[1][0]
        pick = lambda vector, lane: vector[lane - lane % 16 + numbers[lane]] if numbers[lane] < 16 else 0
        return [bytes(pick(vector, lane) for lane in range(lanes)) for vector in src]
    if name == "rotate":
        n = int(given["side"])
        out = []
        for i in range(n):
            for j in range(n):
                cell = lambda base, place: src[0][base + (place // n + i) % n * n + (place % n + j) % n] if place < n * n else 0
                out.append(bytes(cell(lane - lane % 16, lane % 16) for lane in range(lanes)))
        return out
    a, b, mask = taken[0], taken[1], taken[2][0]
    return [bytes((x if m else y) for x, y, m in zip(va, vb, mask)) for va, vb in zip(a, b)]


class Queue:
    def __init__(self, items):
        self.items, self.at, self.clock, self.issued = items, 0, 0, 0
        self.repeating, self.parked, self.holds, self.live = None, None, [], None

    def next(self):
        """The next issue that is due: (cycle, index, item), or None."""
        while self.parked is None:
            if self.repeating:
                step, count, distance, stride, of = self.repeating
                cycle = self.issued + distance * step
                return (cycle, of, self.items[of].moved(stride, step))
            if self.at == len(self.items):
                return None
            while self.holds and self.holds[0][0] <= self.at:
                self.clock = max(self.clock, self.holds.pop(0)[1])
            item = self.items[self.at]
            if item.mnemonic == "nop":
                self.clock += item["count"]
                self.at += 1
            elif item.mnemonic == "repeat":
                self.repeating = [1, item["count"], item["distance"], item["stride"], self.at - 1]
                self.at += 1
            else:
                return (self.issued if item.paired else self.clock, self.at, item)
        return None

    def step(self):
        """Past the issue that `next` gave."""
        if self.repeating:
            step, count, distance, _, _ = self.repeating
            if step == count:
                self.clock, self.repeating = self.issued + count * distance + 1, None
            else:
                self.repeating[0] += 1
            return
        item = self.items[self.at]
        self.at += 1
        if item.mnemonic != "ifetch" and not item.paired:
            self.issued = self.clock
            self.clock += 1


class Plane:
    def __init__(self):
        self.rows, self.orientation, self.array, self.busy, self.port, self.sums = {}, None, None, 0, None, {}


class Machine:
    def __init__(self, chip, links, chips):
        self.chip, self.links, self.chips = chip, links, chips

    def absent(self, program):
        """Places on chips that the system does not have: those of the image, else those of the program."""
        number = lambda place: int(place.split("/")[0])
        image = [(number(place), None) for place, _ in program["memory"]]
        queues = [place for place, items in program["queues"].items() if items]
        regions = [(number(place), None) for _, place, _, _ in program["regions"]]
        for places in (image, queues + regions, [(program["chips"] - 1, None)]):
            missing = [place for place in places if place[0] >= self.chips]
            if missing:
                return missing
        return []

    def run(self, program):
        """The outcome of a program: activity, final memory, cycles, or the first fault."""
        chip = self.chip
        self.memory = dict(program["memory"])
        self.known = set(program["memory"])
        self.protected, self.code = set(), set()
        for kind, place, word, count in program["regions"]:
            words = {(place, word + offset) for offset in range(count)}
            if kind in ("const", "code"):
                self.protected |= words
            if kind == "code":
                self.code |= words
        for kind, place, word, count in program["regions"]:
            if kind == "input":
                self.code -= {(place, word + offset) for offset in range(count)}
        self.faults, self.activity = [], []
        self.puts, self.latches, self.planes = defaultdict(list), {}, defaultdict(Plane)
        self.landings, self.feeds, self.barriers = defaultdict(list), defaultdict(list), []
        self.accesses, self.alus, self.ports = {}, {}, []
        self.waiting, self.sent = defaultdict(list), {}
        self.cycle, last, end = 0, None, 0
        for number, queue in self.absent(program):
            self.fault("range-overflow", number, queue, 0)
        if self.faults:
            return self.first()
        queues = {}
        for (number, queue), items in sorted(program["queues"].items()):
            if not chip.has(queue):
                self.fault("range-overflow", number, queue, 0)
                continue
            if len(items) > chip.queue_depth:
                self.fault("queue-overflow", number, queue, chip.queue_depth)
            queues[number, queue] = Queue(list(items))
        self.queues, self.last = queues, -1
        while True:
            due = [queue.next() for queue in queues.values()]
            due = [issue[0] for issue in due if issue] + [cycle for cycle, _ in self.barriers]
            if not due and self.cycle > self.last:
                break
            if self.cycle > self.last and not self.faults:
                self.cycle = max(self.cycle, min(due))
            self.step()
            end = self.dispatched if self.dispatched is not None else end
            if self.faults:
                return self.first()
            self.cycle += 1
        cycles = self.last + chip.superlanes if self.last >= 0 else 0
        self.cycle = max(cycles, end)
        stated = program["stated"]
        if stated is not None and stated != cycles:
            self.fault("cycles-mismatch", 0, None, 0)
        for (number, queue), state in queues.items():
            if state.parked is not None:
                self.fault("barrier-missing", number, queue, state.parked[1])
        if self.faults:
            return self.first()
        return {"cycles": cycles, "activity": sorted(self.activity, key=str), "final": self.memory}

    def first(self):
        order = lambda fault: (fault[0], fault[2], () if fault[3] is None else fault[3], ISA.rules[fault[1]], fault[4])
        cycle, rule, number, queue, item = min(self.faults, key=order)
        return {"fault": {"rule": rule, "cycle": cycle, "chip": number, "queue": queue, "item": item}}

    def fault(self, rule, number, queue, item):
        self.faults.append((self.cycle, rule, number, queue, item))

    def step(self):
        self.dispatched = None
        for cycle, number in [barrier for barrier in self.barriers if barrier[0] == self.cycle]:
            self.barriers.remove((cycle, number))
            for (chip, _), queue in self.queues.items():
                if chip == number and queue.parked and queue.parked[0] < cycle:
                    queue.parked, queue.clock = None, cycle
        # Words are read after the cycle's landings.
        for late in (False, True):
            for reads, land in self.landings[self.cycle]:
                if reads == late:
                    land()
        for (number, queue), state in sorted(self.queues.items()):
            while (issue := state.next()) and issue[0] == self.cycle:
                state.step()
                self.dispatched = self.cycle + 1
                self.dispatch(number, queue, state, issue[1], issue[2])
        for number, queue, plane in self.ports:
            if plane.port:
                self.fault("accumulator-misuse", number, queue, plane.port[2])
                plane.port = None
        self.ports = []
        written = set()
        for number, queue, item, issued, stream, position, vector, code in sorted(self.feeds.pop(self.cycle, []), key=lambda f: f[:5]):
            self.activity.append([self.cycle, "stream", number, f"{'ew'[stream[0]]}{stream[1]}", position, vector.hex()])
            if (number, stream, position) in written:
                self.fault("two-producers", number, queue, item)
            written.add((number, stream, position))
            self.puts[number, stream, self.diagonal(stream, self.cycle, position)].append((self.cycle, vector, code))

    def diagonal(self, stream, cycle, position):
        return cycle - position if stream[0] == 0 else cycle + position

    def arriving(self, number, stream, position):
        line = [put for put in self.puts[number, stream, self.diagonal(stream, self.cycle, position)] if put[0] < self.cycle]
        return line[-1] if line else None

    def power(self, vector, live):
        return bytes(vector[:live]) + bytes(len(vector) - live)

    def land(self, delay, action, reads=False):
        self.landings[self.cycle + delay].append((reads, action))

    def access(self, number, queue, item, issued, word, write):
        place = (number, queue)
        bank = word // self.chip.words_per_bank
        slice_name = f"{'ew'[queue[1]]}{queue[2]}"
        self.activity.append([self.cycle, "bank", number, slice_name, bank, word, "write" if write else "read"])
        for other_cycle, other_write, other_bank, other_issued, other_item in self.accesses.get(place, []):
            if other_cycle != self.cycle:
                continue
            blamed = max((issued, item), (other_issued, other_item))[1]
            if other_write == write:
                self.fault("port-conflict", number, queue, blamed)
            elif other_bank == bank:
                self.fault("bank-conflict", number, queue, blamed)
        self.accesses.setdefault(place, []).append((self.cycle, write, bank, issued, item))

    def out_of_range(self, number, queue, item):
        chip, given, name = self.chip, item.values, item.mnemonic
        if any(first[1] + width > chip.streams for first, width in lanes_in(item) + lanes_out(item)):
            return True
        if any(isinstance(v, tuple) and v[0] == "latch" and v[1] >= chip.alus for v in given.values()):
            return True
        if name in ("read", "write"):
            return given["word"] >= chip.words
        if name in ("gather", "scatter"):
            base = given["base"]
            return base >= chip.words or base % chip.words_per_bank + (1 << given["bits"]) > chip.words_per_bank
        if name == "lw":
            return given["row"] + 16 > chip.lanes
        if name == "iw":
            return given["rows"] > chip.lanes
        if name == "abc":
            return given["format"] == "f16" and queue[2] % 2 == 1
        if name == "acc":
            return given["accumulator"] >= chip.accumulators
        if name == "shift_lanes":
            return abs(given["by"]) > 15
        if name == "shift_superlanes":
            return abs(given["by"]) >= chip.superlanes
        if name == "transpose":
            return queue[2] >= chip.transposers_per_side
        if name == "config":
            return not 1 <= given["superlanes"] <= chip.superlanes
        return name in ("send", "receive") and (number, queue[1]) not in self.links

    def dispatch(self, number, queue, state, index, item):
        chip, given, name = self.chip, item.values, item.mnemonic
        fault = lambda rule: self.fault(rule, number, queue, index)
        if self.out_of_range(number, queue, item):
            return fault("range-overflow")
        issued, position, delay = self.cycle, chip.position(queue), chip.delay(item.delay)
        live = state.live or chip.lanes
        if item.unit != "icu" and name != "deskew":
            self.last = max(self.last, self.cycle + delay)
        taken, empty = [], False
        for first, width in lanes_in(item):
            group = []
            for stream in ((first[0], first[1] + offset) for offset in range(width)):
                found = self.arriving(number, stream, position)
                empty |= found is None
                group.append(found or (0, bytes(chip.lanes), False))
            taken.append(group)
        if empty:
            fault("register-empty")
        values = [[self.power(put[1], live) for put in group] for group in taken]

        def feed(after, first, vectors, code=False):
            for offset, vector in enumerate(vectors):
                stream = (first[0], first[1] + offset)
                entry = (number, queue, index, issued, stream, position, self.power(vector, live), code)
                self.feeds[self.cycle + after].append(entry)

        if item.unit == "icu" or item.unit == "c2c":
            return self.control(number, queue, state, index, item, taken, values, empty, feed)
        if item.unit == "mem":
            return self.mem(number, queue, index, item, values, feed, live)
        if item.unit == "vxm":
            return self.vxm(number, queue, index, item, values, feed, live)
        if item.unit == "sxm":
            return feed(delay, given["dst"], switch(item, values, chip.lanes))
        return self.mxm(number, queue, index, item, values, feed, live)

    def control(self, number, queue, state, index, item, taken, values, empty, feed):
        chip, given, name = self.chip, item.values, item.mnemonic
        delay = chip.delay(item.delay)
        fault = lambda rule: self.fault(rule, number, queue, index)
        if name == "sync":
            state.parked = (self.cycle, index)
        elif name == "notify":
            self.barriers.append((self.cycle + delay, number))
        elif name == "deskew":
            state.clock = (self.cycle // chip.c2c_period + 1) * chip.c2c_period
        elif name == "config":
            state.live = given["superlanes"] * chip.lanes_per_superlane
        elif name == "send":
            if self.sent.get((number, queue), -1000) + chip.c2c_interval > self.cycle:
                fault("link-busy")
            self.sent[number, queue] = self.cycle
            self.waiting[self.links[number, queue[1]]].append((self.cycle + delay, values[0][0]))
        elif name == "receive":
            line = self.waiting[number, queue[1]]
            if line and line[0][0] <= self.cycle:
                feed(delay, given["dst"], [line.pop(0)[1]])
            else:
                fault("receive-before-arrival")
        elif name == "ifetch" and not empty:
            if not all(put[2] for put in taken[0]):
                return fault("fetch-not-code")
            items = decode_block(b"".join(put[1] for put in taken[0]))
            fits = lambda item: item.unit in ("icu", ["mem", "vxm", "mxm", "sxm", "c2c"][queue[0]])
            if items is None or not all(fits(item) for item in items):
                return fault("fetch-invalid")
            state.holds.append((len(state.items), self.cycle + delay))
            state.items += items
            if len(state.items) - state.at > chip.queue_depth:
                fault("queue-overflow")

    def mem(self, number, queue, index, item, values, feed, live):
        chip, given, name = self.chip, item.values, item.mnemonic
        issued, delay = self.cycle, chip.delay(item.delay)
        place = f"{number}/{'ew'[queue[1]]}{queue[2]}"
        base = given.get("word", given.get("base"))
        span = range(base, base + (1 << given.get("bits", 0)))
        word = base
        if "map" in given:
            low, high = values[-1]
            word = base + ((low[0] | high[0] << 8) & ((1 << given["bits"]) - 1))

        def read(after):
            self.access(number, queue, index, issued, word, False)
            if any((place, touched) not in self.known for touched in span):
                self.fault("word-uninitialised", number, queue, index)
            code = name == "read" and (place, word) in self.code and live == chip.lanes
            feed(after, given["dst"], [self.memory.get((place, word), bytes(chip.lanes))], code)

        def write():
            self.access(number, queue, index, issued, word, True)
            self.memory[place, word] = values[0][0]
            if name == "write":
                self.known.add((place, word))

        if name == "read":
            return read(delay)
        if name == "gather":
            return self.land(chip.mem_gather_access, lambda: read(delay - chip.mem_gather_access), True)
        if any((place, touched) in self.protected for touched in span):
            self.fault("protected-write", number, queue, index)
        self.land(delay, write)

    def vxm(self, number, queue, index, item, values, feed, live):
        chip, given = self.chip, item.values
        issued, delay = self.cycle, chip.delay(item.delay)
        groups, sources = iter(values), []
        for key in ("condition", "a", "b"):
            if key not in given:
                continue
            form, inner = given[key]
            if form == "stream":
                group = next(groups)
                sources.append([sum(vector[lane] << 8 * byte for byte, vector in enumerate(group)) for lane in range(chip.lanes)])
            elif form == "immediate":
                sources.append([inner] * chip.lanes)
            else:
                if (number, inner) not in self.latches:
                    self.fault("register-empty", number, queue, index)
                sources.append(self.latches.get((number, inner), [0] * chip.lanes))
        sources += [[0] * chip.lanes] * (3 - len(sources))
        result = [alu(item, *lane) if place < live else 0 for place, lane in enumerate(zip(*sources))]

        def latch():
            before = self.alus.get((number, queue))
            if before and before[0] == self.cycle:
                self.fault("alu-booked-twice", number, queue, max(before[1:], (issued, index))[1])
            self.alus[number, queue] = (self.cycle, issued, index)
            self.latches[number, queue[1]] = result

        self.land(delay, latch)
        if given["dst"] is not None:
            feed(delay, given["dst"], split(result, result_width(item)))

    def mxm(self, number, queue, index, item, values, feed, live):
        chip, given, name = self.chip, item.values, item.mnemonic
        delay, side, own = chip.delay(item.delay), queue[1], queue[2]
        plane = lambda which: self.planes[number, side, which]
        fault = lambda rule: self.fault(rule, number, queue, index)
        if name == "lw":

            def load():
                rows = values[0]
                fills = [(own, rows)]
                if given["format"] == "widen":
                    wide = [[num.convert("i8", "f16", byte) for byte in row] for row in rows]
                    fills = [(own & ~1, [[v & 255 for v in row] for row in wide]), (own | 1, [[v >> 8 for v in row] for row in wide])]
                bad = False
                for which, content in fills:
                    buffer = plane(which)
                    bad |= given["row"] in buffer.rows or buffer.orientation not in (None, given["orientation"])
                    buffer.orientation = given["orientation"]
                    for offset, row in enumerate(content):
                        buffer.rows[given["row"] + offset] = row
                if bad:
                    fault("buffer-overwritten")

            self.land(delay, load)
        elif name == "iw":
            buffer = plane(own)
            if sorted(buffer.rows) != list(range(given["rows"])):
                fault("buffer-not-full")
            rows = [buffer.rows.get(row, [0] * chip.lanes) for row in range(given["rows"])]
            if buffer.orientation == "in":
                full = rows + [[0] * chip.lanes] * (chip.lanes - len(rows))
                rows = [[full[lane][output] for lane in range(chip.lanes)] for output in range(chip.lanes)]
            buffer.rows, buffer.orientation = {}, None

            def install():
                plane(own).array = rows
                if plane(own).busy > self.cycle:
                    fault("plane-busy")

            self.land(delay, install)
        elif name == "abc":
            wide = given["format"] == "f16"
            planes = [plane(own), plane(own + 1)] if wide else [plane(own)]
            if any(each.array is None for each in planes):
                fault("weights-missing")
            if any(each.busy > self.cycle for each in planes):
                fault("plane-busy")
            for each in planes:
                each.busy = self.cycle + (chip.mxm_f16_interval if wide else 1)
            join = lambda low, high: [x | y << 8 for x, y in zip(low, high)]
            if wide:
                activation = join(*values[0])
                weights = [join(low, high) for low, high in zip(planes[0].array or [], planes[1].array or [])]
                result = [num.dot_f16(row, activation) for row in weights]
            else:
                result = [num.dot_i8(row, values[0][0]) for row in planes[0].array or []]
            result += [0] * (chip.lanes - len(result))
            result = [v if lane < live else 0 for lane, v in enumerate(result)]
            if given["dst"] is not None:
                return feed(delay, given["dst"], split(result, 4))

            def arrive():
                plane(own).port = (given["format"], result, index)
                self.ports.append((number, queue, plane(own)))

            self.land(delay, arrive)
        else:
            port = plane(own).port
            if not port:
                return fault("accumulator-misuse")
            plane(own).port = None

            def accumulate():
                sums, key = plane(own).sums, given["accumulator"]
                before = sums.get(key)
                new = port[1]
                if given["mode"] == "add":
                    if before is None or before[0] != port[0]:
                        fault("accumulator-misuse")
                    elif port[0] == "i8":
                        new = [(x + y) & 0xFFFFFFFF for x, y in zip(before[1], new)]
                    else:
                        new = [num.add(x, y) for x, y in zip(before[1], new)]
                sums[key] = (port[0], new)
                if given["dst"] is not None:
                    feed(0, given["dst"], split(new, 4))

            self.land(delay, accumulate)


def split(values, width):
    return [bytes(v >> 8 * byte & 255 for v in values) for byte in range(width)]
