//! Links between chips: sends that meet a busy link, receives that find nothing.

use std::collections::BTreeMap;

use lpu_chip::{LinkEnd, System};
use lpu_isa::{Arrival, Fault, Instruction, Queue, Violation};

use crate::issues::Issues;

/// Holds links to the rules. Gives back the `send` whose vector each `receive` takes, as (receive, send).
pub(crate) fn check(system: &System, issues: &Issues, violations: &mut Vec<Violation>) -> Vec<(u32, u32)> {
    let chip = system.chip();
    let mut sends: BTreeMap<LinkEnd, Vec<u32>> = BTreeMap::new();
    let mut receives: BTreeMap<LinkEnd, Vec<u32>> = BTreeMap::new();
    for (index, issue) in (0u32..).zip(&issues.list) {
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
            let (before, issue) = (&issues.list[pair[0] as usize], &issues.list[pair[1] as usize]);
            let until = before.cycle + u64::from(chip.values().c2c_interval);
            if until > issue.cycle {
                violations.push(issue.violation(issue.cycle, Fault::LinkBusy { link: end.link, until }));
            }
        }
    }
    let mut ties = Vec::new();
    for (end, receives) in &receives {
        let sends = system.peer(*end).and_then(|peer| sends.get(&peer)).map_or(&[][..], Vec::as_slice);
        let arrival = |&send: &u32| {
            let sent = &issues.list[send as usize];
            (send, Arrival { cycle: chip.landing(sent.cycle, sent.instruction.row().delay), from: sent.producer() })
        };
        let mut arrivals = sends.iter().map(arrival).peekable();
        for &index in receives {
            let issue = &issues.list[index as usize];
            match arrivals.next_if(|(_, arrival)| arrival.cycle <= issue.cycle) {
                Some((send, _)) => ties.push((index, send)),
                None => {
                    let next = arrivals.peek().map(|&(_, arrival)| arrival);
                    violations.push(issue.violation(issue.cycle, Fault::ReceiveEarly { link: end.link, next }));
                }
            }
        }
    }
    ties
}
