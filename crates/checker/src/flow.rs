//! The resolved dataflow of a program: each consumer tied to its producer, all accesses of memory in order. It is
//! complete: an engine that follows it needs no delay, position or link of the system.

use std::collections::BTreeMap;
use std::ops::Range;

use lpu_chip::LinkEnd;
use lpu_isa::{ChipId, Instruction, SliceId};

use crate::issue::Issue;
use crate::member::Member;

/// One stream or latch that an instruction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The issue that fed it, on the same chip.
    pub producer: u32,
    /// Which stream of the group that the producer feeds; 0 for a latch, which is taken whole.
    pub byte: u8,
}

/// An access of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its place in [`ChipFlow::order`].
    pub time: u32,
    /// The issue.
    pub issue: u32,
    /// The slice of the issue's chip.
    pub slice: SliceId,
    /// The words that it may touch: one, or the window of its addresses.
    pub words: Range<u32>,
}

/// The dataflow of a program: within chips once a class, between chips by link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The flow of the first chip of each class.
    pub classes: Vec<ChipFlow>,
    /// The chips in order.
    pub chips: Vec<Member>,
    /// The links in use, by the end that receives: the end that sends. What is received first was sent first.
    pub links: BTreeMap<LinkEnd, LinkEnd>,
}

impl Flow {
    /// The issues of a chip, in order of cycle; those of one cycle in order of queue and item of the class's first
    /// chip.
    pub fn of_chip(&self, chip: ChipId) -> impl Iterator<Item = Issue> {
        let member = self.chips.get(usize::from(chip.0));
        let class = member.and_then(|member| self.classes.get(member.class));
        let issues = class.map_or(&[][..], |class| &class.issues);
        issues.iter().filter_map(move |issue| Some(member?.issue(chip, issue)))
    }

    /// The issues of all chips, chip after chip.
    pub fn issues(&self) -> impl Iterator<Item = Issue> {
        (0..self.chips.len()).flat_map(|chip| self.of_chip(ChipId(chip as u16)))
    }
}

/// The dataflow within a chip. Issues are named by their place in [`ChipFlow::issues`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChipFlow {
    /// All issues within the chip's ranges, in order of cycle, queue, item.
    pub issues: Vec<Issue>,
    pub(crate) starts: Vec<u32>,
    pub(crate) feeds: Vec<Feed>,
    /// What is taken other than from streams and latches, as (consumer, producer) in order of the consumer: an `iw` its
    /// `lw`s in order of landing, an `abc` the `iw` of its plane (fp16: even plane, then odd plane), an `acc` its `abc`
    /// and, if it adds, the `acc` whose sum it adds to.
    pub ties: Vec<(u32, u32)>,
    /// Cycle of access and issue of each [deferred](is_deferred) access, in order of time.
    pub(crate) deferred: Vec<(u64, u32)>,
    /// Issues that lack superlanes with power, in order, with the lanes that they have.
    pub(crate) live: Vec<(u32, u16)>,
}

/// Whether an instruction accesses memory later than it is dispatched.
pub(crate) fn is_deferred(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Write { .. } | Instruction::Scatter { .. } | Instruction::Gather { .. })
}

impl ChipFlow {
    /// What an issue takes: its streams in the order of [`lpu_isa::Instruction::streams`], then its latches in operand
    /// order.
    #[must_use]
    pub fn feeds(&self, issue: usize) -> &[Feed] {
        &self.feeds[self.starts[issue] as usize..self.starts[issue + 1] as usize]
    }

    /// Every issue once, in an order that a machine without time may follow: each in that of its dispatch, except that
    /// writes, scatters and gathers come when they access memory. Producers come before consumers, and accesses of one
    /// word in order of time.
    pub fn order(&self) -> impl Iterator<Item = usize> {
        let mut deferred = self.deferred.iter().peekable();
        let mut others =
            (0..self.issues.len()).filter(|&index| !is_deferred(&self.issues[index].instruction)).peekable();
        std::iter::from_fn(move || {
            let next = others.peek().copied();
            // A gather whose access is not delayed comes in its own place among the issues of its cycle.
            let due = |&&(cycle, issue): &&(u64, u32)| {
                next.is_none_or(|next| cycle <= self.issues[next].cycle && (issue as usize) < next)
            };
            deferred.next_if(due).map(|&(_, issue)| issue as usize).or_else(|| others.next())
        })
    }

    /// All accesses of memory in order of time.
    pub fn accesses(&self) -> impl Iterator<Item = Access> {
        (0u32..).zip(self.order()).filter_map(|(time, index)| {
            let (slice, words) = self.issues[index].words()?;
            Some(Access { time, issue: index as u32, slice, words })
        })
    }

    /// The lanes with power of an issue that does not have all: what it takes and puts is zero in the others.
    #[must_use]
    pub fn live(&self, issue: u32) -> Option<u16> {
        let found = self.live.binary_search_by_key(&issue, |live| live.0).ok()?;
        Some(self.live[found].1)
    }
}
