//! Extents of pairs: both places are initialised, and code in them is known as from others.

use lpu_checker::{CheckError, Report, check_system};
use lpu_chip::System;
use lpu_isa::{Container, Extent, Fill, RegionError, Rule, assemble};

fn read(system: &System, text: &str) -> Container<'static> {
    let named = format!(".chip {}\n{text}", system.name());
    let by_name = &mut |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    assemble(&named, &mut |_| Err("no files".into()), by_name).unwrap_or_else(|errors| panic!("{errors:?}\n{named}")).0
}

fn check(system: &System, container: &mut Container<'_>) -> Result<Report, CheckError> {
    container.programs[0].cycles = lpu_checker::cycles(system, &container.image, &container.programs[0]).unwrap();
    check_system(system, &container.image, &container.programs[0])
}

#[test]
fn words_of_both_places_are_initialised() {
    let system = System::preset("test-pair").unwrap();
    let rules = |place: &str, other: &str| {
        let text = format!(
            ".data {place} {other} 1\n.hex 00010203\n.program p\n.chips 2\n.queue mem.e0\nread 5, e0\n.queue \
            1/mem.w3\nread 9, w0\n"
        );
        let report = check(&system, &mut read(&system, &text)).unwrap();
        report.violations.iter().map(|violation| violation.fault.rule()).collect::<Vec<_>>()
    };
    assert_eq!(rules("e0:4x2", "1/w3:8x2"), []);
    assert_eq!(rules("1/w3:9x2", "e0:5x2"), []);
    assert_eq!(rules("e0:4x2", "1/w3:7x2"), [Rule::WordUninitialised]);
    assert_eq!(rules("e0:4x2", "w3:8x2"), [Rule::WordUninitialised]);
    assert_eq!(rules("e0:3x2", "1/w3:8x2"), [Rule::WordUninitialised]);
}

#[test]
fn either_place_must_lie_in_sram() {
    let system = System::preset("test-small").unwrap();
    for (place, other) in [("e0:511x2", "e1:0x2"), ("e0:0x2", "e24:0x2"), ("e0:0x2", "w0:511x2")] {
        let text = format!(".data {place} {other} 1\n.hex 00010203\n.program p\n.queue mem.e0\nnop 1\n");
        let found = check(&system, &mut read(&system, &text));
        assert!(
            matches!(found, Err(CheckError::Region(RegionError::OutsideSram { .. }))),
            "{place} {other}: {found:?}"
        );
    }
}

#[test]
fn code_in_pairs_is_known() {
    let system = System::preset("test-small").unwrap();
    let mut container = read(
        &system,
        ".program p\n.code code i8 [2, 64] at e0:0, e1:0\n.queue mem.e0\nread 0, w2\n.queue mem.e1\nread 0, w3\n\
        .queue vxm.0\n@5 ifetch w2\n\
         .block code vxm.0\nadd mod, e0, #i40, #i2\nadd mod, e0, #i41, #i2\nadd mod, e0, #i42, #i2\nnop 3\n\
         add mod, e0, #i43, #i2\nadd mod, e0, #i44, #i2\n\
         add mod, e0, #i45, #i2\nadd mod, e0, #i46, #i2\n",
    );
    let plain = check(&system, &mut container).unwrap();
    assert_eq!((&plain.violations[..], plain.fetched), (&[][..], 8));
    let [first, second] = &container.image.extents[..] else { panic!("{:?}", container.image.extents) };
    assert_ne!(second.fill, Fill::Zero, "both words hold code");
    let bytes = std::iter::zip(first.bytes(), second.bytes()).flat_map(|(&one, &other)| [one, other]).collect();
    let pair = Extent { place: first.place, fill: Fill::Pairs(bytes, second.place) };
    container.image.extents = vec![pair];
    assert_eq!(check(&system, &mut container).unwrap(), plain);
}
