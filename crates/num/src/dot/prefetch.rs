//! Fetching weights ahead of their use.

/// A prefetcher of weights that will be read soon. Kernels call it as they read theirs, so that fetches are spread over
/// the reads.
pub trait Prefetch {
    /// Some rows will be read now: time to find out what comes next.
    fn rows(&mut self);

    /// So many 64-byte lines of weights are read now. Called in inner loops, so it had better call nothing.
    fn lines(&mut self, count: usize);
}

/// No prefetch.
impl Prefetch for () {
    #[inline(always)]
    fn rows(&mut self) {}

    #[inline(always)]
    fn lines(&mut self, _: usize) {}
}
