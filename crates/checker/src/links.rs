//! Links between chips: sends that meet a busy link, receives that find nothing.

use std::collections::BTreeMap;

use lpu_chip::{LinkEnd, System};
use lpu_isa::{Arrival, Fault, Instruction, Queue, Violation};

use crate::issues::Issues;

pub(crate) fn check(system: &System, issues: &Issues, violations: &mut Vec<Violation>) {
    let chip = system.chip();
    let mut sends: BTreeMap<LinkEnd, Vec<usize>> = BTreeMap::new();
    let mut receives: BTreeMap<LinkEnd, Vec<usize>> = BTreeMap::new();
    for (index, issue) in issues.list.iter().enumerate() {
        let Queue::C2c(link) = issue.queue else { continue };
        let end = LinkEnd { chip: issue.chip, link };
        match issue.instruction {
            Instruction::Send { .. } => sends.entry(end).or_default().push(index),
            Instruction::Receive { .. } => receives.entry(end).or_default().push(index),
            _ => {}
        }
    }
    for (end, sends) in &sends {
        for pair in sends.windows(2) {
            let (before, issue) = (&issues.list[pair[0]], &issues.list[pair[1]]);
            let until = before.cycle + u64::from(chip.values().c2c_interval);
            if until > issue.cycle {
                violations.push(issue.violation(issue.cycle, Fault::LinkBusy { link: end.link, until }));
            }
        }
    }
    for (end, receives) in &receives {
        let sends = system.peer(*end).and_then(|peer| sends.get(&peer)).map_or(&[][..], Vec::as_slice);
        let arrival = |&send: &usize| {
            let sent = &issues.list[send];
            Arrival { cycle: chip.landing(sent.cycle, sent.instruction.row().delay), from: sent.producer() }
        };
        let mut arrivals = sends.iter().map(arrival).peekable();
        for &index in receives {
            let issue = &issues.list[index];
            if arrivals.next_if(|arrival| arrival.cycle <= issue.cycle).is_none() {
                let next = arrivals.peek().copied();
                violations.push(issue.violation(issue.cycle, Fault::ReceiveEarly { link: end.link, next }));
            }
        }
    }
}
