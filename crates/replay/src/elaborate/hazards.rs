//! Which words a program writes, what each read of such a word sees, which writes are forwarded to reads, and which are
//! dead.

use std::collections::{HashMap, HashSet};

use lpu_checker::{Access, ChipFlow};
use lpu_isa::Instruction;

use crate::places::{At, Places};

/// What a read of a word that the program writes sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// What this write took.
    Write(u32),
    /// What memory holds at the read, which changes before the value is last used.
    Now,
}

/// What is known about writes before any operation is built.
pub(super) struct Hazards {
    /// By address: whether the program writes the word.
    written: Vec<u64>,
    /// Reads of written words that may not simply use the word in place.
    pub(super) seen: HashMap<u32, Seen>,
    /// Writes whose value some read sees.
    pub(super) forwarded_stores: HashSet<u32>,
    /// Writes that another write replaces before any access that could see them.
    pub(super) dead_stores: HashSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AccessKind {
    Write,
    Scatter,
    Read,
    Gather,
}

impl Hazards {
    pub(super) fn new(places: &Places, flow: &ChipFlow) -> Self {
        let mut hazards = Self {
            written: vec![0; (places.end as usize / crate::places::UNIT).div_ceil(64) + 1],
            seen: HashMap::new(),
            forwarded_stores: HashSet::new(),
            dead_stores: HashSet::new(),
        };
        let of = |issue: u32| &flow.issues[issue as usize];
        let mut accesses: Vec<(At, u32, AccessKind, u32)> = Vec::new();
        for Access { time, issue, slice, words } in flow.accesses() {
            let kind = match of(issue).instruction {
                Instruction::Write { .. } => AccessKind::Write,
                Instruction::Scatter { .. } => AccessKind::Scatter,
                _ => continue,
            };
            for word in words {
                let at = places.word(slice, word);
                hazards.written[at.0 as usize / 64] |= 1 << (at.0 % 64);
                accesses.push((at, time, kind, issue));
            }
        }
        let mut last: HashMap<u32, u32> = HashMap::new();
        for Access { time, issue, slice, words } in flow.accesses() {
            let kind = match of(issue).instruction {
                Instruction::Read { .. } => AccessKind::Read,
                Instruction::Gather { .. } => AccessKind::Gather,
                _ => continue,
            };
            for word in words {
                let at = places.word(slice, word);
                if hazards.written(at) {
                    accesses.push((at, time, kind, issue));
                    if kind == AccessKind::Read {
                        last.insert(issue, 0);
                    }
                }
            }
        }
        if !last.is_empty() {
            last_uses(flow, &mut last);
        }
        accesses.sort_unstable();
        for of_word in accesses.chunk_by(|one, other| one.0 == other.0) {
            hazards.word(of_word, &last);
        }
        hazards
    }

    /// Whether the program writes the word at an address.
    pub(super) fn written(&self, at: At) -> bool {
        self.written.get(at.0 as usize / 64).is_some_and(|bits| bits >> (at.0 % 64) & 1 == 1)
    }

    /// The accesses of one word in order of time.
    fn word(&mut self, accesses: &[(At, u32, AccessKind, u32)], last: &HashMap<u32, u32>) {
        let mut source = None;
        for (index, &(_, _, kind, issue)) in accesses.iter().enumerate() {
            match kind {
                AccessKind::Write => {
                    source = Some(issue);
                    let next =
                        accesses[index + 1..].iter().map(|access| access.2).find(|&kind| kind != AccessKind::Read);
                    if next == Some(AccessKind::Write) {
                        self.dead_stores.insert(issue);
                    }
                }
                AccessKind::Scatter => source = None,
                AccessKind::Gather => {}
                AccessKind::Read => match source {
                    Some(write) => {
                        self.seen.insert(issue, Seen::Write(write));
                        self.forwarded_stores.insert(write);
                    }
                    None => {
                        let changes = accesses[index + 1..]
                            .iter()
                            .find(|access| matches!(access.2, AccessKind::Write | AccessKind::Scatter));
                        if changes.is_some_and(|change| change.1 <= last.get(&issue).copied().unwrap_or(0)) {
                            self.seen.insert(issue, Seen::Now);
                        }
                    }
                },
            }
        }
    }
}

/// The place in the flow's order at which each of these reads is used for the last time; weights are used by passes.
fn last_uses(flow: &ChipFlow, last: &mut HashMap<u32, u32>) {
    let mut times = vec![0; flow.issues.len()];
    for (time, issue) in (0u32..).zip(flow.order()) {
        times[issue] = time;
    }
    let mut installs: HashMap<u32, u32> = HashMap::new();
    let mut loads: HashMap<u32, u32> = HashMap::new();
    let instruction = |issue: u32| flow.issues[issue as usize].instruction;
    for &(consumer, producer) in &flow.ties {
        if let Instruction::Abc { .. } = instruction(consumer) {
            let last = installs.entry(producer).or_default();
            *last = (*last).max(times[consumer as usize]);
        }
    }
    for &(consumer, producer) in &flow.ties {
        if let (Instruction::Iw { .. }, Some(&used)) = (instruction(consumer), installs.get(&consumer)) {
            let last = loads.entry(producer).or_default();
            *last = (*last).max(used);
        }
    }
    for (index, issue) in flow.issues.iter().enumerate() {
        let time = match issue.instruction {
            Instruction::Lw { .. } => loads.get(&(index as u32)).copied().unwrap_or(0),
            _ => times[index],
        };
        for feed in flow.feeds(index) {
            if let Some(last) = last.get_mut(&feed.producer) {
                *last = (*last).max(time);
            }
        }
    }
}
