//! The image that SRAM starts from: extents of initialised words, in any order.

use std::borrow::Cow;

use crate::program::{ChipId, SliceId, WordRun};

/// Content of an extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fill<'a> {
    /// All zero.
    Zero,
    /// The first bytes of each word, word after word, as many of one word as of the other: 1 to `vector_bytes`. The bytes behind them are zero.
    Bytes(Cow<'a, [u8]>),
}

/// Initialised words of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent<'a> {
    /// The words; the stride is 1.
    pub place: WordRun,
    /// What they hold.
    pub fill: Fill<'a>,
}

impl Extent<'_> {
    /// Bytes of each word that the fill has; those behind them are zero.
    #[must_use]
    pub fn live(&self) -> usize {
        match &self.fill {
            Fill::Zero => 0,
            Fill::Bytes(bytes) => bytes.len() / self.place.count.max(1) as usize,
        }
    }

    /// The first bytes of word `number` of the extent, [`Extent::live`] of them; none of a word that the extent does not have.
    #[must_use]
    pub fn word_bytes(&self, number: u32) -> &[u8] {
        let Fill::Bytes(bytes) = &self.fill else { return &[] };
        let live = self.live();
        let start = (number as usize).checked_mul(live);
        start.and_then(|start| bytes.get(start..)?.get(..live)).unwrap_or(&[])
    }

    /// Address and first bytes of each word.
    pub fn words(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.place.count).map(|number| (self.place.word.saturating_add(number), self.word_bytes(number)))
    }
}

/// What SRAM holds before the first run; words outside all extents are uninitialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image<'a> {
    /// Bytes of a word, which is the number of lanes.
    pub vector_bytes: u32,
    /// Extents in the order in which a file has their bytes, which may be any; none overlap.
    pub extents: Vec<Extent<'a>>,
}

impl Image<'_> {
    /// Number of initialised words.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.place.count)).sum()
    }

    /// The extents, to be searched for words.
    #[must_use]
    pub fn by_place(&self) -> ByPlace<'_> {
        let mut extents: Vec<&Extent<'_>> = self.extents.iter().collect();
        extents.sort_by_key(|extent| begin(extent.place));
        ByPlace { extents }
    }
}

/// The extents of an image in ascending order of place.
#[derive(Clone, Debug, Default)]
pub struct ByPlace<'i> {
    extents: Vec<&'i Extent<'i>>,
}

impl<'i> ByPlace<'i> {
    /// The first bytes of a word, behind which it is zero; nothing for a word that is not initialised.
    #[must_use]
    pub fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<&'i [u8]> {
        let begun = self.extents.partition_point(|extent| begin(extent.place) <= (chip, slice, word));
        let extent = self.extents[..begun].last().filter(|extent| (extent.place.chip, extent.place.slice) == (chip, slice))?;
        let number = word - extent.place.word;
        (number < extent.place.count).then(|| extent.word_bytes(number))
    }
}

/// What extents are ordered by.
pub(crate) const fn begin(place: WordRun) -> (ChipId, SliceId, u32) {
    (place.chip, place.slice, place.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(place: &str, bytes: &'static [u8]) -> Extent<'static> {
        let fill = if bytes.is_empty() { Fill::Zero } else { Fill::Bytes(Cow::Borrowed(bytes)) };
        Extent { place: place.parse().unwrap(), fill }
    }

    #[test]
    fn words_have_the_bytes_that_are_given() {
        let short = extent("e0:7x3", b"abcdef");
        assert_eq!(short.live(), 2);
        assert_eq!(short.words().collect::<Vec<_>>(), [(7, &b"ab"[..]), (8, b"cd"), (9, b"ef")]);
        assert_eq!(short.word_bytes(3), b"");
        let zero = extent("e0:7x2", b"");
        assert_eq!((zero.live(), zero.words().collect::<Vec<_>>()), (0, vec![(7, &[][..]), (8, &[])]));
        assert_eq!(extent("e0:7x0", b"abc").live(), 3, "of a place without words");
    }

    #[test]
    fn words_are_found_in_any_order_of_extents() {
        let extents =
            vec![extent("e1:4x2", b"abcd"), extent("1/e0:4", b"ef"), extent("e0:9", b""), extent("w0:4", b"g"), extent("e0:4x2", b"hi")];
        let image = Image { vector_bytes: 2, extents };
        let found = image.by_place();
        let word = |place: &str| {
            let WordRun { chip, slice, word, .. } = place.parse().unwrap();
            found.word(chip, slice, word)
        };
        let cases = [("e0:4", "h"), ("e0:5", "i"), ("e0:9", ""), ("e1:4", "ab"), ("e1:5", "cd"), ("w0:4", "g"), ("1/e0:4", "ef")];
        for (place, bytes) in cases {
            assert_eq!(word(place), Some(bytes.as_bytes()), "{place}");
        }
        for place in ["e0:3", "e0:6", "e0:8", "e0:10", "e1:3", "e1:6", "e2:4", "w0:3", "w0:5", "1/e0:3", "1/e0:5", "2/e0:4"] {
            assert_eq!(word(place), None, "{place}");
        }
    }
}
