//! The order of the phases of all chips: a step has at most one phase of each chip, and its phases depend on nothing of
//! one another.
//!
//! A phase is in the first step after that of the chip's phase before it and after those of all sends whose vectors it
//! takes. Such a step exists because `elaborate` puts a receive into a later phase than every send of its chip that is
//! at least the latency of a link earlier: what a receive in cycle t waits for was sent in cycle t - latency or before,
//! and waits in turn only for receives in cycles before t.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::ReplayError;
use crate::places::At;
use crate::plan::{ChipPlan, ListRange, Op, Plan, Task};

/// The phase of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChipPhase {
    pub(crate) chip: u32,
    pub(crate) phase: u32,
}

/// Steps in order.
#[derive(Debug)]
pub(crate) struct Steps {
    /// By step, then chip.
    list: Vec<ChipPhase>,
    spans: Vec<ListRange>,
}

/// Which phases of a plan exchange vectors.
struct Exchanges {
    /// Phase and number of each receive, in order.
    receives: Vec<(u32, u32)>,
    /// Phase of each send, by number.
    sends: Vec<Option<u32>>,
}

impl Exchanges {
    fn new(plan: &Plan<At>) -> Self {
        let mut links = Self { receives: Vec::new(), sends: vec![None; plan.sends as usize] };
        for (phase, tasks) in (0u32..).zip(&plan.phases) {
            for task in &plan.tasks[tasks.range()] {
                let Task::Ops(ops) = task else { continue };
                for op in &plan.ops[ops.range()] {
                    match *op {
                        Op::Send { number, .. } => links.sends[number as usize] = Some(phase),
                        Op::Receive { number, .. } => links.receives.push((phase, number)),
                        _ => {}
                    }
                }
            }
        }
        links
    }

    /// Numbers of the receives of a phase.
    fn received(&self, phase: u32) -> impl Iterator<Item = usize> {
        let first = self.receives.partition_point(|receive| receive.0 < phase);
        self.receives[first..].iter().take_while(move |receive| receive.0 == phase).map(|receive| receive.1 as usize)
    }
}

impl Steps {
    /// The steps of plans of classes and chips whose numbers are valid.
    ///
    /// # Errors
    /// [`ReplayError::LinkOrder`] when there is no such order.
    pub(crate) fn new(plans: &[Arc<Plan<At>>], chips: &[ChipPlan]) -> Result<Self, ReplayError> {
        let links: Vec<Exchanges> = plans.iter().map(|plan| Exchanges::new(plan)).collect();
        let phases = |chip: usize| plans[chips[chip].plan as usize].phases.len();
        // By chip: the step of each phase so far, and the chips that wait for a later one.
        let mut steps: Vec<Vec<u32>> = vec![Vec::new(); chips.len()];
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); chips.len()];
        let mut ready: VecDeque<usize> = (0..chips.len()).collect();
        while let Some(chip) = ready.pop_front() {
            let (before, own) = (steps[chip].len(), &links[chips[chip].plan as usize]);
            while steps[chip].len() < phases(chip) {
                let mut step = steps[chip].last().map_or(0, |last| last + 1);
                let mut missing = None;
                for receive in own.received(steps[chip].len() as u32) {
                    let source = chips[chip].sources[receive];
                    let peer = usize::from(source.chip);
                    let sent = links[chips[peer].plan as usize].sends[source.send as usize];
                    match sent.and_then(|phase| steps[peer].get(phase as usize)) {
                        Some(sent) => step = step.max(sent + 1),
                        None => missing = Some(peer),
                    }
                }
                if let Some(peer) = missing {
                    waiting[peer].push(chip);
                    break;
                }
                steps[chip].push(step);
            }
            if steps[chip].len() > before {
                ready.extend(waiting[chip].drain(..));
            }
        }
        if let Some(chip) = (0..chips.len()).find(|&chip| steps[chip].len() < phases(chip)) {
            return Err(ReplayError::LinkOrder { chip: chip as u16 });
        }
        Ok(Self::of(&steps))
    }

    /// Steps from the step of each phase by chip.
    fn of(steps: &[Vec<u32>]) -> Self {
        let mut all: Vec<(u32, ChipPhase)> = Vec::with_capacity(steps.iter().map(Vec::len).sum());
        for (chip, steps) in (0u32..).zip(steps) {
            all.extend((0u32..).zip(steps).map(|(phase, &step)| (step, ChipPhase { chip, phase })));
        }
        all.sort_by_key(|&(step, _)| step);
        let mut spans = Vec::new();
        for of_step in all.chunk_by(|one, other| one.0 == other.0) {
            let start = spans.last().map_or(0, |last: &ListRange| last.end);
            spans.push(ListRange { start, end: start + of_step.len() as u32 });
        }
        Self { list: all.into_iter().map(|(_, phase)| phase).collect(), spans }
    }

    /// The phases of each step, in order of chips.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[ChipPhase]> {
        self.spans.iter().map(|span| &self.list[span.range()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bytes, Mailbox};

    /// What a phase does.
    enum Does {
        Nothing,
        Send(u32),
        Receive(u32),
    }
    use Does::{Nothing, Receive, Send};

    /// A plan whose phases are of one operation each.
    fn plan(phases: &[Does]) -> Arc<Plan<At>> {
        let op = |phase: &Does| match *phase {
            Nothing => Op::Zero { dst: At(0), from: 0 },
            Send(number) => Op::Send { number, src: Bytes::Plane(At(0)) },
            Receive(number) => Op::Receive { dst: At(0), number },
        };
        let spans: Vec<ListRange> =
            (0..phases.len() as u32).map(|phase| ListRange { start: phase, end: phase + 1 }).collect();
        let count = |kind: fn(&Does) -> bool| phases.iter().filter(|phase| kind(phase)).count() as u32;
        Arc::new(Plan {
            ops: phases.iter().map(op).collect(),
            tasks: spans.iter().copied().map(Task::Ops).collect(),
            phases: spans,
            sends: count(|phase| matches!(phase, Send(_))),
            receives: count(|phase| matches!(phase, Receive(_))),
            ..Plan::new(64)
        })
    }

    fn chip(plan: u32, sources: &[(u16, u32)]) -> ChipPlan {
        ChipPlan { plan, sources: sources.iter().map(|&(chip, send)| Mailbox { chip, send }).collect() }
    }

    /// Chip and phase by step.
    fn steps(plans: &[Arc<Plan<At>>], chips: &[ChipPlan]) -> Vec<Vec<(u32, u32)>> {
        let steps = Steps::new(plans, chips).unwrap();
        steps.iter().map(|step| step.iter().map(|of| (of.chip, of.phase)).collect()).collect()
    }

    #[test]
    fn phases_wait_for_what_they_receive_and_for_nothing_else() {
        let plans = [plan(&[Nothing, Nothing, Send(0)]), plan(&[Nothing, Receive(0), Nothing]), plan(&[])];
        let chips = [chip(1, &[(1, 0)]), chip(0, &[]), chip(2, &[])];
        let expected = [vec![(0, 0), (1, 0)], vec![(1, 1)], vec![(1, 2)], vec![(0, 1)], vec![(0, 2)]];
        assert_eq!(steps(&plans, &chips), expected);
        // Two chips of one plan, each of which takes the other's vector and answers.
        let plans = [plan(&[Send(0), Receive(0), Send(1), Receive(1)])];
        let chips = [chip(0, &[(1, 0), (1, 1)]), chip(0, &[(0, 0), (0, 1)])];
        let expected: Vec<_> = (0..4).map(|phase| vec![(0, phase), (1, phase)]).collect();
        assert_eq!(steps(&plans, &chips), expected);
    }

    #[test]
    fn chips_that_wait_for_one_another_are_refused() {
        let refused = |phases: &[Does], sources: [&[(u16, u32)]; 2]| {
            let chips = [chip(0, sources[0]), chip(0, sources[1])];
            matches!(Steps::new(&[plan(phases)], &chips), Err(ReplayError::LinkOrder { chip: 0 }))
        };
        assert!(refused(&[Receive(0), Send(0)], [&[(1, 0)], &[(0, 0)]]));
        assert!(refused(&[Send(0), Receive(0), Send(1)], [&[(1, 1)], &[(0, 1)]]));
        assert!(!refused(&[Send(0), Receive(0), Send(1)], [&[(1, 1)], &[(0, 0)]]));
    }
}
