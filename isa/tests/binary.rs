//! Binary forms: round trips, one byte form a container, and no harm from damaged bytes.

mod generate;

use std::borrow::Cow;
use std::collections::BTreeSet;

use generate::{Random, any_instruction, container, items, queue};
use lpu_isa::{Container, ContentError, Extent, Fill, FormatError, Item, WordRun, decode_queue, encode_queue, expand};
use proptest::prelude::*;

/// The bytes with a checksum that fits them.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    bytes
}

/// A generated container that has extents of every kind.
fn with_all_fills() -> Container<'static> {
    let has = |container: &Container<'_>, fits: fn(&Fill<'_>) -> bool| {
        container.image.extents.iter().any(|extent| fits(&extent.fill))
    };
    let all = |container: &Container<'_>| {
        has(container, |fill| matches!(fill, Fill::Zero))
            && has(container, |fill| matches!(fill, Fill::Bytes(_)))
            && has(container, |fill| matches!(fill, Fill::Pairs(..)))
    };
    (0..100).map(|seed| container(seed, 6)).find(all).expect("some seed makes one")
}

/// The generator's pairs lie in one slice, in two, and on two chips, short and whole.
#[test]
fn pairs_of_every_sort_are_generated() {
    let mut found = BTreeSet::new();
    for container in (0..200).map(|seed| container(seed, 1)) {
        for extent in &container.image.extents {
            if let Some(other) = extent.other() {
                let place = extent.place;
                let whole = extent.live() == container.image.vector_bytes as usize;
                found.insert((place.chip == other.chip, place.slice == other.slice, place.word < other.word, whole));
            }
        }
    }
    assert_eq!(found.len(), 16, "{found:?}");
}

#[test]
fn every_row_round_trips_and_decodes_no_prefix() {
    let mut random = Random(1);
    for row in lpu_isa::TABLE {
        for _ in 0..50 {
            let item = Item { instruction: generate::instruction(&mut random, row), paired: random.chance(2) };
            let bytes = encode_queue(&[item]);
            assert_eq!(bytes.len(), row.bytes());
            assert_eq!(decode_queue(&bytes), Ok(vec![item]));
            for length in 1..bytes.len() {
                assert!(decode_queue(&bytes[..length]).is_err(), "{} cut to {length}", row.mnemonic);
            }
        }
    }
}

#[test]
fn a_million_items_round_trip() {
    let mut random = Random(2);
    let pool: Vec<Item> = (0..1000).map(|_| any_instruction(&mut random).into()).collect();
    let items: Vec<Item> = (0..1_000_000).map(|index| pool[index % pool.len()]).collect();
    assert_eq!(decode_queue(&encode_queue(&items)).as_deref(), Ok(&items[..]));
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    let bytes = with_all_fills().to_bytes().unwrap();
    for length in 0..bytes.len() {
        let error = Container::parse(&bytes[..length]).unwrap_err();
        assert!(matches!(error, FormatError::Length { .. } | FormatError::Magic), "{length}: {error}");
        if length >= 96 {
            let mut cut = bytes[..length].to_vec();
            cut[48..56].copy_from_slice(&(length as u64).to_le_bytes());
            Container::parse(&resealed(cut)).unwrap_err();
        }
    }
}

#[test]
fn counts_of_hostile_files_allocate_nothing() {
    let bytes = with_all_fills().to_bytes().unwrap();
    for at in 0..bytes.len() - 35 {
        let mut hostile = bytes.clone();
        hostile[at..at + 4].fill(0xff);
        let _ = Container::parse(&resealed(hostile));
    }
}

proptest! {
    #[test]
    fn queues_round_trip(seed: u64, size in 1u64..60) {
        let random = &mut Random(seed);
        let queue = queue(random);
        let items = items(random, queue, size);
        prop_assert_eq!(decode_queue(&encode_queue(&items)), Ok(items));
    }

    #[test]
    fn compressed_issues_expand_to_themselves(seed: u64, size in 1u64..12) {
        let random = &mut Random(seed);
        let queue = queue(random);
        let mut valid = items(random, queue, size);
        valid.retain(|item| !matches!(item.instruction.row().mnemonic, "ifetch" | "sync" | "deskew"));
        let issues: Vec<_> = expand(&valid).take(3000).map(|issue| (issue.cycle, issue.instruction)).collect();
        let again = lpu_isa::compress(&issues);
        lpu_isa::validate(queue, &again).unwrap();
        let expanded: Vec<_> = expand(&again).map(|issue| (issue.cycle, issue.instruction)).collect();
        prop_assert_eq!(expanded, issues);
    }

    #[test]
    fn containers_round_trip(seed: u64) {
        let original = container(seed, 12);
        let encoded = original.encode().unwrap();
        let bytes = encoded.to_vec();
        prop_assert_eq!(bytes.len() as u64, encoded.length());
        let (parsed, hash) = Container::parse_with_hash(&bytes).unwrap();
        prop_assert_eq!(hash, original.program_hash().unwrap());
        prop_assert_eq!(&parsed, &original);
        prop_assert_eq!(parsed.to_bytes().unwrap(), bytes);
    }

    /// Extents of one or two words anywhere among few, by themselves or in pairs: they have a binary form when no two
    /// places share a word, and an error names two that do.
    #[test]
    fn extents_share_no_word_in_any_order(
        places in prop::collection::vec((0u16..2, 0u32..12, 1u32..3, prop::option::of((0u16..2, 0u32..12))), 1..6),
    ) {
        let mut container = container(3, 1);
        let run = |slice, word, count| -> WordRun { format!("e{slice}:{word}x{count}").parse().unwrap() };
        let extent = |(slice, word, count, other): (u16, u32, u32, Option<(u16, u32)>)| {
            let pairs = |(slice, word)| Fill::Pairs(Cow::Owned(vec![1; 2 * count as usize]), run(slice, word, count));
            Extent { place: run(slice, word, count), fill: other.map_or(Fill::Zero, pairs) }
        };
        container.image.extents = places.into_iter().map(extent).collect();
        let places: Vec<WordRun> = container.image.extents.iter().flat_map(Extent::places).collect();
        let shared = |one: WordRun, other: WordRun| one.slice == other.slice && one.words()
            .any(|word| other.words().any(|found| found == word));
        let pairs = || (0..places.len()).flat_map(|later| (0..later).map(move |index| (index, later)));
        let wrong = pairs().any(|(index, later)| shared(places[index], places[later]));
        match container.validate() {
            Ok(()) => prop_assert!(!wrong),
            Err(ContentError::ExtentOverlap { before, place }) => {
                let named = pairs().any(|(index, later)| (places[index], places[later]) == (before, place));
                prop_assert!(named && shared(before, place), "{} {}", before, place);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn flipped_bits_are_errors(seed: u64, flips in prop::collection::vec(any::<(u32, u8)>(), 1..4)) {
        let bytes = container(seed, 4).to_bytes().unwrap();
        let mut damaged = bytes.clone();
        for (at, bit) in flips {
            let at = at as usize % damaged.len();
            damaged[at] ^= 1 << (bit % 8);
        }
        prop_assume!(damaged != bytes);
        prop_assert!(Container::parse(&damaged).is_err());
    }

    /// Bytes that carry a fitting checksum are refused or are the one form of what they say.
    #[test]
    fn hostile_bytes_are_refused_or_canonical(seed: u64, changes in prop::collection::vec(any::<(u32, u8)>(), 1..4)) {
        let mut hostile = container(seed, 4).to_bytes().unwrap();
        for (at, value) in changes {
            let at = at as usize % (hostile.len() - 32);
            hostile[at] = value;
        }
        let hostile = resealed(hostile);
        if let Ok(parsed) = Container::parse(&hostile) {
            prop_assert_eq!(parsed.to_bytes().unwrap(), hostile);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_queue(&bytes);
        let _ = Container::parse(&bytes);
    }
}
