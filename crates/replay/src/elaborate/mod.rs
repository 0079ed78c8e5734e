//! From a legal program's dataflow to plans, chip by chip: every issue, in the order of the flow, becomes operations
//! over virtual registers and words. The flow has all that is taken from where and when; nothing here knows a delay, a
//! position or a link of the chip.

mod builder;
mod hazards;
mod layout;
mod linear_scan;
mod links;
mod live;
mod power;
mod simplify;
mod weights;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lpu_checker::{ChipFlow, Feed, Flow};
use lpu_isa::{Edge, Instruction, Mode, PassFormat, Queue, Source as Operand, Unit};

use crate::error::ReplayError;
use crate::places::{At, ChipPlaces, Places};
use crate::plan::{AluInput, Bytes, ChipPlan, ListRange, Movement, Plan, Ref};
use crate::system::SystemPlan;
use builder::{PlanBuilder, Wide};
use hazards::{Hazards, Seen};
use links::Mailboxes;
use weights::Planes;

/// What an issue feeds.
#[derive(Clone, Copy, Debug)]
enum Fed {
    Nothing,
    /// Bytes of a wide register, one stream each.
    Wide(u32),
    /// Narrow registers from this one on, one stream each.
    Narrow(u32),
    /// One stream.
    One(Bytes<Ref>),
    /// Streams one by one, from this entry of [`Elaborator::each`] on.
    Each(u32),
}

/// The results that an accumulator holds, in order.
struct Sum {
    format: PassFormat,
    registers: Vec<u32>,
}

/// The sends and receives of a chip so far.
struct Exchange {
    /// Cycles from any send to the receive of its vector, at least.
    latency: u64,
    sends: u32,
    receives: u32,
    /// Cycle and level of each send that no receive is so much later than.
    recent: VecDeque<(u64, u32)>,
    /// The first level after those of all other sends.
    level: u32,
}

impl Exchange {
    /// The first level for a receive in a cycle: after those of all sends that its vector may depend on.
    fn level(&mut self, cycle: u64) -> u32 {
        while let Some(&(sent, level)) = self.recent.front()
            && sent.saturating_add(self.latency) <= cycle
        {
            self.level = self.level.max(level + 1);
            self.recent.pop_front();
        }
        self.level
    }
}

struct Elaborator<'a> {
    flow: &'a ChipFlow,
    hazards: &'a Hazards,
    builder: PlanBuilder<'a>,
    planes: Planes,
    fed: Vec<Fed>,
    each: Vec<Bytes<Ref>>,
    /// Issues whose value many others take.
    high_fanout: HashSet<u32>,
    /// What forwarded stores took.
    forwarded: HashMap<u32, Bytes<Ref>>,
    /// What each `acc` leaves to a later one.
    sums: HashMap<u32, Sum>,
    /// The first tie of the issue at hand.
    tie: usize,
    exchange: Exchange,
}

/// What an issue needs that the dataflow does not have.
type Found<T> = Result<T, &'static str>;

/// The plans of a legal program for chips with these places: one for all chips of a class that have equal places.
/// Intermediate values follow the words. Plans are made on so many threads.
pub(crate) fn elaborate(chips: &[ChipPlaces], flow: &Flow, threads: usize) -> Result<SystemPlan, ReplayError> {
    let Mailboxes { sources, latency } = Mailboxes::new(flow)?;
    // A system may have more chips than the program.
    let idle = ChipFlow::default();
    let (mut wanted, mut of_chips) = (Vec::new(), Vec::with_capacity(chips.len()));
    let mut known: HashMap<(Option<usize>, *const Places), u32> = HashMap::new();
    let mut sources = sources.into_iter();
    for (chip, placed) in chips.iter().enumerate() {
        let class = flow.chips.get(chip).map(|member| member.class);
        let number = *known.entry((class, Arc::as_ptr(&placed.places))).or_insert_with(|| {
            wanted.push((&*placed.places, class.map_or(&idle, |class| &flow.classes[class])));
            wanted.len() as u32 - 1
        });
        of_chips.push(ChipPlan { plan: number, sources: sources.next().unwrap_or_default() });
    }
    SystemPlan::new(plans(&wanted, latency, threads)?, of_chips)
}

/// The plans of chips with these places and flows, in order.
fn plans(wanted: &[(&Places, &ChipFlow)], latency: u64, threads: usize) -> Result<Vec<Arc<Plan<At>>>, ReplayError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(places, flow)) = wanted.get(number) else { return made };
            made.push((number, plan(places, flow, latency)));
        }
    };
    let mut made = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(wanted.len())).map(|_| scope.spawn(work)).collect();
        let mut made = work();
        for other in others {
            made.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_by_key(|made| made.0);
    made.into_iter().map(|(_, plan)| plan.map(Arc::new)).collect()
}

/// The plan of a chip.
fn plan(places: &Places, flow: &ChipFlow, latency: u64) -> Result<Plan<At>, ReplayError> {
    let hazards = Hazards::new(places, flow);
    let mut elaborator = Elaborator {
        flow,
        hazards: &hazards,
        builder: PlanBuilder::new(places, &hazards),
        planes: Planes::new(flow),
        fed: vec![Fed::Nothing; flow.issues.len()],
        each: Vec::new(),
        high_fanout: high_fanout(flow),
        forwarded: HashMap::new(),
        sums: HashMap::new(),
        tie: 0,
        exchange: Exchange { latency, sends: 0, receives: 0, recent: VecDeque::new(), level: 0 },
    };
    elaborator.run()?;
    let Exchange { sends, receives, .. } = elaborator.exchange;
    let mut builder = elaborator.builder;
    (builder.plan.sends, builder.plan.receives) = (sends, receives);
    Ok(layout::lay_out(builder, At::from_bytes(places.end)))
}

impl Elaborator<'_> {
    fn run(&mut self) -> Result<(), ReplayError> {
        let flow = self.flow;
        for index in flow.order() {
            let issue = &flow.issues[index];
            self.issue(index).map_err(|what| ReplayError::Dataflow { what, queue: issue.queue, cycle: issue.cycle })?;
        }
        Ok(())
    }

    fn bytes(&self, feed: Feed) -> Found<Bytes<Ref>> {
        Ok(match self.fed[feed.producer as usize] {
            Fed::Wide(register) => Bytes::Lane(Ref::Register(register), feed.byte),
            Fed::Narrow(first) => Bytes::Plane(Ref::Register(first + u32::from(feed.byte))),
            Fed::One(bytes) => bytes,
            Fed::Each(first) => self.each[first as usize + usize::from(feed.byte)],
            Fed::Nothing => return Err("earlier producer"),
        })
    }

    fn taken(&mut self, index: usize) -> Found<Vec<Bytes<Ref>>> {
        let flow = self.flow;
        let take = |&feed: &Feed| {
            let bytes = self.bytes(feed)?;
            Ok(self.powered_bytes(index, bytes))
        };
        flow.feeds(index).iter().map(take).collect()
    }

    /// [`Elaborator::taken`] of an issue that takes so many streams.
    fn all<const COUNT: usize>(&mut self, index: usize) -> Found<[Bytes<Ref>; COUNT]> {
        self.taken(index)?.try_into().map_err(|_| "producer of every stream")
    }

    /// One stream that an issue takes or puts.
    fn powered_bytes(&mut self, index: usize, bytes: Bytes<Ref>) -> Bytes<Ref> {
        match self.flow.live(index as u32) {
            Some(live) => self.builder.powered_bytes(bytes, live),
            None => bytes,
        }
    }

    /// The 32-bit lanes that an issue puts.
    fn powered(&mut self, index: usize, register: u32) -> u32 {
        match self.flow.live(index as u32) {
            Some(live) => self.builder.powered(register, live),
            None => register,
        }
    }

    /// The issues that this one is tied to; issues must be asked in order.
    fn ties(&mut self, index: usize) -> Vec<u32> {
        let ties = &self.flow.ties;
        while self.tie < ties.len() && (ties[self.tie].0 as usize) < index {
            self.tie += 1;
        }
        ties[self.tie..].iter().take_while(|tie| tie.0 as usize == index).map(|tie| tie.1).collect()
    }

    fn issue(&mut self, index: usize) -> Found<()> {
        let issue = &self.flow.issues[index];
        match issue.instruction {
            Instruction::Nop { .. }
            | Instruction::Repeat { .. }
            | Instruction::Ifetch { .. }
            | Instruction::Sync {}
            | Instruction::Notify {}
            | Instruction::Config { .. }
            | Instruction::Deskew {} => {}
            Instruction::Read { .. } => {
                let bytes = self.read(index)?;
                self.fed[index] = Fed::One(self.powered_bytes(index, bytes));
            }
            Instruction::Write { .. } => self.write(index)?,
            Instruction::Scatter { .. } => {
                let [src, low, high] = self.all(index)?;
                let window = self.window(index)?;
                self.builder.scatter(src, [low, high], window);
            }
            Instruction::Gather { .. } => {
                let map = self.all(index)?;
                let window = self.window(index)?;
                let register = self.builder.gather(map, window);
                self.fed[index] = Fed::One(self.powered_bytes(index, Bytes::Plane(Ref::Register(register))));
            }
            Instruction::Send { .. } => {
                let [src] = self.all(index)?;
                let level = self.builder.send(self.exchange.sends, src);
                self.exchange.sends += 1;
                self.exchange.recent.push_back((issue.cycle, level));
            }
            Instruction::Receive { .. } => {
                let register = self.builder.receive(self.exchange.receives, self.exchange.level(issue.cycle));
                self.exchange.receives += 1;
                self.fed[index] = Fed::One(self.powered_bytes(index, Bytes::Plane(Ref::Register(register))));
            }
            Instruction::Lw { row, orientation, format, .. } => {
                let rows = self.taken(index)?;
                self.planes.load(index as u32, row, orientation, format, rows);
            }
            Instruction::Iw { rows } => {
                let loads = self.ties(index);
                let odd = matches!(issue.queue, Queue::Mxm(_, plane, _) if plane % 2 == 1);
                self.planes.install(&mut self.builder, index as u32, usize::from(rows.0), odd, &loads)?;
            }
            Instruction::Abc { format, .. } => {
                let installs = self.ties(index);
                let taken = self.taken(index)?;
                let register = self.planes.pass(&mut self.builder, format, &installs, &taken)?;
                self.fed[index] = Fed::Wide(self.powered(index, register));
            }
            Instruction::Acc { mode, dst, .. } => {
                self.accumulate(index, mode, dst.is_some())?;
            }
            instruction if issue.queue.unit() == Unit::Vxm => {
                let register = self.alu(index, instruction)?;
                let register = self.powered(index, register);
                if self.high_fanout.contains(&(index as u32)) {
                    self.builder.registers[register as usize].high_fanout = true;
                }
                self.fed[index] = Fed::Wide(register);
            }
            instruction => self.switch(index, instruction)?,
        }
        Ok(())
    }

    fn write(&mut self, index: usize) -> Found<()> {
        let number = index as u32;
        let [mut src] = self.all(index)?;
        if self.hazards.forwarded_stores.contains(&number) {
            if let Bytes::Plane(Ref::Word(_)) = src {
                src = Bytes::Plane(Ref::Register(self.builder.copy(src)));
            }
            self.forwarded.insert(number, src);
        }
        if !self.hazards.dead_stores.contains(&number) {
            let at = self.word(index)?;
            self.builder.store(at, src);
        }
        Ok(())
    }

    /// The word that a read or write accesses.
    fn word(&self, index: usize) -> Found<At> {
        let issue = &self.flow.issues[index];
        let (slice, words) = issue.words().ok_or("slice")?;
        Ok(self.builder.places.word(slice, words.start))
    }

    /// The words that a gather or scatter may access.
    fn window(&mut self, index: usize) -> Found<ListRange> {
        let issue = &self.flow.issues[index];
        let (slice, words) = issue.words().ok_or("slice")?;
        Ok(self.builder.window(slice, words))
    }

    fn read(&mut self, index: usize) -> Found<Bytes<Ref>> {
        let word = Bytes::Plane(Ref::Word(self.word(index)?));
        Ok(match self.hazards.seen.get(&(index as u32)) {
            None => word,
            Some(Seen::Now) => Bytes::Plane(Ref::Register(self.builder.copy(word))),
            Some(Seen::Write(write)) => *self.forwarded.get(write).ok_or("write before it")?,
        })
    }

    fn accumulate(&mut self, index: usize, mode: Mode, shown: bool) -> Found<()> {
        let ties = self.ties(index);
        let result = *ties.first().ok_or("pass")? as usize;
        let (Fed::Wide(register), Instruction::Abc { format, .. }) =
            (self.fed[result], self.flow.issues[result].instruction)
        else {
            return Err("pass");
        };
        let mut sum = match mode {
            Mode::Set => Sum { format, registers: Vec::new() },
            Mode::Add => ties.get(1).and_then(|before| self.sums.remove(before)).ok_or("result in its accumulator")?,
        };
        sum.registers.push(register);
        if shown {
            if sum.registers.len() > 1 {
                sum.registers = vec![self.builder.add(sum.format, &sum.registers)];
            }
            let shown = sum.registers[0];
            self.fed[index] = Fed::Wide(self.powered(index, shown));
        }
        if self.planes.is_used(index as u32) {
            self.sums.insert(index as u32, sum);
        }
        Ok(())
    }

    fn alu(&mut self, index: usize, instruction: Instruction) -> Found<u32> {
        let operands = lpu_lanes::sources(&instruction).ok_or("operands of an ALU")?;
        let feeds = self.flow.feeds(index);
        let streams: usize = operands
            .iter()
            .flatten()
            .filter(|(operand, _)| matches!(operand, Operand::Stream(_)))
            .map(|&(_, width)| usize::from(width))
            .sum();
        let (streams, latches) = feeds.split_at_checked(streams).ok_or("producer of every stream")?;
        let (mut streams, mut latches) = (streams.iter(), latches.iter());
        let mut sources = [AluInput::None; 3];
        for (source, operand) in sources.iter_mut().zip(operands) {
            *source = match operand {
                None => AluInput::None,
                Some((Operand::Immediate(value), _)) => AluInput::Splat(value),
                Some((Operand::Latch(_), _)) => match latches.next().map(|feed| self.fed[feed.producer as usize]) {
                    Some(Fed::Wide(register)) => AluInput::Wide(Wide::Register(register)),
                    _ => return Err("result in a latch"),
                },
                Some((Operand::Stream(_), width)) => {
                    let bytes: Vec<Bytes<Ref>> = streams
                        .by_ref()
                        .take(usize::from(width))
                        .map(|&feed| self.bytes(feed))
                        .collect::<Found<_>>()?;
                    AluInput::Wide(self.builder.wide(&bytes))
                }
            };
        }
        let significant = match instruction {
            Instruction::Convert { to, .. } => to.bytes(),
            Instruction::Add { arithmetic, .. }
            | Instruction::Sub { arithmetic, .. }
            | Instruction::Mul { arithmetic, .. }
            | Instruction::Negate { arithmetic, .. }
            | Instruction::Abs { arithmetic, .. } => arithmetic.bytes(),
            _ => 4,
        };
        Ok(self.builder.alu(instruction, sources, significant))
    }

    /// A switch unit's instruction, as a movement of 32-bit lanes where it is one.
    fn switch(&mut self, index: usize, instruction: Instruction) -> Found<()> {
        let taken = self.taken(index)?;
        let fed = lanes_fed(&instruction);
        if let Wide::Register(register) = self.builder.wide(&taken)
            && taken.len() == usize::from(fed)
            && let Some(movement) = movement(&instruction)
        {
            let register = self.builder.movement(register, movement);
            self.fed[index] = Fed::Wide(self.powered(index, register));
            return Ok(());
        }
        let registers = self.builder.switch(instruction, &taken, fed);
        if self.flow.live(index as u32).is_none() {
            self.fed[index] = Fed::Narrow(*registers.first().ok_or("stream that it feeds")?);
            return Ok(());
        }
        self.fed[index] = Fed::Each(self.each.len() as u32);
        for register in registers {
            let bytes = self.powered_bytes(index, Bytes::Plane(Ref::Register(register)));
            self.each.push(bytes);
        }
        Ok(())
    }
}

/// Consumers that make a value a high-fanout one.
const HIGH_FANOUT: u32 = 8;

/// ALU operations whose value many others take. Their consumers go to the next level, where they can run side by side.
fn high_fanout(flow: &ChipFlow) -> HashSet<u32> {
    let mut consumers: HashMap<u32, u32> = HashMap::new();
    for (index, issue) in flow.issues.iter().enumerate() {
        if issue.queue.unit() != Unit::Vxm {
            continue;
        }
        let mut before = None;
        for feed in flow.feeds(index) {
            if before != Some(feed.producer) && flow.issues[feed.producer as usize].queue.unit() == Unit::Vxm {
                *consumers.entry(feed.producer).or_default() += 1;
            }
            before = Some(feed.producer);
        }
    }
    consumers.into_iter().filter(|&(_, count)| count >= HIGH_FANOUT).map(|(issue, _)| issue).collect()
}

fn lanes_fed(instruction: &Instruction) -> u8 {
    instruction.streams().iter().filter(|used| used.flow == lpu_isa::Flow::Out).map(|used| used.width).sum()
}

/// The movement of lanes that an instruction does to all its streams alike, if it is one.
fn movement(instruction: &Instruction) -> Option<Movement> {
    match *instruction {
        Instruction::ShiftLanes { by, edge, .. } => Some(Movement::Lanes { by: by.0 as i8, wrap: edge == Edge::Wrap }),
        Instruction::ShiftSuperlanes { by, edge, .. } => {
            Some(Movement::Superlanes { by: by.0, wrap: edge == Edge::Wrap })
        }
        _ => None,
    }
}
