//! Functions of one element, as ALU operations.

use lpu_model::{Activation, Op as GraphOp};

use super::builder::{ChainBuilder, Def};
use crate::chain::{Feed, Op};

/// An operation of the graph on one vector.
pub(super) fn unary(builder: &mut ChainBuilder, op: &GraphOp, x: Feed) -> Def {
    match *op {
        GraphOp::Scale { factor } => Def::Op(Op::Mul, vec![x, Feed::Immediate(factor)]),
        GraphOp::SoftCap { cap } => {
            let share = builder.op(Op::Mul, &[x, Feed::Immediate(1.0 / cap)]);
            let bent = builder.op(Op::Tanh, &[share]);
            Def::Op(Op::Mul, vec![bent, Feed::Immediate(cap)])
        }
        GraphOp::Activate { activation } => {
            let x = builder.latch(Def::Held(x));
            activated(builder, activation, x)
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
pub(super) fn activated(builder: &mut ChainBuilder, activation: Activation, x: Feed) -> Def {
    match activation {
        Activation::GeluTanh => gelu_tanh(builder, x),
        Activation::Gelu => gelu(builder, x),
        Activation::Sigmoid => {
            let below = below_sigmoid(builder, x);
            Def::Op(Op::Reciprocal, vec![below])
        }
        _ => silu(builder, x),
    }
}

/// 1 + e^-x.
fn below_sigmoid(builder: &mut ChainBuilder, x: Feed) -> Feed {
    let negated = builder.op(Op::Negate, &[x]);
    let power = builder.op(Op::Exp, &[negated]);
    builder.op(Op::Add, &[power, Feed::Immediate(1.0)])
}

/// x / (1 + e^-x).
fn silu(builder: &mut ChainBuilder, x: Feed) -> Def {
    let sum = below_sigmoid(builder, x);
    let share = builder.op(Op::Reciprocal, &[sum]);
    Def::Op(Op::Mul, vec![share, x])
}

/// x (1 + tanh(c (x + 0.044715 x^3))) / 2 with c the root of 2 / pi.
fn gelu_tanh(builder: &mut ChainBuilder, x: Feed) -> Def {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let square = builder.op(Op::Mul, &[x, x]);
    let bend = builder.op(Op::Mul, &[square, Feed::Immediate((c * 0.044715) as f32)]);
    let slope = builder.op(Op::Add, &[bend, Feed::Immediate(c as f32)]);
    let inner = builder.op(Op::Mul, &[slope, x]);
    let bent = builder.op(Op::Tanh, &[inner]);
    let sum = builder.op(Op::Add, &[bent, Feed::Immediate(1.0)]);
    let half = builder.op(Op::Mul, &[x, Feed::Immediate(0.5)]);
    Def::Op(Op::Mul, vec![sum, half])
}

/// x (1 + erf(x / sqrt 2)) / 2 as max(x, 0) - |x| E / 2, where E = 1 - erf(|x| / sqrt 2) is Abramowitz and Stegun's
/// 7.1.26: a polynomial in t = 1 / (1 + p |x| / sqrt 2) times e^(-x^2 / 2), within 1.5e-7.
fn gelu(builder: &mut ChainBuilder, x: Feed) -> Def {
    const P: f64 = 0.3275911;
    const A: [f64; 5] = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
    let size = builder.op(Op::Abs, &[x]);
    let scaled = builder.op(Op::Mul, &[size, Feed::Immediate((P / 2f64.sqrt()) as f32)]);
    let below = builder.op(Op::Add, &[scaled, Feed::Immediate(1.0)]);
    let t = builder.op(Op::Reciprocal, &[below]);
    let mut polynomial = builder.op(Op::Mul, &[t, Feed::Immediate((A[0] / 2.0) as f32)]);
    for a in &A[1..] {
        let sum = builder.op(Op::Add, &[polynomial, Feed::Immediate((a / 2.0) as f32)]);
        polynomial = builder.op(Op::Mul, &[sum, t]);
    }
    let square = builder.op(Op::Mul, &[x, x]);
    let halved = builder.op(Op::Mul, &[square, Feed::Immediate(-0.5)]);
    let power = builder.op(Op::Exp, &[halved]);
    let tail = builder.op(Op::Mul, &[polynomial, power]);
    let lost = builder.op(Op::Mul, &[tail, size]);
    let kept = builder.op(Op::Max, &[x, Feed::Immediate(0.0)]);
    Def::Op(Op::Sub, vec![kept, lost])
}
