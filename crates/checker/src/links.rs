//! Links between chips: sends that meet a busy link, receives that find nothing.

use std::collections::BTreeMap;

use lpu_chip::{LinkEnd, System};
use lpu_isa::{Arrival, ChipId, Fault, Instruction, Queue, Violation};

use crate::flow::ChipFlow;
use crate::issue::Issue;
use crate::member::Member;

/// What the chips of a class send and receive: by link of its first chip, issues in order.
#[derive(Default)]
struct ClassTraffic {
    sends: BTreeMap<u16, Vec<u32>>,
    receives: BTreeMap<u16, Vec<u32>>,
}

impl ClassTraffic {
    fn new(flow: &ChipFlow) -> Self {
        let mut transfers = Self::default();
        for (index, issue) in (0u32..).zip(&flow.issues) {
            let Queue::C2c(link) = issue.queue else { continue };
            match issue.instruction {
                Instruction::Send { .. } => transfers.sends.entry(link).or_default().push(index),
                Instruction::Receive { .. } => transfers.receives.entry(link).or_default().push(index),
                _ => {}
            }
        }
        transfers
    }
}

/// What goes over one end of a link: the issues of a class's first chip, and the chip that they are on.
#[derive(Clone, Copy)]
struct LinkTraffic<'a> {
    chip: ChipId,
    member: &'a Member,
    flow: &'a ChipFlow,
    issues: &'a [u32],
}

impl LinkTraffic<'_> {
    fn issues(self) -> impl Iterator<Item = Issue> {
        self.issues.iter().map(move |&index| self.member.issue(self.chip, &self.flow.issues[index as usize]))
    }
}

/// Holds the links between chips to the rules. Gives back the links in use, by the end that receives: the end that
/// sends.
pub(crate) fn check(
    system: &System,
    classes: &[ChipFlow],
    chips: &[Member],
    violations: &mut Vec<Violation>,
) -> BTreeMap<LinkEnd, LinkEnd> {
    let transfers: Vec<ClassTraffic> = classes.iter().map(ClassTraffic::new).collect();
    let (mut sends, mut receives) = (BTreeMap::new(), BTreeMap::new());
    for (chip, member) in (0..=u16::MAX).map(ChipId).zip(chips) {
        let ClassTraffic { sends: of_sends, receives: of_receives } = &transfers[member.class];
        let line = |issues| LinkTraffic { chip, member, flow: &classes[member.class], issues };
        let end = |&link: &u16| LinkEnd { chip, link: member.links.get(&link).copied().unwrap_or(link) };
        sends.extend(of_sends.iter().map(|(link, issues)| (end(link), line(issues))));
        receives.extend(of_receives.iter().map(|(link, issues)| (end(link), line(issues))));
    }
    sends.iter().for_each(|(end, line)| busy(system, *end, *line, violations));
    let mut used = BTreeMap::new();
    for (end, line) in receives {
        let peer = system.peer(end);
        used.extend(peer.map(|peer| (end, peer)));
        arrivals(system, end, line, peer.and_then(|peer| sends.get(&peer)).copied(), violations);
    }
    used
}

/// Sends over one link, which takes a while for each.
fn busy(system: &System, end: LinkEnd, line: LinkTraffic<'_>, violations: &mut Vec<Violation>) {
    let interval = system.interval(end);
    let mut free = 0;
    for issue in line.issues() {
        let until = free;
        if until > issue.cycle {
            violations.push(issue.violation(issue.cycle, Fault::LinkBusy { link: end.link, until }));
        }
        free = issue.cycle + interval;
    }
}

/// Receives at one end of a link: each takes the first vector that has arrived and is not taken yet.
fn arrivals(
    system: &System,
    end: LinkEnd,
    receives: LinkTraffic<'_>,
    sends: Option<LinkTraffic<'_>>,
    violations: &mut Vec<Violation>,
) {
    let arrival = |sent: Issue| Arrival {
        cycle: system.landing(sent.chip, sent.queue, sent.cycle, sent.instruction.row().delay),
        from: sent.producer(),
    };
    let mut arrivals = sends.into_iter().flat_map(LinkTraffic::issues).map(arrival).peekable();
    for issue in receives.issues() {
        if arrivals.next_if(|arrival| arrival.cycle <= issue.cycle).is_none() {
            let next = arrivals.peek().copied();
            violations.push(issue.violation(issue.cycle, Fault::ReceiveEarly { link: end.link, next }));
        }
    }
}
