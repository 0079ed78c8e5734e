//! What a compiled program does over the chips of a system: its stages, the cycles that exchanges take, how busy links
//! are, and how full the fullest chip is. `docs/reports.md` defines each value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use lpu_chip::System;
use lpu_compiler::{Compiled, Record};
use serde::Serialize;

use crate::activity::Activity;

/// Bytes of a mebibyte.
const MIB: f64 = (1u64 << 20) as f64;

/// A stage: the chips that share it, and when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageUse {
    /// The first chip of its group.
    pub first_chip: u16,
    /// Blocks of the graph that it has some of.
    pub blocks: usize,
    /// The cycle in which it has all that it reads.
    pub begin: u64,
    /// Cycles of its schedule.
    pub cycles: u64,
}

/// Exchanges between the chips of a group, over all stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExchangeUse {
    /// Cycles in which some vector is exchanged, from its first send to its last receive.
    pub cycles: u64,
    /// Those of them in which no other task of the schedule is under way.
    pub exposed: u64,
}

/// The links of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkUse {
    /// Name of the class.
    pub class: String,
    /// Busy share of all directions of its links, 0 to 1.
    pub busy: f64,
}

/// What a program does over several chips.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Chips that share every layer.
    pub tensor_parallel: usize,
    /// Stages in the order in which a token passes them.
    pub stages: Vec<StageUse>,
    /// Exchanges within groups.
    pub exchanges: ExchangeUse,
    /// By class, in order of name.
    pub links: Vec<LinkUse>,
    /// Bytes of SRAM that the program uses on the chip on which it uses most.
    pub fullest_chip_bytes: u64,
    /// Bytes of SRAM of a chip.
    pub chip_bytes: u64,
}

impl Spread {
    /// Of the program of a context bucket, with what it does in a run; none on one chip.
    #[must_use]
    pub fn new(system: &System, compiled: &Compiled, bucket: usize, activity: &Activity) -> Option<Self> {
        let (program, times) = (compiled.programs.get(bucket)?, compiled.times.get(bucket)?);
        if system.chips() == 1 {
            return None;
        }
        let of_stage = |(&(first_chip, blocks), times): (&(u16, usize), &lpu_compiler::StageTimes)| StageUse {
            first_chip,
            blocks,
            begin: times.begin,
            cycles: times.end - times.begin,
        };
        let mut words: BTreeMap<u16, u64> = BTreeMap::new();
        for run in program.regions.iter().flat_map(|region| &region.runs) {
            *words.entry(run.chip.0).or_default() += u64::from(run.count);
        }
        let mut directions: BTreeMap<&str, u64> = BTreeMap::new();
        for end in system.links().into_iter().flat_map(|(one, other)| [one, other]) {
            *directions.entry(Activity::link_class(system, end)).or_default() += 1;
        }
        let busy = |(class, links): (&str, u64)| {
            let cycles = activity.link_cycles.get(class).copied().unwrap_or(0);
            LinkUse { class: class.to_owned(), busy: cycles as f64 / (links * program.cycles.max(1)) as f64 }
        };
        Some(Self {
            tensor_parallel: compiled.parallel.tensor,
            stages: compiled.stages.iter().zip(times).map(of_stage).collect(),
            exchanges: exchanges(compiled.records.get(bucket)?),
            links: directions.into_iter().map(busy).collect(),
            fullest_chip_bytes: words.values().max().copied().unwrap_or(0) * system.chip().lanes() as u64,
            chip_bytes: system.chip().sram_bytes(),
        })
    }
}

/// Cycles of exchanges, and those that nothing else hides.
fn exchanges(records: &[Record]) -> ExchangeUse {
    let spans = |wanted: bool| {
        let wanted = records.iter().filter(move |record| (record.what == "an exchange") == wanted);
        joined(wanted.map(|record| record.start..record.end + 1).collect())
    };
    let (exchanges, others) = (spans(true), spans(false));
    let cycles = exchanges.iter().map(|span| span.end - span.start).sum();
    let (mut hidden, mut first) = (0, 0);
    for span in &exchanges {
        first += others[first..].iter().take_while(|other| other.end <= span.start).count();
        let over = others[first..].iter().take_while(|other| other.start < span.end);
        hidden += over.map(|other| other.end.min(span.end) - other.start.max(span.start)).sum::<u64>();
    }
    ExchangeUse { cycles, exposed: cycles - hidden }
}

/// The same cycles as spans in order that do not meet.
fn joined(mut spans: Vec<Range<u64>>) -> Vec<Range<u64>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

/// The rows of a table.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cycles = || self.stages.iter().map(|stage| stage.cycles);
        let (least, most) = (cycles().min().unwrap_or(0), cycles().max().unwrap_or(0));
        let stages = match self.stages.len() {
            1 => format!("1 of {} chips", self.tensor_parallel),
            count => format!("{count} of {} chips, {least} to {most} cycles each", self.tensor_parallel),
        };
        let ExchangeUse { cycles, exposed } = self.exchanges;
        let links: Vec<String> =
            self.links.iter().map(|link| format!("{} {:.1} % busy", link.class, 100.0 * link.busy)).collect();
        let (used, all) = (self.fullest_chip_bytes as f64 / MIB, self.chip_bytes as f64 / MIB);
        writeln!(f, "{:<22}{stages}", "stages")?;
        writeln!(f, "{:<22}{cycles} cycles, {exposed} of them while nothing else runs", "exchanges")?;
        writeln!(f, "{:<22}{}", "links", links.join(", "))?;
        writeln!(f, "{:<22}{used:.1} of {all:.1} MiB", "fullest chip")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lpu_compiler::Cause;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exposed_cycles_are_those_of_exchanges_alone(
            tasks in prop::collection::vec((0u64..60, 0u64..12, any::<bool>()), 0..20),
        ) {
            let record = |&(start, length, exchange): &(u64, u64, bool)| Record {
                node: 0,
                what: if exchange { "an exchange" } else { "a tile" },
                ready: start,
                start,
                end: start + length,
                waited: None,
                cause: Cause::Inputs,
                lost: 0,
                computed: Vec::new(),
            };
            let records: Vec<Record> = tasks.iter().map(record).collect();
            let cycles = |wanted: bool| -> BTreeSet<u64> {
                let of = tasks.iter().filter(|&&(.., exchange)| exchange == wanted);
                of.flat_map(|&(start, length, _)| start..=start + length).collect()
            };
            let (exchanged, others) = (cycles(true), cycles(false));
            let expected = ExchangeUse {
                cycles: exchanged.len() as u64,
                exposed: exchanged.difference(&others).count() as u64,
            };
            prop_assert_eq!(exchanges(&records), expected);
        }
    }
}
