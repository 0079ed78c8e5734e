//! Shards: which elements of a whole value a chip of a tensor-parallel group holds.
//!
//! The chips of a group run one schedule, so a shard has as many elements on every chip; what is left over is empty.
//! Pieces of other chips are numbered by `xor`: place `x` on chip `c` has the piece of chip `c xor x`. So a chip sees
//! every other chip of its group under the same number as that chip sees it.

use std::fmt;

/// How the heads of an attention are cut over a group. Key-value heads are cut first; where there are fewer than chips,
/// several chips hold the same key-value head and cut its query heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShard {
    /// Key-value heads of the whole.
    pub kv_heads: usize,
    /// Query heads of the whole that share a key-value head.
    pub queries: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Key-value heads that a chip holds.
    pub kv_a_chip: usize,
    /// Chips that hold the same key-value heads.
    pub chips_a_kv: usize,
    /// Query heads that a chip holds of each of its key-value heads.
    pub queries_a_chip: usize,
}

impl HeadShard {
    /// The cut of so many heads over `chips` chips.
    #[must_use]
    pub fn new(chips: usize, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        let queries = heads / kv_heads;
        let chips_a_kv = (chips / kv_heads).clamp(1, queries);
        let (kv_a_chip, queries_a_chip) = (kv_heads.div_ceil(chips / chips_a_kv), queries.div_ceil(chips_a_kv));
        Self { kv_heads, queries, head_dim, kv_a_chip, chips_a_kv, queries_a_chip }
    }

    /// Query heads that a chip holds.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.kv_a_chip * self.queries_a_chip
    }

    /// The key-value head at a place of a chip, and the first query head of it there.
    fn kv_head(&self, chip: usize, place: usize) -> Option<(usize, usize)> {
        let (kv, first) = (chip / self.chips_a_kv * self.kv_a_chip + place, chip % self.chips_a_kv);
        (kv < self.kv_heads).then_some((kv, first * self.queries_a_chip))
    }
}

/// Which elements of a whole value a chip of a group holds, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shard {
    /// All elements, the same on every chip.
    #[default]
    Whole,
    /// Chip `c` holds the piece of [`Shard::piece`] elements that starts at `c` times as many.
    Piece {
        /// Chips of the group.
        chips: usize,
        /// Elements of the whole value.
        width: usize,
    },
    /// Every chip holds all pieces, that of chip `c xor x` at place `x`.
    Pieces {
        /// Chips of the group.
        chips: usize,
        /// Elements of the whole value.
        width: usize,
    },
    /// Terms of all elements in the order of [`Shard::Pieces`]; the value is the sum over the chips.
    Partial {
        /// Chips of the group.
        chips: usize,
        /// Elements of the whole value.
        width: usize,
    },
    /// The chip's query heads, those of each key-value head one after another.
    Queries(HeadShard),
    /// The chip's key-value heads.
    KeyValues(HeadShard),
}

impl Shard {
    /// Elements of a piece, the empty ones of the last included; all elements where nothing is cut in pieces.
    #[must_use]
    pub fn piece(&self, width: usize) -> usize {
        match *self {
            Self::Whole | Self::Queries(_) | Self::KeyValues(_) => width,
            Self::Piece { chips, width } | Self::Pieces { chips, width } | Self::Partial { chips, width } => {
                width.div_ceil(chips)
            }
        }
    }

    /// The element of the whole value that chip `chip` of the group holds as its element `local`; nothing where that is
    /// empty.
    #[must_use]
    pub fn element(&self, chip: usize, local: usize) -> Option<usize> {
        match *self {
            Self::Whole => Some(local),
            Self::Piece { width, .. } => Some(chip * self.piece(width) + local).filter(|&found| found < width),
            Self::Pieces { width, .. } | Self::Partial { width, .. } => {
                let piece = self.piece(width);
                Some((chip ^ (local / piece)) * piece + local % piece).filter(|&found| found < width)
            }
            Self::Queries(heads) => {
                let (head, element) = (local / heads.head_dim, local % heads.head_dim);
                let (kv, first) = heads.kv_head(chip, head / heads.queries_a_chip)?;
                let query = first + head % heads.queries_a_chip;
                (query < heads.queries).then(|| (kv * heads.queries + query) * heads.head_dim + element)
            }
            Self::KeyValues(heads) => {
                let (kv, _) = heads.kv_head(chip, local / heads.head_dim)?;
                Some(kv * heads.head_dim + local % heads.head_dim)
            }
        }
    }

    /// Elements that a chip has of a whole value of `width` elements, empty ones included.
    #[must_use]
    pub fn width(&self, width: usize) -> usize {
        match *self {
            Self::Whole => width,
            Self::Piece { .. } => self.piece(width),
            Self::Pieces { chips, .. } | Self::Partial { chips, .. } => chips * self.piece(width),
            Self::Queries(heads) => heads.heads() * heads.head_dim,
            Self::KeyValues(heads) => heads.kv_a_chip * heads.head_dim,
        }
    }

    /// Elements of the whole value, of which a chip has `held`.
    #[must_use]
    pub fn whole(&self, held: usize) -> usize {
        match *self {
            Self::Whole => held,
            Self::Piece { width, .. } | Self::Pieces { width, .. } | Self::Partial { width, .. } => width,
            Self::Queries(heads) => heads.kv_heads * heads.queries * heads.head_dim,
            Self::KeyValues(heads) => heads.kv_heads * heads.head_dim,
        }
    }

    /// Elements of the whole value, each as often as chips of the group hold it, where the chips hold different ones.
    #[must_use]
    pub fn summed(&self) -> Option<usize> {
        match *self {
            Self::Whole | Self::Pieces { .. } | Self::Partial { .. } => None,
            Self::Piece { width, .. } => Some(width),
            Self::Queries(_) => Some(self.whole(0)),
            Self::KeyValues(heads) => Some(self.whole(0) * heads.chips_a_kv),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole => Ok(()),
            Self::Piece { chips, width } => write!(f, " piece of {width} over {chips}"),
            Self::Pieces { chips, width } => write!(f, " pieces of {width} from {chips}"),
            Self::Partial { chips, width } => write!(f, " terms of {width} on {chips}"),
            Self::Queries(heads) => {
                write!(f, " {} of {} query heads", heads.heads(), heads.kv_heads * heads.queries)
            }
            Self::KeyValues(heads) => write!(f, " {} of {} key-value heads", heads.kv_a_chip, heads.kv_heads),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{HeadShard, Shard};

    /// How often the chips of a group hold each element of a whole value.
    fn held(shard: Shard, chips: usize, width: usize) -> Vec<usize> {
        let mut held = vec![0; width];
        for chip in 0..chips {
            for local in 0..shard.width(width) {
                if let Some(element) = shard.element(chip, local) {
                    held[element] += 1;
                }
            }
        }
        held
    }

    proptest! {
        #[test]
        fn every_element_is_held_as_often_as_the_shard_says(
            power in 0u32..4, width in 1usize..200, kv_heads in 1usize..12, queries in 1usize..10, head_dim in 1usize..9,
        ) {
            let chips = 1 << power;
            let piece = Shard::Piece { chips, width };
            prop_assert!(held(piece, chips, width).iter().all(|&held| held == 1));
            for shard in [Shard::Pieces { chips, width }, Shard::Partial { chips, width }] {
                prop_assert!(held(shard, chips, width).iter().all(|&held| held == chips));
            }
            let heads = HeadShard::new(chips, kv_heads * queries, kv_heads, head_dim);
            let width = kv_heads * queries * head_dim;
            prop_assert!(held(Shard::Queries(heads), chips, width).iter().all(|&held| held == 1), "{heads:?}");
            let width = kv_heads * head_dim;
            prop_assert!(held(Shard::KeyValues(heads), chips, width).iter().all(|&held| held == heads.chips_a_kv));
            // A chip's query heads share the chip's key-value heads.
            for chip in 0..chips {
                for head in 0..heads.heads() {
                    let query = Shard::Queries(heads).element(chip, head * head_dim);
                    let kv = Shard::KeyValues(heads).element(chip, head / heads.queries_a_chip * head_dim);
                    if let Some(query) = query {
                        prop_assert_eq!(Some(query / head_dim / queries), kv.map(|kv| kv / head_dim));
                    }
                }
            }
        }
    }
}
