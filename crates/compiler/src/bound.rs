//! The lower bound of a decode step, from graph and chip alone: bytes that must cross into the planes, and the critical
//! path of dependent hops and delays.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Hemisphere};
use lpu_model::{Activation, Graph, Op, ValueId};

use crate::Precision;

/// The two bounds, in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Weight and key-value bytes over the bytes that all outward streams carry in a cycle.
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

/// The bound of a graph at a context.
#[must_use]
pub fn bound(graph: &Graph, chip: &Chip, precision: Precision, context: usize) -> Bound {
    let weight_bytes = if precision == Precision::F16 { 2 } else { 1 };
    let delay = |class| u64::from(chip.delay(class));
    let simple = delay(DelayClass::VxmSimple);
    let special = delay(DelayClass::VxmSpecial);
    let to_planes = u64::from(chip.mxm_position(Hemisphere::East).unsigned_abs());
    let to_switch = u64::from(chip.sxm_position(Hemisphere::East).unsigned_abs());
    let pass = 2 * to_planes + delay(DelayClass::MxmPass);
    let across = 2 * to_switch + delay(DelayClass::SxmAcross);
    let mut bytes = 0u64;
    let mut done: BTreeMap<ValueId, u64> = BTreeMap::new();
    for node in &graph.nodes {
        let start = node.inputs.iter().filter_map(|input| done.get(input)).max().copied().unwrap_or(0);
        let width = |value: ValueId| graph.value(value).width as u64;
        let cost = match node.op {
            // An oracle, too, loads the matrices of every choice.
            Op::Linear { .. } | Op::ExpertLinear { .. } => {
                bytes += width(node.inputs[0]) * width(node.output) * weight_bytes;
                pass
            }
            Op::Attention { kv_heads, head_dim, .. } => {
                bytes += 2 * 2 * (context * kv_heads * head_dim) as u64;
                2 * pass + across + delay(DelayClass::VxmSpecial) + 2 * simple
            }
            Op::RmsNorm { .. } => simple + pass.min(across) + special,
            Op::Rotary { .. } => 2 * simple,
            Op::Add => simple,
            Op::Route { .. } => simple + pass.min(across) + special,
            Op::ExpertScale { .. } => simple,
            Op::HeadNorm { .. } => simple + pass.min(across) + special,
            // The mean has to be there before the deviations from it, or before the variance.
            Op::LayerNorm { .. } => 2 * simple + pass.min(across) + special,
            Op::Scale { .. } => simple,
            Op::SoftCap { .. } => special + 2 * simple,
            Op::Activate { activation } => activation_path(activation, special, simple),
            Op::Gated { activation } => activation_path(activation, special, simple) + simple,
            _ => 0,
        };
        done.insert(node.output, start + cost);
    }
    let a_cycle = 2 * u64::from(chip.streams()) * chip.lanes() as u64;
    Bound { bytes: bytes.div_ceil(a_cycle), path: done.values().max().copied().unwrap_or(0) }
}

/// What every way of computing an activation takes at least.
fn activation_path(activation: Activation, special: u64, simple: u64) -> u64 {
    match activation {
        // exp, 1 +, reciprocal, times x.
        Activation::Silu => 2 * special + 2 * simple,
        // One transcendental function, and the product with x.
        _ => special + simple,
    }
}
