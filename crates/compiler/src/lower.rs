//! Lowering: walks the graph in order and places every operation as rigid blocks.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Format, Hemisphere, Instruction, Mode, Orientation, Queue, RegionKind};
use lpu_model::{Op as GraphOp, ValueId};

use crate::Precision;
use crate::chain::{Chain, Feed, Op};
use crate::error::CompileError;
use crate::memory::Memory;
use crate::plan::{OutputVector, Plan, region_name};
use crate::planes::{Emission, Planes, Result32, pass, pass_from, result_after};
use crate::scheduler::{Parked, Scheduler};

/// A value of the graph in memory: fp32 vectors, and a factor that still has to be multiplied on.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    pub(crate) tiles: Vec<Parked>,
    /// One number, in every lane of a vector.
    pub(crate) factor: Option<Parked>,
}

/// A value as the input of matrices, by side and vector.
#[derive(Clone, Debug)]
struct Activation {
    sides: [Vec<Parked>; 2],
    /// What a result of each vector is multiplied by (`w8a8`).
    scales: Vec<Parked>,
}

/// The state of lowering one program.
pub(crate) struct Lowering<'a, 'chip> {
    pub(crate) scheduler: Scheduler<'chip>,
    pub(crate) planes: Planes,
    pub(crate) plan: &'a Plan,
    pub(crate) memory: Memory,
    pub(crate) values: BTreeMap<ValueId, Vectors>,
    activations: BTreeMap<ValueId, Activation>,
    precision: Precision,
    /// First start of the next sum over the passes of a plane, by side and plane.
    sums_free: BTreeMap<(Hemisphere, u16), u64>,
    pub(crate) now: u64,
}

/// What lowering makes: issues by queue, and the memory with the output regions named.
pub(crate) type Lowered = (BTreeMap<Queue, Vec<(u64, Instruction)>>, Memory);

/// Schedules the whole plan.
pub(crate) fn lower(plan: &Plan, memory: Memory, chip: &Chip, precision: Precision) -> Result<Lowered, CompileError> {
    let scheduler = Scheduler::new(chip);
    let planes = Planes::new(&scheduler);
    let mut lowering = Lowering {
        planes,
        scheduler,
        plan,
        memory,
        values: BTreeMap::new(),
        activations: BTreeMap::new(),
        precision,
        sums_free: BTreeMap::new(),
        now: 0,
    };
    for (value, places) in &plan.inputs.values {
        lowering.values.insert(*value, Vectors { tiles: places.clone(), factor: None });
    }
    let mut block = None;
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        if block.is_some_and(|block| block != node.block) {
            lowering.memory.end_block(lowering.now);
        }
        block = Some(node.block);
        let vectors = match node.op {
            GraphOp::RmsNorm { eps, .. } => lowering.rms_norm(number, node.inputs[0], eps)?,
            GraphOp::Linear { .. } => lowering.linear(number, node.inputs[0])?,
            GraphOp::Rotary { .. } => lowering.rotary(node.inputs[0])?,
            GraphOp::Attention { .. } => lowering.attention(number, [node.inputs[0], node.inputs[1], node.inputs[2]])?,
            GraphOp::Add => lowering.elementwise(&[node.inputs[0], node.inputs[1]], |chain| {
                chain.park(Op::Add, &[Feed::Value(0), Feed::Value(1)], 0);
            })?,
            GraphOp::GatedSilu => lowering.elementwise(&[node.inputs[0], node.inputs[1]], gated_silu)?,
            _ => return Err(CompileError::Unsupported { node: node.name.clone(), what: "this operation is not lowered".into() }),
        };
        lowering.values.insert(node.output, vectors);
    }
    for &output in &plan.graph.outputs {
        let vectors = lowering.plain(output)?;
        let name = region_name(&plan.graph.value(output).name).to_owned();
        lowering.memory.region(&name, RegionKind::Output, Format::F32, chip.lanes(), &vectors.tiles);
    }
    Ok((lowering.scheduler.into_queues(), lowering.memory))
}

fn gated_silu(chain: &mut Chain) {
    let gate = chain.op(Op::Negate, &[Feed::Value(0)]);
    let power = chain.op(Op::Exp, &[Feed::Node(gate)]);
    let sum = chain.op(Op::Add, &[Feed::Node(power), Feed::Immediate(1.0)]);
    let share = chain.op(Op::Reciprocal, &[Feed::Node(sum)]);
    let silu = chain.op(Op::Mul, &[Feed::Node(share), Feed::Value(0)]);
    chain.park(Op::Mul, &[Feed::Node(silu), Feed::Value(1)], 0);
}

impl Lowering<'_, '_> {
    /// Places a chain as early as its inputs allow.
    pub(crate) fn chain(
        &mut self,
        what: &str,
        chain: &Chain,
        inputs: &[&Parked],
        outputs: Vec<Parked>,
    ) -> Result<Vec<Parked>, CompileError> {
        let from = inputs.iter().map(|input| input.ready + 1).max().unwrap_or(0);
        let from = from.max(self.scheduler.delay(DelayClass::MemRead) + 4);
        let from = from.saturating_sub(chain.slack(inputs.len()));
        let outputs = self.scheduler.place(what, from, |scheduler, start| {
            let mut outputs = outputs.clone();
            chain.attempt(scheduler, start, inputs, &[], &mut outputs).map(|()| outputs)
        })?;
        self.now = self.now.max(outputs.iter().map(|output| output.ready).max().unwrap_or(0));
        Ok(outputs)
    }

    pub(crate) fn scratch(&mut self, bytes: u8, side: Option<Hemisphere>) -> Result<Parked, CompileError> {
        let side = side.unwrap_or_else(|| self.memory.either_side());
        self.memory.scratch(bytes, side)
    }

    /// One chain a vector, over the vectors of one or more values of the same layout.
    fn elementwise(&mut self, values: &[ValueId], build: impl Fn(&mut Chain)) -> Result<Vectors, CompileError> {
        let values: Vec<Vectors> = values.iter().map(|&value| self.plain(value)).collect::<Result<_, _>>()?;
        let mut tiles = Vec::new();
        for index in 0..values[0].tiles.len() {
            let mut chain = Chain::new(&self.scheduler);
            build(&mut chain);
            let inputs: Vec<&Parked> = values.iter().map(|value| &value.tiles[index]).collect();
            let output = self.scratch(4, None)?;
            tiles.extend(self.chain("an elementwise operation", &chain, &inputs, vec![output])?);
        }
        Ok(Vectors { tiles, factor: None })
    }

    /// The value with its factor multiplied on.
    pub(crate) fn plain(&mut self, value: ValueId) -> Result<Vectors, CompileError> {
        let Vectors { tiles, factor } = self.values[&value].clone();
        let Some(factor) = factor else { return Ok(Vectors { tiles, factor: None }) };
        let mut plain = Vec::new();
        for tile in &tiles {
            let mut chain = Chain::new(&self.scheduler);
            chain.park(Op::Mul, &[Feed::Value(0), Feed::Value(1)], 0);
            let output = self.scratch(4, None)?;
            plain.extend(self.chain("a factor", &chain, &[tile, &factor], vec![output])?);
        }
        let plain = Vectors { tiles: plain, factor: None };
        self.values.insert(value, plain.clone());
        Ok(plain)
    }

    /// Multiplies by the norm's weights at once; the factor 1/rms follows when the sum of squares is there.
    fn rms_norm(&mut self, number: usize, input: ValueId, eps: f32) -> Result<Vectors, CompileError> {
        let input_vectors = self.plain(input)?.tiles;
        let width = self.plan.graph.value(input).width;
        let mut tiles = Vec::new();
        for (tile, &weights) in input_vectors.iter().zip(&self.plan.norms[&number]) {
            let weights = self.memory.constant_place(weights);
            let mut chain = Chain::new(&self.scheduler);
            chain.park(Op::Mul, &[Feed::Value(0), Feed::Value(1)], 0);
            let output = self.scratch(4, None)?;
            tiles.extend(self.chain("norm weights", &chain, &[tile, &weights], vec![output])?);
        }
        let mut chain = Chain::new(&self.scheduler);
        let squares: Vec<_> =
            (0..input_vectors.len()).map(|tile| chain.op_after(Op::Mul, &[Feed::Value(tile), Feed::Value(tile)], tile as u64)).collect();
        let sum = match squares.split_last() {
            Some((_, [])) | None => chain.reduce(Op::Add, Op::Mul, &[Feed::Value(0), Feed::Value(0)]),
            Some((&last, before)) => {
                let first = before[1..].iter().fold(before[0], |sum, &next| chain.op(Op::Add, &[Feed::Node(sum), Feed::Node(next)]));
                chain.reduce(Op::Add, Op::Add, &[Feed::Node(first), Feed::Node(last)])
            }
        };
        let mean = chain.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate((1.0 / width as f64) as f32)]);
        let shifted = chain.op(Op::Add, &[Feed::Node(mean), Feed::Immediate(eps)]);
        chain.park(Op::Rsqrt, &[Feed::Node(shifted)], 0);
        let output = self.scratch(4, None)?;
        let inputs: Vec<&Parked> = input_vectors.iter().collect();
        let factor = self.chain("a sum of squares", &chain, &inputs, vec![output])?.pop();
        Ok(Vectors { tiles, factor })
    }

    fn rotary(&mut self, input: ValueId) -> Result<Vectors, CompileError> {
        let input = self.plain(input)?.tiles;
        let mut tiles = Vec::new();
        for halves in input.chunks(2) {
            let mut chain = Chain::new(&self.scheduler);
            let [a, b, cos, sin] = [0, 1, 2, 3].map(Feed::Value);
            let first = chain.op(Op::Mul, &[a, cos]);
            let second = chain.op_after(Op::Mul, &[b, sin], 1);
            chain.park(Op::Sub, &[Feed::Node(first), Feed::Node(second)], 0);
            let first = chain.op_after(Op::Mul, &[b, cos], 2);
            let second = chain.op_after(Op::Mul, &[a, sin], 3);
            chain.park(Op::Add, &[Feed::Node(first), Feed::Node(second)], 1);
            let outputs = vec![self.scratch(4, None)?, self.scratch(4, None)?];
            let rotary = &self.plan.inputs.rotary;
            tiles.extend(self.chain("a rotation", &chain, &[&halves[0], &halves[1], &rotary[0], &rotary[1]], outputs)?);
        }
        Ok(Vectors { tiles, factor: None })
    }

    /// The value as activations of both hemispheres.
    fn activation(&mut self, value: ValueId) -> Result<Activation, CompileError> {
        if let Some(found) = self.activations.get(&value) {
            return Ok(found.clone());
        }
        let Vectors { tiles, factor } = self.values[&value].clone();
        let mut activation = Activation { sides: [Vec::new(), Vec::new()], scales: Vec::new() };
        for tile in &tiles {
            let mut chain = Chain::new(&self.scheduler);
            let mut inputs = vec![tile];
            let format = match self.precision {
                Precision::F16 => Format::F16,
                Precision::W8A8 => Format::I8,
            };
            let mut outputs =
                vec![self.scratch(format.bytes(), Some(Hemisphere::East))?, self.scratch(format.bytes(), Some(Hemisphere::West))?];
            let scaled = match self.precision {
                Precision::F16 => factor.as_ref().map(|factor| {
                    inputs.push(factor);
                    Feed::Node(chain.op(Op::Mul, &[Feed::Value(0), Feed::Value(1)]))
                }),
                Precision::W8A8 => {
                    let largest = chain.reduce(Op::Max, Op::Abs, &[Feed::Value(0)]);
                    let largest = chain.op(Op::Max, &[Feed::Node(largest), Feed::Immediate(f32::MIN_POSITIVE * 1e8)]);
                    chain.park(Op::Mul, &[Feed::Node(largest), Feed::Immediate((1.0 / 127.0f64) as f32)], 2);
                    outputs.push(self.scratch(4, None)?);
                    let inverse = chain.op(Op::Reciprocal, &[Feed::Node(largest)]);
                    let inverse = chain.op(Op::Mul, &[Feed::Node(inverse), Feed::Immediate(127.0)]);
                    Some(Feed::Node(chain.op(Op::Mul, &[Feed::Node(inverse), Feed::Value(0)])))
                }
            };
            let scaled = scaled.unwrap_or(Feed::Value(0));
            chain.park(Op::Convert(Format::F32, format), &[scaled], 0);
            chain.park(Op::Convert(Format::F32, format), &[scaled], 1);
            let mut placed = self.chain("an activation", &chain, &inputs, outputs)?.into_iter();
            for side in &mut activation.sides {
                side.extend(placed.next());
            }
            if let Some(scale) = placed.next() {
                let scale = match &factor {
                    None => scale,
                    Some(factor) => {
                        let mut chain = Chain::new(&self.scheduler);
                        chain.park(Op::Mul, &[Feed::Value(0), Feed::Value(1)], 0);
                        let output = self.scratch(4, None)?;
                        self.chain("an activation scale", &chain, &[&scale, factor], vec![output])?.remove(0)
                    }
                };
                activation.scales.push(scale);
            }
        }
        self.activations.insert(value, activation.clone());
        Ok(activation)
    }

    fn linear(&mut self, number: usize, input: ValueId) -> Result<Vectors, CompileError> {
        let activation = self.activation(input)?;
        let mut tiles = Vec::new();
        let plan = self.plan;
        for vector in &plan.linears[&number] {
            tiles.push(match self.precision {
                Precision::F16 => self.output_f16(vector, &activation)?,
                Precision::W8A8 => self.output_w8a8(vector, &activation)?,
            });
        }
        Ok(Vectors { tiles, factor: None })
    }

    /// The passes of one output vector in fp16: sums in an accumulator of the plane, bias in the VXM.
    fn output_f16(&mut self, vector: &OutputVector, activation: &Activation) -> Result<Parked, CompileError> {
        let set = vector.set;
        let inputs = &activation.sides[usize::from(set.side == Hemisphere::West)];
        let output = self.scratch(4, Some(set.side))?;
        let bias = vector.bias.map(|bias| self.memory.constant_place(bias));
        let mut chain = Chain::new(&self.scheduler);
        chain.park(Op::Add, &[Feed::Arrival(0, 0), Feed::Value(0)], 0);
        let count = inputs.len();
        let mut placed = None;
        for (index, (tile, input)) in vector.tiles.iter().zip(inputs).enumerate() {
            let ready = self.planes.load(&mut self.scheduler, set, &tile.parts, vector.rows, Orientation::Out, 0)?;
            let mode = if index == 0 { Mode::Set } else { Mode::Add };
            let result = match index + 1 == count {
                true if count == 1 => Result32::Emit,
                true => Result32::Sum(0, mode),
                false => Result32::Hold(0, mode),
            };
            let from = ready.max(pass_from(&self.scheduler, set, input));
            let (at, parked) = self.scheduler.place("a pass", from, |scheduler, at| {
                let mut parked = output.clone();
                let mut arrival = None;
                pass(scheduler, set, input, at, result, |scheduler, Emission { position, cycle }| match bias {
                    None => scheduler.park(&mut parked, position, cycle),
                    Some(_) => {
                        let stream = scheduler.route(4, cycle, position, 0)?;
                        arrival = Some((stream, cycle + u64::from(position.unsigned_abs())));
                        Some(stream)
                    }
                })?;
                if let (Some((stream, cycle)), Some(bias)) = (arrival, &bias) {
                    chain.attempt(scheduler, cycle, &[bias], &[stream], std::slice::from_mut(&mut parked))?;
                }
                Some((at, parked))
            })?;
            self.planes.passed(&self.scheduler, set, at);
            self.now = self.now.max(at + result_after(&self.scheduler, result));
            placed = Some(parked);
        }
        let placed = placed.unwrap_or(output);
        self.now = self.now.max(placed.ready);
        Ok(placed)
    }

    /// The passes of one output vector in int8: each result is scaled and added in the VXM, in an ALU kept for the plane.
    fn output_w8a8(&mut self, vector: &OutputVector, activation: &Activation) -> Result<Parked, CompileError> {
        let set = vector.set;
        let inputs = &activation.sides[usize::from(set.side == Hemisphere::West)];
        let output = self.scratch(4, None)?;
        let values = self.scheduler.chip.values();
        let planes = values.planes_per_side as u16;
        let west = if set.side == Hemisphere::West { planes } else { 0 };
        let sum_alu = values.alus as u16 - self.scheduler.dedicated_alus() + west + set.plane;
        let simple = self.scheduler.delay(DelayClass::VxmSimple);
        let scale = self.memory.constant_place(vector.scale.expect("int8 matrices have scales"));
        let bias = vector.bias.map(|bias| self.memory.constant_place(bias));
        let count = inputs.len();
        let mut earliest = self.sums_free.get(&(set.side, set.plane)).copied().unwrap_or(0);
        let mut placed = None;
        for (index, (tile, input)) in vector.tiles.iter().zip(inputs).enumerate() {
            let ready = self.planes.load(&mut self.scheduler, set, &tile.parts, vector.rows, Orientation::Out, 0)?;
            let mut chain = Chain::new(&self.scheduler);
            let real = chain.op(Op::Convert(Format::I32, Format::F32), &[Feed::Arrival(0, 0)]);
            let scaled = [Feed::Node(real), Feed::Value(0)];
            let sum = if index == 0 {
                chain.op_on(sum_alu, Op::Mul, &scaled)
            } else {
                let scaled = chain.op(Op::Mul, &scaled);
                chain.op_on(sum_alu, Op::Add, &[Feed::Latch(sum_alu, 0), Feed::Node(scaled)])
            };
            let mut operands = vec![&activation.scales[index], &scale];
            if index + 1 == count {
                let product = [Feed::Node(sum), Feed::Value(1)];
                match &bias {
                    None => chain.park(Op::Mul, &product, 0),
                    Some(bias) => {
                        operands.push(bias);
                        let product = chain.op(Op::Mul, &product);
                        chain.park(Op::Add, &[Feed::Node(product), Feed::Value(2)], 0)
                    }
                };
            }
            let to_vxm =
                result_after(&self.scheduler, Result32::Emit) + u64::from(self.scheduler.chip.mxm_position(set.side).unsigned_abs());
            let from = ready.max(pass_from(&self.scheduler, set, input)).max(earliest.saturating_sub(to_vxm));
            let (at, parked) = self.scheduler.place("a pass", from, |scheduler, at| {
                let mut parked = output.clone();
                let mut arrival = None;
                pass(scheduler, set, input, at, Result32::Emit, |scheduler, Emission { position, cycle }| {
                    arrival = scheduler.route(4, cycle, position, 0);
                    arrival
                })?;
                chain.attempt(scheduler, at + to_vxm, &operands, &[arrival?], std::slice::from_mut(&mut parked))?;
                Some((at, parked))
            })?;
            self.planes.passed(&self.scheduler, set, at);
            earliest = at + to_vxm + simple + u64::from(index + 1 == count);
            placed = Some(parked);
        }
        self.sums_free.insert((set.side, set.plane), earliest);
        let placed = placed.unwrap_or(output);
        self.now = self.now.max(placed.ready);
        Ok(placed)
    }
}
