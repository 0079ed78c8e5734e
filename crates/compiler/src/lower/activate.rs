//! Functions of one element, as ALU operations.

use lpu_model::{Activation, Op as GraphOp};

use super::maker::{Made, Maker};
use crate::chain::{Feed, Op};

/// An operation of the graph on one vector.
pub(super) fn unary(maker: &mut Maker, op: &GraphOp, x: Feed) -> Made {
    match *op {
        GraphOp::Scale { factor } => Made::Op(Op::Mul, vec![x, Feed::Immediate(factor)]),
        GraphOp::SoftCap { cap } => {
            let share = maker.op(Op::Mul, &[x, Feed::Immediate(1.0 / cap)]);
            let bent = maker.op(Op::Tanh, &[share]);
            Made::Op(Op::Mul, vec![bent, Feed::Immediate(cap)])
        }
        GraphOp::Activate { activation } => {
            let x = maker.hold(Made::Held(x));
            activated(maker, activation, x)
        }
        ref other => unreachable!("{other:?} has more than one operand"),
    }
}

/// The function of a gated product.
pub(super) fn gate_activation(op: &GraphOp) -> Activation {
    match *op {
        GraphOp::Gated { activation } => activation,
        ref other => unreachable!("{other:?} has no gate"),
    }
}

/// An activation of a held value.
pub(super) fn activated(maker: &mut Maker, activation: Activation, x: Feed) -> Made {
    match activation {
        Activation::GeluTanh => gelu_tanh(maker, x),
        Activation::Gelu => gelu(maker, x),
        Activation::Sigmoid => {
            let below = below_sigmoid(maker, x);
            Made::Op(Op::Reciprocal, vec![below])
        }
        _ => silu(maker, x),
    }
}

/// 1 + e^-x.
fn below_sigmoid(maker: &mut Maker, x: Feed) -> Feed {
    let negated = maker.op(Op::Negate, &[x]);
    let power = maker.op(Op::Exp, &[negated]);
    maker.op(Op::Add, &[power, Feed::Immediate(1.0)])
}

/// x / (1 + e^-x).
fn silu(maker: &mut Maker, x: Feed) -> Made {
    let sum = below_sigmoid(maker, x);
    let share = maker.op(Op::Reciprocal, &[sum]);
    Made::Op(Op::Mul, vec![share, x])
}

/// x (1 + tanh(c (x + 0.044715 x^3))) / 2 with c the root of 2 / pi.
fn gelu_tanh(maker: &mut Maker, x: Feed) -> Made {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let square = maker.op(Op::Mul, &[x, x]);
    let bend = maker.op(Op::Mul, &[square, Feed::Immediate((c * 0.044715) as f32)]);
    let slope = maker.op(Op::Add, &[bend, Feed::Immediate(c as f32)]);
    let inner = maker.op(Op::Mul, &[slope, x]);
    let bent = maker.op(Op::Tanh, &[inner]);
    let sum = maker.op(Op::Add, &[bent, Feed::Immediate(1.0)]);
    let half = maker.op(Op::Mul, &[x, Feed::Immediate(0.5)]);
    Made::Op(Op::Mul, vec![sum, half])
}

/// x (1 + erf(x / sqrt 2)) / 2 as max(x, 0) - |x| E / 2, where E = 1 - erf(|x| / sqrt 2) is Abramowitz and Stegun's
/// 7.1.26: a polynomial in t = 1 / (1 + p |x| / sqrt 2) times e^(-x^2 / 2), within 1.5e-7.
fn gelu(maker: &mut Maker, x: Feed) -> Made {
    const P: f64 = 0.3275911;
    const A: [f64; 5] = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
    let size = maker.op(Op::Abs, &[x]);
    let scaled = maker.op(Op::Mul, &[size, Feed::Immediate((P / 2f64.sqrt()) as f32)]);
    let below = maker.op(Op::Add, &[scaled, Feed::Immediate(1.0)]);
    let t = maker.op(Op::Reciprocal, &[below]);
    let mut polynomial = maker.op(Op::Mul, &[t, Feed::Immediate((A[0] / 2.0) as f32)]);
    for a in &A[1..] {
        let sum = maker.op(Op::Add, &[polynomial, Feed::Immediate((a / 2.0) as f32)]);
        polynomial = maker.op(Op::Mul, &[sum, t]);
    }
    let square = maker.op(Op::Mul, &[x, x]);
    let halved = maker.op(Op::Mul, &[square, Feed::Immediate(-0.5)]);
    let power = maker.op(Op::Exp, &[halved]);
    let tail = maker.op(Op::Mul, &[polynomial, power]);
    let lost = maker.op(Op::Mul, &[tail, size]);
    let kept = maker.op(Op::Max, &[x, Feed::Immediate(0.0)]);
    Made::Op(Op::Sub, vec![kept, lost])
}
