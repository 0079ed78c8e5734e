//! Context buckets: the lengths of context that programs are compiled for.

/// Tokens of the shortest context bucket (assumed: shorter ones save few cycles).
pub(crate) const SHORTEST_BUCKET: usize = 256;

/// The context buckets that programs are compiled for: doubling up to a context, which is rounded up to whole rows of
/// key-value slices. All share one placement, so a longer context goes on with the next program where the last one
/// stopped.
#[must_use]
pub fn buckets(context: usize) -> Vec<usize> {
    let context = context.div_ceil(16).saturating_mul(16);
    let doubling = std::iter::successors(Some(SHORTEST_BUCKET), |tokens| tokens.checked_mul(2));
    doubling.take_while(|&tokens| tokens < context).chain([context]).collect()
}
