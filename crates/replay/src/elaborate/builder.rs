//! Operations as they are found, each with the phase in which it can run and the operations of that phase that must run
//! before it.
//!
//! Level l has two phases: operations (position 2l), then passes (2l + 1). An operation is in the first level in
//! which all that it takes is there. Operations of one level that depend on one another are joined into one component,
//! which a single thread does in order.

use std::collections::HashMap;

use lpu_isa::{Instruction, Number};
use smallvec::SmallVec;

use super::hazards::Hazards;
use super::simplify::{Maximum, ValueNumbers, canonical, reduced};
use crate::places::{At, Places};
use crate::plan::{AluInput, Bytes, ListRange, Movement, Op, Pass, PassInput, Plan, Ref, RowRun, Way};

/// What a virtual register holds: registers of one class are of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum StorageClass {
    /// 32 bits a lane.
    Wide,
    /// One byte a lane.
    Narrow,
    /// Activations made ready for passes.
    Prepared,
}

/// An intermediate value.
#[derive(Clone, Copy, Debug)]
pub(super) struct VirtualRegister {
    pub(super) class: StorageClass,
    /// Bytes of a wide register's lanes that are not always zero.
    significant: u8,
    /// Whether all its binary32 NaNs are the one NaN.
    canonical: bool,
    /// First phase of its live range.
    pub(super) start: u32,
    /// Position after which its value is there.
    defined: u32,
    /// The operation that makes it, unless a pass does.
    pub(super) op: u32,
    /// Whether it has so many consumers that these wait for the next level.
    pub(super) high_fanout: bool,
}

pub(super) const NO_OP: u32 = u32::MAX;

/// A word that the program writes, as far as the operations so far go.
#[derive(Clone, Debug, Default)]
struct Word {
    store: Option<(u32, u32)>,
    /// Position and operation of those that read it since.
    uses: SmallVec<[(u32, u32); 2]>,
}

/// What an operation waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    pub(super) level: u32,
    before: SmallVec<[u32; 8]>,
}

/// The bytes of 32-bit lanes, lowest first.
type Parts = [Option<Bytes<Ref>>; 4];

/// 32-bit lanes that may still have to be joined from bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wide {
    Register(u32),
    Parts(Parts),
}

pub(super) struct PlanBuilder<'a> {
    pub(super) places: &'a Places,
    pub(super) hazards: &'a Hazards,
    pub(super) plan: Plan<Ref>,
    pub(super) registers: Vec<VirtualRegister>,
    /// Position of each operation.
    pub(super) positions: Vec<u32>,
    /// Union-find over operations.
    parents: Vec<u32>,
    /// Position of each pass.
    pub(super) passes_at: Vec<u32>,
    words: HashMap<At, Word>,
    joins: HashMap<(Parts, u32), u32>,
    copies: HashMap<Bytes<Ref>, u32>,
    prepared: HashMap<(Bytes<Ref>, Bytes<Ref>, bool), u32>,
    numbers: ValueNumbers,
    lists: HashMap<Vec<Bytes<Ref>>, ListRange>,
    windows: HashMap<(lpu_isa::SliceId, u32, u32), ListRange>,
}

impl<'a> PlanBuilder<'a> {
    pub(super) fn new(places: &'a Places, hazards: &'a Hazards) -> Self {
        Self {
            places,
            hazards,
            plan: Plan::new(places.lanes),
            registers: Vec::new(),
            positions: Vec::new(),
            parents: Vec::new(),
            passes_at: Vec::new(),
            words: HashMap::new(),
            joins: HashMap::new(),
            copies: HashMap::new(),
            prepared: HashMap::new(),
            numbers: ValueNumbers::default(),
            lists: HashMap::new(),
            windows: HashMap::new(),
        }
    }

    fn register(&mut self, class: StorageClass, significant: u8) -> u32 {
        self.registers.push(VirtualRegister {
            class,
            significant,
            canonical: false,
            start: u32::MAX,
            defined: 0,
            op: NO_OP,
            high_fanout: false,
        });
        self.registers.len() as u32 - 1
    }

    pub(super) fn root(&mut self, mut op: u32) -> u32 {
        while self.parents[op as usize] != op {
            let parent = self.parents[op as usize];
            self.parents[op as usize] = self.parents[parent as usize];
            op = parent;
        }
        op
    }

    /// Adds that a value must be there.
    pub(super) fn need(&self, need: &mut Need, of: Ref) {
        match of {
            Ref::Register(register) => {
                let register = self.registers[register as usize];
                need.level = need.level.max(register.defined.div_ceil(2) + u32::from(register.high_fanout));
                if register.op != NO_OP {
                    need.before.push(register.op);
                }
            }
            Ref::Word(at) => {
                if let Some((position, op)) = self.words.get(&at).and_then(|word| word.store) {
                    need.level = need.level.max(position / 2);
                    need.before.push(op);
                }
            }
        }
    }

    /// Adds that a word may be replaced.
    fn need_store(&self, need: &mut Need, at: At) {
        let Some(word) = self.words.get(&at) else { return };
        for &(position, op) in word.store.iter().chain(&word.uses) {
            need.level = need.level.max(position.div_ceil(2));
            if op != NO_OP {
                need.before.push(op);
            }
        }
    }

    /// Notes that an operation or pass reads a word.
    pub(super) fn note_read(&mut self, of: Ref, position: u32, op: u32) {
        if let Ref::Word(at) = of
            && self.hazards.written(at)
        {
            self.words.entry(at).or_default().uses.push((position, op));
        }
    }

    /// Adds an operation; `reads` are its places, `registers` what it makes, `stores` the words that it may write.
    pub(super) fn emit(&mut self, op: Op<Ref>, need: &Need, reads: &[Ref], registers: &[u32], stores: &[At]) -> u32 {
        let index = self.plan.ops.len() as u32;
        let position = 2 * need.level;
        self.plan.ops.push(op);
        self.positions.push(position);
        self.parents.push(index);
        for &before in &need.before {
            if self.positions[before as usize] == position {
                let (one, other) = (self.root(before), self.root(index));
                self.parents[one.max(other) as usize] = one.min(other);
            }
        }
        for &of in reads {
            self.note_read(of, position, index);
        }
        for &register in registers {
            let register = &mut self.registers[register as usize];
            (register.start, register.defined, register.op) = (register.start.min(position), position, index);
        }
        for &at in stores {
            let word = self.words.entry(at).or_default();
            word.store = Some((position, index));
            word.uses.clear();
        }
        index
    }

    /// Whether bytes are the same whenever they are read in this run.
    fn fixed(&self, bytes: Bytes<Ref>) -> bool {
        match bytes.of() {
            Ref::Register(_) => true,
            Ref::Word(at) => !self.hazards.written(at),
        }
    }

    /// The 32-bit lanes whose low bytes are these.
    pub(super) fn wide(&self, bytes: &[Bytes<Ref>]) -> Wide {
        if let Some(&Bytes::Lane(Ref::Register(register), 0)) = bytes.first() {
            let in_order =
                bytes.iter().enumerate().all(|(byte, part)| *part == Bytes::Lane(Ref::Register(register), byte as u8));
            if in_order && usize::from(self.registers[register as usize].significant) <= bytes.len() {
                return Wide::Register(register);
            }
        }
        let mut parts = [None; 4];
        for (part, &byte) in parts.iter_mut().zip(bytes) {
            *part = Some(byte);
        }
        Wide::Parts(parts)
    }

    pub(super) fn need_wide(&self, need: &mut Need, wide: Wide) {
        match wide {
            Wide::Register(register) => self.need(need, Ref::Register(register)),
            Wide::Parts(parts) => parts.iter().flatten().for_each(|part| self.need(need, part.of())),
        }
    }

    /// The register of 32-bit lanes, joined at a level or later.
    pub(super) fn materialise(&mut self, wide: Wide, level: u32) -> u32 {
        let parts = match wide {
            Wide::Register(register) => return register,
            Wide::Parts(parts) => parts,
        };
        let fixed = parts.iter().flatten().all(|&part| self.fixed(part));
        let constant = parts.iter().flatten().all(|part| matches!(part.of(), Ref::Word(_))) && fixed;
        // Constants that several operations of a level take must not tie these together, so they are joined in the
        // level before.
        let mut need = Need { level: if constant { level.saturating_sub(1) } else { level }, ..Need::default() };
        self.need_wide(&mut need, wide);
        if let Some(&register) = self.joins.get(&(parts, need.level)).filter(|_| fixed) {
            return register;
        }
        let register = self.register(StorageClass::Wide, parts.iter().flatten().count() as u8);
        let reads: SmallVec<[Ref; 4]> = parts.iter().flatten().map(|part| part.of()).collect();
        self.emit(Op::Join { dst: Ref::Register(register), parts }, &need, &reads, &[register], &[]);
        if fixed {
            self.joins.insert((parts, need.level), register);
        }
        register
    }

    /// An ALU operation whose result has `significant` bytes.
    pub(super) fn alu(&mut self, instruction: Instruction, sources: [AluInput<Wide>; 3], significant: u8) -> u32 {
        let mut need = Need::default();
        for source in sources {
            if let AluInput::Wide(wide) = source {
                self.need_wide(&mut need, wide);
            }
        }
        let level = need.level;
        let sources = sources.map(|source| match source {
            AluInput::Wide(wide) => AluInput::Wide(Ref::Register(self.materialise(wide, level))),
            AluInput::Splat(value) => AluInput::Splat(value),
            AluInput::None => AluInput::None,
        });
        if let Some(register) = self.numbers.value(&instruction, sources) {
            return register;
        }
        // Lane by lane, what is done to rotations of a value is done to the value and rotated; maxima of them may be
        // more.
        if let [AluInput::Wide(Ref::Register(a)), AluInput::Wide(Ref::Register(b)), AluInput::None] = sources
            && !matches!(instruction, Instruction::Max { .. })
            && let Some((src, first, second)) = self.numbers.rotations(a, b, self.places.lanes)
        {
            let pair = [src, self.movement(src, second)].map(|register| AluInput::Wide(Wide::Register(register)));
            let register = self.alu(instruction, [pair[0], pair[1], AluInput::None], significant);
            return self.movement(register, first);
        }
        let register = self.new_value(instruction, sources, significant, level);
        self.numbers.note_value(&instruction, sources, register);
        register
    }

    /// The register of an ALU operation's result that is not known yet.
    fn new_value(&mut self, instruction: Instruction, sources: [AluInput<Ref>; 3], significant: u8, level: u32) -> u32 {
        let mut turned = None;
        if let (
            Instruction::Max { number, .. },
            [AluInput::Wide(Ref::Register(a)), AluInput::Wide(Ref::Register(b)), _],
        ) = (instruction, sources)
        {
            if a == b && (number == Number::I32 || self.registers[a as usize].canonical) {
                return a;
            }
            match self.numbers.maximum(number, a, b, self.places.lanes) {
                Maximum::Fold { src, way } => return self.fold(src, way, number),
                Maximum::Part(found) => turned = Some(found),
                Maximum::Plain => {}
            }
        }
        let mut need = Need { level, ..Need::default() };
        for source in sources {
            if let AluInput::Wide(of) = source {
                self.need(&mut need, of);
            }
        }
        let dst = self.register(StorageClass::Wide, significant);
        self.registers[dst as usize].canonical = canonical(&instruction);
        self.emit(Op::Alu { instruction, dst: Ref::Register(dst), sources }, &need, &[], &[dst], &[]);
        if let Some(turned) = turned {
            self.numbers.note_turned(dst, turned);
        }
        dst
    }

    /// The maximum of all rotations of a value.
    fn fold(&mut self, src: u32, way: Way, number: Number) -> u32 {
        if let Some(register) = self.numbers.folded(src, way, number) {
            return register;
        }
        let mut need = Need::default();
        self.need(&mut need, Ref::Register(src));
        let dst = self.register(StorageClass::Wide, 4);
        self.registers[dst as usize].canonical = number == Number::F32;
        self.emit(
            Op::Fold { dst: Ref::Register(dst), src: Ref::Register(src), way, integers: number == Number::I32 },
            &need,
            &[],
            &[dst],
            &[],
        );
        self.numbers.note_fold(src, way, number, dst);
        dst
    }

    /// A vector of bytes of its own with these bytes.
    pub(super) fn copy(&mut self, src: Bytes<Ref>) -> u32 {
        let fixed = self.fixed(src);
        if let Some(&register) = self.copies.get(&src).filter(|_| fixed) {
            return register;
        }
        let mut need = Need::default();
        self.need(&mut need, src.of());
        let dst = self.register(StorageClass::Narrow, 1);
        self.emit(Op::Copy { dst: Ref::Register(dst), src }, &need, &[src.of()], &[dst], &[]);
        if fixed {
            self.copies.insert(src, dst);
        }
        dst
    }

    /// Where these bytes are one after another.
    pub(super) fn plane(&mut self, bytes: Bytes<Ref>) -> Ref {
        match bytes {
            Bytes::Plane(of) => of,
            Bytes::Lane(..) => Ref::Register(self.copy(bytes)),
        }
    }

    pub(super) fn store(&mut self, at: At, src: Bytes<Ref>) {
        let mut need = Need::default();
        self.need(&mut need, src.of());
        self.need_store(&mut need, at);
        self.emit(Op::Copy { dst: Ref::Word(at), src }, &need, &[src.of()], &[], &[at]);
    }

    /// The places of consecutive words of a slice.
    pub(super) fn window(&mut self, slice: lpu_isa::SliceId, words: std::ops::Range<u32>) -> ListRange {
        let (places, list) = (self.places, &mut self.plan.windows);
        *self.windows.entry((slice, words.start, words.end)).or_insert_with(|| {
            let start = list.len() as u32;
            list.extend(words.map(|word| places.word(slice, word)));
            ListRange { start, end: list.len() as u32 }
        })
    }

    pub(super) fn gather(&mut self, map: [Bytes<Ref>; 2], window: ListRange) -> u32 {
        let mut need = Need::default();
        let mut reads: Vec<Ref> = map.iter().map(|byte| byte.of()).collect();
        reads.extend(self.plan.windows[window.range()].iter().map(|&at| Ref::Word(at)));
        reads.iter().for_each(|&of| self.need(&mut need, of));
        let dst = self.register(StorageClass::Narrow, 1);
        self.emit(Op::Gather { dst: Ref::Register(dst), map, window }, &need, &reads, &[dst], &[]);
        dst
    }

    pub(super) fn scatter(&mut self, src: Bytes<Ref>, map: [Bytes<Ref>; 2], window: ListRange) {
        let mut need = Need::default();
        let reads = [src.of(), map[0].of(), map[1].of()];
        reads.iter().for_each(|&of| self.need(&mut need, of));
        let stores = self.plan.windows[window.range()].to_vec();
        stores.iter().for_each(|&at| self.need_store(&mut need, at));
        self.emit(Op::Scatter { src, map, window }, &need, &reads, &[], &stores);
    }

    /// Bytes put into a mailbox; gives back the level in which they are.
    pub(super) fn send(&mut self, number: u32, src: Bytes<Ref>) -> u32 {
        let mut need = Need::default();
        self.need(&mut need, src.of());
        self.emit(Op::Send { number, src }, &need, &[src.of()], &[], &[]);
        need.level
    }

    /// Bytes taken from a mailbox, at a level or later.
    pub(super) fn receive(&mut self, number: u32, level: u32) -> u32 {
        let dst = self.register(StorageClass::Narrow, 1);
        let need = Need { level, ..Need::default() };
        self.emit(Op::Receive { dst: Ref::Register(dst), number }, &need, &[], &[dst], &[]);
        dst
    }

    /// A list of operands; equal ones are kept once.
    pub(super) fn operands(&mut self, list: Vec<Bytes<Ref>>) -> ListRange {
        let operands = &mut self.plan.operands;
        *self.lists.entry(list).or_insert_with_key(|list| {
            let start = operands.len() as u32;
            operands.extend(list);
            ListRange { start, end: operands.len() as u32 }
        })
    }

    /// A switch unit's instruction; gives back its results, one register a stream.
    pub(super) fn switch(&mut self, instruction: Instruction, taken: &[Bytes<Ref>], fed: u8) -> Vec<u32> {
        let mut need = Need::default();
        let reads: Vec<Ref> = taken.iter().map(|bytes| bytes.of()).collect();
        reads.iter().for_each(|&of| self.need(&mut need, of));
        let registers: Vec<u32> = (0..fed).map(|_| self.register(StorageClass::Narrow, 1)).collect();
        let start = self.plan.operands.len() as u32;
        self.plan.operands.extend(taken);
        self.plan.operands.extend(registers.iter().map(|&register| Bytes::Plane(Ref::Register(register))));
        let operands = ListRange { start, end: self.plan.operands.len() as u32 };
        self.emit(Op::Switch { instruction, operands, taken: taken.len() as u8 }, &need, &reads, &registers, &[]);
        registers
    }

    /// 32-bit lanes moved.
    pub(super) fn movement(&mut self, src: u32, movement: Movement) -> u32 {
        let Some(movement) = reduced(movement, self.places.lanes) else { return src };
        if let Some(register) = self.numbers.moved(src, movement) {
            return register;
        }
        let dst = self.new_movement(src, movement);
        self.numbers.note_move(src, movement, dst);
        dst
    }

    /// A register of its own with the same 32-bit lanes.
    pub(super) fn duplicate(&mut self, src: u32) -> u32 {
        self.new_movement(src, Movement::Lanes { by: 0, wrap: false })
    }

    fn new_movement(&mut self, src: u32, movement: Movement) -> u32 {
        let mut need = Need::default();
        self.need(&mut need, Ref::Register(src));
        let dst = self.register(StorageClass::Wide, self.registers[src as usize].significant);
        self.registers[dst as usize].canonical = self.registers[src as usize].canonical;
        self.emit(Op::Move { dst: Ref::Register(dst), src: Ref::Register(src), movement }, &need, &[], &[dst], &[]);
        dst
    }

    /// Activations made ready for passes.
    pub(super) fn prepare(&mut self, low: Bytes<Ref>, high: Bytes<Ref>, int8: bool) -> u32 {
        let fixed = self.fixed(low) && self.fixed(high);
        if let Some(&register) = self.prepared.get(&(low, high, int8)).filter(|_| fixed) {
            return register;
        }
        let mut need = Need::default();
        let reads = [low.of(), high.of()];
        reads.iter().for_each(|&of| self.need(&mut need, of));
        let register = self.register(StorageClass::Prepared, 0);
        self.emit(Op::Prepare { prepared: register, low, high, int8 }, &need, &reads, &[register], &[]);
        if fixed {
            self.prepared.insert((low, high, int8), register);
        }
        register
    }

    /// The sum of results in order.
    pub(super) fn add(&mut self, format: lpu_isa::PassFormat, registers: &[u32]) -> u32 {
        let mut need = Need::default();
        registers.iter().for_each(|&register| self.need(&mut need, Ref::Register(register)));
        let start = self.plan.terms.len() as u32;
        self.plan.terms.extend(registers.iter().map(|&register| Ref::Register(register)));
        let terms = ListRange { start, end: self.plan.terms.len() as u32 };
        let dst = self.register(StorageClass::Wide, 4);
        self.emit(Op::Add { dst: Ref::Register(dst), format, terms }, &need, &[], &[dst], &[]);
        dst
    }

    /// A pass through weights of any kind.
    pub(super) fn any_pass(
        &mut self,
        format: lpu_isa::PassFormat,
        planes: [u32; 2],
        low: Bytes<Ref>,
        high: Bytes<Ref>,
    ) -> u32 {
        let mut need = Need::default();
        let mut reads: Vec<Ref> = vec![low.of(), high.of()];
        for plane in planes {
            reads.extend(self.plan.weights[plane as usize].rows.iter().map(|row| row.0));
        }
        reads.iter().for_each(|&of| self.need(&mut need, of));
        let dst = self.register(StorageClass::Wide, 4);
        self.emit(Op::Pass { dst: Ref::Register(dst), format, planes, low, high }, &need, &reads, &[dst], &[]);
        dst
    }

    /// Begins a pass through rows in place, which a kernel does; gives back its number and its register. Outputs from
    /// `outputs` on are zero.
    pub(super) fn pass(
        &mut self,
        activation: PassInput<Ref>,
        rows: impl Iterator<Item = Ref> + Clone,
        outputs: usize,
    ) -> (u32, u32) {
        let mut need = Need::default();
        let taken = match activation {
            PassInput::I8(of) => of,
            PassInput::F16(register) | PassInput::I8F16(register) => Ref::Register(register),
        };
        self.need(&mut need, taken);
        for of in rows.clone() {
            self.need(&mut need, of);
        }
        let position = 2 * need.level + 1;
        let dst = self.register(StorageClass::Wide, 4);
        if outputs < self.places.lanes {
            let zero = Op::Zero { dst: Ref::Register(dst), from: outputs as u16 };
            self.emit(zero, &Need { level: need.level, ..Need::default() }, &[], &[dst], &[]);
        }
        let register = &mut self.registers[dst as usize];
        (register.start, register.defined, register.op) = (position - 1, position, NO_OP);
        self.note_read(taken, position, NO_OP);
        for of in rows {
            self.note_read(of, position, NO_OP);
        }
        self.plan.passes.push(Pass { activation, dst: Ref::Register(dst) });
        self.passes_at.push(position);
        (self.plan.passes.len() as u32 - 1, dst)
    }

    /// Adds rows to a pass: places of low and, for fp16, high bytes, with the output of each.
    pub(super) fn rows(&mut self, pass: u32, mut rows: Vec<(Ref, Ref, u16)>) {
        rows.sort_unstable();
        let bytes = self.places.lanes;
        let next = |of: Ref| match of {
            Ref::Word(at) => Some(Ref::Word(at.plus(bytes))),
            Ref::Register(_) => None,
        };
        let mut last: Option<(Ref, Ref, u16)> = None;
        for (low, high, output) in rows {
            if let (Some((before, before_high, before_output)), Some(run)) = (last, self.plan.runs.last_mut()) {
                let step = output.wrapping_sub(before_output);
                let same = (before, before_high) == (low, high);
                let follows = same || next(before) == Some(low) && next(before_high) == Some(high);
                if follows && output > before_output && (run.rows == 1 || (run.step, run.same) == (step, same)) {
                    (run.step, run.rows, run.same) = (step, run.rows + 1, same);
                    last = Some((low, high, output));
                    continue;
                }
            }
            self.plan.runs.push(RowRun { low, high, pass, output, step: 0, rows: 1, same: false });
            last = Some((low, high, output));
        }
    }
}
