//! Extents of pairs: both words get their bytes, and code in them is fetched as from others.

use std::borrow::Cow;

use lpu_chip::System;
use lpu_emulator::{Machine, MachineError, Run};
use lpu_isa::{Container, Extent, Fill, RegionError, WordRun, assemble};

fn system(name: &str) -> System {
    System::preset(name).unwrap()
}

fn read(system: &System, text: &str) -> Container<'static> {
    let named = format!(".chip {}\n{text}", system.name());
    let by_name = &mut |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    assemble(&named, &mut |_| Err("no files".into()), by_name).unwrap_or_else(|errors| panic!("{errors:?}\n{named}")).0
}

fn word(machine: &Machine, place: &str) -> Vec<u8> {
    let WordRun { chip, slice, word, .. } = place.parse().unwrap();
    machine.read_word(chip, slice, word).unwrap().into_owned()
}

/// A word of 64 bytes that begins with these.
fn begins(bytes: &[u8]) -> Vec<u8> {
    let mut word = bytes.to_vec();
    word.resize(64, 0);
    word
}

#[test]
fn both_words_get_their_bytes() {
    let system = system("test-pair");
    let text = ".data e0:4x2 1/w3:8x2 3\n.hex 01a102a203a3 04a405a506a6\n.data w1:0 w1:511 1\n.hex 0709\n.program p\n\
        .chips 2\n.queue mem.e0\nnop 1\n";
    let mut container = read(&system, text);
    let mut machine = Machine::of_system(&system, &container.image).unwrap();
    let short = [
        ("e0:4", &[1, 2, 3][..]),
        ("e0:5", &[4, 5, 6]),
        ("1/w3:8", &[0xa1, 0xa2, 0xa3]),
        ("1/w3:9", &[0xa4, 0xa5, 0xa6]),
        ("w1:0", &[7]),
        ("w1:511", &[9]),
    ];
    for (place, bytes) in short {
        assert_eq!(word(&machine, place), begins(bytes), "{place}");
    }
    let whole: Vec<u8> = (0..128).collect();
    container.image.extents[0] =
        Extent { place: "e0:4".parse().unwrap(), fill: Fill::Pairs(Cow::Owned(whole), "1/e2:0".parse().unwrap()) };
    machine.reset(&container.image).unwrap();
    assert_eq!(word(&machine, "e0:4"), (0..128).step_by(2).collect::<Vec<u8>>());
    assert_eq!(word(&machine, "1/e2:0"), (1..128).step_by(2).collect::<Vec<u8>>());
    assert_eq!(word(&machine, "1/w3:8"), begins(&[]), "the image before is gone");
}

#[test]
fn either_place_must_be_on_a_chip_of_the_system() {
    let (one, two) = (system("test-small"), system("test-pair"));
    for (place, other, fits) in
        [("e0:4", "1/w3:8", true), ("1/e0:4", "w3:8", true), ("2/e0:4", "w3:8", false), ("e0:4", "2/w3:8", false)]
    {
        let text = format!(".data {place} {other} 1\n.hex 0001\n.program p\n.chips 3\n.queue mem.e0\nnop 1\n");
        let image = read(&two, &text).image;
        let absent = |system: &System| {
            matches!(Machine::of_system(system, &image).map(|_| ()), Err(MachineError::ChipAbsent(_)))
        };
        assert_eq!((absent(&one), absent(&two)), (true, !fits), "{place} {other}");
    }
}

#[test]
fn either_place_must_lie_in_sram() {
    let system = system("test-small");
    for (place, other, slice, end) in
        [("e0:511x2", "e1:0x2", "e0", 512), ("e0:0x2", "e24:0x2", "e24", 1), ("e0:0x2", "w0:511x2", "w0", 512)]
    {
        let text = format!(".data {place} {other} 1\n.hex 00010203\n.program p\n.queue mem.e0\nnop 1\n");
        match Machine::of_system(&system, &read(&system, &text).image) {
            Err(MachineError::Region(RegionError::OutsideSram { slice: found, word, .. })) => {
                assert_eq!((found.to_string().as_str(), word), (slice, end))
            }
            Err(error) => panic!("{place} {other}: {error}"),
            Ok(_) => panic!("{place} {other} fits"),
        }
    }
}

#[test]
fn code_in_pairs_is_fetched() {
    let system = system("test-small");
    let mut container = read(
        &system,
        ".program p\n.cycles 26\n.code code i8 [2, 64] at e0:0, e1:0\n.queue mem.e0\nread 0, w2\n.queue mem.e1\n\
        read 0, w3\n.queue vxm.0\n@5 ifetch w2\n\
         .block code vxm.0\nadd mod, e0, #i40, #i2\nadd mod, e0, #i41, #i2\nadd mod, e0, #i42, #i2\nnop 3\n\
         add mod, e0, #i43, #i2\nadd mod, e0, #i44, #i2\n\
         add mod, e0, #i45, #i2\nadd mod, e0, #i46, #i2\n",
    );
    let run = |container: &Container<'_>| -> Run {
        let mut machine = Machine::of_system(&system, &container.image).unwrap();
        let prepared = machine.prepare(&container.programs[0]).unwrap();
        machine.run(&prepared, &mut ()).unwrap()
    };
    let plain = run(&container);
    assert_eq!(plain.fetched, 8);
    let [first, second] = &container.image.extents[..] else { panic!("{:?}", container.image.extents) };
    assert_ne!(second.fill, Fill::Zero, "both words hold code");
    let bytes = std::iter::zip(first.bytes(), second.bytes()).flat_map(|(&one, &other)| [one, other]).collect();
    container.image.extents = vec![Extent { place: first.place, fill: Fill::Pairs(bytes, second.place) }];
    assert_eq!(run(&container), plain);
}
