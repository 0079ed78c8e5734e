//! The binary form put together by hand from `docs/program-format.md`: bytes and the places that errors name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use lpu_isa::{
    ChipId, ChipProgram, ChipRef, Container, ContentError, Extent, Fill, Format, FormatError, Hemisphere, Image,
    Instruction, Program, Queue, Region, RegionKind, SliceId, Stream, Word, WordRun, encode_queue,
};

const LANES: u32 = 4;

fn run(side: Hemisphere, slice: u16, word: u32, count: u32) -> WordRun {
    WordRun { chip: ChipId(0), slice: SliceId { side, index: slice }, word, count, stride: 1 }
}

fn container() -> Container<'static> {
    let extent = |place, fill| Extent { place, fill };
    let bytes = |bytes: &'static [u8]| Fill::Bytes(Cow::Borrowed(bytes));
    let extents = vec![
        extent(run(Hemisphere::West, 3, 1, 1), bytes(b"IJKL")),
        extent(run(Hemisphere::East, 0, 7, 1), Fill::Zero),
        extent(run(Hemisphere::East, 0, 5, 2), bytes(b"ABCDEF")),
        extent(
            run(Hemisphere::East, 1, 2, 2),
            Fill::Pairs(Cow::Borrowed(b"aAbBcCdDeEfF"), run(Hemisphere::West, 3, 8, 2)),
        ),
    ];
    let region = Region {
        name: "x".into(),
        kind: RegionKind::State,
        format: Format::F16,
        vectors: 1,
        lanes: 3,
        runs: vec![WordRun { stride: 4, ..run(Hemisphere::West, 2, 8, 2) }],
    };
    let read = Instruction::Read { word: Word(5), dst: Stream::east(0) };
    let receive = Instruction::Receive { dst: Stream::east(1) };
    let queues =
        BTreeMap::from([(Queue::Mem(Hemisphere::East, 0), vec![read.into()]), (Queue::C2c(3), vec![receive.into()])]);
    let program = Program {
        name: "pq".into(),
        cycles: 9,
        interval: NonZeroU64::new(7),
        regions: vec![region],
        ..Program::default()
    };
    let mut program = program.with_queues(vec![queues]);
    program.chips.push(ChipProgram { set: 0, links: BTreeMap::from([(3, 5)]), start: 300 });
    Container {
        chip: ChipRef { name: "c".into(), fingerprint: [7; 32] },
        image: Image { vector_bytes: LANES, extents },
        programs: vec![program],
        host: Cow::Borrowed(b"host"),
    }
}

/// Where each extent begins, and where the last ends: one of bytes, one of zeros, one of bytes, one of pairs.
const EXTENTS: [usize; 5] = {
    let first = 64 + 3 + 8 + 4;
    [first, first + 18, first + 18 + 14, first + 18 + 14 + 18, first + 18 + 14 + 18 + 31]
};

fn by_hand() -> Vec<u8> {
    let items = encode_queue(&container().programs[0].sets[0][&Queue::Mem(Hemisphere::East, 0)]);
    let place = |side: u8, slice: u8, word: u8, count: u8| vec![0, 0, side, slice, 0, word, 0, 0, 0, count, 0, 0, 0];
    let mut tables: Vec<Vec<u8>> = vec![vec![1, 0, b'c'], vec![4, 0, 0, 0, 0, 0, 0, 0], vec![4, 0, 0, 0]];
    tables.extend([vec![1], place(1, 3, 1, 1), vec![4, 0, 0, 0]]);
    tables.extend([vec![0], place(0, 0, 7, 1)]);
    tables.extend([vec![1], place(0, 0, 5, 2), vec![3, 0, 0, 0]]);
    tables.extend([vec![2], place(0, 1, 2, 2), place(1, 3, 8, 2), vec![3, 0, 0, 0]]);
    tables.extend([
        vec![1, 0, 0, 0],
        vec![2, 0, b'p', b'q'],
        vec![9, 0, 0, 0, 0, 0, 0, 0],
        vec![7, 0, 0, 0, 0, 0, 0, 0],
    ]);
    // A region: state, f16, one vector of three lanes, one run of two words four apart.
    let format = Format::ALL.iter().position(|each| *each == Format::F16).unwrap() as u8;
    tables.extend([
        vec![1, 0, 0, 0],
        vec![1, 0, b'x'],
        vec![4, format],
        vec![1, 0, 0, 0],
        vec![3, 0, 0, 0],
        vec![1, 0, 0, 0],
    ]);
    tables.extend([place(1, 2, 8, 2), vec![4, 0, 0, 0]]);
    // One set with two queues: MEM, east, 0, no port; C2C, no side, 3, no port.
    tables.extend([vec![1, 0], vec![2, 0, 0, 0], vec![0, 0, 0, 0, 0]]);
    tables.extend([(items.len() as u64).to_le_bytes().to_vec(), items]);
    let items = encode_queue(&container().programs[0].sets[0][&Queue::C2c(3)]);
    tables.extend([vec![4, 0, 3, 0, 0], (items.len() as u64).to_le_bytes().to_vec(), items]);
    // Two chips: of set 0, from cycle 0; of set 0, from cycle 300, link 3 of the set is link 5.
    tables.extend([vec![2, 0], vec![0, 0], vec![0; 8], vec![0, 0]]);
    tables.extend([vec![0, 0], vec![44, 1, 0, 0, 0, 0, 0, 0], vec![1, 0, 3, 0, 5, 0]]);
    let tables = tables.concat();

    let mut file = vec![0x89, b'L', b'P', b'B', 0x0d, 0x0a, 0x1a, 0x0a, 5, 0, 0, 0, 4, 0, 0, 0];
    file.extend([7; 32]);
    let length_at = file.len();
    file.extend([0; 8]);
    file.extend((tables.len() as u64).to_le_bytes());
    file.extend(tables);
    for data in [&b"IJKL"[..], b"ABCDEF", b"aAbBcCdDeEfF", b"host"] {
        file.resize(file.len().next_multiple_of(64), 0);
        file.extend(data);
    }
    let length = file.len() as u64 + 32;
    file[length_at..][..8].copy_from_slice(&length.to_le_bytes());
    sealed(file)
}

fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&content);
    content.extend(hash.as_bytes());
    content
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let (container, bytes) = (container(), by_hand());
    assert_eq!(container.to_bytes().unwrap(), bytes);
    assert_eq!(Container::parse(&bytes).unwrap(), container);
    let encoded = container.encode().unwrap();
    assert_eq!(encoded.chunks().concat(), bytes);
    let mut written = Vec::new();
    encoded.write_to(&mut written).unwrap();
    assert_eq!((written.len() as u64, written), (encoded.length(), bytes));
}

/// A byte changed, and where the error must say that it is.
#[test]
fn errors_name_the_place() {
    let bytes = by_hand();
    let [bytes_at, zero_at, short_at, pairs_at, programs] = EXTENTS;
    let region = programs + 4 + 4 + 8 + 8 + 4;
    let end = 64 + usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    let chips = end - (2 + 12 + 16);
    let cases = [
        (12, 0, "lanes", 12),
        (64, 0, "an empty name of the chip", 64),
        (bytes_at - 4, 200, "extents that the rest cannot hold", bytes_at - 4),
        (zero_at + 6, 6, "the third extent overlaps the second", short_at),
        (short_at + 6, 7, "both begin with the same word", short_at),
        (short_at + 10, 0, "the third extent has no words", short_at),
        (bytes_at, 3, "a kind of extent", bytes_at),
        (bytes_at + 3, 2, "a side", bytes_at + 3),
        (bytes_at + 14, 0, "bytes, but none of a word", bytes_at + 14),
        (bytes_at + 14, 5, "more bytes than a word has", bytes_at + 14),
        (short_at + 17, 1, "far more bytes than a word has", short_at + 14),
        (bytes_at + 14, 3, "a byte that no extent has", end.next_multiple_of(64) + 3),
        (pairs_at + 16, 2, "a side of the other words", pairs_at + 16),
        (pairs_at + 14, 2, "other words on a chip that there is not", pairs_at),
        (pairs_at + 23, 1, "fewer other words", pairs_at),
        (pairs_at + 10, 1, "more other words", pairs_at),
        (pairs_at + 27, 0, "pairs, but no bytes of a word", pairs_at + 27),
        (pairs_at + 27, 5, "pairs of more bytes than a word has", pairs_at + 27),
        (pairs_at + 19, 1, "the other words overlap the first extent", pairs_at),
        (bytes_at + 6, 9, "the first extent overlaps the other words", pairs_at),
        (programs, 0, "no program", programs),
        (region + 3, 9, "a kind", region + 3),
        (region + 4, 9, "a format", region + 4),
        (end, 1, "padding before the first data", end),
        (chips, 3, "more chips than there are bytes for", end),
        (chips + 2, 1, "a set that there is not", chips),
        (chips + 12, 1, "a link more than there are bytes for", end),
        (chips + 14, 1, "a second chip of a set that there is not", chips),
        (chips + 22, 255, "a start beyond all cycles", chips),
        (chips + 26, 4, "a link that the set does not have", chips),
        (chips + 28, 3, "a link renamed to itself", chips),
    ];
    for (at, value, what, expected) in cases {
        let mut content = bytes[..bytes.len() - 32].to_vec();
        content[at] = value;
        let error = Container::parse(&sealed(content)).expect_err(what);
        let offset = match &error {
            FormatError::Content { offset, .. }
            | FormatError::Truncated { offset, .. }
            | FormatError::BadCode { offset, .. }
            | FormatError::Padding { offset } => *offset,
            other => panic!("{what}: {other}"),
        };
        assert_eq!(offset, expected as u64, "{what}: {error}");
    }
}

/// Every byte of the extents' records with every value: the file is refused, or it is the one form of what it then
/// says.
#[test]
fn every_value_in_a_record_of_an_extent_is_refused_or_canonical() {
    let bytes = by_hand();
    let (mut accepted, mut paired) = (0, 0);
    for at in EXTENTS[0]..EXTENTS[4] {
        for value in 0..=255 {
            let mut content = bytes[..bytes.len() - 32].to_vec();
            content[at] = value;
            let changed = sealed(content);
            if let Ok(container) = Container::parse(&changed) {
                assert_eq!(container.to_bytes().unwrap(), changed, "byte {at} is {value}");
                accepted += 1;
                paired += usize::from(container.image.extents.iter().any(|extent| extent.other().is_some()));
            }
        }
    }
    // A kind of one byte is the only way from the pairs to something else, and that leaves bytes over.
    assert!(accepted > 1000 && paired == accepted, "{accepted}, of which {paired} with pairs");
}

#[test]
fn a_file_of_another_version_says_what_to_do() {
    for version in [1, 2, 3, 4, 6] {
        let mut bytes = by_hand();
        bytes[8] = version;
        let error = Container::parse(&bytes).unwrap_err();
        assert_eq!(error, FormatError::Version { found: version.into(), supported: 5 });
        assert!(error.to_string().ends_with("; compile or assemble it again with this program"), "{error}");
    }
}

#[test]
fn extents_that_contradict_themselves_have_no_binary_form() {
    let with = |change: &dyn Fn(&mut Vec<Extent<'static>>)| {
        let mut container = container();
        change(&mut container.image.extents);
        assert_eq!(container.to_bytes().err(), container.validate().err());
        container.validate()
    };
    let east = run(Hemisphere::East, 0, 5, 2);
    for length in [0, 1, 3, 5, 7, 9, 10, 16] {
        let found = with(&|extents| extents[2].fill = Fill::Bytes(Cow::Owned(vec![1; length])));
        assert_eq!(
            found,
            Err(ContentError::ExtentBytes { place: east, found: length as u64, words: 2, limit: LANES }),
            "{length} bytes"
        );
    }
    for length in [2, 4, 6, 8] {
        assert_eq!(
            with(&|extents| extents[2].fill = Fill::Bytes(Cow::Owned(vec![1; length]))),
            Ok(()),
            "{length} bytes"
        );
    }
    let strided = WordRun { stride: 2, ..east };
    assert_eq!(with(&|extents| extents[2].place = strided), Err(ContentError::StridedExtent { place: strided }));
    let (place, other) = (run(Hemisphere::East, 1, 2, 2), run(Hemisphere::West, 3, 8, 2));
    let paired =
        |length: usize, other| with(&|extents| extents[3].fill = Fill::Pairs(Cow::Owned(vec![1; length]), other));
    for length in [0, 1, 2, 3, 5, 6, 7, 9, 10, 14, 18, 20, 32] {
        assert_eq!(
            paired(length, other),
            Err(ContentError::ExtentBytes { place, found: length as u64, words: 4, limit: LANES }),
            "{length}"
        );
    }
    for length in [4, 8, 12, 16] {
        assert_eq!(paired(length, other), Ok(()), "{length} bytes of pairs");
    }
    for count in [1, 3] {
        let other = WordRun { count, ..other };
        assert_eq!(paired(12, other), Err(ContentError::UnequalPair { place, other }));
    }
    let strided = WordRun { stride: 2, ..other };
    assert_eq!(paired(12, strided), Err(ContentError::StridedExtent { place: strided }));
    let elsewhere = WordRun { chip: ChipId(2), ..other };
    assert_eq!(paired(12, elsewhere), Err(ContentError::NoSuchChip { place: elsewhere, chips: 2 }));
    let own = run(Hemisphere::East, 1, 3, 2);
    assert_eq!(paired(12, own), Err(ContentError::ExtentOverlap { before: place, place: own }));
    assert_eq!(paired(12, run(Hemisphere::East, 1, 4, 2)), Ok(()), "right behind");
    assert_eq!(paired(12, run(Hemisphere::East, 0, 3, 2)), Ok(()), "right before another");
    let meeting = run(Hemisphere::East, 0, 4, 2);
    assert_eq!(paired(12, meeting), Err(ContentError::ExtentOverlap { before: east, place: meeting }));
    // Which of the two is named as the other's follows the file, not the words.
    let long = run(Hemisphere::East, 0, 4, 9);
    let longer = |index: usize| {
        move |extents: &mut Vec<Extent<'static>>| extents.insert(index, Extent { place: long, fill: Fill::Zero })
    };
    assert_eq!(with(&longer(0)), Err(ContentError::ExtentOverlap { before: long, place: east }));
    assert_eq!(with(&longer(3)), Err(ContentError::ExtentOverlap { before: east, place: long }));
}
