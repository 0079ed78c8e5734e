//! What the scheduler decided, a record a task, and from these a line a task and a line an operation: they say where
//! the time went.

use std::fmt::Write;

use lpu_isa::Queue;
use lpu_model::Graph;

/// Why a task did not start earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Its inputs were not there.
    Inputs,
    /// Its planes were still busy with earlier tiles.
    Planes,
    /// ALUs, switch units, streams or memory ports were taken.
    Ports,
    /// The link to another chip was busy.
    Links,
}

impl Cause {
    /// The cause in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Cause::Inputs => "inputs",
            Cause::Planes => "planes",
            Cause::Ports => "ALUs, streams, ports",
            Cause::Links => "links",
        }
    }
}

/// One scheduled piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the graph's node.
    pub node: usize,
    /// The kind of work.
    pub what: &'static str,
    /// Cycle in which its last input could be read.
    pub ready: u64,
    /// First dispatch.
    pub start: u64,
    /// Last dispatch.
    pub end: u64,
    /// Index of the record that made the last input; none for inputs of the program.
    pub waited: Option<usize>,
    /// Why it did not start earlier.
    pub cause: Cause,
    /// Cycles that this cost, where it was not the inputs.
    pub lost: u64,
    /// Queue and cycle of its operations of ALUs, passes and accumulations.
    pub computed: Vec<(Queue, u64)>,
}

/// A line a task: first and last dispatch, what it is, and why it did not start earlier.
#[must_use]
pub fn to_text(graph: &Graph, records: &[Record]) -> String {
    let mut text = String::new();
    for Record { node, what, ready, start, end, cause, lost, .. } in records {
        let node = &graph.nodes[*node].name;
        let cause = match lost {
            0 => String::new(),
            lost => format!(", {lost} for {}", cause.text()),
        };
        let _ = writeln!(text, "{start:>5} {end:>5}  {what} of {node}; ready {ready}{cause}");
    }
    text
}

/// When an operation of the graph ran and why not earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Name of the graph's node.
    pub name: String,
    /// Pieces of work.
    pub tasks: usize,
    /// First dispatch.
    pub start: u64,
    /// Last dispatch.
    pub end: u64,
    /// Name of the node that made the last input of the piece that ended last; none for inputs of the program.
    pub waited: Option<String>,
    /// The resource that cost it most, and the cycles it cost over all pieces; none where it only ever waited for
    /// inputs.
    pub bound: Option<(Cause, u64)>,
}

/// One line an operation that was scheduled by itself, in order of the graph; what was done in the epilogue of a matrix
/// counts there.
#[must_use]
pub fn operations(graph: &Graph, records: &[Record]) -> Vec<Operation> {
    let mut by_node: Vec<Vec<&Record>> = vec![Vec::new(); graph.nodes.len()];
    for record in records {
        by_node[record.node].push(record);
    }
    let of_node = |(number, mine): (usize, Vec<&Record>)| {
        let last = mine.iter().max_by_key(|record| record.end)?;
        let other = |record: &Record| record.waited.map(|producer| records[producer].node);
        let waited = last.waited.map(|producer| graph.nodes[records[producer].node].name.clone());
        let lost =
            |cause: Cause| mine.iter().filter(|record| record.cause == cause).map(|record| record.lost).sum::<u64>();
        let bound =
            [Cause::Planes, Cause::Ports].into_iter().map(|cause| (cause, lost(cause))).max_by_key(|&(_, lost)| lost);
        let first = mine.iter().filter(|record| other(record) != Some(number)).map(|record| record.start).min();
        Some(Operation {
            name: graph.nodes[number].name.clone(),
            tasks: mine.len(),
            start: first.unwrap_or(last.start),
            end: last.end,
            waited,
            bound: bound.filter(|&(_, lost)| lost > 0),
        })
    };
    by_node.into_iter().enumerate().filter_map(of_node).collect()
}
