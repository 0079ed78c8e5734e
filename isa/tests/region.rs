//! Elements of regions come back from the words that they were written to; what does not fit is refused by its rule.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lpu_isa::{ChipId, Format, Program, Region, RegionError, RegionKind, SliceId, Sram, WordRun, region};
use proptest::prelude::*;

/// Two chips of slices `e0` and `w0`, with some words each.
struct Memory {
    lanes: usize,
    words: u32,
    held: BTreeMap<(ChipId, SliceId, u32), Vec<u8>>,
}

impl Memory {
    fn new(lanes: usize, words: u32) -> Self {
        Self { lanes, words, held: BTreeMap::new() }
    }
}

impl Sram for Memory {
    fn lanes(&self) -> usize {
        self.lanes
    }

    fn has_word(&self, chip: ChipId, slice: SliceId, word: u32) -> bool {
        chip.0 < 2 && slice.index == 0 && word < self.words
    }

    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'_, [u8]>> {
        let bytes = self.held.get(&(chip, slice, word)).map(|bytes| Cow::Borrowed(&**bytes));
        self.has_word(chip, slice, word).then(|| bytes.unwrap_or_else(|| vec![0; self.lanes].into()))
    }

    fn word_mut(&mut self, chip: ChipId, slice: SliceId, word: u32) -> Option<&mut [u8]> {
        let lanes = self.lanes;
        let has = self.has_word(chip, slice, word);
        has.then(|| &mut **self.held.entry((chip, slice, word)).or_insert_with(|| vec![0; lanes]))
    }
}

fn program(kind: RegionKind, format: Format, (vectors, lanes): (u32, u32), runs: &[&str]) -> Program {
    let runs = runs.iter().map(|run| run.parse().unwrap()).collect();
    let region = Region { name: "a".into(), kind, format, vectors, lanes, runs };
    Program { name: "p".into(), regions: vec![region], ..Program::default() }
}

#[test]
fn each_rule_has_its_error() {
    let input = |shape, runs: &[&str]| program(RegionKind::Input, Format::F16, shape, runs);
    let cases = [
        (input((1, 4), &["e0:0x2"]), "b", 8, "the program has no input `b`; it has a; name one of these"),
        (
            program(RegionKind::State, Format::F16, (1, 4), &["e0:0x2"]),
            "a",
            8,
            "the program has no input `a`; it has none",
        ),
        (
            input((2, 4), &["e0:0x2", "w0:0"]),
            "a",
            16,
            "region `a` needs 4 words, its runs hold 3; make its runs match its shape",
        ),
        (
            input((1, 9), &["e0:0x2"]),
            "a",
            18,
            "region `a` has 9 lanes, a vector of this chip 8; use the chip that the program names",
        ),
        (
            input((1, 4), &["w0:3x2"]),
            "a",
            8,
            "region `a` is at word 4 of slice w0, outside the chip; use the chip that the program names",
        ),
        (
            input((1, 4), &["e0:0x2"]),
            "a",
            7,
            "region `a` takes 8 bytes, found 7; give every element of its [vectors, lanes]",
        ),
    ];
    for (program, name, bytes, expected) in cases {
        let mut memory = Memory::new(8, 4);
        let found = region::write_input(&mut memory, &program, name, &vec![1; bytes]).unwrap_err();
        assert_eq!(found.to_string(), expected);
        assert!(memory.held.is_empty(), "a refused write changes nothing");
    }
    let mut memory = Memory::new(8, 4);
    let place = |text: &str| text.parse::<WordRun>().unwrap();
    for (at, bytes, expected) in [
        ("e1:0", 8, "a word is at word 0 of slice e1, outside the chip; use the chip that the program names"),
        ("e0:4", 8, "a word is at word 4 of slice e0, outside the chip; use the chip that the program names"),
        ("e0:3", 7, "word 3 of slice e0 takes 8 bytes, found 7; give one byte a lane"),
    ] {
        let WordRun { chip, slice, word, .. } = place(at);
        let found = region::write_word(&mut memory, chip, slice, word, &vec![1; bytes]).unwrap_err();
        assert_eq!(found.to_string(), expected);
        if bytes == 8 {
            assert_eq!(region::read_word(&memory, chip, slice, word).unwrap_err(), found);
        }
    }
    let away = program(RegionKind::Output, Format::I8, (1, 8), &["2/e0:0"]);
    assert!(matches!(region::read_region(&memory, &away, "a"), Err(RegionError::OutsideSram { word: 0, .. })));
}

#[test]
fn an_element_has_its_bytes_in_as_many_words() {
    let mut memory = Memory::new(4, 4);
    memory.word_mut(ChipId(1), "w0:2".parse::<WordRun>().unwrap().slice, 2).unwrap().fill(9);
    let program = program(RegionKind::Input, Format::F16, (2, 3), &["e0:1x2", "1/w0:2x2"]);
    region::write_input(&mut memory, &program, "a", b"aAbBcCdDeEfF").unwrap();
    let words: Vec<_> = memory
        .held
        .iter()
        .map(|(&(chip, slice, word), bytes)| (WordRun::one(chip, slice, word).to_string(), &**bytes))
        .collect();
    let expected = [("e0:1", b"abc\0"), ("e0:2", b"ABC\0"), ("1/w0:2", b"def\0"), ("1/w0:3", b"DEF\0")];
    assert_eq!(words, expected.map(|(place, bytes)| (place.to_owned(), &bytes[..])));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        vectors in 1..5u32,
        lanes in 1..9u32,
        format in prop::sample::select(Format::ALL.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 4 * 8 * 4),
        at in 0..3u32,
    ) {
        let words = vectors * u32::from(format.bytes());
        let (first, rest) = (words.div_ceil(2), words / 2);
        let mut runs = vec![format!("e0:{at}x{first}")];
        runs.extend((rest > 0).then(|| format!("1/w0:{at}x{rest}")));
        let runs: Vec<&str> = runs.iter().map(|run| &**run).collect();
        let program = program(RegionKind::Input, format, (vectors, lanes), &runs);
        let mut memory = Memory::new(8, 16);
        let bytes = &bytes[..(words * lanes) as usize];
        region::write_input(&mut memory, &program, "a", bytes).unwrap();
        prop_assert_eq!(region::read_region(&memory, &program, "a").unwrap(), bytes);
        for word in memory.held.values() {
            prop_assert!(word[lanes as usize..].iter().all(|&byte| byte == 0));
        }
    }
}
