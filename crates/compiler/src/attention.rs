//! Attention over a context: appends this token's key and value rows, scores all rows, takes the softmax and mixes the values.

use lpu_isa::{DelayClass, Format, Hemisphere, Instruction, Mode, Orientation, PassFormat, WindowBits, Word};
use lpu_model::ValueId;

use crate::chain::{Chain, Feed, Op};
use crate::error::CompileError;
use crate::lower::{Lowering, Vectors};
use crate::memory::Rows;
use crate::plan::Attending;
use crate::planes::{Emission, PlaneSet, Result32, pass, pass_from, result_after};
use crate::scheduler::Parked;

/// A head's softmax: unnormalised weights by token tile, and one over their sum.
struct Softmax {
    weights: Vec<Parked>,
    inverse: Parked,
}

impl Lowering<'_, '_> {
    pub(crate) fn attention(&mut self, number: usize, [q, k, v]: [ValueId; 3]) -> Result<Vectors, CompileError> {
        let plan = self.plan;
        let attending = &plan.attentions[&number];
        let (q, k, v) = (self.plain(q)?.tiles, self.plain(k)?.tiles, self.plain(v)?.tiles);
        let ranks = attending.heads.ranks;
        let mut tiles = Vec::new();
        for group in 0..attending.heads.groups() {
            let sides = [Hemisphere::East, Hemisphere::West, attending.value_side[group]];
            let mut readable = [0; 3];
            for (index, row) in [&k[2 * group], &k[2 * group + 1], &v[group]].into_iter().enumerate() {
                readable[index] = self.append(row, sides[index], &attending.entries[group][index])?;
            }
            let queries = self.queries(attending, group, &q[2 * group * ranks..2 * (group + 1) * ranks])?;
            let scores = self.scores(attending, group, &queries, [readable[0], readable[1]])?;
            let mut softmaxes = Vec::new();
            for scores in &scores {
                softmaxes.push(self.softmax(scores, sides[2])?);
            }
            let mixed = self.mix(attending, group, &softmaxes, readable[2])?;
            for rank in 0..ranks {
                tiles.push(self.join(attending, group, rank, &mixed, &softmaxes)?);
            }
        }
        Ok(Vectors { tiles, factor: None })
    }

    fn narrow(&mut self, value: &Parked, side: Hemisphere) -> Result<Parked, CompileError> {
        let mut chain = Chain::new(&self.scheduler);
        chain.park(Op::Convert(Format::F32, Format::F16), &[Feed::Value(0)], 0);
        let output = self.scratch(2, Some(side))?;
        Ok(self.chain("a conversion", &chain, &[value], vec![output])?.remove(0))
    }

    /// Writes a key or value row: all sixteen pairs of slices take the passing row, each at its own address from the host. Returns the
    /// first cycle in which the rows may be read.
    fn append(&mut self, row: &Parked, side: Hemisphere, entry: &[Rows; 2]) -> Result<u64, CompileError> {
        let row = self.narrow(row, side)?;
        let delay = self.scheduler.delay(DelayClass::MemScatter);
        let bits = WindowBits(self.memory.window_bits());
        let plan = self.plan;
        let addresses = &plan.inputs.addresses[usize::from(side == Hemisphere::West)];
        let mut readable = 0;
        for (token, address) in addresses.iter().enumerate() {
            let landed =
                self.scheduler.place("a key-value row", row.ready + self.scheduler.delay(DelayClass::MemRead), |scheduler, at| {
                    let mut landed = 0;
                    let mut fetched: Option<(i32, u64, lpu_isa::Stream, lpu_isa::Stream)> = None;
                    for (byte, part) in entry.iter().enumerate() {
                        let (slice, word) = part[token];
                        let position = scheduler.chip.slice_position(slice);
                        let at = at + u64::from(position.unsigned_abs());
                        let (src, map) = match fetched {
                            Some((found, _, src, map)) if found == position => (src, map),
                            _ => {
                                let map = scheduler.fetch(address, position, at)?;
                                (scheduler.fetch(&row, position, at)?, map)
                            }
                        };
                        fetched = Some((position, at, src, map));
                        if !scheduler.tables.write(slice, at, at + delay, word) {
                            return None;
                        }
                        let scatter = Instruction::Scatter { src: src.plus(byte as u8), map, base: Word(word), bits };
                        scheduler.emit(slice.queue(), at, scatter);
                        landed = landed.max(at + delay);
                    }
                    Some(landed)
                })?;
            readable = readable.max(landed + 1);
        }
        self.now = self.now.max(readable);
        Ok(readable)
    }

    /// For each query head of a group its two halves in fp16, scaled, zero in the lanes of other heads: by rank, then member.
    fn queries(&mut self, attending: &Attending, group: usize, q: &[Parked]) -> Result<Vec<[Parked; 2]>, CompileError> {
        let mut heads = Vec::new();
        for halves in q.chunks(2) {
            for member in 0..attending.heads.members(group).len() {
                let lanes = self.memory.constant_place(attending.queries[member]);
                let mut placed = Vec::new();
                for (half, side) in halves.iter().zip(Hemisphere::BOTH) {
                    let mut chain = Chain::new(&self.scheduler);
                    let scaled = chain.op(Op::Mul, &[Feed::Value(0), Feed::Value(1)]);
                    chain.park(Op::Convert(Format::F32, Format::F16), &[Feed::Node(scaled)], 0);
                    let output = self.scratch(2, Some(side))?;
                    placed.extend(self.chain("a query", &chain, &[half, &lanes], vec![output])?);
                }
                heads.push(<[Parked; 2]>::try_from(placed).expect("two halves"));
            }
        }
        Ok(heads)
    }

    fn token_tile(&self, entry: &[Rows; 2], tile: usize) -> (Vec<Rows>, usize) {
        let lanes = self.scheduler.chip.lanes();
        let first = tile * lanes;
        let rows = (self.plan.context - first).min(lanes);
        let parts = entry.iter().map(|part| part.map(|(slice, word)| (slice, word + (first / 16) as u32)));
        (parts.collect(), rows)
    }

    fn token_tiles(&self) -> usize {
        self.plan.context.div_ceil(self.scheduler.chip.lanes())
    }

    /// Masked scores of each query head over all tokens, by head and token tile: first halves pass in the east, second halves in
    /// the west, and the two meet in the VXM.
    fn scores(
        &mut self,
        attending: &Attending,
        group: usize,
        queries: &[[Parked; 2]],
        readable: [u64; 2],
    ) -> Result<Vec<Vec<Parked>>, CompileError> {
        let sets = Hemisphere::BOTH.map(|side| PlaneSet { side, plane: 0, format: PassFormat::F16 });
        let plan = self.plan;
        let mut scores = vec![Vec::new(); queries.len()];
        for tile in 0..self.token_tiles() {
            let mut ready = 0;
            for (half, set) in sets.into_iter().enumerate() {
                let (parts, rows) = self.token_tile(&attending.entries[group][half], tile);
                let loaded = self.planes.load(&mut self.scheduler, set, &parts, rows, Orientation::Out, readable[half])?;
                ready = ready.max(loaded);
            }
            let mask = &plan.inputs.mask[tile];
            let mut chain = Chain::new(&self.scheduler);
            let sum = chain.op(Op::Add, &[Feed::Arrival(0, 0), Feed::Arrival(1, 0)]);
            chain.park(Op::Add, &[Feed::Node(sum), Feed::Value(0)], 0);
            let to_vxm = result_after(&self.scheduler, Result32::Emit)
                + u64::from(self.scheduler.chip.mxm_position(Hemisphere::East).unsigned_abs());
            for (head, query) in queries.iter().enumerate() {
                let output = self.scratch(4, None)?;
                let from = [0, 1].map(|half| pass_from(&self.scheduler, sets[half], &query[half]));
                let (at, parked) = self.scheduler.place("a score", ready.max(from[0]).max(from[1]), |scheduler, at| {
                    let mut parked = output.clone();
                    let mut arrivals = Vec::new();
                    for half in [0, 1] {
                        pass(scheduler, sets[half], &query[half], at, Result32::Emit, |scheduler, Emission { position, cycle }| {
                            let stream = scheduler.route(4, cycle, position, 0)?;
                            arrivals.push(stream);
                            Some(stream)
                        })?;
                    }
                    chain.attempt(scheduler, at + to_vxm, &[mask], &arrivals, std::slice::from_mut(&mut parked))?;
                    Some((at, parked))
                })?;
                for set in sets {
                    self.planes.passed(&self.scheduler, set, at);
                }
                self.now = self.now.max(parked.ready);
                scores[head].push(parked);
            }
        }
        Ok(scores)
    }

    /// e^(score - largest) of all tokens in fp16 on `side`, and one over the sum of them.
    fn softmax(&mut self, scores: &[Parked], side: Hemisphere) -> Result<Softmax, CompileError> {
        let tiles = scores.len();
        let mut chain = Chain::new(&self.scheduler);
        let largest = match tiles {
            1 => chain.reduce(Op::Max, Op::Max, &[Feed::Value(0), Feed::Value(0)]),
            _ => {
                let mut largest = Feed::Value(0);
                for tile in 1..tiles - 1 {
                    largest = Feed::Node(chain.op_after(Op::Max, &[largest, Feed::Value(tile)], 4 * tile as u64));
                }
                chain.reduce(Op::Max, Op::Max, &[largest, Feed::Value(tiles - 1)])
            }
        };
        let start = chain.done(largest);
        let mut weights = Vec::new();
        let mut powers = Vec::new();
        for tile in 0..tiles {
            let less = chain.op_after(Op::Sub, &[Feed::Value(tile), Feed::Node(largest)], start + 2 * tile as u64);
            let power = chain.op(Op::Exp, &[Feed::Node(less)]);
            chain.park(Op::Convert(Format::F32, Format::F16), &[Feed::Node(power)], tile);
            weights.push(self.memory.scratch(2, side)?);
            powers.push(power);
        }
        let sum = match tiles {
            1 => chain.reduce(Op::Add, Op::Max, &[Feed::Node(powers[0]), Feed::Immediate(0.0)]),
            _ => {
                let before = powers[1..tiles - 1].iter();
                let before = before.fold(powers[0], |sum, &power| chain.op(Op::Add, &[Feed::Node(sum), Feed::Node(power)]));
                chain.reduce(Op::Add, Op::Add, &[Feed::Node(before), Feed::Node(powers[tiles - 1])])
            }
        };
        chain.park(Op::Reciprocal, &[Feed::Node(sum)], tiles);
        weights.push(self.scratch(4, None)?);
        let inputs: Vec<&Parked> = scores.iter().collect();
        let mut weights = self.chain("a softmax", &chain, &inputs, weights)?;
        let inverse = weights.pop().expect("the inverse is the last output");
        Ok(Softmax { weights, inverse })
    }

    /// Sums over tokens of weights times values, one vector a head; only the lanes of its key-value head mean something.
    fn mix(&mut self, attending: &Attending, group: usize, softmaxes: &[Softmax], readable: u64) -> Result<Vec<Parked>, CompileError> {
        let set = PlaneSet { side: attending.value_side[group], plane: 0, format: PassFormat::F16 };
        let tiles = self.token_tiles();
        let accumulators = self.scheduler.chip.values().accumulators as usize;
        let mut mixed = Vec::new();
        for heads in softmaxes.chunks(accumulators) {
            for tile in 0..tiles {
                let (parts, rows) = self.token_tile(&attending.entries[group][2], tile);
                let ready = self.planes.load(&mut self.scheduler, set, &parts, rows, Orientation::In, readable)?;
                for (accumulator, head) in heads.iter().enumerate() {
                    let mode = if tile == 0 { Mode::Set } else { Mode::Add };
                    let result = match tile + 1 == tiles {
                        true if tiles == 1 => Result32::Emit,
                        true => Result32::Sum(accumulator as u8, mode),
                        false => Result32::Hold(accumulator as u8, mode),
                    };
                    let input = &head.weights[tile];
                    let output = self.scratch(4, Some(set.side))?;
                    let from = ready.max(pass_from(&self.scheduler, set, input));
                    let (at, parked) = self.scheduler.place("a mix", from, |scheduler, at| {
                        let mut parked = output.clone();
                        let park = |scheduler: &mut crate::scheduler::Scheduler<'_>, Emission { position, cycle }| {
                            scheduler.park(&mut parked, position, cycle)
                        };
                        pass(scheduler, set, input, at, result, park)?;
                        Some((at, parked))
                    })?;
                    self.planes.passed(&self.scheduler, set, at);
                    if tile + 1 == tiles {
                        self.now = self.now.max(parked.ready);
                        mixed.push(parked);
                    }
                }
            }
        }
        Ok(mixed)
    }

    /// The heads of one rank in one vector, each over its sum of weights.
    fn join(
        &mut self,
        attending: &Attending,
        group: usize,
        rank: usize,
        mixed: &[Parked],
        softmaxes: &[Softmax],
    ) -> Result<Parked, CompileError> {
        let members = attending.heads.members(group).len();
        let lanes: Vec<Parked> = attending.outputs.iter().map(|&constant| self.memory.constant_place(constant)).collect();
        let mut chain = Chain::new(&self.scheduler);
        let mut inputs = Vec::new();
        let mut sum = None;
        for member in 0..members {
            let head = rank * members + member;
            inputs.extend([&mixed[head], &softmaxes[head].inverse, &lanes[member]]);
            let [value, inverse, lanes] = [0, 1, 2].map(|input| Feed::Value(3 * member + input));
            let last = member + 1 == members;
            let share = chain.op_after(Op::Mul, &[value, inverse], 5 * member as u64);
            let operands = [Feed::Node(share), lanes];
            sum = match sum {
                None if last => Some(chain.park(Op::Mul, &operands, 0)),
                None => Some(chain.op(Op::Mul, &operands)),
                Some(sum) => {
                    let part = Feed::Node(chain.op(Op::Mul, &operands));
                    let operands = [Feed::Node(sum), part];
                    Some(if last { chain.park(Op::Add, &operands, 0) } else { chain.op(Op::Add, &operands) })
                }
            };
        }
        let output = self.scratch(4, None)?;
        Ok(self.chain("a join of heads", &chain, &inputs, vec![output])?.remove(0))
    }
}
