//! Layouts: which element of a value stands in which lane of which vector.

use std::collections::BTreeMap;

use lpu_model::{Graph, Op, ValueId};

use crate::error::CompileError;

/// For each vector, the element in each lane; trailing and inner lanes may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Vectors, each a list of at most the chip's lanes.
    pub tiles: Vec<Vec<Option<u32>>>,
}

impl Layout {
    /// Elements in order, `lanes` a vector.
    pub(crate) fn plain(width: usize, lanes: usize) -> Self {
        let elements: Vec<u32> = (0..width as u32).collect();
        Self { tiles: elements.chunks(lanes).map(|chunk| chunk.iter().copied().map(Some).collect()).collect() }
    }
}

/// How the heads of an attention lie in vectors. Key-value heads are taken in groups that fill a vector, keys by halves of
/// heads, values by whole heads; a group has one vector of query heads for each rank that a query head can have among those sharing
/// a key-value head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) kv_heads: usize,
    /// Query heads that share a key-value head.
    pub(crate) ranks: usize,
    pub(crate) head_dim: usize,
    a_key_group: usize,
    a_value_group: usize,
}

impl Heads {
    pub(crate) fn new(heads: usize, kv_heads: usize, head_dim: usize, lanes: usize) -> Result<Self, CompileError> {
        if head_dim > lanes {
            return Err(CompileError::HeadTooWide { head_dim, lanes });
        }
        let even = |fits: usize| kv_heads.div_ceil(kv_heads.div_ceil(fits));
        let (a_key_group, a_value_group) = (even(lanes / (head_dim / 2)), even(lanes / head_dim));
        Ok(Self { kv_heads, ranks: heads / kv_heads, head_dim, a_key_group, a_value_group })
    }

    /// Groups of keys.
    pub(crate) fn key_groups(&self) -> usize {
        self.kv_heads.div_ceil(self.a_key_group)
    }

    /// Groups of values.
    pub(crate) fn value_groups(&self) -> usize {
        self.kv_heads.div_ceil(self.a_value_group)
    }

    /// Key-value heads of a group of keys.
    pub(crate) fn key_members(&self, group: usize) -> std::ops::Range<usize> {
        group * self.a_key_group..((group + 1) * self.a_key_group).min(self.kv_heads)
    }

    /// Key-value heads of a group of values.
    pub(crate) fn value_members(&self, group: usize) -> std::ops::Range<usize> {
        group * self.a_value_group..((group + 1) * self.a_value_group).min(self.kv_heads)
    }

    fn tile(&self, members: std::ops::Range<usize>, head: impl Fn(usize) -> usize, from: usize, count: usize) -> Vec<Option<u32>> {
        let elements = |member| (0..count).map(move |element| (member, element));
        members.flat_map(elements).map(|(member, element)| Some((head(member) * self.head_dim + from + element) as u32)).collect()
    }

    /// Rotated query or key heads: for each group and rank, the first halves and then the second halves.
    fn halves(&self, ranks: usize) -> Layout {
        let half = self.head_dim / 2;
        let mut tiles = Vec::new();
        for group in 0..self.key_groups() {
            for rank in 0..ranks {
                for from in [0, half] {
                    tiles.push(self.tile(self.key_members(group), |member| member * ranks + rank, from, half));
                }
            }
        }
        Layout { tiles }
    }

    /// Whole heads: for each group and rank one vector.
    fn whole(&self, ranks: usize) -> Layout {
        let mut tiles = Vec::new();
        for group in 0..self.value_groups() {
            for rank in 0..ranks {
                tiles.push(self.tile(self.value_members(group), |member| member * ranks + rank, 0, self.head_dim));
            }
        }
        Layout { tiles }
    }
}

/// The layout of every value: plain, except around attention.
pub(crate) fn layouts(graph: &Graph, lanes: usize) -> Result<BTreeMap<ValueId, Layout>, CompileError> {
    let mut layouts: BTreeMap<ValueId, Layout> = BTreeMap::new();
    for node in &graph.nodes {
        if let Op::Attention { heads, kv_heads, head_dim, .. } = node.op {
            let heads = Heads::new(heads, kv_heads, head_dim, lanes)?;
            let ranks = heads.ranks;
            for (input, layout) in [(0, heads.halves(ranks)), (1, heads.halves(1)), (2, heads.whole(1))] {
                spread(graph, node.inputs[input], &layout, &mut layouts)?;
            }
            layouts.insert(node.output, heads.whole(ranks));
        }
    }
    for (index, value) in graph.values.iter().enumerate() {
        layouts.entry(ValueId::new(index)).or_insert_with(|| Layout::plain(value.width, lanes));
    }
    Ok(layouts)
}

/// Gives a value its layout, and to what it is made from element by element.
fn spread(graph: &Graph, value: ValueId, layout: &Layout, layouts: &mut BTreeMap<ValueId, Layout>) -> Result<(), CompileError> {
    layouts.insert(value, layout.clone());
    let Some(maker) = graph.maker(value) else { return Ok(()) };
    let node = graph.node(maker);
    match node.op {
        Op::Linear { .. } => Ok(()),
        Op::Rotary { .. } => spread(graph, node.inputs[0], layout, layouts),
        _ => Err(CompileError::Unsupported { node: node.name.clone(), what: "its result feeds attention in another layout".into() }),
    }
}
