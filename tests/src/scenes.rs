//! Legal programs composed of small scenes, each a piece of dataflow over a few units at a time and on streams drawn at
//! random: copies, ALU chains, passes, switch units, addresses on streams, vectors between chips, fetched instructions,
//! a barrier, power. A scene that does not fit the others is left out, so every program is legal; it has every unit
//! often, and mutations of it are nearly legal.

use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::System;
use lpu::isa::{
    ChipId, Format, Hemisphere, Image, Instruction, Item, Program, Queue, Region, RegionKind, SliceId, Stream, WordRun,
    blocks, compress,
};

use crate::dice::Dice;
use crate::memory::Memory;
use crate::stage::{Cue, Stage};

/// A program and its image.
pub struct Scene {
    /// The image; every slice that is used starts with known words.
    pub image: Image<'static>,
    /// The program, legal.
    pub program: Program,
}

/// Words that hold code.
pub(crate) const CODE: u32 = 40;

/// Queues, barriers, code and regions around the cues of all scenes.
struct Play<'a> {
    system: &'a System,
    cues: Vec<Cue>,
    /// All queues wait for a notify that is dispatched in this cycle.
    notify: Option<u64>,
    /// This queue of chip 0 is fetched.
    fetched: Option<Queue>,
    /// Links of chip 1 start together with the shared counter.
    deskew: bool,
}

impl Play<'_> {
    fn program(&self, seed: u64) -> Option<(Image<'static>, Program)> {
        let mut by_queue: BTreeMap<(u16, Queue), Vec<(u64, Instruction)>> = BTreeMap::new();
        for cue in &self.cues {
            by_queue.entry((cue.chip, cue.queue)).or_default().push((cue.cycle, cue.instruction));
        }
        let mut queues = vec![BTreeMap::new(); usize::from(self.system.chips())];
        let mut memory = Memory::new(self.system.chip(), seed);
        let mut code = None;
        for ((chip, queue), mut cues) in by_queue {
            cues.sort_by_key(|cue| (cue.0, matches!(cue.1, Instruction::Write { .. } | Instruction::Scatter { .. })));
            if let Some(cycle) = self.notify.filter(|_| chip == 1) {
                // The other chip has no barrier; it starts as much later.
                let late = cycle + u64::from(self.system.chip().values().icu_barrier);
                cues.iter_mut().for_each(|cue| cue.0 += late);
            }
            let mut items = compress(&cues);
            if lpu::isa::validate(queue, &items).is_err() {
                return None;
            }
            if self.fetched == Some(queue) && chip == 0 {
                let found = self.code(&cues)?;
                items = self.fetch(found.len());
                code = Some(found);
            }
            if chip == 1 && self.deskew && matches!(queue, Queue::C2c(_)) {
                let period = u64::from(self.system.chip().values().c2c_period);
                let after: Option<Vec<(u64, Instruction)>> =
                    cues.iter().map(|&(cycle, instruction)| Some((cycle.checked_sub(period)?, instruction))).collect();
                items = [Instruction::Deskew {}.into()].into_iter().chain(compress(&after?)).collect();
            }
            if self.notify.is_some() && chip == 0 {
                items.insert(0, Instruction::Sync {}.into());
            }
            queues[usize::from(chip)].insert(queue, items);
        }
        if let Some(cycle) = self.notify {
            let items: Vec<Item> = lpu::isa::timeline::wait(cycle).chain([Instruction::Notify {}.into()]).collect();
            queues[0].insert(Queue::Sxm(Hemisphere::West, 7), items);
        }
        let region = |name: &str, kind, side, index, word, count| {
            let runs = vec![WordRun { chip: ChipId(0), slice: SliceId { side, index }, word, count, stride: 1 }];
            Region { name: name.into(), kind, format: Format::I8, vectors: count, lanes: 16, runs }
        };
        let mut regions = vec![region("in", RegionKind::Input, Hemisphere::East, 0, 0, 1)];
        for index in 0..24 {
            regions.push(region(&format!("fixed{index}"), RegionKind::Const, Hemisphere::East, index, 1, 2));
        }
        if let Some(blocks) = code {
            for (number, block) in blocks.iter().enumerate() {
                for (half, bytes) in block.chunks_exact(self.system.chip().lanes()).enumerate() {
                    memory.put(FETCHED[half], CODE + number as u32, bytes);
                }
            }
            for (half, slice) in FETCHED.iter().enumerate() {
                regions.push(region(
                    &format!("code{half}"),
                    RegionKind::Code,
                    slice.side,
                    slice.index,
                    CODE,
                    blocks.len() as u32,
                ));
            }
            for slice in FETCHED {
                let reads = queues[0].entry(slice.queue()).or_insert_with(Vec::new);
                if !reads.is_empty() {
                    return None;
                }
                // One block every fourth cycle; the first word is read in cycle 0.
                for number in 0..blocks.len() as u32 {
                    let word = lpu::isa::Word(CODE + number);
                    reads.extend(lpu::isa::timeline::wait(if number == 0 { 0 } else { 3 }));
                    reads.push(
                        Instruction::Read { word, dst: Stream::west(28 + u8::from(slice.index % 2 == 1)) }.into(),
                    );
                }
            }
        }
        let mut program = Program { name: "scenes".into(), regions, ..Program::default() }.with_queues(queues);
        program.cycles = lpu::checker::cycles(self.system, &Image::default(), &program).unwrap_or(0);
        let code = FETCHED.iter().filter(|_| self.fetched.is_some()).map(|slice| (0, slice.queue()));
        let image = memory.image(self.cues.iter().map(|cue| (cue.chip, cue.queue)).chain(code));
        program.cycles = lpu::checker::cycles(self.system, &image, &program).unwrap_or(program.cycles);
        Some((image, program))
    }

    /// The code of a queue: its first item waits for the first block, and later blocks arrive long before they are due.
    fn code(&self, cues: &[(u64, Instruction)]) -> Option<Vec<Vec<u8>>> {
        let mut count = 1;
        for _ in 0..4 {
            let preloaded = lpu::isa::expand(&self.fetch(count)).last()?.cycle;
            let arrived =
                lpu::isa::expand(&self.fetch(1)).last()?.cycle + u64::from(self.system.chip().values().icu_fetch);
            let start = preloaded.max(arrived);
            let after: Option<Vec<(u64, Instruction)>> =
                cues.iter().map(|&(cycle, instruction)| Some((cycle.checked_sub(start)?, instruction))).collect();
            let found = blocks(&compress(&after?), 2 * self.system.chip().lanes())?;
            if found.len() == count {
                return Some(found);
            }
            count = found.len();
        }
        None
    }

    /// The preloaded items of a VXM queue that fetches `count` blocks as they pass.
    fn fetch(&self, count: usize) -> Vec<Item> {
        let distance = u64::from(self.system.chip().slice_position(FETCHED[0]).abs_diff(0));
        let first = distance + u64::from(self.system.chip().values().mem_read);
        let mut items: Vec<Item> = lpu::isa::timeline::wait(first).collect();
        for number in 0..count {
            if number > 0 {
                items.extend(lpu::isa::timeline::wait(4));
            }
            items.push(Instruction::Ifetch { src: Stream::west(28) }.into());
        }
        items
    }
}

/// Slices that hold code, outward of all others that scenes use there.
const FETCHED: [SliceId; 2] =
    [SliceId { side: Hemisphere::East, index: 22 }, SliceId { side: Hemisphere::East, index: 23 }];

/// A legal program of up to `scenes` scenes on a system of two chips.
#[must_use]
pub fn compose(system: &System, seed: u64, scenes: usize) -> Scene {
    let mut dice = Dice(seed ^ 0x5ce_9e5);
    let notify = (dice.below(4) == 0).then(|| dice.below(12) as u64);
    let fetched = (dice.below(4) == 0 && notify.is_none()).then_some(Queue::Vxm(15));
    let deskew = dice.below(3) == 0;
    let play = Play { system, cues: Vec::new(), notify, fetched, deskew };
    fill(play, seed, scenes, &mut dice, |stage, number| crate::acts::play(stage, number, fetched))
}

/// A legal program of up to `scenes` scenes, each as `act` plays it.
pub(crate) fn composed(
    system: &System,
    seed: u64,
    scenes: usize,
    dice: &mut Dice,
    act: impl FnMut(&mut Stage<'_>, usize),
) -> Scene {
    let play = Play { system, cues: Vec::new(), notify: None, fetched: None, deskew: false };
    fill(play, seed, scenes, dice, act)
}

fn fill(
    mut play: Play<'_>,
    seed: u64,
    scenes: usize,
    dice: &mut Dice,
    mut act: impl FnMut(&mut Stage<'_>, usize),
) -> Scene {
    let system = play.system;
    let mut best = None;
    let mut start = 40;
    for number in 0..scenes {
        let mut stage = Stage { chip: system.chip(), dice: &mut *dice, cues: Vec::new(), start, at: 0 };
        act(&mut stage, number);
        let cues = stage.cues;
        let keep = play.cues.len();
        play.cues.extend(cues);
        let distinct: BTreeSet<(u16, Queue, u64, bool)> = play.cues.iter().map(key).collect();
        let candidate = if distinct.len() == play.cues.len() { play.program(seed) } else { None };
        let legal = candidate.filter(|(image, program)| {
            lpu::checker::check_system(system, image, program).is_ok_and(|report| report.violations.is_empty())
        });
        match legal {
            Some(found) => best = Some(found),
            None => play.cues.truncate(keep),
        }
        start += 8 + dice.below(40) as u64;
    }
    let (image, program) = best.or_else(|| play.program(seed)).expect("a program without scenes is one");
    Scene { image, program }
}

/// Two issues of one queue share a cycle only as a pair.
fn key(cue: &Cue) -> (u16, Queue, u64, bool) {
    (cue.chip, cue.queue, cue.cycle, matches!(cue.instruction, Instruction::Write { .. } | Instruction::Scatter { .. }))
}
