//! Text forms: round trips, no panic on any text.

mod generate;

use std::borrow::Cow;

use generate::{Random, container, instruction};
use lpu_isa::{
    AsmError, ChipRef, Container, Extent, Fill, Instruction, Item, Source, SourceMap, TABLE, WordRun, assemble,
    disassemble, item_text,
};
use proptest::prelude::*;

fn chip(name: &str) -> Option<(ChipRef, u32)> {
    (name == "small").then(|| (ChipRef { name: name.into(), fingerprint: [7; 32] }, 16))
}

fn read<'a>(source: &str, file: Option<&'a [u8]>) -> Result<(Container<'a>, SourceMap), Vec<AsmError>> {
    let mut load = |name: &str| file.map(Cow::Borrowed).ok_or(format!("no {name}"));
    assemble(source, &mut load, &mut chip)
}

/// One instruction through text; the queue is any that accepts it.
fn through_text(item: Instruction) -> Instruction {
    let queue = match item.row().unit.name() {
        "mxm" => format!("mxm.e0.{}", item.row().mnemonic),
        "vxm" => "vxm.0".into(),
        "icu" => "vxm.1".into(),
        "c2c" => "c2c.0".into(),
        unit => format!("{unit}.e0"),
    };
    let first = if item_text(&item.into()).starts_with("repeat") { "add f32, _, e0, e4\n" } else { "" };
    let source = format!(".chip small\n.program p\n.queue {queue}\n{first}{}\n", item_text(&item.into()));
    let (container, _) = read(&source, None).unwrap_or_else(|errors| panic!("{source}\n{errors:?}"));
    container.programs[0].sets[0].values().next().and_then(|items| items.last()).unwrap().instruction
}

#[test]
fn every_row_round_trips() {
    let mut random = Random(11);
    for row in TABLE {
        for _ in 0..200 {
            let given = instruction(&mut random, row);
            assert_eq!(through_text(given), given);
        }
    }
}

fn round_trip(original: &Container<'_>, name: Option<&str>) -> Result<(), TestCaseError> {
    let bytes = original.to_bytes().unwrap();
    let (text, side) = disassemble(original, name);
    let (again, map) = read(&text, side.as_deref()).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    prop_assert_eq!(&again, original);
    prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    prop_assert_eq!(disassemble(&again, name), (text.clone(), side.clone()));
    let lines: Vec<&str> = text.split('\n').collect();
    for (index, program) in again.programs.iter().enumerate() {
        prop_assert!(map.cycles_stated(index));
        for (chip, _) in program.each_chip() {
            for (queue, items) in program.queues(chip) {
                for (number, item) in items.iter().enumerate() {
                    let line = map.line(index, chip, queue, number as u32).unwrap();
                    let written = lines[line as usize - 1];
                    let wait = matches!(item.instruction, Instruction::Nop { .. });
                    prop_assert!(
                        wait || written.replace("&         ", "& ").contains(&item_text(item)),
                        "{} in {}",
                        item_text(item),
                        written
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn containers_round_trip(seed: u64, named: bool) {
        round_trip(&container(seed, 12), named.then_some("an image.bin"))?;
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = read(&text, None);
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in prop::collection::vec(
        "(\\.[a-z]{2,8}|&|@[0-9]{1,20}|[a-z]{2,9})( [a-z0-9.:/+x#_\\[\\]\",;-]{0,12}){0,6}", 0..12,
    )) {
        let source = format!(".chip small\n.program p\n.queue mem.e0\n{}", lines.join("\n"));
        let _ = read(&source, Some(&[0; 64]));
    }

    /// Mutations of a canonical text: an error that lies within it, or a container that has a binary form.
    #[test]
    fn mutated_text_never_panics(
        seed: u64,
        changes in prop::collection::vec((any::<u32>(), "\\PC{0,3}", 0usize..6), 1..4),
    ) {
        let (text, side) = disassemble(&container(seed, 6), Some("image"));
        let mut letters: Vec<char> = text.chars().collect();
        for (at, new, cut) in changes {
            let start = at as usize % letters.len();
            let end = (start + cut).min(letters.len());
            letters.splice(start..end, new.chars());
        }
        let source: String = letters.into_iter().collect();
        match read(&source, side.as_deref()) {
            Ok((container, _)) => prop_assert!(container.to_bytes().is_ok()),
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(source.get(error.span.start..error.span.start + error.span.length).is_some(), "{}",
                        error);
                    prop_assert!(!error.help.is_empty());
                }
            }
        }
    }

    #[test]
    fn immediates_round_trip(bits: u32) {
        let text = format!(".chip small\n.program p\n.queue vxm.0\n add f32, _, #x{bits:x}, #i{}\n", bits as i32);
        let (container, _) = read(&text, None).unwrap();
        let items: Vec<Item> = container.programs[0].sets[0].values().next().unwrap().clone();
        prop_assert_eq!(through_text(items[0].instruction), items[0].instruction);
        let bits = items[0].instruction.operand_bits();
        prop_assert_eq!(bits[2], bits[3]);
    }
}

/// A text as a person writes it, and the canonical one in full.
#[test]
fn the_canonical_text_is_this() {
    let written = r#"
.chip small
.zero e0:0x2
.data w2:4x3 2
.hex 1011121314 15
.data e2:4 16
.hex 0001020304050607 08090a0b0c0d0e0f
.equ base 9
.data e3:base 2/w3:base, 1
.hex a0b0
.data e0:5x2 w2:7x2
.hex 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 20
.hex 2122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
.host
.hex 686f7374
.program "two words"
.cycles 300000
.chips 3
.input x f16 [4, 16] at e0:8x4+2, e1:20x4
.state k i8 [20, 16] at w0:1x2, w1:2x2, w2:3x2, w3:4x2, w4:5x2, w5:6x2, w6:7x2, w7:8x2, w8:9x2, w9:10x2
.queue mem.e0
@7 read 8, w4
& write 99, w5
read 10, w4
repeat 2, 3, 2
@262148 read 9, e0
@262158 read 10, e1
& write 14, e3
nop 1
.queue 1/vxm.0
sync
@12 add f32, _, a3, #0.5
nop 9
"#;
    let (container, _) = read(written, None).unwrap();
    let canonical = r#".chip small 16 0707070707070707070707070707070707070707070707070707070707070707
.zero e0:0x2
.data w2:4x3 2
    .hex 101112131415
.data e2:4
    .hex 000102030405060708090a0b0c0d0e0f
.data e3:9 2/w3:9 1
    .hex a0b0
.data e0:5x2 w2:7x2
    .hex 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
    .hex 202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
.host
    .hex 686f7374

.program "two words"
.cycles 300000
.chips 3
.input x f16 [4, 16] at e0:8x4+2, e1:20x4
.state k i8 [20, 16] at w0:1x2, w1:2x2, w2:3x2, w3:4x2, w4:5x2, w5:6x2, w6:7x2, w7:8x2
    .at w8:9x2, w9:10x2

.queue mem.e0
@7        read 8, w4                              ; x
&         write 99, w5
@8        read 10, w4                             ; x+1
          repeat 2, 3, 2                          ; @11..@14 x+2..x+3
@262148   read 9, e0
@262158   read 10, e1                             ; x+1
&         write 14, e3                            ; x+3
@262159   nop 1

.queue 1/vxm.0
@0        sync
@12       add f32, _, a3, #0.5
@13       nop 9
"#;
    let (text, side) = disassemble(&container, None);
    assert_eq!(text, canonical);
    assert_eq!(side, None);
    assert_eq!(read(&text, None).unwrap().0, container);
}

#[test]
fn immediates_have_one_form() {
    let cases = [
        (0, "#0.0"),
        (0x8000_0000, "#-0.0"),
        (0x3f00_0000, "#0.5"),
        (0xc2f6_0000, "#-123.0"),
        (0x2b80_0000, "#9.094947e-13"),
        (0xab80_0000, "#-9.094947e-13"),
        (0x2b7f_ffff, "#i729808895"),
        (0xab7f_ffff, "#xab7fffff"),
        (7, "#i7"),
        (0x8000_0007, "#x80000007"),
        (0xffff_fff9, "#i-7"),
        (0xff80_0001, "#i-8388607"),
        (0x7f7f_ffff, "#3.4028235e38"),
        (0x7f80_0000, "#x7f800000"),
        (0xff80_0000, "#xff800000"),
        (0x7fc0_0000, "#x7fc00000"),
    ];
    for (bits, written) in cases {
        let text = format!("exp _, {written}");
        let item = through_text(Instruction::Exp { dst: None, a: Source::Immediate(bits) });
        assert_eq!((item_text(&item.into()), item), (text, Instruction::Exp { dst: None, a: Source::Immediate(bits) }));
    }
}

/// Instructions in memory: assembled into the words of their region, shown as comments where they stand.
#[test]
fn instructions_in_memory_are_bytes_and_comments() {
    let blocks = r#".chip small
.program p
.cycles 0
.code loop i8 [6, 16] at e1:0x2, e1:8x4+2
.queue vxm.0
ifetch e0
.block loop mem.e3
start: read 5, e0
repeat 3, 2, 1
@start+9 read 6, e0
read 7, e0
read 8, e0
"#;
    let (container, map) = read(blocks, None).unwrap();
    let program = &container.programs[0];
    assert_eq!(program.items(), 1, "what is in memory is in no queue");
    let text = disassemble(&container, None).0;
    let expected = "    ; block 0
    ; @0        read 5, e0
    ;           repeat 3, 2, 1                          ; @2..@6
    ; @9        read 6, e0
    ; @10       read 7, e0
    ; block 1
    ; @0        read 8, e0
";
    assert!(text.contains(&format!(".code loop i8 [6, 16] at e1:0x2, e1:8x4+2\n{expected}\n.queue vxm.0\n")), "{text}");
    assert_eq!(read(&text, None).unwrap().0, container);
    let queue = "vxm.0".parse().unwrap();
    let lines: Vec<_> = (0..2).map(|item| map.line(0, lpu_isa::ChipId(0), queue, item)).collect();
    assert_eq!(lines, [Some(6), None], "the block is another queue's");
    let own = blocks
        .replace("mem.e3", "vxm.0")
        .replace("read 5, e0", "exp _, a0")
        .replace("read 6, e0", "exp _, a1")
        .replace("read 7, e0\nread 8, e0\n", "");
    let (_, map) = read(&own, None).unwrap();
    let lines: Vec<_> = (0..6).map(|item| map.line(0, lpu_isa::ChipId(0), queue, item)).collect();
    assert_eq!(lines, [Some(6), Some(8), Some(9), Some(10), Some(10), None]);
}

/// Code is found in extents of any order, and in words of which only the first bytes are given; zeros follow these.
#[test]
fn instructions_are_found_in_short_words_in_any_order() {
    let source = r#".chip small
.program p
.cycles 0
.code loop i8 [4, 16] at e1:4, w0:2, e1:8x2
.queue vxm.0
ifetch e0
.block loop mem.e3
read 5, e0
read 6, e0
read 7, e0
read 8, e0
read 9, e0
read 10, e0
"#;
    let (plain, _) = read(source, None).unwrap();
    let comments = |container: &Container<'_>| {
        let (text, _) = disassemble(container, None);
        assert_eq!(&read(&text, None).unwrap().0, container);
        text.lines().filter(|line| line.starts_with("    ;")).map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = comments(&plain);
    assert_eq!(expected.len(), 2 + 6, "{expected:?}");
    let mut short = plain.clone();
    for extent in &mut short.image.extents {
        let used = extent
            .words()
            .filter_map(|(.., bytes)| bytes.iter().rposition(|&byte| byte != 0))
            .max()
            .map_or(0, |last| last + 1);
        let bytes: Vec<u8> = extent.words().flat_map(|(.., bytes)| bytes[..used].to_vec()).collect();
        extent.fill = Fill::Bytes(bytes.into());
    }
    short.image.extents.reverse();
    assert!(short.image.extents.iter().any(|extent| extent.live() < 16) && short != plain);
    assert_eq!(comments(&short), expected);
    // The first two words of code are paired with each other, and one of the last two with a word that is no code.
    let word = |place: &str| {
        let WordRun { chip, slice, word, .. } = place.parse().unwrap();
        plain.image.by_place().word(chip, slice, word).unwrap().into_owned()
    };
    let paired = |place: &str, other: &str, bytes: [Vec<u8>; 2]| {
        let bytes: Vec<u8> = std::iter::zip(&bytes[0], &bytes[1]).flat_map(|(&one, &other)| [one, other]).collect();
        Extent { place: place.parse().unwrap(), fill: Fill::Pairs(bytes.into(), other.parse().unwrap()) }
    };
    let mut pairs = plain.clone();
    pairs.image.extents = vec![
        paired("e1:8", "e3:0", [word("e1:8"), vec![0xff; 16]]),
        paired("w0:2", "e1:4", [word("w0:2"), word("e1:4")]),
        Extent { place: "e1:9".parse().unwrap(), fill: Fill::Bytes(word("e1:9").into()) },
    ];
    assert_eq!(comments(&pairs), expected);
}

/// As many blocks as the image's bytes fill words, and 64 more, however many words they are spread over.
#[test]
fn bytes_bound_the_blocks_that_are_shown() {
    let sync = lpu_isa::encode_queue(&[Instruction::Sync {}.into()]);
    let [first, second] = sync[..] else { panic!("{sync:?}") };
    // A word with an instruction and a word of zeros are a block.
    let hex = format!("{first:02x}{second:02x} 0000 ").repeat(200);
    let source = format!(".chip small\n.data e0:0x400 2\n.hex {hex}\n.program p\n.code c i8 [400, 16] at e0:0x400\n");
    let (container, _) = read(&source, None).unwrap();
    let text = disassemble(&container, None).0;
    assert_eq!(text.matches("; block ").count(), 64 + 800 / 16, "{text}");
}
