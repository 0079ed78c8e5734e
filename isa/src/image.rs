//! The image that SRAM starts from: extents of initialised words, in any order.

use std::borrow::Cow;

use crate::place::{ChipId, SliceId, WordRun};

/// Content of an extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fill<'a> {
    /// All zero.
    Zero,
    /// The first bytes of each word, word after word, as many of one word as of the other: 1 to `vector_bytes`. The
    /// bytes after them are zero.
    Bytes(Cow<'a, [u8]>),
    /// The first bytes of these words and of as many others of one slice, byte by byte in turn, word after word. So a
    /// file holds fp16 numbers as numbers, though their low bytes are in one word and their high bytes in another.
    Pairs(Cow<'a, [u8]>, WordRun),
}

/// Initialised words of one slice, or of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent<'a> {
    /// The words; the stride is 1.
    pub place: WordRun,
    /// What they hold.
    pub fill: Fill<'a>,
}

impl<'a> Extent<'a> {
    /// The other words of [`Fill::Pairs`].
    #[must_use]
    pub const fn other(&self) -> Option<WordRun> {
        match self.fill {
            Fill::Pairs(_, other) => Some(other),
            Fill::Zero | Fill::Bytes(_) => None,
        }
    }

    /// All words: [`Extent::place`], and [`Extent::other`] if there is one.
    pub fn places(&self) -> impl Iterator<Item = WordRun> + use<> {
        std::iter::once(self.place).chain(self.other())
    }

    /// [`Extent::places`], each with whether it is the other one.
    fn sides(&self) -> impl Iterator<Item = (bool, WordRun)> + use<> {
        [false, true].into_iter().zip(self.places())
    }

    /// The bytes that the fill has.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.fill {
            Fill::Zero => &[],
            Fill::Bytes(bytes) | Fill::Pairs(bytes, _) => bytes,
        }
    }

    /// The same words with other bytes; those of zeros stay zero.
    #[must_use]
    pub fn with<'b>(&self, bytes: impl Into<Cow<'b, [u8]>>) -> Extent<'b> {
        let fill = match self.fill {
            Fill::Zero => Fill::Zero,
            Fill::Bytes(_) => Fill::Bytes(bytes.into()),
            Fill::Pairs(_, other) => Fill::Pairs(bytes.into(), other),
        };
        Extent { place: self.place, fill }
    }

    /// The same words of another chip.
    #[must_use]
    pub fn on_chip(mut self, chip: ChipId) -> Self {
        self.place.chip = chip;
        if let Fill::Pairs(_, other) = &mut self.fill {
            other.chip = chip;
        }
        self
    }

    /// The same extent with bytes of its own.
    #[must_use]
    pub fn into_owned(self) -> Extent<'static> {
        let place = self.place;
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        let fill = match self.fill {
            Fill::Zero => Fill::Zero,
            Fill::Bytes(bytes) => Fill::Bytes(own(bytes)),
            Fill::Pairs(bytes, other) => Fill::Pairs(own(bytes), other),
        };
        Extent { place, fill }
    }

    /// Bytes of each word that the fill has; those after them are zero.
    #[must_use]
    pub fn live(&self) -> usize {
        self.bytes().len() / (self.places().count() * self.place.count.max(1) as usize)
    }

    /// The first bytes of word `number` of the extent, or of its other words, [`Extent::live`] of them; none of a word
    /// that the extent does not have. Those of pairs are copied.
    #[must_use]
    pub fn word_bytes(&self, other: bool, number: u32) -> Cow<'_, [u8]> {
        let width = self.places().count();
        let each = width * self.live();
        let start = (number as usize).checked_mul(each);
        let bytes = start.and_then(|start| self.bytes().get(start..)?.get(..each)).unwrap_or(&[]);
        match (width, other) {
            (1, false) => bytes.into(),
            (1, true) => Cow::default(),
            _ => bytes.iter().skip(usize::from(other)).step_by(2).copied().collect(),
        }
    }

    /// Every word with its first bytes, those of [`Extent::place`] first.
    pub fn words(&self) -> impl Iterator<Item = (ChipId, SliceId, u32, Cow<'_, [u8]>)> {
        self.sides().flat_map(move |(other, WordRun { chip, slice, word, count, .. })| {
            (0..count).map(move |number| (chip, slice, word.saturating_add(number), self.word_bytes(other, number)))
        })
    }
}

/// What SRAM holds before the first run; words outside all extents are uninitialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image<'a> {
    /// Bytes of a word, which is the number of lanes.
    pub vector_bytes: u32,
    /// Extents in the order in which a file has their bytes, which may be any; no word is in two.
    pub extents: Vec<Extent<'a>>,
}

impl Image<'_> {
    /// Number of initialised words.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.extents.iter().flat_map(Extent::places).map(|place| u64::from(place.count)).sum()
    }

    /// The extents, to be searched for words.
    #[must_use]
    pub fn by_place(&self) -> ByPlace<'_> {
        let places =
            self.extents.iter().flat_map(|extent| extent.sides().map(move |(other, place)| (place, other, extent)));
        let mut places: Vec<_> = places.collect();
        places.sort_by_key(|&(place, ..)| begin(place));
        ByPlace { places }
    }
}

/// The places of an image in ascending order.
#[derive(Clone, Debug, Default)]
pub struct ByPlace<'i> {
    /// Each with its extent, and whether it is the extent's other place.
    places: Vec<(WordRun, bool, &'i Extent<'i>)>,
}

impl<'i> ByPlace<'i> {
    /// The first bytes of a word, after which it is zero; nothing for a word that is not initialised.
    #[must_use]
    pub fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'i, [u8]>> {
        let begun = self.places.partition_point(|&(place, ..)| begin(place) <= (chip, slice, word));
        let &(place, other, extent) =
            self.places[..begun].last().filter(|(place, ..)| (place.chip, place.slice) == (chip, slice))?;
        let number = word - place.word;
        (number < place.count).then(|| extent.word_bytes(other, number))
    }
}

/// What places are ordered by.
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

    fn pairs(place: &str, other: &str, bytes: &'static [u8]) -> Extent<'static> {
        Extent { place: place.parse().unwrap(), fill: Fill::Pairs(Cow::Borrowed(bytes), other.parse().unwrap()) }
    }

    /// Every word as it is written, and its bytes.
    fn words(extent: &Extent<'_>) -> Vec<(String, String)> {
        let text = |(chip, slice, word, bytes): (ChipId, SliceId, u32, Cow<'_, [u8]>)| {
            (WordRun::one(chip, slice, word).to_string(), String::from_utf8(bytes.into_owned()).unwrap())
        };
        extent.words().map(text).collect()
    }

    fn expected(words: &[(&str, &str)]) -> Vec<(String, String)> {
        words.iter().map(|&(place, bytes)| (place.to_owned(), bytes.to_owned())).collect()
    }

    #[test]
    fn words_have_the_bytes_that_are_given() {
        let short = extent("e0:7x3", b"abcdef");
        assert_eq!(short.live(), 2);
        assert_eq!(words(&short), expected(&[("e0:7", "ab"), ("e0:8", "cd"), ("e0:9", "ef")]));
        assert_eq!((&*short.word_bytes(false, 3), &*short.word_bytes(true, 0)), (&b""[..], &b""[..]));
        assert!(matches!(short.word_bytes(false, 1), Cow::Borrowed(b"cd")));
        let zero = extent("e0:7x2", b"");
        assert_eq!((zero.live(), zero.bytes(), words(&zero)), (0, &b""[..], expected(&[("e0:7", ""), ("e0:8", "")])));
        assert_eq!(extent("e0:7x0", b"abc").live(), 3, "of a place without words");
    }

    #[test]
    fn words_of_pairs_have_every_second_byte() {
        let pair = pairs("e0:7x2", "1/w3:9x2", b"aAbBcCdDeEfF");
        assert_eq!((pair.live(), pair.bytes().len()), (3, 12));
        assert_eq!(pair.places().map(|place| place.to_string()).collect::<Vec<_>>(), ["e0:7x2", "1/w3:9x2"]);
        assert_eq!(words(&pair), expected(&[("e0:7", "abc"), ("e0:8", "def"), ("1/w3:9", "ABC"), ("1/w3:10", "DEF")]));
        assert_eq!((&*pair.word_bytes(false, 2), &*pair.word_bytes(true, u32::MAX)), (&b""[..], &b""[..]));
        assert_eq!(words(&pairs("e0:7", "e0:3", b"aA")), expected(&[("e0:7", "a"), ("e0:3", "A")]), "of one slice");
        let image = Image { vector_bytes: 4, extents: vec![pair, extent("w0:1x3", b"")] };
        assert_eq!(image.words(), 7);
    }

    /// What no file holds: places without words or of different lengths, and bytes that words do not share equally.
    #[test]
    fn pairs_that_contradict_themselves_are_no_harm() {
        assert_eq!(
            words(&pairs("e0:7x3", "e1:7", b"aAbBcC")),
            expected(&[("e0:7", "a"), ("e0:8", "b"), ("e0:9", "c"), ("e1:7", "A")])
        );
        assert_eq!(words(&pairs("e0:7", "e1:7x2", b"aAbB")), expected(&[("e0:7", "ab"), ("e1:7", "AB"), ("e1:8", "")]));
        assert_eq!(words(&pairs("e0:7x0", "e1:7x0", b"aA")), []);
        for (bytes, live) in [(&b""[..], 0), (b"a", 0), (b"aAb", 1), (b"aAbBc", 2)] {
            let pair = pairs("e0:7", "e1:7", bytes);
            assert_eq!(
                (pair.live(), pair.words().map(|(.., bytes)| bytes.len()).collect::<Vec<_>>()),
                (live, vec![live; 2])
            );
        }
        let most = pairs("e0:7x4294967295", "e1:7x4294967295", b"aA");
        assert_eq!((most.live(), &*most.word_bytes(true, u32::MAX)), (0, &b""[..]));
    }

    #[test]
    fn words_are_found_in_any_order_of_extents() {
        let extents = vec![
            extent("e1:4x2", b"abcd"),
            extent("1/e0:4", b"ef"),
            extent("e0:9", b""),
            pairs("w1:7x2", "e0:12x2", b"jJkK"),
            extent("w0:4", b"g"),
            extent("e0:4x2", b"hi"),
        ];
        let image = Image { vector_bytes: 2, extents };
        let found = image.by_place();
        let word = |place: &str| {
            let WordRun { chip, slice, word, .. } = place.parse().unwrap();
            found.word(chip, slice, word)
        };
        let cases = [
            ("e0:4", "h"),
            ("e0:5", "i"),
            ("e0:9", ""),
            ("e1:4", "ab"),
            ("e1:5", "cd"),
            ("w0:4", "g"),
            ("1/e0:4", "ef"),
        ];
        let paired = [("w1:7", "j"), ("w1:8", "k"), ("e0:12", "J"), ("e0:13", "K")];
        for (place, bytes) in cases.into_iter().chain(paired) {
            assert_eq!(word(place).as_deref(), Some(bytes.as_bytes()), "{place}");
        }
        let none =
            ["e0:3", "e0:6", "e0:8", "e0:10", "e1:3", "e1:6", "e2:4", "w0:3", "w0:5", "1/e0:3", "1/e0:5", "2/e0:4"];
        for place in none.into_iter().chain(["w1:6", "w1:9", "e0:11", "e0:14", "1/w1:7"]) {
            assert_eq!(word(place), None, "{place}");
        }
    }
}
