//! Latency reports over plain records: what a run costs, how far that is from the bound, and how busy the units are.

use std::fmt;

use serde::Serialize;

/// How busy units are: of the cycles of all units of a kind, the share in which they are busy, 0 to 1.
/// `docs/reports.md` defines each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Utilization {
    /// Planes loading weights or passing activations, or both at once.
    pub mxm: f64,
    /// Planes loading weights.
    pub mxm_load: f64,
    /// Planes passing activations.
    pub mxm_pass: f64,
    /// ALUs dispatching.
    pub vxm: f64,
    /// Switch units dispatching.
    pub sxm: f64,
    /// Read ports of memory slices.
    pub mem_read: f64,
    /// Write ports of memory slices.
    pub mem_write: f64,
    /// Streams on which some unit puts a value.
    pub streams: f64,
    /// Links sending, each direction by itself; none where there are no links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<f64>,
}

/// Busy cycles of a program's units, summed over all units of a kind and all chips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Planes loading or passing; a cycle with both counts once.
    pub plane_busy: u64,
    /// Planes loading.
    pub plane_loads: u64,
    /// Planes passing.
    pub plane_passes: u64,
    /// ALU dispatches.
    pub alu_issues: u64,
    /// Switch dispatches.
    pub switch_issues: u64,
    /// Reads and gathers.
    pub reads: u64,
    /// Writes and scatters.
    pub writes: u64,
    /// Streams on which some unit puts a value.
    pub stream_cycles: u64,
    /// Directions of links that carry a vector away from its sender.
    pub link_cycles: u64,
}

impl Counts {
    /// Adds the counts of so many chips that do the same.
    pub fn add(&mut self, each: Counts, chips: u64) {
        self.plane_busy += each.plane_busy * chips;
        self.plane_loads += each.plane_loads * chips;
        self.plane_passes += each.plane_passes * chips;
        self.alu_issues += each.alu_issues * chips;
        self.switch_issues += each.switch_issues * chips;
        self.reads += each.reads * chips;
        self.writes += each.writes * chips;
        self.stream_cycles += each.stream_cycles * chips;
        self.link_cycles += each.link_cycles * chips;
    }
}

/// How many units of each kind a system has, over all its chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Planes.
    pub planes: u64,
    /// ALUs.
    pub alus: u64,
    /// Switch units.
    pub switches: u64,
    /// Memory slices.
    pub slices: u64,
    /// Streams of both directions.
    pub streams: u64,
    /// Connected links, each direction by itself.
    pub links: u64,
}

impl Utilization {
    /// The utilization of a program of `cycles` cycles.
    #[must_use]
    pub fn new(counts: &Counts, units: &Units, cycles: u64) -> Self {
        let share = |count: u64, units: u64| {
            if cycles == 0 || units == 0 { 0.0 } else { count as f64 / (units as f64 * cycles as f64) }
        };
        Self {
            mxm: share(counts.plane_busy, units.planes),
            mxm_load: share(counts.plane_loads, units.planes),
            mxm_pass: share(counts.plane_passes, units.planes),
            vxm: share(counts.alu_issues, units.alus),
            sxm: share(counts.switch_issues, units.switches),
            mem_read: share(counts.reads, units.slices),
            mem_write: share(counts.writes, units.slices),
            streams: share(counts.stream_cycles, units.streams),
            links: (units.links > 0).then(|| share(counts.link_cycles, units.links)),
        }
    }
}

/// What one token costs, in a whole decode step or in a part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Whether this is a part of a decode step, which makes no tokens.
    pub part: bool,
    /// Why the chip's figures are as they are, where no such chip is published.
    pub synthetic: Option<String>,
    /// Cycles of a token.
    pub cycles: u64,
    /// The least distance in cycles at which runs may follow one another; none where none is stated.
    pub interval: Option<u64>,
    /// Sequences whose runs may follow one another.
    pub sequences: u64,
    /// Cycles that no schedule is shorter than, as far as the bound knows.
    pub lower_bound: u64,
    /// Cycles if the choice of experts were known beforehand, in a model with experts.
    pub oracle: Option<u64>,
    /// The chip's clock.
    pub clock_mhz: u32,
    /// Busy shares.
    pub utilization: Utilization,
    /// SRAM in use and SRAM there is, in bytes.
    pub sram: (u64, u64),
    /// Where the instructions came from.
    pub instructions: Instructions,
    /// Tokens that the emulator fed in a second of the host's time; none where it ran nothing.
    pub host_tokens_per_second: Option<f64>,
}

/// How instructions come to their queues, in items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Instructions {
    /// In their queues before cycle 0.
    pub preloaded: u64,
    /// Fetched from memory in a run; nothing where none was run.
    pub fetched: Option<u64>,
}

impl Latency {
    /// Microseconds of a token at the chip's clock.
    #[must_use]
    pub fn microseconds(&self) -> f64 {
        self.cycles as f64 / f64::from(self.clock_mhz)
    }

    /// Tokens a second at the chip's clock, host transfer apart; none for a part of a decode step or a program of no
    /// cycles.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        (!self.part && self.cycles > 0).then(|| 1e6 / self.microseconds())
    }

    /// Tokens a second of all sequences together, each of whose tokens waits for the one before it; none as
    /// [`Latency::tokens_per_second`].
    #[must_use]
    pub fn system_tokens_per_second(&self) -> Option<f64> {
        let (cycles, sequences) = (self.cycles as f64, self.sequences as f64);
        let in_turn = self.interval.map_or(1.0, |interval| cycles / interval.max(1) as f64);
        self.tokens_per_second().map(|tokens| tokens * in_turn.min(sequences))
    }

    /// Sequences that fill the pipeline: with fewer, chips wait for them. None where no interval is stated.
    #[must_use]
    pub fn filling(&self) -> Option<u64> {
        self.interval.map(|interval| self.cycles.div_ceil(interval.max(1)))
    }

    /// What a table says of several sequences, where there are some or the pipeline has room for some.
    fn of_sequences(&self) -> Option<[(&'static str, String); 2]> {
        let (user, system) = (self.tokens_per_second()?, self.system_tokens_per_second()?);
        let (interval, filling) = (self.interval?, self.filling()?);
        // One chip has done with a run a few cycles before its last tile has.
        if self.sequences <= 1 && 100 * (self.cycles - interval.min(self.cycles)) < self.cycles {
            return None;
        }
        let rate = format!("the pipeline with a run every {interval} cycles");
        let sequences = match (self.sequences, filling) {
            (sequences, filling) if sequences < filling => format!("{sequences} of the {filling} that fill {rate}"),
            (sequences, 1) => format!("{sequences}; 1 fills {rate}"),
            (sequences, filling) => format!("{sequences}; {filling} fill {rate}"),
        };
        Some([("tokens a second", format!("{user:.0} a user, {system:.0} the system")), ("sequences", sequences)])
    }

    /// Cycles over the lower bound.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.cycles as f64 / self.lower_bound.max(1) as f64
    }

    /// The table that `generate` ends with.
    #[must_use]
    pub fn table(&self) -> String {
        let u = &self.utilization;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let mut rows = vec![
            ("cycles a token", self.cycles.to_string()),
            ("microseconds a token", format!("{:.2} at {} MHz", self.microseconds(), self.clock_mhz)),
        ];
        rows.extend(self.synthetic.iter().map(|why| ("chip", format!("synthetic: {why}"))));
        match self.of_sequences() {
            Some(of_sequences) => rows.extend(of_sequences),
            None => rows.extend(self.tokens_per_second().map(|tokens| ("tokens a second", format!("{tokens:.0}")))),
        }
        rows.push(("lower bound", format!("{} cycles, ratio {:.2}", self.lower_bound, self.ratio())));
        if let Some(oracle) = self.oracle {
            let cost = 100.0 * (self.cycles as f64 / oracle.max(1) as f64 - 1.0);
            let text = format!(
                "{oracle} cycles if the choice of experts were known beforehand; choosing on the chip costs {cost:.1} %"
            );
            rows.push(("oracle", text));
        }
        let kinds = [
            ("vxm", Some(u.vxm)),
            ("sxm", Some(u.sxm)),
            ("mem read", Some(u.mem_read)),
            ("mem write", Some(u.mem_write)),
            ("streams", Some(u.streams)),
            ("links", u.links),
        ];
        let planes = format!("mxm {} (load {}, pass {})", percent(u.mxm), percent(u.mxm_load), percent(u.mxm_pass));
        let others = kinds.into_iter().filter_map(|(kind, share)| Some(format!(", {kind} {}", percent(share?))));
        rows.push(("utilization", planes + &others.collect::<String>()));
        rows.push((
            "SRAM",
            format!("{:.1} of {:.1} MiB", self.sram.0 as f64 / 1048576.0, self.sram.1 as f64 / 1048576.0),
        ));
        rows.push(("instructions", self.instructions.to_string()));
        let speed = |tokens: f64| {
            ("emulation on the host", format!("{tokens:.3} tokens a second of wall time, not the chip's"))
        };
        rows.extend(self.host_tokens_per_second.map(speed));
        rows.iter().map(|(name, value)| format!("{name:<22}{value}\n")).collect()
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} preloaded", self.preloaded)?;
        self.fetched.map_or(Ok(()), |fetched| write!(f, ", {fetched} fetched from memory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counts_over_capacity() {
        let counts = Counts {
            plane_busy: 40,
            plane_loads: 30,
            plane_passes: 20,
            alu_issues: 8,
            switch_issues: 0,
            reads: 5,
            writes: 1,
            stream_cycles: 64,
            link_cycles: 5,
        };
        let units = Units { planes: 4, alus: 16, switches: 16, slices: 10, streams: 64, links: 2 };
        let found = Utilization::new(&counts, &units, 10);
        let expected = Utilization {
            mxm: 1.0,
            mxm_load: 0.75,
            mxm_pass: 0.5,
            vxm: 0.05,
            sxm: 0.0,
            mem_read: 0.05,
            mem_write: 0.01,
            streams: 0.1,
            links: Some(0.25),
        };
        assert_eq!(found, expected);
        let single = Units { links: 0, ..units };
        assert_eq!(Utilization::new(&counts, &single, 10), Utilization { links: None, ..expected });
        assert_eq!(Utilization::new(&counts, &single, 0), Utilization::default());
    }

    #[test]
    fn latency_follows_from_cycles_and_clock() {
        let latency = Latency {
            part: false,
            synthetic: None,
            cycles: 9000,
            interval: None,
            sequences: 1,
            lower_bound: 3000,
            oracle: Some(8000),
            clock_mhz: 900,
            utilization: Utilization::default(),
            sram: (1 << 20, 2 << 20),
            instructions: Instructions { preloaded: 70, fetched: Some(6) },
            host_tokens_per_second: Some(2.5),
        };
        assert_eq!(latency.microseconds(), 10.0);
        assert_eq!(latency.tokens_per_second(), Some(100_000.0));
        assert_eq!(latency.ratio(), 3.0);
        assert!(latency.table().contains("1.0 of 2.0 MiB"));
        assert!(latency.table().contains("70 preloaded, 6 fetched from memory\n"));
        assert_eq!(Instructions { preloaded: 70, fetched: None }.to_string(), "70 preloaded");
        assert!(
            latency.table().contains(
                "8000 cycles if the choice of experts were known beforehand; choosing on the chip costs 12.5 %"
            )
        );
        assert!(latency.table().contains("\ntokens a second       100000\n") && !latency.table().contains("links"));
        assert!(
            latency.table().ends_with("\nemulation on the host 2.500 tokens a second of wall time, not the chip's\n")
        );
        let synthetic = Latency { synthetic: Some("a question".into()), ..latency.clone() };
        assert!(synthetic.table().contains("\nchip                  synthetic: a question\n"));
        assert!(!latency.table().contains("synthetic"));
        assert_eq!((latency.system_tokens_per_second(), latency.filling()), (Some(100_000.0), None));
        for (interval, sequences, system, filling, line) in [
            (9000, 1, 100_000.0, 1, "tokens a second       100000\n"),
            (8999, 1, 100_000.0, 2, "tokens a second       100000\n"),
            (9000, 2, 100_000.0, 1, "sequences             2; 1 fills the pipeline with a run every 9000 cycles\n"),
            (4000, 1, 100_000.0, 3, "sequences             1 of the 3 that fill the pipeline with a run every"),
            (4000, 2, 200_000.0, 3, "tokens a second       100000 a user, 200000 the system\n"),
            (4000, 3, 225_000.0, 3, "sequences             3; 3 fill the pipeline with a run every 4000 cycles\n"),
            (4000, 9, 225_000.0, 3, "tokens a second       100000 a user, 225000 the system\n"),
        ] {
            let found = Latency { interval: Some(interval), sequences, ..latency.clone() };
            assert_eq!(found.system_tokens_per_second(), Some(system));
            assert_eq!(found.filling(), Some(filling));
            assert!(found.table().contains(line), "{}", found.table());
        }
        let part = Latency { part: true, host_tokens_per_second: None, ..latency };
        assert_eq!((part.tokens_per_second(), part.system_tokens_per_second()), (None, None));
        assert!(!part.table().contains("a second"), "{}", part.table());
    }
}
