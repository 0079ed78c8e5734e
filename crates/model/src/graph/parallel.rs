//! Cutting a graph over the chips of a tensor-parallel group.
//!
//! Method: every value gets one or more *forms*, each a [`Shard`]. Matrices that read a value which every chip holds are
//! cut by outputs (heads, feed-forward columns, vocabulary); matrices that read a cut value are cut by inputs, so each
//! chip has terms of their result. The residual is cut in pieces: terms are reduced and scattered, and where a matrix
//! reads the residual its pieces are gathered. A sum of a piece and of terms is left open until it is read, so that
//! parallel blocks need one exchange.
//!
//! Invariants: one graph for all chips of the group, which differ only in what [`Shard::element`] says; every value that
//! leaves the graph is a piece, or whole on every chip.
//!
//! Not claimed: that fewer exchanges would not do. What chips hold twice (the router of a layer of experts, key-value
//! heads where there are fewer than chips) is computed twice.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;
use thiserror::Error;

use super::{Block, CacheId, Graph, HeadShard, Node, Op, Shard, Value, ValueId};

/// A graph that cannot be cut over a group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShardError {
    /// Groups of other sizes see one another under other numbers.
    #[error("a tensor-parallel group of {chips} chips: it must have 1, 2, 4 or 8")]
    Chips {
        /// Chips asked for.
        chips: usize,
    },
    /// The operation has no form over several chips.
    #[error("{node} cannot be cut over several chips: {what}; compile it with a tensor-parallel size of 1")]
    Unsupported {
        /// The node.
        node: String,
        /// Why not.
        what: &'static str,
    },
}

/// In which form a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// The same on every chip.
    Whole,
    /// A piece of the residual, or of what is added to it.
    Piece,
    Pieces,
    Partial,
    /// A piece of what a matrix of the feed-forward makes or reads.
    Columns,
    Heads,
}

/// What the first consumer that decides asks of a matrix's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Queries(HeadShard),
    KeyValues(HeadShard),
    Scores,
}

/// A sum of a piece and of terms that nothing has read yet.
#[derive(Clone, Debug)]
struct OpenSum {
    node: usize,
    piece: ValueId,
    terms: ValueId,
}

struct Pass<'a> {
    whole: &'a Graph,
    chips: usize,
    out: Graph,
    forms: BTreeMap<(ValueId, Form), ValueId>,
    open: BTreeMap<ValueId, OpenSum>,
    roles: BTreeMap<ValueId, Role>,
    /// Values that follow from the host's inputs element by element: made in any form, where they are asked for.
    free: BTreeSet<ValueId>,
    /// The forms of these, in the graph that is made.
    early: BTreeSet<ValueId>,
    producers: Vec<Option<super::NodeId>>,
}

impl Graph {
    /// The graph that each chip of a group of `chips` runs. A group of one runs the graph itself.
    ///
    /// # Errors
    /// [`ShardError`] when the group has another size, or an operation cannot be cut.
    pub fn tensor_parallel(&self, chips: usize) -> Result<Graph, ShardError> {
        if !matches!(chips, 1 | 2 | 4 | 8) {
            return Err(ShardError::Chips { chips });
        }
        if chips == 1 {
            return Ok(self.clone());
        }
        let mut pass = Pass::new(self, chips);
        for number in 0..self.nodes.len() {
            pass.node(number)?;
        }
        for &output in &self.outputs {
            let form = pass.first_form(output, &[Form::Whole, Form::Columns, Form::Heads]).unwrap_or(Form::Piece);
            let value = pass.obtain(output, form, None)?;
            pass.out.outputs.push(value);
        }
        // What follows from the inputs alone is made first, as it is in the whole graph.
        let Pass { mut out, early, .. } = pass;
        out.nodes.sort_by_key(|node| !early.contains(&node.output));
        out.sort_experts();
        Ok(out)
    }

    /// Puts, in every block, what reads no results of experts before the first matrices of all chosen experts, and
    /// these before those that read their results, so that a stage may begin in between.
    fn sort_experts(&mut self) {
        let mut levels: Vec<usize> = vec![0; self.values.len()];
        for block in self.nodes.chunk_by_mut(|a, b| a.block == b.block) {
            let inside: BTreeSet<ValueId> = block.iter().map(|node| node.output).collect();
            for node in block.iter() {
                let inputs = node.inputs.iter().filter(|input| inside.contains(input));
                let before = inputs.map(|input| levels[input.index()]).max().unwrap_or(0);
                levels[node.output.index()] = before + usize::from(matches!(node.op, Op::ExpertLinear { .. }));
            }
            block.sort_by_key(|node| levels[node.output.index()]);
        }
    }
}

impl<'a> Pass<'a> {
    fn new(whole: &'a Graph, chips: usize) -> Self {
        let free = whole.inputs.iter().copied().collect();
        let producers = whole.producers();
        let mut pass = Self {
            whole,
            chips,
            out: Graph::default(),
            forms: BTreeMap::new(),
            open: BTreeMap::new(),
            roles: BTreeMap::new(),
            free,
            early: BTreeSet::new(),
            producers,
        };
        pass.find_roles();
        pass
    }

    fn find_roles(&mut self) {
        for node in &self.whole.nodes {
            match node.op {
                Op::Attention { heads, kv_heads, head_dim, .. } => {
                    let shard = HeadShard::new(self.chips, heads, kv_heads, head_dim);
                    self.role(node.inputs[0], Role::Queries(shard));
                    self.role(node.inputs[1], Role::KeyValues(shard));
                    self.role(node.inputs[2], Role::KeyValues(shard));
                }
                Op::Route { .. } => self.role(node.inputs[0], Role::Scores),
                _ => {}
            }
        }
    }

    /// Gives a role to a value and to what it is made of up to the matrix.
    fn role(&mut self, mut value: ValueId, role: Role) {
        loop {
            self.roles.insert(value, role);
            let Some(number) = self.producers[value.index()] else { return };
            let node = self.whole.node(number);
            if let Op::Linear { .. } | Op::ExpertLinear { .. } = node.op {
                return;
            }
            let Some(&input) = node.inputs.first() else { return };
            value = input;
        }
    }

    fn shard(&self, value: ValueId, form: Form) -> Shard {
        let (chips, width) = (self.chips, self.whole.value(value).width);
        match (form, self.roles.get(&value)) {
            (Form::Whole, _) => Shard::Whole,
            (Form::Piece | Form::Columns, _) => Shard::Piece { chips, width },
            (Form::Pieces, _) => Shard::Pieces { chips, width },
            (Form::Partial, _) => Shard::Partial { chips, width },
            (Form::Heads, Some(&Role::Queries(heads))) => Shard::Queries(heads),
            (Form::Heads, Some(&Role::KeyValues(heads))) => Shard::KeyValues(heads),
            (Form::Heads, _) => unreachable!("only what attentions read and make is cut by heads"),
        }
    }

    fn has(&self, value: ValueId, form: Form) -> bool {
        self.forms.contains_key(&(value, form))
    }

    fn first_form(&self, value: ValueId, forms: &[Form]) -> Option<Form> {
        forms.iter().copied().find(|&form| self.has(value, form))
    }

    fn value(&mut self, name: String, shard: Shard, whole: &Value) -> ValueId {
        self.out.values.push(Value { name, width: shard.width(whole.width), rows: whole.rows, shard });
        ValueId::new(self.out.values.len() - 1)
    }

    /// An input of the graph in a form.
    fn input(&mut self, value: ValueId, form: Form) -> ValueId {
        let whole = self.whole.value(value);
        let suffix = if form == Form::Piece { ".piece" } else { "" };
        let id = self.value(format!("{}{suffix}", whole.name), self.shard(value, form), whole);
        self.out.inputs.push(id);
        self.forms.insert((value, form), id);
        id
    }

    /// Adds a node that makes `of` in a form.
    fn add(&mut self, of: ValueId, form: Form, (block, suffix, op): (Block, &str, Op), inputs: &[ValueId]) -> ValueId {
        let whole = self.whole.value(of);
        let name = format!("{}{suffix}", whole.name);
        let output = self.value(name.clone(), self.shard(of, form), whole);
        self.out.nodes.push(Node { name, block, op, inputs: SmallVec::from_slice(inputs), output });
        self.forms.insert((of, form), output);
        output
    }

    /// The value in a form, made from another where it is not there yet; `block` is that of the consumer.
    fn obtain(&mut self, value: ValueId, form: Form, block: Option<Block>) -> Result<ValueId, ShardError> {
        if let Some(&found) = self.forms.get(&(value, form)) {
            return Ok(found);
        }
        if let Some(sum) = self.open.remove(&value) {
            let node = &self.whole.nodes[sum.node];
            let terms = self.reduce(node.block, sum.terms);
            self.add(value, Form::Piece, (node.block, "", Op::Add), &[sum.piece, terms]);
            return self.obtain(value, form, block);
        }
        if self.free.contains(&value) && matches!(form, Form::Piece | Form::Pieces) {
            return self.make_free(value, form);
        }
        let of_value = self.producers[value.index()].map(|number| self.whole.node(number).block);
        let block = block.or(of_value).unwrap_or(Block::Embed);
        match form {
            Form::Piece => {
                if let Some(&found) = self.forms.get(&(value, Form::Columns)) {
                    return Ok(found);
                }
                if let Some(&terms) = self.forms.get(&(value, Form::Partial)) {
                    let reduced = self.reduce(of_value.unwrap_or(block), terms);
                    self.forms.insert((value, Form::Piece), reduced);
                    return Ok(reduced);
                }
            }
            Form::Pieces if !self.has(value, Form::Heads) && !self.has(value, Form::Whole) => {
                let piece = self.obtain(value, Form::Piece, Some(block))?;
                return Ok(self.add(value, Form::Pieces, (block, ".gathered", Op::AllGather), &[piece]));
            }
            _ => {}
        }
        let node = self.whole.value(value).name.clone();
        Err(ShardError::Unsupported { node, what: "its result is read in a form that chips do not exchange" })
    }

    /// The reduced and scattered piece of terms.
    fn reduce(&mut self, block: Block, terms: ValueId) -> ValueId {
        let Value { name, rows, shard, .. } = self.out.value(terms).clone();
        let Shard::Partial { chips, width } = shard else { unreachable!("only terms are reduced") };
        let name = format!("{name}.reduced");
        let shard = Shard::Piece { chips, width };
        self.out.values.push(Value { name: name.clone(), width: shard.width(width), rows, shard });
        let output = ValueId::new(self.out.values.len() - 1);
        let inputs = SmallVec::from_slice(&[terms]);
        self.out.nodes.push(Node { name, block, op: Op::ReduceScatter, inputs, output });
        output
    }

    /// A value that follows from the host's inputs, in a form.
    fn make_free(&mut self, value: ValueId, form: Form) -> Result<ValueId, ShardError> {
        let Some(number) = self.producers[value.index()] else { return Ok(self.input(value, form)) };
        let node = self.whole.node(number);
        let inputs = node.inputs.iter().map(|&input| self.obtain(input, form, Some(node.block)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let suffix = if form == Form::Piece { ".piece" } else { "" };
        let made = self.add(value, form, (node.block, suffix, node.op), &inputs);
        self.early.insert(made);
        Ok(made)
    }

    /// Whether matrices alone read a value.
    fn feeds_matrices(&self, value: ValueId) -> bool {
        let mut consumers = self.whole.nodes.iter().filter(|node| node.inputs.contains(&value));
        !self.whole.outputs.contains(&value)
            && consumers.all(|node| matches!(node.op, Op::Linear { .. } | Op::ExpertLinear { .. }))
    }

    fn node(&mut self, number: usize) -> Result<(), ShardError> {
        let node = &self.whole.nodes[number];
        let block = Some(node.block);
        let x = node.inputs[0];
        match node.op {
            Op::RmsNorm { .. } | Op::LayerNorm { .. } => {
                // A piece is scaled by what the chips sum up of all pieces while it is on its way already.
                let of_pieces = self.free.contains(&x) || matches!(node.op, Op::LayerNorm { .. });
                let form = match () {
                    () if self.has(x, Form::Heads) => Form::Heads,
                    () if of_pieces && self.feeds_matrices(node.output) => Form::Pieces,
                    () => Form::Piece,
                };
                if form != Form::Pieces && matches!(node.op, Op::LayerNorm { .. }) {
                    let what = "the mean of a value that is cut";
                    return Err(ShardError::Unsupported { node: node.name.clone(), what });
                }
                self.same_form(node, &[form], node.op)
            }
            Op::Linear { .. } | Op::ExpertLinear { .. } => {
                let cut = self.first_form(x, &[Form::Columns, Form::Heads]);
                let input = self.obtain(x, cut.unwrap_or(Form::Pieces), block)?;
                let form = match (cut, self.roles.get(&node.output)) {
                    (Some(_), _) => Form::Partial,
                    (None, Some(Role::Scores)) => Form::Whole,
                    (None, Some(_)) => Form::Heads,
                    (None, None) => Form::Columns,
                };
                let mut inputs = vec![input];
                if let Some(&route) = node.inputs.get(1) {
                    inputs.push(self.obtain(route, Form::Whole, block)?);
                }
                self.add(node.output, form, (node.block, "", node.op), &inputs);
                Ok(())
            }
            Op::Rotary { head_dim, rotary_dim, table, .. } => {
                let heads = self.local_heads(node)?;
                self.same_form(node, &[Form::Heads], Op::Rotary { heads, head_dim, rotary_dim, table })
            }
            Op::HeadNorm { weight, head_dim, eps, .. } => {
                let heads = self.local_heads(node)?;
                self.same_form(node, &[Form::Heads], Op::HeadNorm { weight, heads, head_dim, eps })
            }
            Op::Attention { .. } => self.attention(node),
            Op::Route { .. } => self.same_form(node, &[Form::Whole], node.op),
            _ => self.element_wise(number, node),
        }
    }

    /// Adds a node whose output has the form of its inputs, one form for all or one an input.
    fn same_form(&mut self, node: &Node, forms: &[Form], op: Op) -> Result<(), ShardError> {
        let form_of = |input: usize| *forms.get(input).unwrap_or(&forms[0]);
        let mut inputs = Vec::new();
        for (input, &value) in node.inputs.iter().enumerate() {
            inputs.push(self.obtain(value, form_of(input), Some(node.block))?);
        }
        self.add(node.output, forms[0], (node.block, "", op), &inputs);
        Ok(())
    }

    /// Heads that a chip has of what an operation on heads makes.
    fn local_heads(&self, node: &Node) -> Result<usize, ShardError> {
        match self.roles.get(&node.output) {
            Some(Role::Queries(heads)) => Ok(heads.heads()),
            Some(Role::KeyValues(heads)) => Ok(heads.kv_a_chip),
            _ => Err(ShardError::Unsupported { node: node.name.clone(), what: "no attention reads its heads" }),
        }
    }

    fn attention(&mut self, node: &Node) -> Result<(), ShardError> {
        let Op::Attention { cache, heads, kv_heads, head_dim, scale, mask, softcap } = node.op else {
            unreachable!("only attentions have a cache")
        };
        let shard = HeadShard::new(self.chips, heads, kv_heads, head_dim);
        let held = super::Cache { kv_heads: shard.kv_a_chip, ..*self.whole.cache(cache) };
        self.out.caches.push(held);
        let cache = CacheId::new(self.out.caches.len() - 1);
        self.roles.insert(node.output, Role::Queries(shard));
        let (heads, kv_heads) = (shard.heads(), shard.kv_a_chip);
        self.same_form(node, &[Form::Heads], Op::Attention { cache, heads, kv_heads, head_dim, scale, mask, softcap })
    }

    /// An operation on single elements of one or two values; of [`Op::ExpertScale`] the second is the route.
    fn element_wise(&mut self, number: usize, node: &Node) -> Result<(), ShardError> {
        let scaled = matches!(node.op, Op::Scale { .. } | Op::ExpertScale { .. });
        let operands = if let Op::ExpertScale { .. } = node.op { &node.inputs[..1] } else { &node.inputs[..] };
        let all = |pass: &Self, form| operands.iter().all(|&value| pass.has(value, form));
        if operands.iter().all(|value| self.free.contains(value)) {
            self.free.insert(node.output);
            return Ok(());
        }
        let form = match () {
            () if all(self, Form::Partial) && (scaled || node.op == Op::Add) => Form::Partial,
            () if all(self, Form::Whole) => Form::Whole,
            () if all(self, Form::Heads) => Form::Heads,
            () if all(self, Form::Columns) => Form::Columns,
            () => Form::Piece,
        };
        if form == Form::Heads
            && let Some(&role) = self.roles.get(&operands[0])
        {
            self.roles.insert(node.output, role);
        }
        if form == Form::Piece && node.op == Op::Add && self.leave_open(number, node)? {
            return Ok(());
        }
        self.same_form(node, &[form, if operands.len() == node.inputs.len() { form } else { Form::Whole }], node.op)
    }

    /// Leaves a sum of a piece and of terms open; false where it is none.
    fn leave_open(&mut self, number: usize, node: &Node) -> Result<bool, ShardError> {
        let is_terms = |&&value: &&ValueId| self.has(value, Form::Partial) && !self.has(value, Form::Piece);
        let Some(&added) = node.inputs.iter().find(is_terms) else { return Ok(false) };
        let Some(&other) = node.inputs.iter().find(|&&value| value != added) else { return Ok(false) };
        let terms = self.forms[&(added, Form::Partial)];
        let sum = match self.open.get(&other) {
            // Nothing else reads the open sum, as its only consumer is this one.
            Some(open) if self.is_sole(other) => {
                let (piece, before) = (open.piece, open.terms);
                let (name, shard) = (format!("{}.terms", node.name), self.out.value(terms).shard);
                let whole = self.whole.value(node.output);
                let output = self.value(name.clone(), shard, whole);
                let inputs = SmallVec::from_slice(&[before, terms]);
                self.out.nodes.push(Node { name, block: node.block, op: Op::Add, inputs, output });
                self.open.remove(&other);
                OpenSum { node: number, piece, terms: output }
            }
            _ => OpenSum { node: number, piece: self.obtain(other, Form::Piece, Some(node.block))?, terms },
        };
        self.open.insert(node.output, sum);
        Ok(true)
    }

    fn is_sole(&self, value: ValueId) -> bool {
        let consumers = self.whole.nodes.iter().filter(|node| node.inputs.contains(&value)).count();
        consumers == 1 && !self.whole.outputs.contains(&value)
    }
}
