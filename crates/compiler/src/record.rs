//! What the scheduler decided, a record a task: for people who ask where the time went.

/// One placed piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the graph's node.
    pub node: usize,
    /// The kind of work.
    pub what: &'static str,
    /// Cycle in which its last input could be read.
    pub ready: u64,
    /// Cycle in which its planes could take the next tile, for work on planes.
    pub plane_free: Option<u64>,
    /// First dispatch.
    pub start: u64,
    /// Last dispatch.
    pub end: u64,
    /// Index of the record that made the last input; none for inputs of the program.
    pub waited: Option<usize>,
}
