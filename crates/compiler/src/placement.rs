//! Spatial placement as a value: where every matrix tile, key-value entry, constant and region is. Printed, it has one
//! line for each of them.

use std::fmt;

use lpu_isa::{Hemisphere, Region, WordRun};

use crate::plan::{NodePlan, Plan};
use crate::rows::{CacheRows, Rows};
use crate::slice_run::SliceRun;

/// Sixteen places as runs: row `r` is at place `r % 16`, `r / 16` words after its word.
fn runs(rows: &Rows) -> Vec<SliceRun> {
    SliceRun::of(rows.iter().copied())
}

/// A tile of a matrix: what one input vector contributes to one output vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixTile {
    /// Name of the graph's node.
    pub node: String,
    /// Index of the output vector.
    pub output: usize,
    /// Index of the input vector.
    pub input: usize,
    /// The side whose planes it is loaded into.
    pub side: Hemisphere,
    /// The first of its planes.
    pub plane: u16,
    /// Rows, a multiple of 16.
    pub rows: usize,
    /// For each of its planes, the sixteen places of the rows that are loaded into it.
    pub parts: Vec<Vec<SliceRun>>,
}

/// Which rows a key-value entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// First halves of the rotated keys of a group of heads.
    FirstKeyHalves,
    /// Second halves of them.
    SecondKeyHalves,
    /// Values of a group of heads.
    Values,
}

impl EntryKind {
    const fn text(self) -> &'static str {
        match self {
            Self::FirstKeyHalves => "first key halves",
            Self::SecondKeyHalves => "second key halves",
            Self::Values => "values",
        }
    }
}

/// A key-value entry: one vector for every token of the context of each sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Name of the graph's attention.
    pub node: String,
    /// Index of the group of heads.
    pub group: usize,
    /// Which rows it holds.
    pub kind: EntryKind,
    /// Tokens, a multiple of 16.
    pub tokens: usize,
    /// Sequences that have such rows.
    pub sequences: usize,
    /// Words from the rows of a sequence to those of the next, in every place.
    pub area: u32,
    /// Places of low and of high bytes of fp16 numbers of sequence 0, sixteen each.
    pub bytes: [Vec<SliceRun>; 2],
}

/// Where everything is that is placed before time is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Placement {
    /// Tiles of matrices, in the order in which they were placed.
    pub tiles: Vec<MatrixTile>,
    /// Key-value entries.
    pub entries: Vec<CacheEntry>,
    /// Constant vectors: the four slices of the byte planes of each.
    pub constants: Vec<SliceRun>,
    /// Named inputs, constants, weights and key-value rows.
    pub regions: Vec<Region>,
    /// Whether key-value rows of this context took places that weights have in a compilation for a shorter one, or
    /// reach into a second bank. Unless they do, every weight is where it is in any compilation of the same model for a
    /// shorter context.
    pub crowded: bool,
}

impl Placement {
    /// The placement of a plan, whose weight slices have these regions and key-value rows.
    pub(crate) fn of(plan: &Plan, slices: &[Region], cache: &CacheRows, crowded: bool) -> Self {
        let name = |node: usize| plan.graph.nodes[node].name.clone();
        let mut tiles = Vec::new();
        for unit in &plan.units {
            for &(number, output) in &unit.members {
                let planned = &plan.linear(number)[output];
                tiles.extend(unit.tiles.clone().map(|input| MatrixTile {
                    node: name(number),
                    output,
                    input,
                    side: unit.set.side,
                    plane: unit.set.plane,
                    rows: planned.rows,
                    parts: planned.tiles[input].iter().map(|part| runs(&part.places)).collect(),
                }));
            }
        }
        let mut entries = Vec::new();
        for (&number, planned) in &plan.nodes {
            let NodePlan::Attention(attending) = planned else { continue };
            let mut entry = |group, kind, rows: &[Rows; 2]| {
                let bytes = [runs(&rows[0]), runs(&rows[1])];
                let (node, tokens, &CacheRows { sequences, area, .. }) = (name(number), plan.context, cache);
                entries.push(CacheEntry { node, group, kind, tokens, sequences, area, bytes });
            };
            for (group, [first, second]) in attending.keys.iter().enumerate() {
                entry(group, EntryKind::FirstKeyHalves, first);
                entry(group, EntryKind::SecondKeyHalves, second);
            }
            for (group, values) in attending.values.iter().enumerate() {
                entry(group, EntryKind::Values, values);
            }
        }
        let constants = plan.vectors.constant_runs().collect();
        let regions = plan.vectors.regions().into_iter().chain(slices.iter().cloned()).collect();
        Self { tiles, entries, constants, regions, crowded }
    }

    /// The lines of [`fmt::Display`].
    #[must_use]
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Placement {
    /// One line a matrix tile, key-value entry and region.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |runs: &[SliceRun]| runs.iter().map(SliceRun::to_string).collect::<Vec<_>>().join(" ");
        let lines = |parts: &[Vec<SliceRun>]| parts.iter().map(|part| line(part)).collect::<Vec<_>>().join(" | ");
        for MatrixTile { node, output, input, side, plane, rows, parts } in &self.tiles {
            let (side, parts) = (side.letter(), lines(parts));
            writeln!(f, "{node} out {output} in {input}: plane {side}{plane}, {rows} rows at {parts}")?;
        }
        for CacheEntry { node, group, kind, tokens, sequences, area, bytes } in &self.entries {
            let of_each = match sequences {
                1 => String::new(),
                _ => format!(" of {sequences} sequences, {area} words apart,"),
            };
            writeln!(f, "{node} group {group} {}: {tokens} tokens{of_each} at {}", kind.text(), lines(bytes))?;
        }
        for Region { name, kind, vectors, runs, .. } in &self.regions {
            writeln!(f, "region {name}: {}, {vectors} vectors at {}", kind.text(), words(runs))?;
        }
        Ok(())
    }
}

/// The words of a region: runs of slices, each with the number of its words where that is not 1.
fn words(runs: &[WordRun]) -> String {
    let alike = runs.chunk_by(|a, b| (a.count, a.stride) == (b.count, b.stride));
    let texts = alike.flat_map(|alike| {
        let count = match (alike[0].count, alike[0].stride) {
            (1, _) => String::new(),
            (count, 1) => format!("x{count}"),
            (count, stride) => format!("x{count}+{stride}"),
        };
        let runs = SliceRun::of(alike.iter().map(|run| (run.slice, run.word)));
        runs.into_iter().map(move |run| format!("{run}{count}"))
    });
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use lpu_isa::{Hemisphere, SliceId};
    use proptest::prelude::*;

    use super::SliceRun;

    #[test]
    fn runs_print_their_slices_stride_and_word() {
        let slice = |index| SliceId { side: Hemisphere::East, index };
        let text = |places: &[(u16, u32)]| {
            let runs = SliceRun::of(places.iter().map(|&(index, word)| (slice(index), word)));
            runs.iter().map(SliceRun::to_string).collect::<Vec<_>>().join(" ")
        };
        for (places, expected) in [
            (&[][..], ""),
            (&[(8, 3)], "e8:3"),
            (&[(8, 3), (9, 3), (10, 3)], "e8..e10:3"),
            (&[(8, 0), (10, 0), (12, 0), (13, 0)], "e8..e12/2:0 e13:0"),
            (&[(8, 1), (10, 1), (40, 1), (42, 0)], "e8..e10/2:1 e40:1 e42:0"),
            (&[(9, 1), (9, 1), (8, 1)], "e9:1 e9:1 e8:1"),
        ] {
            assert_eq!(text(places), expected);
        }
    }

    proptest! {
        #[test]
        fn runs_hold_the_places_in_their_order(
            places in prop::collection::vec((any::<bool>(), 0u16..6, 0u32..2), 0..24),
        ) {
            let side = |west| if west { Hemisphere::West } else { Hemisphere::East };
            let places: Vec<(SliceId, u32)> = places
                .into_iter()
                .map(|(west, index, word)| (SliceId { side: side(west), index }, word))
                .collect();
            let runs = SliceRun::of(places.iter().copied());
            prop_assert_eq!(runs.iter().flat_map(SliceRun::places).collect::<Vec<_>>(), places);
        }
    }
}
