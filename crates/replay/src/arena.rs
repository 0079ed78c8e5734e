//! The memory that a plan runs over: SRAM of one chip and intermediate values, in two mappings.
//!
//! The only place where threads share mutable bytes. A plan's phases keep writers apart: in a phase, the bytes that one
//! task writes are touched by no other task; phases are separated by barriers. `elaborate` builds phases so, and the
//! equality tests hold it to that.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use crate::error::ReplayError;
use crate::places::{At, Places, StoredLanes, Truncated, fits};

/// A program file, mapped privately: what runs write stays in this process. The chips of an engine share it; no two of
/// them have words in the same bytes that they write.
pub(crate) struct MappedFile {
    map: MmapMut,
    first: *mut u8,
}

// SAFETY: the mapping lives as long as the file and does not move; its bytes are touched through arenas alone.
unsafe impl Send for MappedFile {}
// SAFETY: as for `Send`.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    pub(crate) fn new(mut map: MmapMut) -> Self {
        let first = map.as_mut_ptr();
        Self { map, first }
    }

    /// Maps the pages of a part of the file at once, which is quicker than by faults; where the system cannot, faults
    /// do.
    pub(crate) fn populate(&self, part: Range<usize>) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(memmap2::Advice::PopulateRead, part.start, part.len());
    }
}

/// The words of SRAM, which outlive plans and runs; held for their bytes, which [`Arena`] points to.
struct SharedWords {
    _file: Option<Arc<MappedFile>>,
    /// All other words; pages come when they are first touched.
    _rest: MmapMut,
    /// A bit for each [`SharedWords::grain`] of words that no image holds: whether the word that begins there was ever
    /// written. Until then it is zero.
    written: Box<[AtomicU64]>,
    /// The greatest power of two that is no more than the bytes of a word, so that no two words begin in one grain.
    grain: usize,
    /// A bit for each [`PAGE`] of all words: whether a word there was written since the image was laid down, or will
    /// be.
    changed: Box<[AtomicU64]>,
    /// Grows whenever a page of the file changes for the first time, or truncated words are materialised.
    epoch: AtomicU32,
    lanes: usize,
    truncated: Vec<Truncated>,
    /// Which of them are materialised: their full words are what counts.
    materialised: Vec<AtomicBool>,
    /// How many are.
    materialised_count: AtomicU32,
    /// Held by the thread that materialises some.
    materialising: Mutex<()>,
}

/// Bytes whose changes are noted together.
const PAGE: usize = 4096;

/// SRAM of a chip, and after it the intermediate values of one plan.
pub(crate) struct Arena {
    words: Arc<SharedWords>,
    /// Held for its bytes, which `bases` points to.
    _work: Option<MmapMut>,
    /// Where the file, the other words and the intermediate values begin: address in bytes, pointer.
    bases: [(usize, *mut u8); 3],
    /// Bytes of the file.
    file: usize,
    /// Where the words of the file and the full words of truncated ones end.
    held: usize,
    end: usize,
}

// SAFETY: the mappings live as long as the arena and do not move; which thread touches which bytes when is the plan's
// duty, as each access states.
unsafe impl Send for Arena {}
// SAFETY: as for `Send`.
unsafe impl Sync for Arena {}

fn anonymous(bytes: u64) -> Result<MmapMut, ReplayError> {
    let bytes = usize::try_from(bytes.max(1)).map_err(|_| ReplayError::TooLarge { bytes })?;
    let map = MmapMut::map_anon(bytes).map_err(|error| ReplayError::Memory { bytes, error })?;
    // Large pages where the host has them: words are touched all over the place. Without them the same bytes come a
    // little slower.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

impl Arena {
    /// An arena for the words of a chip, which begins with a part of a file: the file, and where the part begins.
    pub(crate) fn new(file: Option<(&Arc<MappedFile>, usize)>, places: &Places) -> Result<Self, ReplayError> {
        let (held, end, split) = (places.held as usize, places.end as usize, places.split as usize);
        let mut rest = anonymous(places.end - split as u64)?;
        let first = file.map_or(std::ptr::null_mut(), |(file, start)| file.first.wrapping_add(start));
        let bases = [(0, first), (split, rest.as_mut_ptr()), (end, std::ptr::null_mut())];
        let grain = 1 << places.lanes.max(1).ilog2();
        let words = SharedWords {
            _file: file.map(|(file, _)| Arc::clone(file)),
            _rest: rest,
            grain,
            written: (0..(end - held).div_ceil(64 * grain)).map(|_| AtomicU64::new(0)).collect(),
            changed: (0..end.div_ceil(64 * PAGE)).map(|_| AtomicU64::new(0)).collect(),
            epoch: AtomicU32::new(0),
            lanes: places.lanes,
            truncated: places.truncated.clone(),
            materialised: places.truncated.iter().map(|_| AtomicBool::new(false)).collect(),
            materialised_count: AtomicU32::new(0),
            materialising: Mutex::new(()),
        };
        Self::over(Arc::new(words), bases, held, places.file as usize, 0)
    }

    /// The same words with room for `work` bytes of intermediate values, from [`Arena::words_end`] on.
    pub(crate) fn with_work(&self, work: u64) -> Result<Self, ReplayError> {
        Self::over(Arc::clone(&self.words), self.bases, self.held, self.file, work)
    }

    fn over(
        words: Arc<SharedWords>,
        mut bases: [(usize, *mut u8); 3],
        held: usize,
        file: usize,
        work: u64,
    ) -> Result<Self, ReplayError> {
        let bytes = (bases[2].0 as u64).saturating_add(work);
        fits(bytes)?;
        let mut work = (work > 0).then(|| anonymous(work)).transpose()?;
        bases[2].1 = work.as_mut().map_or(std::ptr::null_mut(), |work| work.as_mut_ptr());
        Ok(Self { words, _work: work, bases, file, held, end: bytes as usize })
    }

    /// Where intermediate values begin.
    pub(crate) fn words_end(&self) -> At {
        At::from_bytes(self.bases[2].0 as u64)
    }

    /// Whether so many bytes from an address on are in one of the mappings.
    pub(crate) fn holds(&self, at: At, bytes: usize) -> bool {
        let (from, [_, rest, work]) = (at.bytes(), self.bases);
        let mappings = [0..self.file, rest.0..work.0, work.0..self.end];
        let end = mappings.into_iter().find(|mapping| mapping.contains(&from)).map_or(from, |mapping| mapping.end);
        from.checked_add(bytes).is_some_and(|last| last <= end)
    }

    /// Which truncated words have full ones in so many bytes from an address on.
    fn truncated_over(&self, at: At, bytes: usize) -> std::ops::Range<usize> {
        let (truncated, lanes) = (&self.words.truncated, self.words.lanes);
        if at.bytes() >= self.held || at.bytes() + bytes <= self.bases[1].0 {
            return 0..0;
        }
        let first = truncated.partition_point(|of| of.full.bytes() + of.count * lanes <= at.bytes());
        first..first.max(truncated.partition_point(|of| of.full.bytes() < at.bytes() + bytes))
    }

    /// Where the file has the first of some words from an address on, if they are truncated.
    pub(crate) fn truncated(&self, at: At, words: usize) -> Option<StoredLanes> {
        let found = self.truncated_over(at, words * self.words.lanes);
        let of = self.words.truncated[found.clone()].first().filter(|_| found.len() == 1)?;
        let before = at.bytes().checked_sub(of.full.bytes())?;
        let (number, within) = (before / self.words.lanes, before % self.words.lanes);
        let fits = within == 0 && number + words <= of.count;
        (fits && !self.words.materialised[found.start].load(Ordering::Acquire)).then(|| of.first.plus(number))
    }

    /// Materialises all truncated words in so many bytes from an address on. No run may be under way.
    pub(crate) fn materialise(&self, at: At, bytes: usize) {
        let found = self.truncated_over(at, bytes);
        let is_materialised = |number: usize| self.words.materialised[number].load(Ordering::Acquire);
        if found.clone().all(is_materialised) {
            return;
        }
        let _materialising = self.words.materialising.lock().unwrap_or_else(PoisonError::into_inner);
        for number in found.filter(|&number| !is_materialised(number)) {
            let Truncated { full, count, first } = self.words.truncated[number];
            for word in 0..count {
                let full = full.plus(word * self.words.lanes);
                // SAFETY: both are in their mappings, as `Places` reserved them; the full words are not read before
                // they are materialised.
                let (given, cells) = unsafe { (self.lanes(first.plus(word)), self.bytes_mut(full, first.live)) };
                cells.copy_from_slice(&given);
                self.note_written(full);
            }
            self.words.materialised[number].store(true, Ordering::Release);
            self.words.materialised_count.fetch_add(1, Ordering::Release);
            self.words.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first lanes of a truncated word.
    ///
    /// # Safety
    /// Nothing writes them while they are borrowed.
    unsafe fn lanes(&self, first: StoredLanes) -> Cow<'_, [u8]> {
        // SAFETY: they are in the file; the rest is the caller's duty.
        let bytes = unsafe { self.bytes(first.at, first.each()) };
        match first.turn {
            None => bytes.into(),
            Some(turn) => bytes.iter().skip(usize::from(turn)).step_by(2).copied().collect(),
        }
    }

    /// A word, be it truncated.
    ///
    /// # Safety
    /// The word is within the arena and nothing writes it while it is borrowed.
    pub(crate) unsafe fn word(&self, at: At) -> Cow<'_, [u8]> {
        let lanes = self.words.lanes;
        let Some(first) = self.truncated(at, 1) else {
            // SAFETY: the caller's duty.
            return unsafe { self.bytes(at, lanes) }.into();
        };
        // SAFETY: the caller's duty.
        let mut word = unsafe { self.lanes(first) }.into_owned();
        word.resize(lanes, 0);
        word.into()
    }

    /// Whether each extent of truncated words is materialised.
    pub(crate) fn materialised(&self) -> Vec<bool> {
        self.words.materialised.iter().map(|materialised| materialised.load(Ordering::Acquire)).collect()
    }

    /// Extents of truncated words that are materialised.
    pub(crate) fn materialised_count(&self) -> u32 {
        self.words.materialised_count.load(Ordering::Acquire)
    }

    /// The bit of [`SharedWords::written`] of a word that no image holds; none of an intermediate value.
    fn bit(&self, at: At) -> Option<(&AtomicU64, u64)> {
        if at.bytes() >= self.bases[2].0 {
            return None;
        }
        let grain = at.bytes().checked_sub(self.held)? / self.words.grain;
        self.words.written.get(grain / 64).map(|bits| (bits, 1 << (grain % 64)))
    }

    /// Notes that the word at an address is written, or will be.
    pub(crate) fn note_written(&self, at: At) {
        for (bits, bit) in [self.page(at.bytes() / PAGE), self.bit(at)].into_iter().flatten() {
            if bits.load(Ordering::Relaxed) & bit == 0 {
                bits.fetch_or(bit, Ordering::Relaxed);
                if at.bytes() < self.held {
                    self.words.epoch.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// The bit of [`SharedWords::changed`] of a page.
    fn page(&self, page: usize) -> Option<(&AtomicU64, u64)> {
        self.words.changed.get(page / 64).map(|bits| (bits, 1 << (page % 64)))
    }

    /// Whether so many bytes, whole words from an address on, are as they were laid down, and no program writes there.
    pub(crate) fn unchanged(&self, at: At, bytes: usize) -> bool {
        if at.bytes() + bytes > self.bases[2].0 {
            return false;
        }
        // A word is noted by the page in which it begins.
        let (first, last) = (at.bytes() / PAGE, (at.bytes() + bytes).saturating_sub(1) / PAGE);
        let bits = |word: usize| {
            let (from, to) = (first.max(64 * word) % 64, last.min(64 * word + 63) % 64);
            (u64::MAX >> (63 - to)) & (u64::MAX << from)
        };
        let untouched = |word: usize| {
            self.words.changed.get(word).is_some_and(|found| found.load(Ordering::Relaxed) & bits(word) == 0)
        };
        (first / 64..=last / 64).all(untouched)
    }

    /// Whether so many bytes are in the file or full words of truncated ones, and are [`Arena::unchanged`]; they stay
    /// so as long as [`Arena::epoch`] is the same.
    pub(crate) fn steady(&self, at: At, bytes: usize) -> bool {
        at.bytes() + bytes <= self.held && self.unchanged(at, bytes)
    }

    /// A number that grows whenever something in the file changes that had not changed before.
    pub(crate) fn epoch(&self) -> u32 {
        self.words.epoch.load(Ordering::Relaxed)
    }

    /// The image is laid down: what is written from now on is a change.
    pub(crate) fn laid_down(&self) {
        self.words.changed.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        self.words.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether words at and around an address can be [`Arena::blank`]: those of an image are not.
    pub(crate) fn may_be_blank(&self, at: At) -> bool {
        self.bit(at).is_some()
    }

    /// Whether the word at an address is zero because nothing ever wrote it.
    pub(crate) fn blank(&self, at: At) -> bool {
        self.bit(at).is_some_and(|(bits, bit)| bits.load(Ordering::Relaxed) & bit == 0)
    }

    /// The first byte at an address.
    pub(crate) fn pointer(&self, at: At) -> *mut u8 {
        let bytes = at.bytes();
        debug_assert!(bytes < self.end, "address {bytes} of {}", self.end);
        let [_, rest, work] = self.bases;
        let (from, base) = if bytes >= work.0 {
            work
        } else if bytes >= rest.0 {
            rest
        } else {
            self.bases[0]
        };
        base.wrapping_add(bytes - from)
    }

    /// `count` bytes at an address.
    ///
    /// # Safety
    /// The bytes are within the arena and nothing writes them while the slice lives.
    pub(crate) unsafe fn bytes(&self, at: At, count: usize) -> &[u8] {
        // SAFETY: the caller's duty.
        unsafe { std::slice::from_raw_parts(self.pointer(at), count) }
    }

    /// `count` bytes at an address, to write.
    ///
    /// # Safety
    /// The bytes are within the arena and nothing else touches them while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "threads write disjoint parts of one arena, as the plan arranges")]
    pub(crate) unsafe fn bytes_mut(&self, at: At, count: usize) -> &mut [u8] {
        // SAFETY: the caller's duty.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(at), count) }
    }

    /// `count` 32-bit lanes at an address.
    ///
    /// # Safety
    /// As [`Arena::bytes`].
    pub(crate) unsafe fn wide(&self, at: At, count: usize) -> &[u32] {
        // SAFETY: the caller's duty; addresses are multiples of 16 in mappings that start at a page.
        unsafe { std::slice::from_raw_parts(self.pointer(at).cast(), count) }
    }

    /// `count` 32-bit lanes at an address, to write.
    ///
    /// # Safety
    /// As [`Arena::bytes_mut`].
    #[allow(clippy::mut_from_ref, reason = "threads write disjoint parts of one arena, as the plan arranges")]
    pub(crate) unsafe fn wide_mut(&self, at: At, count: usize) -> &mut [u32] {
        // SAFETY: the caller's duty; addresses are multiples of 16 in mappings that start at a page.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(at).cast(), count) }
    }
}

/// The mailboxes of a job: one for each send of each chip.
pub(crate) struct Mail {
    /// Held for its bytes, which `first` points to.
    _map: MmapMut,
    first: *mut u8,
    /// By chip, and after the last: mailboxes before its own.
    before: Vec<usize>,
    lanes: usize,
}

// SAFETY: the mapping lives as long as the mailboxes and does not move; the steps of a run keep those that read a
// mailbox from the one that fills it.
unsafe impl Send for Mail {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mail {}

impl Mail {
    /// Mailboxes of vectors of so many bytes, by chip.
    pub(crate) fn new(sends: impl Iterator<Item = u32>, lanes: usize) -> Result<Self, ReplayError> {
        let mut before = vec![0];
        let mut all = 0;
        before.extend(sends.map(|sends| {
            all += sends as usize;
            all
        }));
        let mut map = anonymous(all as u64 * lanes as u64)?;
        Ok(Self { first: map.as_mut_ptr(), _map: map, before, lanes })
    }

    fn mailbox(&self, chip: usize, send: u32) -> *mut u8 {
        let number = self.before[chip] + send as usize;
        debug_assert!(number < self.before[chip + 1], "mailbox {send} of chip {chip}");
        self.first.wrapping_add(number * self.lanes)
    }

    /// What a mailbox of a chip holds.
    ///
    /// # Safety
    /// The chip has such a send, and nothing fills the mailbox while the slice lives.
    pub(crate) unsafe fn read(&self, chip: usize, send: u32) -> &[u8] {
        // SAFETY: the caller's duty.
        unsafe { std::slice::from_raw_parts(self.mailbox(chip, send), self.lanes) }
    }

    /// A mailbox of a chip, to fill.
    ///
    /// # Safety
    /// The chip has such a send, and nothing else touches the mailbox while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "threads fill distinct mailboxes, as the plan arranges")]
    pub(crate) unsafe fn fill(&self, chip: usize, send: u32) -> &mut [u8] {
        // SAFETY: the caller's duty.
        unsafe { std::slice::from_raw_parts_mut(self.mailbox(chip, send), self.lanes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_in_every_range_over_its_page() {
        let pages = 200;
        let arena = Arena::new(None, &Places::bytes((pages * PAGE) as u64, 320)).unwrap();
        for page in [0, 1, 63, 64, 65, 127, 130, pages - 1] {
            arena.laid_down();
            arena.note_written(At::from_bytes((page * PAGE + PAGE / 2) as u64));
            for first in 0..pages {
                for last in
                    [first, first + 1, first + 2, first + 70, first + 140].into_iter().filter(|&last| last < pages)
                {
                    let unchanged = arena.unchanged(At::from_bytes((first * PAGE) as u64), (last - first + 1) * PAGE);
                    assert_eq!(unchanged, !(first..=last).contains(&page), "page {page} in {first} to {last}");
                }
            }
        }
    }
}
