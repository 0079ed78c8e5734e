//! What need not be done twice or at all: equal operations, movements by nothing, the maximum of a value with itself,
//! trees of maxima over all rotations of a value, which are one operation, and operations on rotations, which are
//! rotations of one operation: of the sums of a tree over rotations of a value one of each level is left.
//!
//! `lpu_num::fp32::max` is associative and commutative in its bits, NaN and zeros of both signs included, so a tree's
//! shape does not matter.

use std::collections::HashMap;

use lpu_isa::{Arithmetic, Format, Instruction, Number};

use crate::plan::{AluInput, Movement, Ref, Way};

/// Lanes of a superlane.
const BLOCK: usize = 16;

/// A value that is the maximum of rotations of another; of one rotation, that rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    src: u32,
    way: Way,
    /// The kind of maximum, once it is one.
    number: Option<Number>,
    /// The rotations, a bit each.
    set: u64,
}

/// The values so far by what they were made of, and of which rotations they are maxima.
#[derive(Default)]
pub(super) struct ValueNumbers {
    values: HashMap<(Instruction, [AluInput<Ref>; 3]), u32>,
    moves: HashMap<(u32, Movement), u32>,
    folds: HashMap<(u32, Way, Number), u32>,
    turned: HashMap<u32, Turned>,
}

/// What a maximum turns out to be.
pub(super) enum Maximum {
    /// A maximum of all rotations of a value.
    Fold {
        src: u32,
        way: Way,
    },
    /// One of some of them.
    Part(Turned),
    Plain,
}

/// Whether a binary32 result holds no NaN but the one NaN.
pub(super) fn canonical(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Add { arithmetic, .. }
        | Instruction::Sub { arithmetic, .. }
        | Instruction::Mul { arithmetic, .. } => *arithmetic == Arithmetic::F32,
        Instruction::Max { number, .. } | Instruction::Min { number, .. } => *number == Number::F32,
        Instruction::Convert { to, .. } => *to == Format::F32,
        Instruction::Exp { .. }
        | Instruction::Tanh { .. }
        | Instruction::Rsqrt { .. }
        | Instruction::Reciprocal { .. } => true,
        _ => false,
    }
}

/// A movement by as little as does the same; nothing where nothing moves.
pub(super) fn reduced(movement: Movement, lanes: usize) -> Option<Movement> {
    let least = |by: i32, wrap: bool, count: usize| if wrap { by.rem_euclid(count as i32) } else { by };
    let (by, movement) = match movement {
        Movement::Lanes { by, wrap } => {
            let by = least(i32::from(by), wrap, BLOCK);
            (by, Movement::Lanes { by: by as i8, wrap })
        }
        Movement::Superlanes { by, wrap } => {
            let by = least(i32::from(by), wrap, lanes / BLOCK);
            (by, Movement::Superlanes { by: by as i16, wrap })
        }
    };
    (by != 0).then_some(movement)
}

fn everything(way: Way, lanes: usize) -> Option<u64> {
    let count = match way {
        Way::Lanes => BLOCK,
        Way::Superlanes => lanes / BLOCK,
    };
    (count <= 64).then(|| u64::MAX >> (64 - count))
}

impl ValueNumbers {
    pub(super) fn value(&self, instruction: &Instruction, sources: [AluInput<Ref>; 3]) -> Option<u32> {
        self.values.get(&(instruction.bare(), sources)).copied()
    }

    pub(super) fn note_value(&mut self, instruction: &Instruction, sources: [AluInput<Ref>; 3], register: u32) {
        self.values.insert((instruction.bare(), sources), register);
    }

    pub(super) fn moved(&self, src: u32, movement: Movement) -> Option<u32> {
        self.moves.get(&(src, movement)).copied()
    }

    pub(super) fn note_move(&mut self, src: u32, movement: Movement, register: u32) {
        self.moves.insert((src, movement), register);
        let (way, by) = match movement {
            Movement::Lanes { by, wrap: true } => (Way::Lanes, u32::from(by as u8)),
            Movement::Superlanes { by, wrap: true } => (Way::Superlanes, u32::from(by as u16)),
            _ => return,
        };
        if by < 64 {
            self.turned.insert(register, Turned { src, way, number: None, set: 1 << by });
        }
    }

    /// The value of which both are rotations along the same way, other than by nothing; the first rotation, and the
    /// second after it.
    pub(super) fn rotations(&self, a: u32, b: u32, lanes: usize) -> Option<(u32, Movement, Movement)> {
        let of = |register: u32| self.turned.get(&register).filter(|turned| turned.number.is_none());
        let (one, other) = (of(a)?, of(b)?);
        let by = |turned: &Turned| turned.set.trailing_zeros() as i32;
        let movement = |by: i32| match one.way {
            Way::Lanes => Movement::Lanes { by: by.rem_euclid(BLOCK as i32) as i8, wrap: true },
            Way::Superlanes => Movement::Superlanes { by: by.rem_euclid((lanes / BLOCK) as i32) as i16, wrap: true },
        };
        ((one.src, one.way) == (other.src, other.way))
            .then(|| (one.src, movement(by(one)), movement(by(other) - by(one))))
    }

    pub(super) fn folded(&self, src: u32, way: Way, number: Number) -> Option<u32> {
        self.folds.get(&(src, way, number)).copied()
    }

    pub(super) fn note_fold(&mut self, src: u32, way: Way, number: Number, register: u32) {
        self.folds.insert((src, way, number), register);
    }

    /// What the maximum of two values is.
    pub(super) fn maximum(&self, number: Number, a: u32, b: u32, lanes: usize) -> Maximum {
        // A value itself is its rotation by nothing.
        let of = |register: u32, other: u32| {
            let turned = self.turned.get(&other).filter(|turned| turned.src == register);
            self.turned.get(&register).copied().filter(|_| turned.is_none()).or(turned.map(|turned| Turned {
                number: None,
                set: 1,
                ..*turned
            }))
        };
        let (Some(one), Some(other)) = (of(a, b), of(b, a)) else { return Maximum::Plain };
        let fits = |turned: &Turned| turned.number.is_none_or(|found| found == number);
        if (one.src, one.way) != (other.src, other.way) || !fits(&one) || !fits(&other) {
            return Maximum::Plain;
        }
        let set = one.set | other.set;
        if everything(one.way, lanes) == Some(set) {
            return Maximum::Fold { src: one.src, way: one.way };
        }
        Maximum::Part(Turned { set, number: Some(number), ..one })
    }

    pub(super) fn note_turned(&mut self, register: u32, turned: Turned) {
        self.turned.insert(register, turned);
    }
}

#[cfg(test)]
mod tests {
    use lpu_num::fp32;

    use super::*;

    /// Slot 0 rotated by 1 to 15 lanes: registers 1 to 15.
    fn rotations() -> ValueNumbers {
        let mut numbers = ValueNumbers::default();
        (1..16u8).for_each(|by| numbers.note_move(0, Movement::Lanes { by: by as i8, wrap: true }, u32::from(by)));
        numbers
    }

    /// The maximum over a list of values, one after another; what the last one is.
    fn chain(numbers: &mut ValueNumbers, values: &[(u32, Number)]) -> Maximum {
        let mut all = values[0].0;
        let mut last = Maximum::Plain;
        for (register, &(value, number)) in (100..).zip(&values[1..]) {
            last = numbers.maximum(number, all, value, 64);
            if let Maximum::Part(turned) = last {
                numbers.note_turned(register, turned);
            }
            all = register;
        }
        last
    }

    #[test]
    fn only_all_rotations_are_a_fold() {
        let all: Vec<(u32, Number)> = (0..16).map(|register| (register, Number::F32)).collect();
        let fold = |maximum| matches!(maximum, Maximum::Fold { src: 0, way: Way::Lanes });
        assert!(fold(chain(&mut rotations(), &all)));
        let back: Vec<(u32, Number)> = all.iter().rev().copied().collect();
        assert!(fold(chain(&mut rotations(), &back)));
        for left_out in 0..16 {
            let some: Vec<(u32, Number)> = all.iter().copied().filter(|value| value.0 != left_out).collect();
            assert!(!fold(chain(&mut rotations(), &some)), "without {left_out}");
        }
        let mut mixed = all.clone();
        mixed[7].1 = Number::I32;
        assert!(!fold(chain(&mut rotations(), &mixed)));
        let mut others = rotations();
        others.note_move(50, Movement::Lanes { by: 9, wrap: true }, 9);
        assert!(!fold(chain(&mut others, &all)));
        let mut across = rotations();
        across.note_move(0, Movement::Superlanes { by: 9, wrap: true }, 9);
        assert!(!fold(chain(&mut across, &all)));
    }

    #[test]
    fn rotations_of_one_value_are_told_apart() {
        let numbers = rotations();
        let lanes = |by| Movement::Lanes { by, wrap: true };
        assert_eq!(numbers.rotations(2, 3, 64), Some((0, lanes(2), lanes(1))));
        assert_eq!(numbers.rotations(9, 4, 64), Some((0, lanes(9), lanes(11))));
        assert_eq!(numbers.rotations(0, 4, 64), None);
        let mut numbers = rotations();
        numbers.note_move(0, Movement::Superlanes { by: 3, wrap: true }, 20);
        numbers.note_move(0, Movement::Superlanes { by: 1, wrap: true }, 21);
        numbers.note_move(0, Movement::Superlanes { by: 2, wrap: false }, 22);
        numbers.note_move(30, lanes(1), 31);
        let superlanes = |by| Movement::Superlanes { by, wrap: true };
        assert_eq!(numbers.rotations(20, 21, 64), Some((0, superlanes(3), superlanes(2))));
        assert!([(20, 1), (20, 22), (1, 31)].into_iter().all(|(a, b)| numbers.rotations(a, b, 64).is_none()));
    }

    #[test]
    fn movements_by_whole_turns_move_nothing() {
        let lanes = |by, wrap| reduced(Movement::Lanes { by, wrap }, 64);
        assert_eq!([lanes(0, true), lanes(0, false), lanes(16, true)], [None; 3]);
        assert_eq!(lanes(-3, true), Some(Movement::Lanes { by: 13, wrap: true }));
        assert_eq!(lanes(-3, false), Some(Movement::Lanes { by: -3, wrap: false }));
        let superlanes = |by, wrap| reduced(Movement::Superlanes { by, wrap }, 64);
        assert_eq!([superlanes(4, true), superlanes(-8, true)], [None; 2]);
        assert_eq!(superlanes(4, false), Some(Movement::Superlanes { by: 4, wrap: false }));
    }

    /// The law that folding rests on, over all pairs and triples of values with edges.
    #[test]
    fn maxima_have_no_order() {
        let edges =
            [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::from_bits(1), f32::MAX];
        let bits = |value: f32| value.to_bits();
        for a in edges {
            for b in edges {
                assert_eq!(bits(fp32::max(a, b)), bits(fp32::max(b, a)));
                assert_eq!(bits(fp32::max(fp32::max(a, b), b)), bits(fp32::max(a, b)));
                for c in edges {
                    assert_eq!(bits(fp32::max(fp32::max(a, b), c)), bits(fp32::max(a, fp32::max(b, c))));
                }
            }
        }
    }
}
