//! From a legal program's dataflow to a plan: every issue in order of time becomes operations over slots and words.

mod builder;
mod hazards;
mod layout;
mod live;
mod power;
mod simplify;
mod weights;

use std::collections::{HashMap, HashSet, VecDeque};

use lpu_checker::{Feed, Flow};
use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{ChipId, Edge, Instruction, Mode, PassFormat, Queue, Source as Operand, Unit};

use crate::error::ReplayError;
use crate::places::{At, Places};
use crate::plan::{Bytes, Movement, Plan, Ref, Source};
use builder::{Builder, Wide};
use hazards::{Hazards, Seen, access};
use weights::Planes;

/// What an issue feeds.
#[derive(Clone, Copy, Debug)]
enum Fed {
    Nothing,
    /// Bytes of a wide slot, one stream each.
    Wide(u32),
    /// Narrow slots from this one on, one stream each.
    Narrow(u32),
    /// One stream.
    One(Bytes<Ref>),
    /// Streams one by one, from this entry of [`Elaborator::each`] on.
    Each(u32),
}

/// The results that an accumulator holds, in order.
struct Sum {
    format: PassFormat,
    slots: Vec<u32>,
}

struct Elaborator<'a> {
    system: &'a System,
    chip: &'a Chip,
    flow: &'a Flow,
    hazards: &'a Hazards,
    builder: Builder<'a>,
    planes: Planes,
    fed: Vec<Fed>,
    each: Vec<Bytes<Ref>>,
    /// Lanes with power of issues that do not have all.
    live: HashMap<u32, u16>,
    /// What has been sent to each end and not received there.
    sent: HashMap<LinkEnd, VecDeque<Bytes<Ref>>>,
    /// Issues whose value many others take.
    hubs: HashSet<u32>,
    /// What forwarded writes took.
    forwarded: HashMap<u32, Bytes<Ref>>,
    sums: HashMap<(ChipId, Queue, u8), Sum>,
    /// The first tie of the issue at hand.
    tie: usize,
}

/// What an issue needs that the dataflow does not have.
type Found<T> = Result<T, &'static str>;

/// The plan of a legal program. Its intermediate values lie from `work` on.
pub(crate) fn elaborate(system: &System, places: &Places, flow: &Flow, work: At) -> Result<Plan<At>, ReplayError> {
    let chip = system.chip();
    let hazards = Hazards::new(chip, places, flow);
    let mut elaborator = Elaborator {
        system,
        chip,
        flow,
        hazards: &hazards,
        builder: Builder::new(places, &hazards),
        planes: Planes::new(flow),
        fed: vec![Fed::Nothing; flow.issues.len()],
        each: Vec::new(),
        live: power::live(chip, flow),
        sent: HashMap::new(),
        hubs: hubs(flow),
        forwarded: HashMap::new(),
        sums: HashMap::new(),
        tie: 0,
    };
    elaborator.run()?;
    Ok(layout::lay_out(elaborator.builder, work))
}

impl Elaborator<'_> {
    /// All issues in order of time; writes and scatters when they land, gathers when they access.
    fn run(&mut self) -> Result<(), ReplayError> {
        let lacks = |index: usize| {
            let issue = self.flow.issues[index];
            move |what| ReplayError::Dataflow { what, queue: issue.queue, cycle: issue.cycle }
        };
        let late = |instruction: &Instruction| {
            matches!(instruction, Instruction::Write { .. } | Instruction::Scatter { .. } | Instruction::Gather { .. })
        };
        let mut waiting: Vec<(u64, bool, u32)> = Vec::new();
        for (index, issue) in self.flow.issues.iter().enumerate() {
            if late(&issue.instruction)
                && let Some((time, ..)) = access(self.chip, issue)
            {
                waiting.push((time, matches!(issue.instruction, Instruction::Gather { .. }), index as u32));
            }
        }
        waiting.sort_unstable();
        let mut waiting = waiting.into_iter().peekable();
        for index in 0..self.flow.issues.len() {
            let issue = &self.flow.issues[index];
            // A gather with an access delay of zero accesses in its own dispatch.
            while let Some((_, _, landed)) = waiting.next_if(|&(time, _, of)| time <= issue.cycle && of as usize <= index) {
                self.memory(landed as usize).map_err(lacks(landed as usize))?;
            }
            if !late(&issue.instruction) {
                self.dispatch(index).map_err(lacks(index))?;
            }
        }
        for (_, _, landed) in waiting {
            self.memory(landed as usize).map_err(lacks(landed as usize))?;
        }
        Ok(())
    }

    fn bytes(&self, feed: Feed) -> Found<Bytes<Ref>> {
        Ok(match self.fed[feed.producer as usize] {
            Fed::Wide(slot) => Bytes::Lane(Ref::Slot(slot), feed.byte),
            Fed::Narrow(first) => Bytes::Plane(Ref::Slot(first + u32::from(feed.byte))),
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
        match self.live.get(&(index as u32)) {
            Some(&live) => self.builder.powered_bytes(bytes, live),
            None => bytes,
        }
    }

    /// The 32-bit lanes that an issue puts.
    fn powered(&mut self, index: usize, slot: u32) -> u32 {
        match self.live.get(&(index as u32)) {
            Some(&live) => self.builder.powered(slot, live),
            None => slot,
        }
    }

    /// A write, scatter or gather at its access.
    fn memory(&mut self, index: usize) -> Found<()> {
        let issue = &self.flow.issues[index];
        let Some((_, slice, words)) = access(self.chip, issue) else { return Ok(()) };
        match issue.instruction {
            Instruction::Write { .. } => {
                let number = index as u32;
                let [mut src] = self.all(index)?;
                if self.hazards.forwarded.contains(&number) {
                    if let Bytes::Plane(Ref::Word(_)) = src {
                        src = Bytes::Plane(Ref::Slot(self.builder.copy(src)));
                    }
                    self.forwarded.insert(number, src);
                }
                if !self.hazards.dead.contains(&number) {
                    let at = self.builder.places.word(issue.chip, slice, words.start);
                    self.builder.store(at, src);
                }
            }
            Instruction::Scatter { .. } => {
                let [src, low, high] = self.all(index)?;
                let window = self.builder.window(issue.chip, slice, words);
                self.builder.scatter(src, [low, high], window);
            }
            Instruction::Gather { .. } => {
                let map = self.all(index)?;
                let window = self.builder.window(issue.chip, slice, words);
                let slot = self.builder.gather(map, window);
                self.fed[index] = Fed::One(self.powered_bytes(index, Bytes::Plane(Ref::Slot(slot))));
            }
            _ => {}
        }
        Ok(())
    }

    /// The issues that this one is tied to; issues must be asked in order.
    fn ties(&mut self, index: usize) -> Vec<u32> {
        let ties = &self.flow.ties;
        while self.tie < ties.len() && (ties[self.tie].0 as usize) < index {
            self.tie += 1;
        }
        ties[self.tie..].iter().take_while(|tie| tie.0 as usize == index).map(|tie| tie.1).collect()
    }

    fn dispatch(&mut self, index: usize) -> Found<()> {
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
            Instruction::Send { .. } => {
                let [mut src] = self.all(index)?;
                // The word may change while its value is under way or waits.
                if let Bytes::Plane(Ref::Word(_)) = src {
                    src = Bytes::Plane(Ref::Slot(self.builder.copy(src)));
                }
                if let Some(far) = self.link(index).and_then(|near| self.system.peer(near)) {
                    self.sent.entry(far).or_default().push_back(src);
                }
            }
            Instruction::Receive { .. } => {
                let waiting = self.link(index).and_then(|near| self.sent.get_mut(&near));
                let bytes = waiting.and_then(VecDeque::pop_front).ok_or("vector sent")?;
                self.fed[index] = Fed::One(self.powered_bytes(index, bytes));
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
                let slot = self.planes.pass(&mut self.builder, format, &installs, &taken)?;
                self.fed[index] = Fed::Wide(self.powered(index, slot));
            }
            Instruction::Acc { accumulator, mode, dst } => {
                let result = *self.ties(index).first().ok_or("pass")? as usize;
                let (Fed::Wide(slot), Instruction::Abc { format, .. }) = (self.fed[result], self.flow.issues[result].instruction) else {
                    return Err("pass");
                };
                self.accumulate(index, (issue.chip, issue.queue, accumulator.0), mode, format, slot, dst.is_some())?;
            }
            instruction if issue.queue.unit() == Unit::Vxm => {
                let slot = self.alu(index, instruction)?;
                let slot = self.powered(index, slot);
                if self.hubs.contains(&(index as u32)) {
                    self.builder.slots[slot as usize].hub = true;
                }
                self.fed[index] = Fed::Wide(slot);
            }
            instruction => self.switch(index, instruction)?,
        }
        Ok(())
    }

    /// The end of a link that an issue sends or receives at.
    fn link(&self, index: usize) -> Option<LinkEnd> {
        let issue = &self.flow.issues[index];
        let Queue::C2c(link) = issue.queue else { return None };
        Some(LinkEnd { chip: issue.chip, link })
    }

    fn read(&mut self, index: usize) -> Found<Bytes<Ref>> {
        let issue = &self.flow.issues[index];
        let (_, slice, words) = access(self.chip, issue).ok_or("slice")?;
        let word = Bytes::Plane(Ref::Word(self.builder.places.word(issue.chip, slice, words.start)));
        Ok(match self.hazards.seen.get(&(index as u32)) {
            None => word,
            Some(Seen::Now) => Bytes::Plane(Ref::Slot(self.builder.copy(word))),
            Some(Seen::Write(write)) => *self.forwarded.get(write).ok_or("write before it")?,
        })
    }

    fn accumulate(&mut self, index: usize, key: (ChipId, Queue, u8), mode: Mode, format: PassFormat, slot: u32, shown: bool) -> Found<()> {
        let sum = match mode {
            Mode::Set => {
                self.sums.insert(key, Sum { format, slots: vec![slot] });
                self.sums.get_mut(&key)
            }
            Mode::Add => self.sums.get_mut(&key),
        };
        let sum = sum.ok_or("result in its accumulator")?;
        if mode == Mode::Add {
            sum.slots.push(slot);
        }
        if shown {
            if sum.slots.len() > 1 {
                sum.slots = vec![self.builder.add(sum.format, &sum.slots)];
            }
            let shown = sum.slots[0];
            self.fed[index] = Fed::Wide(self.powered(index, shown));
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
        let mut sources = [Source::None; 3];
        for (source, operand) in sources.iter_mut().zip(operands) {
            *source = match operand {
                None => Source::None,
                Some((Operand::Immediate(value), _)) => Source::Splat(value),
                Some((Operand::Latch(_), _)) => match latches.next().map(|feed| self.fed[feed.producer as usize]) {
                    Some(Fed::Wide(slot)) => Source::Wide(Wide::Slot(slot)),
                    _ => return Err("result in a latch"),
                },
                Some((Operand::Stream(_), width)) => {
                    let bytes: Vec<Bytes<Ref>> =
                        streams.by_ref().take(usize::from(width)).map(|&feed| self.bytes(feed)).collect::<Found<_>>()?;
                    Source::Wide(self.builder.wide(&bytes))
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
        if let Wide::Slot(slot) = self.builder.wide(&taken)
            && taken.len() == usize::from(fed)
            && let Some(movement) = movement(&instruction)
        {
            let slot = self.builder.movement(slot, movement);
            self.fed[index] = Fed::Wide(self.powered(index, slot));
            return Ok(());
        }
        let slots = self.builder.switch(instruction, &taken, fed);
        if !self.live.contains_key(&(index as u32)) {
            self.fed[index] = Fed::Narrow(*slots.first().ok_or("stream that it feeds")?);
            return Ok(());
        }
        self.fed[index] = Fed::Each(self.each.len() as u32);
        for slot in slots {
            let bytes = self.powered_bytes(index, Bytes::Plane(Ref::Slot(slot)));
            self.each.push(bytes);
        }
        Ok(())
    }
}

/// Consumers that make a value a hub.
const HUB: u32 = 8;

/// ALU operations whose value many others take. Their consumers go to the next level, where they can run side by side.
fn hubs(flow: &Flow) -> HashSet<u32> {
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
    consumers.into_iter().filter(|&(_, count)| count >= HUB).map(|(issue, _)| issue).collect()
}

fn lanes_fed(instruction: &Instruction) -> u8 {
    instruction.streams().iter().filter(|used| used.flow == lpu_isa::Flow::Out).map(|used| used.width).sum()
}

/// The movement of lanes that an instruction does to all its streams alike, if it is one.
fn movement(instruction: &Instruction) -> Option<Movement> {
    match *instruction {
        Instruction::ShiftLanes { by, edge, .. } => Some(Movement::Lanes { by: by.0 as i8, wrap: edge == Edge::Wrap }),
        Instruction::ShiftSuperlanes { by, edge, .. } => Some(Movement::Superlanes { by: by.0, wrap: edge == Edge::Wrap }),
        _ => None,
    }
}
