//! Proves that runs of a program may follow one another before the first has ended: the program laid over itself at
//! every multiple of a distance breaks no rule, and every use has the definition that it has alone.
//!
//! # Method
//!
//! What one chip does in a run is in its *window*: from its first dispatch to the last landing in its last tile. A send
//! is over for its chip when it is dispatched; what it puts on the link is the link's. Where no window is longer than
//! the distance, runs do not meet on a chip, and it remains to look at what a run leaves for the next:
//!
//! - *SRAM*: the accesses of a chip in one run all come before those in the next, as in runs by themselves.
//! - *Streams and latches*: a use has a definition in its own run, and a definition of another run on its diagonal is
//!   older than that one, which replaces it.
//! - *Planes*: results at ports, installed weights and sums are defined in the run that uses them. Rows that are loaded
//!   and not installed would meet the loads of the next run: refused.
//! - *Power*: lanes without power at the end of a run would have none in the next: refused.
//! - *Links*: a link gives its vectors in order. As many receives as sends in a run, all of one run before all of the
//!   next, take the vectors of their own run; a vector that is not received would be the next run's: refused. Between
//!   the last send of a run and the first of the next the link needs its interval.
//! - *Shared counter*: a `deskew` waits as long in each run where the distance is a multiple of the counter's period.
//!
//! # Invariants
//!
//! - [`Windows::distance`] is the least distance that this method proves; every longer one is proven too, where it is a
//!   multiple of the period or no `deskew` is there.
//! - Between two runs of different programs of one system the same holds: [`Windows::after`].
//!
//! # What is not claimed
//!
//! - That no shorter distance would do: runs that take turns on a chip are not proven, and refused.
//! - How queues are refilled: the items of a run are in a queue before its first dispatch, and those of the run before
//!   it, fetched ones included, have been dispatched by then.
//! - That the host is in time: [`Windows::port`] says when it may fill inputs and must have read outputs.
//! - That two runs are independent where a value of one decides what is given to the next.

use std::collections::BTreeMap;

use lpu_chip::{LinkEnd, System};
use lpu_isa::{ChipId, Hemisphere, Instruction, LoadFormat, Program, Queue};
use rayon::prelude::*;
use thiserror::Error;

use crate::flow::ChipFlow;
use crate::member::Member;
use crate::report::Report;

/// Cycles of a run from a first one to before a last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first dispatch.
    pub first: u64,
    /// The cycle after the last landing in the last tile.
    pub end: u64,
}

impl Window {
    fn cycles(self) -> u64 {
        self.end - self.first
    }
}

/// When the host may fill the inputs of a chip for the next run, and read the outputs of this one: from a cycle of the
/// run to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortWindow {
    /// The chip has done with its inputs, and has made its outputs.
    pub from: u64,
    /// The next run reads its inputs and writes its outputs from this cycle on.
    pub until: u64,
}

/// When each chip and link of a program is in use in a run that leaves nothing for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// By chip; none for a chip that does nothing.
    chips: Vec<Option<Window>>,
    /// By end that sends: cycles of the first send and of the last, and the link's interval.
    links: BTreeMap<LinkEnd, (u64, u64, u64)>,
    /// What the distance of runs is a multiple of: the period of the shared counter where a `deskew` waits for it.
    multiple: u64,
}

/// Why runs of a program may not follow one another so soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// The program breaks a rule already.
    #[error("the program breaks a rule, so nothing is proven of runs of it that overlap; see `lpu check`")]
    Illegal,
    /// A chip is in use for longer than the distance.
    #[error(
        "runs {interval} cycles apart would meet on chip {}, which is in use from cycle {} to cycle {}; state an \
        interval of at least {least}", .chip.0, .window.first, .window.end - 1
    )]
    ChipInUse {
        /// The stated distance.
        interval: u64,
        /// The chip.
        chip: ChipId,
        /// When it is in use.
        window: Window,
        /// The least distance that is proven.
        least: u64,
    },
    /// A link still carries the last vector of a run when the next one sends.
    #[error(
        "runs {interval} cycles apart would send over link {} of chip {} in cycle {first} of a run while it carries \
        the vector of cycle {last} of the run before; state an interval of at least {least}", .end.link, .end.chip.0
    )]
    LinkBusy {
        /// The stated distance.
        interval: u64,
        /// The end that sends.
        end: LinkEnd,
        /// The first send of a run.
        first: u64,
        /// The last send of a run.
        last: u64,
        /// The least distance that is proven.
        least: u64,
    },
    /// The distance is no multiple of the period of the shared counter.
    #[error("a `deskew` waits for the shared counter, so the interval is a multiple of {period}; state {least}")]
    Period {
        /// The period.
        period: u64,
        /// The next distance that is proven.
        least: u64,
    },
    /// Vectors that a run leaves on a link.
    #[error(
        "{sends} vectors are sent to link {} of chip {} in a run and {receives} received, so the next run would \
        receive those of this one; receive all", .end.link, .end.chip.0
    )]
    NotReceived {
        /// The end that receives.
        end: LinkEnd,
        /// Sends of a run.
        sends: u64,
        /// Receives of a run.
        receives: u64,
    },
    /// Rows that a run leaves in the buffer of a plane.
    #[error(
        "on chip {} the load of cycle {cycle} into plane {}{plane} is not installed in the run, so the loads of the \
        next one would meet it; install it", .chip.0, .side.letter()
    )]
    NotInstalled {
        /// The chip.
        chip: ChipId,
        /// Cycle of the load.
        cycle: u64,
        /// Side of the plane.
        side: Hemisphere,
        /// The plane.
        plane: u16,
    },
    /// Lanes that a run leaves without power.
    #[error(
        "on chip {} the `config` of queue {queue} in cycle {cycle} leaves lanes without power for the next run; give \
        all lanes power at the end", .chip.0
    )]
    NoPower {
        /// The chip.
        chip: ChipId,
        /// The queue.
        queue: Queue,
        /// Cycle of the last `config`.
        cycle: u64,
    },
}

/// What a class of chips does, in cycles of its first chip.
struct ClassUse {
    window: Option<Window>,
    /// By link of the first chip: first and last send, and number of sends.
    sends: BTreeMap<u16, (u64, u64, u64)>,
    /// By link of the first chip: number of receives.
    receives: BTreeMap<u16, u64>,
    deskews: bool,
}

impl ClassUse {
    /// # Errors
    /// What a run leaves for the next, as of chip 0 of the system; the caller names the chip.
    fn of(system: &System, flow: &ChipFlow) -> Result<Self, OverlayError> {
        let chip = system.chip();
        let mut found = Self { window: None, sends: BTreeMap::new(), receives: BTreeMap::new(), deskews: false };
        let mut powers: BTreeMap<Queue, (u64, usize)> = BTreeMap::new();
        for issue in &flow.issues {
            let landed = match (issue.queue, issue.instruction) {
                (_, Instruction::Nop { .. }) => continue,
                (Queue::C2c(link), Instruction::Send { .. }) => {
                    let (_, last, sends) = found.sends.entry(link).or_insert((issue.cycle, issue.cycle, 0));
                    (*last, *sends) = (issue.cycle, *sends + 1);
                    issue.cycle
                }
                (Queue::C2c(link), Instruction::Receive { .. }) => {
                    *found.receives.entry(link).or_default() += 1;
                    chip.landing(issue.cycle, issue.instruction.row().delay)
                }
                (_, Instruction::Config { superlanes }) => {
                    let lanes = usize::from(superlanes.0) * chip.values().lanes_per_superlane as usize;
                    powers.insert(issue.queue, (issue.cycle, lanes));
                    issue.cycle
                }
                (_, instruction) => {
                    found.deskews |= matches!(instruction, Instruction::Deskew {});
                    chip.landing(issue.cycle, instruction.row().delay)
                }
            };
            let end = chip.run_cycles(Some(landed));
            let window = found.window.get_or_insert(Window { first: issue.cycle, end });
            (window.first, window.end) = (window.first.min(issue.cycle), window.end.max(end));
        }
        let dark = powers.iter().find(|(_, (_, lanes))| *lanes < chip.lanes());
        if let Some((&queue, &(cycle, _))) = dark {
            return Err(OverlayError::NoPower { chip: ChipId(0), queue, cycle });
        }
        let mut installs = vec![0u8; flow.issues.len()];
        flow.ties
            .iter()
            .for_each(|&(_, producer)| installs[producer as usize] = installs[producer as usize].saturating_add(1));
        for (issue, installs) in flow.issues.iter().zip(installs) {
            let planes = match issue.instruction {
                Instruction::Lw { format: LoadFormat::Bytes, .. } => 1,
                Instruction::Lw { format: LoadFormat::Widen, .. } => 2,
                _ => continue,
            };
            if let (Queue::Mxm(side, plane, _), true) = (issue.queue, installs < planes) {
                return Err(OverlayError::NotInstalled { chip: ChipId(0), cycle: issue.cycle, side, plane });
            }
        }
        Ok(found)
    }
}

/// The error of a class as of one of its chips.
fn on_chip(error: OverlayError, chip: ChipId, member: &Member) -> OverlayError {
    match error {
        OverlayError::NoPower { queue, cycle, .. } => OverlayError::NoPower { chip, queue, cycle: member.cycle(cycle) },
        OverlayError::NotInstalled { cycle, side, plane, .. } => {
            OverlayError::NotInstalled { chip, cycle: member.cycle(cycle), side, plane }
        }
        other => other,
    }
}

impl Windows {
    /// When the chips and links of a program are in use, from what the checker found of it.
    ///
    /// # Errors
    /// [`OverlayError`] when the program is not legal, or a run leaves something for the next.
    pub fn new(system: &System, report: &Report) -> Result<Self, OverlayError> {
        if !report.violations.is_empty() {
            return Err(OverlayError::Illegal);
        }
        let flow = &report.flow;
        let classes: Vec<Result<ClassUse, OverlayError>> =
            flow.classes.par_iter().map(|flow| ClassUse::of(system, flow)).collect();
        let mut windows = Self { chips: Vec::new(), links: BTreeMap::new(), multiple: 1 };
        let (mut sent, mut received): (BTreeMap<LinkEnd, u64>, BTreeMap<LinkEnd, u64>) = Default::default();
        for (chip, member) in (0..=u16::MAX).map(ChipId).zip(&flow.chips) {
            let used = classes[member.class].as_ref().map_err(|&error| on_chip(error, chip, member))?;
            let own = |window: Window| Window { first: member.cycle(window.first), end: member.cycle(window.end) };
            windows.chips.push(used.window.map(own));
            let end = |link: u16| LinkEnd { chip, link: member.links.get(&link).copied().unwrap_or(link) };
            for (&link, &(first, last, sends)) in &used.sends {
                let end = end(link);
                windows.links.insert(end, (member.cycle(first), member.cycle(last), system.interval(end)));
                sent.extend(system.peer(end).map(|peer| (peer, sends)));
            }
            received.extend(used.receives.iter().map(|(&link, &receives)| (end(link), receives)));
            if used.deskews {
                windows.multiple = u64::from(system.chip().values().c2c_period).max(1);
            }
        }
        for (&end, &sends) in &sent {
            let receives = received.get(&end).copied().unwrap_or(0);
            if receives != sends {
                return Err(OverlayError::NotReceived { end, sends, receives });
            }
        }
        Ok(windows)
    }

    /// When a chip is in use; nothing for a chip that does nothing.
    #[must_use]
    pub fn chip(&self, chip: ChipId) -> Option<Window> {
        self.chips.get(usize::from(chip.0)).copied().flatten()
    }

    /// The least distance at which runs of the program may follow one another, at least 1.
    #[must_use]
    pub fn distance(&self) -> u64 {
        self.after(self)
    }

    /// The least distance, at least 1, at which a run of this program may follow one of another program of the system.
    #[must_use]
    pub fn after(&self, before: &Self) -> u64 {
        let chips = self.chips.iter().zip(&before.chips);
        let of_chips = chips.filter_map(|(next, before)| Some(((*before)?.end).saturating_sub((*next)?.first)));
        let of_links = self.links.iter().filter_map(|(end, &(first, _, interval))| {
            let &(_, last, _) = before.links.get(end)?;
            Some((last + interval).saturating_sub(first))
        });
        let least = of_chips.chain(of_links).max().unwrap_or(0).max(1);
        least.next_multiple_of(self.multiple.max(before.multiple))
    }

    /// Proves that runs of the program may follow one another at a distance, and at every multiple of it.
    ///
    /// # Errors
    /// [`OverlayError`] names the chip or link on which they would meet.
    pub fn prove(&self, interval: u64) -> Result<(), OverlayError> {
        let least = self.distance();
        for (chip, window) in (0..=u16::MAX).map(ChipId).zip(&self.chips) {
            if let Some(window) = window.filter(|window| window.cycles() > interval) {
                return Err(OverlayError::ChipInUse { interval, chip, window, least });
            }
        }
        for (&end, &(first, last, busy)) in &self.links {
            if last + busy > first + interval {
                return Err(OverlayError::LinkBusy { interval, end, first, last, least });
            }
        }
        if !interval.is_multiple_of(self.multiple) {
            let (period, least) = (self.multiple, least.max(interval).next_multiple_of(self.multiple));
            return Err(OverlayError::Period { period, least });
        }
        Ok(())
    }

    /// When the host may fill a chip's inputs for the next run, and read its outputs, with runs so far apart; nothing
    /// for a chip that does nothing.
    #[must_use]
    pub fn port(&self, chip: ChipId, interval: u64) -> Option<PortWindow> {
        self.chip(chip).map(|Window { first, end }| PortWindow { from: end, until: first + interval })
    }
}

/// Proves the interval that a program states, if it states one, from what the checker found of the program.
///
/// # Errors
/// [`OverlayError`] says on which chip or link runs would meet, and from which interval on they do not.
pub fn prove_interval(system: &System, program: &Program, report: &Report) -> Result<(), OverlayError> {
    match program.interval {
        Some(interval) => Windows::new(system, report)?.prove(interval.get()),
        None => Ok(()),
    }
}
