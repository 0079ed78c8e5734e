//! The size of a compiled model: about a million items and an image of 210 MB, within seconds.

mod generate;

use std::borrow::Cow;
use std::time::Instant;

use generate::{Random, any_instruction};
use lpu_isa::timeline::{Clock, validate_item};
use lpu_isa::{
    ChipRef, Container, Extent, Fill, Format, Image, Item, Program, Queue, Region, RegionKind, assemble, disassemble,
};

fn model() -> Container<'static> {
    let mut random = Random(5);
    let mut queues = std::collections::BTreeMap::new();
    for index in 0..88 {
        let queue: Queue = format!("mem.e{index}").parse().unwrap();
        let pool: Vec<Item> = (0..4000)
            .map(|_| Item::from(any_instruction(&mut random)))
            .filter(|item| {
                item.instruction.row().unit == queue.unit()
                    && validate_item(queue, None, Clock::default(), item).is_ok()
            })
            .collect();
        queues.insert(queue, (0..12_000).map(|index| pool[index % pool.len()]).collect());
    }
    let mut extents = Vec::new();
    for slice in (0..44).rev() {
        let place = format!("e{slice}:0x10650").parse().unwrap();
        let bytes = |width: usize| Cow::Owned(vec![slice as u8; width * 10650 * (320 - slice)]);
        let fill = if slice < 22 {
            Fill::Bytes(bytes(1))
        } else {
            Fill::Pairs(bytes(2), format!("w{slice}:7x10650").parse().unwrap())
        };
        extents.push(Extent { place, fill });
    }
    let runs = (0..5000).map(|index| format!("e{}:{}", index % 44, index / 44).parse().unwrap()).collect();
    let regions =
        vec![Region { name: "w".into(), kind: RegionKind::Const, format: Format::I8, vectors: 5000, lanes: 320, runs }];
    Container {
        chip: ChipRef { name: "tsp-v1".into(), fingerprint: [3; 32] },
        image: Image { vector_bytes: 320, extents },
        programs: vec![
            Program { name: "256".into(), cycles: 9, regions, ..Program::default() }.with_queues(vec![queues]),
        ],
        host: Cow::Borrowed(&[]),
    }
}

#[test]
fn a_model_goes_through_all_forms_in_seconds() {
    let container = model();
    let start = Instant::now();
    let mut marks = Vec::new();
    let bytes = container.to_bytes().unwrap();
    marks.push(("encode", start.elapsed()));
    let parsed = Container::parse(&bytes).unwrap();
    marks.push(("parse", start.elapsed()));
    let (text, side) = disassemble(&parsed, Some("image.bin"));
    marks.push(("disassemble", start.elapsed()));
    let side = side.unwrap();
    let (again, _) = assemble(&text, &mut |_| Ok(Cow::Borrowed(&side[..])), &mut |_| None).unwrap();
    marks.push(("assemble", start.elapsed()));
    assert!(again == container && parsed == container);
    println!("{} lines, {} bytes, image {} bytes: {marks:?}", text.lines().count(), bytes.len(), side.len());
    assert!(start.elapsed().as_secs() < 60, "{marks:?}");
}

/// Extents of single words and of pairs of them, spread over slices in no order: nothing that looks at them takes time
/// that grows with their square.
#[test]
fn many_extents_in_any_order_take_seconds() {
    let mut random = Random(6);
    let mut container = model();
    container.programs[0].sets[0].clear();
    let place = |side: char, number: usize| format!("{side}{}:{}", number % 44, number / 44).parse().unwrap();
    let extent = |number: usize| {
        let bytes =
            |width: usize| Cow::Owned((0..width * (1 + number % 3)).map(|byte| (number + byte) as u8).collect());
        let fill =
            if number.is_multiple_of(4) { Fill::Pairs(bytes(2), place('w', number)) } else { Fill::Bytes(bytes(1)) };
        Extent { place: place('e', number), fill }
    };
    container.image.extents = (0..400_000).map(extent).collect();
    for last in (1..container.image.extents.len()).rev() {
        container.image.extents.swap(last, random.below(last as u64 + 1) as usize);
    }
    let start = Instant::now();
    let bytes = container.to_bytes().unwrap();
    let parsed = Container::parse(&bytes).unwrap();
    assert!(parsed == container);
    let (text, side) = disassemble(&parsed, Some("image.bin"));
    let side = side.unwrap();
    let (again, _) = assemble(&text, &mut |_| Ok(Cow::Borrowed(&side[..])), &mut |_| None).unwrap();
    assert!(again == container);
    let words = container.image.by_place();
    assert_eq!(container.image.words(), 500_000);
    let mut given = container.image.extents.iter().flat_map(Extent::words);
    assert!(given.all(|(chip, slice, word, bytes)| words.word(chip, slice, word) == Some(bytes)));
    println!("{} bytes, {} lines in {:?}", bytes.len(), text.lines().count(), start.elapsed());
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
