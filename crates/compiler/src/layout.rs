//! Layouts: which element of a value is in which lane of which vector.

use std::collections::BTreeMap;
use std::ops::Range;

use lpu_model::{Graph, Node, Op, Value, ValueId};

use crate::error::CompileError;

/// For each vector, the element in each lane; trailing and inner lanes may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Vectors, each a list of at most the chip's lanes.
    pub tiles: Vec<Vec<Option<u32>>>,
}

impl Layout {
    /// Elements in order, `lanes` a vector; each piece of a value that is cut begins a vector.
    pub(crate) fn of_value(value: &Value, lanes: usize) -> Self {
        let elements: Vec<u32> = (0..value.width as u32).collect();
        let vectors = elements.chunks(value.piece().max(1)).flat_map(|piece| piece.chunks(lanes));
        Self { tiles: vectors.map(|chunk| chunk.iter().copied().map(Some).collect()).collect() }
    }
}

/// Copies of its values that a row holds at most: each lets one more query head share a vector, and makes the chain that
/// joins them longer.
const MOST_COPIES: usize = 2;

/// How the heads of an attention are laid out in vectors. Key-value heads are taken in groups that fill a vector, keys
/// by halves of heads, values by whole heads; a group has one vector of query heads for each of those that share a
/// key-value head. Where the values of a group take less than half of a vector, a value row holds them several times,
/// so the results of as many query heads are in lanes of their own and share a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) kv_heads: usize,
    /// Query heads that share a key-value head.
    pub(crate) queries_a_kv: usize,
    pub(crate) head_dim: usize,
    /// Elements of a head that are rotated.
    rotary_dim: usize,
    a_key_group: usize,
    /// Elements of all key-value heads, one after another, that each group of values holds.
    values: Vec<Range<usize>>,
    /// Lanes of a vector.
    lanes: usize,
}

impl Heads {
    /// The heads of an attention whose queries come from `producer`; nothing for another operation.
    fn of(node: &Node, producer: Option<&Node>, lanes: usize) -> Result<Option<Self>, CompileError> {
        let Op::Attention { heads, kv_heads, head_dim, .. } = node.op else { return Ok(None) };
        if head_dim > lanes {
            return Err(CompileError::HeadTooWide { head_dim, lanes });
        }
        let rotary_dim = match producer.map(|producer| &producer.op) {
            Some(Op::Rotary { rotary_dim, .. }) => *rotary_dim,
            _ => 0,
        };
        let even = |fits: usize| kv_heads.div_ceil(kv_heads.div_ceil(fits));
        let all = kv_heads * head_dim;
        // Whole heads where that takes no more vectors; else heads are cut at the ends of vectors.
        let whole = even(lanes / head_dim) * head_dim;
        let a_group = if all.div_ceil(lanes) < all.div_ceil(whole) { lanes } else { whole };
        let values = (0..all).step_by(a_group).map(|first| first..(first + a_group).min(all)).collect();
        let a_key_group = even(lanes / head_dim.div_ceil(2));
        Ok(Some(Self { kv_heads, queries_a_kv: heads / kv_heads, head_dim, rotary_dim, a_key_group, values, lanes }))
    }

    /// Lanes of half a head.
    pub(crate) fn half(&self) -> usize {
        self.head_dim.div_ceil(2)
    }

    /// Elements of the halves of a head, lane by lane. What is rotated together is in one lane; what is not rotated
    /// is shared out.
    fn half_elements(&self) -> [Vec<Option<usize>>; 2] {
        let rotated = self.rotary_dim / 2;
        let middle = self.rotary_dim + self.half() - rotated;
        let first = (0..rotated).chain(self.rotary_dim..middle).map(Some).collect();
        let mut second: Vec<Option<usize>> =
            (rotated..self.rotary_dim).chain(middle..self.head_dim).map(Some).collect();
        second.resize(self.half(), None);
        [first, second]
    }

    /// Groups of keys.
    pub(crate) fn key_groups(&self) -> usize {
        self.kv_heads.div_ceil(self.a_key_group)
    }

    /// Groups of values.
    pub(crate) fn value_groups(&self) -> usize {
        self.values.len()
    }

    /// Key-value heads of a group of keys.
    pub(crate) fn key_members(&self, group: usize) -> std::ops::Range<usize> {
        group * self.a_key_group..((group + 1) * self.a_key_group).min(self.kv_heads)
    }

    /// Key-value heads of a group of values, and the lanes in which each has elements.
    pub(crate) fn value_members(&self, group: usize) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let Range { start, end } = self.values[group].clone();
        let heads = start / self.head_dim..end.div_ceil(self.head_dim);
        heads.map(move |head| {
            let (first, last) = (head * self.head_dim, (head + 1) * self.head_dim);
            (head, first.max(start) - start..last.min(end) - start)
        })
    }

    /// How often a value row holds the values of a group.
    pub(crate) fn copies(&self, group: usize) -> usize {
        (self.lanes / self.values[group].len().max(1)).clamp(1, self.queries_a_kv.min(MOST_COPIES))
    }

    /// Lanes of a copy of the values of a group.
    pub(crate) fn copy_lanes(&self, group: usize) -> usize {
        self.values[group].len()
    }

    /// The first output vector of a group of values.
    pub(crate) fn first_output(&self, group: usize) -> usize {
        (0..group).map(|group| self.queries_a_kv.div_ceil(self.copies(group))).sum()
    }

    fn tile(
        &self,
        members: std::ops::Range<usize>,
        head: impl Fn(usize) -> usize,
        elements: &[Option<usize>],
    ) -> Vec<Option<u32>> {
        let of_head = |head: usize| {
            elements.iter().map(move |element| element.map(|element| (head * self.head_dim + element) as u32))
        };
        members.flat_map(|member| of_head(head(member))).collect()
    }

    /// Query or key heads as they are rotated: for each group and member, the first halves and then the second halves.
    fn halves(&self, queries_a_kv: usize) -> Layout {
        let halves = self.half_elements();
        let mut tiles = Vec::new();
        for group in 0..self.key_groups() {
            for member in 0..queries_a_kv {
                for elements in &halves {
                    tiles.push(self.tile(self.key_members(group), |kv| kv * queries_a_kv + member, elements));
                }
            }
        }
        Layout { tiles }
    }

    /// Values as rows hold them: for each group one vector, of all its copies.
    fn values(&self) -> Layout {
        let tile = |group: usize| (0..self.copies(group)).flat_map(|_| self.group_of(group, 1, 0)).collect();
        Layout { tiles: (0..self.value_groups()).map(tile).collect() }
    }

    /// What the attention makes: for each group a vector for as many query heads as a row has copies of the values.
    fn outputs(&self) -> Layout {
        let members: Vec<usize> = (0..self.queries_a_kv).collect();
        let of_group = |group: usize| {
            let of_vector = |members: &[usize]| {
                members.iter().flat_map(|&member| self.group_of(group, self.queries_a_kv, member)).collect()
            };
            members.chunks(self.copies(group)).map(of_vector).collect::<Vec<_>>()
        };
        Layout { tiles: (0..self.value_groups()).flat_map(of_group).collect() }
    }

    /// The elements of a group of values for one member of each of its heads, which are of `queries_a_kv`.
    fn group_of(&self, group: usize, queries_a_kv: usize, member: usize) -> impl Iterator<Item = Option<u32>> + '_ {
        self.values[group].clone().map(move |at| {
            let (head, element) = (at / self.head_dim, at % self.head_dim);
            Some(((head * queries_a_kv + member) * self.head_dim + element) as u32)
        })
    }
}

/// The layouts of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Layouts {
    /// Of every value: plain, except around attention.
    pub(crate) values: BTreeMap<ValueId, Layout>,
    /// The heads of every attention, by index of the node.
    pub(crate) heads: BTreeMap<usize, Heads>,
}

impl Layouts {
    pub(crate) fn of(graph: &Graph, lanes: usize) -> Result<Self, CompileError> {
        let producers = graph.producers();
        let producer = |value: ValueId| producers[value.index()].map(|number| graph.node(number));
        let (mut values, mut heads) = (BTreeMap::new(), BTreeMap::new());
        for (number, node) in graph.nodes.iter().enumerate() {
            let from = node.inputs.first().and_then(|&value| producer(value));
            let Some(found) = Heads::of(node, from, lanes)? else { continue };
            let queries_a_kv = found.queries_a_kv;
            for (input, layout) in [(0, found.halves(queries_a_kv)), (1, found.halves(1)), (2, found.values())] {
                spread(&producer, node.inputs[input], &layout, &mut values)?;
            }
            values.insert(node.output, found.outputs());
            heads.insert(number, found);
        }
        for (index, value) in graph.values.iter().enumerate() {
            values.entry(ValueId::new(index)).or_insert_with(|| Layout::of_value(value, lanes));
        }
        Ok(Self { values, heads })
    }
}

/// Gives a value its layout, and to what it is made from element by element.
fn spread<'a>(
    producer: &impl Fn(ValueId) -> Option<&'a Node>,
    mut value: ValueId,
    layout: &Layout,
    layouts: &mut BTreeMap<ValueId, Layout>,
) -> Result<(), CompileError> {
    loop {
        layouts.insert(value, layout.clone());
        let Some(node) = producer(value) else { return Ok(()) };
        match node.op {
            Op::Linear { .. } => return Ok(()),
            Op::Rotary { .. } | Op::HeadNorm { .. } | Op::RmsNorm { .. } => value = node.inputs[0],
            _ => {
                let what = "its result feeds attention in another layout".into();
                return Err(CompileError::Unsupported { node: node.name.clone(), what });
            }
        }
    }
}
