//! Where the vector of each receive comes from. Sends and receives of a plan are numbered in the order of the flow;
//! what an end of a link receives first, the other end sent first.

use std::collections::BTreeMap;

use lpu_checker::{ChipFlow, Flow, Member};
use lpu_chip::LinkEnd;
use lpu_isa::{Instruction, Queue};

use crate::error::ReplayError;
use crate::plan::Mailbox;

/// What a class of chips sends and receives, in the names of its first chip.
#[derive(Default)]
struct ClassTransfers {
    /// By link: number and cycle of each send.
    sends: BTreeMap<u16, Vec<(u32, u64)>>,
    /// By number: link of the receive, how many the link has before it, cycle.
    receives: Vec<(u16, usize, u64)>,
}

impl ClassTransfers {
    fn new(flow: &ChipFlow) -> Self {
        let mut transfers = Self::default();
        let (mut sends, mut received) = (0, BTreeMap::<u16, usize>::new());
        for issue in &flow.issues {
            let Queue::C2c(link) = issue.queue else { continue };
            match issue.instruction {
                Instruction::Send { .. } => {
                    transfers.sends.entry(link).or_default().push((sends, issue.cycle));
                    sends += 1;
                }
                Instruction::Receive { .. } => {
                    let before = received.entry(link).or_default();
                    transfers.receives.push((link, *before, issue.cycle));
                    *before += 1;
                }
                _ => {}
            }
        }
        transfers
    }
}

/// The vectors between the chips of a program.
pub(super) struct Mailboxes {
    /// By chip and number of the receive: the mailbox that it takes.
    pub(super) sources: Vec<Vec<Mailbox>>,
    /// The least number of cycles from a send to the receive of its vector.
    pub(super) latency: u64,
}

impl Mailboxes {
    pub(super) fn new(flow: &Flow) -> Result<Self, ReplayError> {
        let transfers: Vec<ClassTransfers> = flow.classes.iter().map(ClassTransfers::new).collect();
        let own = |member: &Member, link: u16| member.links.get(&link).copied().unwrap_or(link);
        let mut links = Self { sources: Vec::with_capacity(flow.chips.len()), latency: u64::MAX };
        for (chip, member) in (0u16..).map(lpu_isa::ChipId).zip(&flow.chips) {
            let mut sources = Vec::with_capacity(transfers[member.class].receives.len());
            for &(link, before, cycle) in &transfers[member.class].receives {
                let (link, cycle) = (own(member, link), member.cycle(cycle));
                let sent = flow.links.get(&LinkEnd { chip, link }).and_then(|end| {
                    let peer = &flow.chips[usize::from(end.chip.0)];
                    let sends = &transfers[peer.class].sends;
                    let (_, sends) = sends.iter().find(|&(&link, _)| own(peer, link) == end.link)?;
                    let &(send, sent) = sends.get(before)?;
                    Some((Mailbox { chip: end.chip.0, send }, peer.cycle(sent)))
                });
                let queue = Queue::C2c(link);
                let (mailbox, sent) = sent.ok_or(ReplayError::Dataflow { what: "vector sent", queue, cycle })?;
                links.latency = links.latency.min(cycle.saturating_sub(sent));
                sources.push(mailbox);
            }
            links.sources.push(sources);
        }
        Ok(links)
    }
}
