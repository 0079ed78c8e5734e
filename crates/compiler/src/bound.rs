//! The lower bound of a decode step, from graph and chip alone.
//!
//! Method: two bounds that hold for any schedule, and the larger of them. *Bytes*: all weights and the key-value rows
//! that are seen must cross into the planes. *Path*: the longest chain of dependent trips, in which every value is
//! taken as soon as any way of computing it could have it.
//!
//! Invariant: no cost is added where a schedule could do without. A norm's factor is one number, so it is carried next
//! to the value through everything linear and counted only where an operation needs the product; a factor or a sign
//! that could be multiplied into weights beforehand costs nothing; sums and maxima over lanes take the shortest trip
//! there is.
//!
//! Not claimed: that a schedule can reach the bound. Memory, conversions, the cache, ports and the last landing are
//! left out.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Hemisphere};
use lpu_model::{Activation, Graph, Op, ValueId};

use crate::target::Precision;

/// The two bounds, in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Weight and key-value bytes over the bytes that can enter all planes in a cycle.
    pub bytes: u64,
    /// The longest chain of dependent operations.
    pub path: u64,
}

impl Bound {
    /// The larger of the two.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.bytes.max(self.path)
    }
}

/// Earliest cycles of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Earliest {
    /// But for factors.
    raw: u64,
    /// Of the factors that it still lacks, each one number for all of it.
    factor: u64,
}

impl Earliest {
    fn whole(cycle: u64) -> Self {
        Self { raw: cycle, factor: 0 }
    }

    /// Both, multiplied where there is a factor.
    fn ready(self, simple: u64) -> u64 {
        if self.factor == 0 { self.raw } else { self.raw.max(self.factor) + simple }
    }

    fn and(self, other: Self) -> Self {
        Self { raw: self.raw.max(other.raw), factor: self.factor.max(other.factor) }
    }

    fn after(self, cycles: u64) -> Self {
        Self { raw: self.raw + cycles, ..self }
    }
}

/// The bound of a graph at a context.
#[must_use]
pub fn bound(graph: &Graph, chip: &Chip, precision: Precision, context: usize) -> Bound {
    let weight_bytes = if precision == Precision::F16 { 2 } else { 1 };
    let delay = |class| u64::from(chip.delay(class));
    let (simple, special) = (delay(DelayClass::VxmSimple), delay(DelayClass::VxmSpecial));
    let to_planes = u64::from(chip.mxm_position(Hemisphere::East).unsigned_abs());
    let to_switch = u64::from(chip.sxm_position(Hemisphere::East).unsigned_abs());
    let pass = 2 * to_planes + delay(DelayClass::MxmPass);
    let switch = 2 * to_switch + delay(DelayClass::SxmLocal).min(delay(DelayClass::SxmAcross));
    // A sum over lanes may be a pass; a maximum may not.
    let (sum, maximum) = (pass.min(switch), switch);
    let mut bytes = 0u64;
    let mut earliest: BTreeMap<ValueId, Earliest> = BTreeMap::new();
    for node in &graph.nodes {
        let inputs: Vec<Earliest> =
            node.inputs.iter().map(|input| earliest.get(input).copied().unwrap_or_default()).collect();
        let all = inputs.iter().copied().fold(Earliest::default(), Earliest::and);
        let ready = inputs.iter().map(|input| input.ready(simple)).max().unwrap_or(0);
        let width = |value: ValueId| graph.value(value).width as u64;
        let done = match node.op {
            // An oracle, too, loads the matrices of every choice.
            Op::Linear { .. } | Op::ExpertLinear { .. } => {
                bytes += width(node.inputs[0]) * width(node.output) * weight_bytes;
                all.after(pass)
            }
            Op::Attention { kv_heads, head_dim, mask, .. } => {
                let seen = mask.window().map_or(context, |window| window.min(context));
                bytes += 2 * 2 * (seen * kv_heads * head_dim) as u64;
                // Scores, their maximum, the difference, the power and the product with the values. The factor of a
                // query or key is one of its scores.
                let [queries, keys, values] = [0, 1, 2].map(|input| inputs.get(input).copied().unwrap_or_default());
                let scores = queries.and(keys).after(pass).ready(simple);
                let weights = Earliest::whole(scores + maximum + simple + special);
                weights.and(values).after(pass)
            }
            Op::RmsNorm { .. } | Op::LayerNorm { .. } | Op::HeadNorm { .. } => {
                Earliest { raw: ready, factor: ready + simple + sum + special }
            }
            // What is turned may lack its factor still.
            Op::Rotary { .. } => all.after(2 * simple),
            Op::Add => Earliest::whole(ready + simple),
            Op::Route { .. } => Earliest::whole(ready + maximum),
            Op::ExpertScale { .. } => Earliest::whole(ready + simple),
            Op::SoftCap { .. } => Earliest::whole(ready + special + simple),
            Op::Activate { activation } | Op::Gated { activation } => {
                Earliest::whole(ready + activation_path(activation, special, simple))
            }
            // Could be multiplied into weights.
            Op::Scale { .. } => all,
            _ => Earliest::whole(ready),
        };
        earliest.insert(node.output, done);
    }
    let values = chip.values();
    // Each plane takes sixteen rows in a cycle, each stream carries one.
    let rows = 2 * u64::from(values.streams.min(16 * values.planes_per_side));
    let a_cycle = rows * chip.lanes() as u64;
    Bound {
        bytes: bytes.div_ceil(a_cycle),
        path: earliest.values().map(|value| value.ready(simple)).max().unwrap_or(0),
    }
}

/// What every way of computing an activation takes at least, a factor on its input and a product with another value
/// next to it included.
fn activation_path(activation: Activation, special: u64, simple: u64) -> u64 {
    match activation {
        // x / 2 (1 + tanh(x / 2)), the halves beforehand.
        Activation::Silu | Activation::GeluTanh => special + 2 * simple,
        // One transcendental function, and the product with x.
        _ => special + simple,
    }
}
