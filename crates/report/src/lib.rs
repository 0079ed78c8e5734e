//! Latency reports over plain records: what a run costs, how far that is from the bound, and how busy the units are.

use std::fmt;

use serde::Serialize;

/// How busy units are, each 0 to 1: dispatches (for planes, loads and passes) over what the units could dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Utilization {
    /// Planes loading weights or passing activations.
    pub mxm: f64,
    /// ALUs.
    pub vxm: f64,
    /// Switch units.
    pub sxm: f64,
    /// Read ports of memory slices.
    pub mem_read: f64,
    /// Write ports of memory slices.
    pub mem_write: f64,
    /// Values put on streams, over streams and cycles.
    pub streams: f64,
}

/// Counts of a program from which utilization follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Plane cycles spent loading or passing.
    pub plane_cycles: u64,
    /// ALU dispatches.
    pub alu_issues: u64,
    /// Switch dispatches.
    pub switch_issues: u64,
    /// Reads and gathers.
    pub reads: u64,
    /// Writes and scatters.
    pub writes: u64,
    /// Values put on streams.
    pub stream_values: u64,
}

/// How many units of each kind a system has.
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
}

impl Utilization {
    /// The utilization of a program of `cycles` cycles.
    #[must_use]
    pub fn new(counts: &Counts, units: &Units, cycles: u64) -> Self {
        let share = |count: u64, units: u64| if cycles == 0 || units == 0 { 0.0 } else { count as f64 / (units * cycles) as f64 };
        Self {
            mxm: share(counts.plane_cycles, units.planes),
            vxm: share(counts.alu_issues, units.alus),
            sxm: share(counts.switch_issues, units.switches),
            mem_read: share(counts.reads, units.slices),
            mem_write: share(counts.writes, units.slices),
            streams: share(counts.stream_values, units.streams),
        }
    }
}

/// What one token costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Cycles of a token.
    pub cycles: u64,
    /// Cycles that no schedule can beat.
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

    /// Tokens a second at the chip's clock, host transfer apart.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        if self.cycles == 0 { 0.0 } else { 1e6 / self.microseconds() }
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
            ("tokens a second", format!("{:.0}", self.tokens_per_second())),
            ("lower bound", format!("{} cycles, ratio {:.2}", self.lower_bound, self.ratio())),
            (
                "utilization",
                format!(
                    "mxm {}, vxm {}, sxm {}, mem read {}, mem write {}, streams {}",
                    percent(u.mxm),
                    percent(u.vxm),
                    percent(u.sxm),
                    percent(u.mem_read),
                    percent(u.mem_write),
                    percent(u.streams)
                ),
            ),
            ("SRAM", format!("{:.1} of {:.1} MiB", self.sram.0 as f64 / 1048576.0, self.sram.1 as f64 / 1048576.0)),
            ("instructions", self.instructions.to_string()),
        ];
        if let Some(oracle) = self.oracle {
            let cost = 100.0 * (self.cycles as f64 / oracle.max(1) as f64 - 1.0);
            let text = format!("{oracle} cycles if the choice of experts were known beforehand; choosing on the chip costs {cost:.1} %");
            rows.insert(4, ("oracle", text));
        }
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
        let counts = Counts { plane_cycles: 40, alu_issues: 8, switch_issues: 0, reads: 5, writes: 1, stream_values: 64 };
        let units = Units { planes: 4, alus: 16, switches: 16, slices: 10, streams: 64 };
        let found = Utilization::new(&counts, &units, 10);
        let expected = Utilization { mxm: 1.0, vxm: 0.05, sxm: 0.0, mem_read: 0.05, mem_write: 0.01, streams: 0.1 };
        assert_eq!(found, expected);
        assert_eq!(Utilization::new(&counts, &units, 0), Utilization::default());
    }

    #[test]
    fn latency_follows_from_cycles_and_clock() {
        let latency = Latency {
            cycles: 9000,
            lower_bound: 3000,
            oracle: Some(8000),
            clock_mhz: 900,
            utilization: Utilization::default(),
            sram: (1 << 20, 2 << 20),
            instructions: Instructions { preloaded: 70, fetched: Some(6) },
        };
        assert_eq!(latency.microseconds(), 10.0);
        assert_eq!(latency.tokens_per_second(), 100_000.0);
        assert_eq!(latency.ratio(), 3.0);
        assert!(latency.table().contains("1.0 of 2.0 MiB"));
        assert!(latency.table().contains("70 preloaded, 6 fetched from memory\n"));
        assert_eq!(Instructions { preloaded: 70, fetched: None }.to_string(), "70 preloaded");
        assert!(latency.table().contains("8000 cycles if the choice of experts were known beforehand; choosing on the chip costs 12.5 %"));
    }
}
