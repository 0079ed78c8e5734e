//! What the assembler says to the person: values it makes, errors it reports.

use std::borrow::Cow;

use lpu_isa::{AsmError, ChipId, ChipRef, Container, Extent, Fill, Queue, SourceMap, assemble, expand};

fn read(source: &str) -> Result<(Container<'static>, SourceMap), Vec<AsmError>> {
    let mut load =
        |name: &str| if name == "w.bin" { Ok(Cow::Owned((0..64).collect())) } else { Err("no such file".to_owned()) };
    let mut chip = |name: &str| (name == "small").then(|| (ChipRef { name: name.into(), fingerprint: [7; 32] }, 16));
    assemble(source, &mut load, &mut chip)
}

fn errors(body: &str) -> Vec<String> {
    let source = format!(".chip small\n.program p\n{body}");
    read(&source).map(|_| Vec::new()).unwrap_or_else(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_kernel() {
    let source = r#"
; doubles a vector
.chip small
.program double
.input  x f16 [1, 16] at e0:0, e1:0
.const  two f16 [1, 4] at e2:0x2
.output y f16 [1, 16] at w0:0x2
.values two 1 2.5
.values two -1 x7e00
.queue mem.e0
    read 0, w0
    repeat 2, 3, 1
    & write 7, w0
    @40 write 9, w3   ; later
.queue vxm.0
    @5 convert f16, f32, _, w0
"#;
    let errors = read(source).unwrap_err();
    assert_eq!(errors.len(), 1, "a pair behind a repeat: {errors:?}");
    let (container, map) = read(&source.replace("    & write 7, w0\n", "")).unwrap();
    let program = &container.programs[0];
    assert!(!map.cycles_stated(0));
    assert_eq!(map.program_line(0), Some(4));
    let mem: Queue = "mem.e0".parse().unwrap();
    let cycles: Vec<u64> = expand(&program.sets[0][&mem]).map(|issue| issue.cycle).collect();
    assert_eq!(cycles, [0, 3, 6, 40]);
    let lines: Vec<_> = (0..5).map(|item| map.line(0, ChipId(0), mem, item)).collect();
    assert_eq!(lines, [Some(11), Some(12), Some(13), Some(13), None], "the inserted nop has its instruction's line");
    let [extent] = &container.image.extents[..] else { panic!("{:?}", container.image.extents) };
    assert_eq!(extent.place.to_string(), "e2:0x2");
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&[0x00, 0x00, 0x00, 0x00]);
    bytes[16..20].copy_from_slice(&[0x3c, 0x41, 0xbc, 0x7e]);
    assert_eq!(extent.fill, Fill::Bytes(Cow::Borrowed(&bytes[..])));
}

#[test]
fn images_come_from_a_file() {
    let source =
        ".chip small\n.image w.bin\n.file e0:4x2 16\n.zero e0:0x4\n.host 0 3\n.program p\n.queue vxm.0\nnop 1\n";
    let (container, _) = read(source).unwrap();
    assert_eq!(container.image.extents[0].fill, Fill::Bytes((16..48).collect()));
    assert_eq!(container.image.extents[1].fill, Fill::Zero);
    assert_eq!(container.host.as_ref(), [0, 1, 2]);
    let (short, _) = read(&source.replace(" 16\n", " 16 3\n")).unwrap();
    assert_eq!(short.image.extents[0].fill, Fill::Bytes((16..22).collect()));
    let paired = |line: &str| {
        read(&source.replace("e0:4x2 16\n", line)).map(|(container, _)| container.image.extents[0].fill.clone())
    };
    let other = |place: &str| place.parse().unwrap();
    assert_eq!(paired("e0:4 w1:8 16\n").unwrap(), Fill::Pairs((16..48).collect(), other("w1:8")));
    assert_eq!(paired("e0:4x2 e0:9x2 16 3\n").unwrap(), Fill::Pairs((16..28).collect(), other("e0:9x2")));
    let far = paired("e0:4x2 w1:8x2 16\n").unwrap_err();
    assert!(far[0].to_string().contains("64 bytes from offset 16 run past the image file's end at 64"), "{far:?}");
    let past = read(&source.replace(" 16\n", " 40\n")).unwrap_err();
    assert!(past[0].to_string().contains("run past the image file's end at 64"), "{past:?}");
    let missing = read(&source.replace("w.bin", "v.bin")).unwrap_err();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].message.contains("`v.bin` cannot be read: no such file"));
}

#[test]
fn messages() {
    let cases = [
        (".queue mem.e0\n raed 1, e0", "line 4, column 2: unknown mnemonic `raed`; did you mean `read`?"),
        (
            ".queue mem.e0\n  read 1, x3",
            "line 4, column 11: operand 2 of `read` is a stream such as e0 or w31, found `x3`; write `read word, dst`",
        ),
        (".queue mem.e0\nonp 5", "line 4, column 1: unknown mnemonic `onp`; did you mean `nop`?"),
        (".queue mem.e0\nREAD 1, e0", "line 4, column 1: unknown mnemonic `READ`; did you mean `read`?"),
        (".queue mem.e0\n# waits", "line 4, column 1: unknown mnemonic `#`; a comment starts with `;`"),
        ("// a kernel", "line 3, column 1: an instruction stands outside a queue; a comment starts with `;`"),
        (".queue mem.e0\nread 1", "line 4, column 1: `read` takes 2 operands, found 1; write `read word, dst`"),
        (
            ".queue vxm.0\nread 1, e0",
            "line 4, column 1: `read` does not belong in queue vxm.0 of chip 0; put it in a queue of unit mem that \
            holds `read`",
        ),
        (
            ".queue vxm.0\nexp e3, e0",
            "line 4, column 1: stream e3 starts a group of 4, so its number must be a multiple of 4; choose operands \
            that fit one another",
        ),
        (
            ".queue vxm.0\nexp _, #inf",
            "line 4, column 8: operand 2 of `exp` is a stream such as e4, an ALU latch such as a3, or an immediate \
            such as #0.5, #i7 or #x3f800000, found `#inf`; infinities, NaNs and numbers beyond binary32 are written \
            as bits, such as #x7fc00000",
        ),
        (
            ".queue mem.e0\nnop 9\n@3 read 1, e0",
            "line 5, column 1: cycle 3 is past: the queue has reached cycle 9; give a cycle of 9 or later, or move \
            earlier instructions",
        ),
        (
            ".queue mem.e0\n& @3 read 1, e0",
            "line 4, column 3: a paired instruction issues with the one before it; leave out `@`",
        ),
        (
            ".queue mem.e0\n@9 repeat 1, 1, 0",
            "line 4, column 4: there is nothing to repeat; put it right behind an unpaired instruction that is no nop \
            and no repeat",
        ),
        (
            ".queue mem.e0\nread 1, e0\n@1 repeat 2, 3, 0",
            "line 5, column 1: this issues in cycle 3, not in cycle 1; leave out `@`: a repeat issues relative to the \
            instruction before it",
        ),
        (
            ".interval 0",
            "line 3, column 11: a number of cycles, at least 1 is expected, found `0`; write `.interval NUMBER`",
        ),
        (".cycles 5 6", "line 3, column 11: `.cycles` takes nothing here, found `6`; write `.cycles NUMBER`"),
        (
            ".queue mem.z0",
            "line 3, column 8: a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2, 1/mem.w0 or 0..7/mem.e4 is expected, \
            found `mem.z0`; write `.queue [CHIP[..CHIP]/]QUEUE`",
        ),
        (".quue mem.e0", "line 3, column 1: unknown directive `.quue`; did you mean `.queue`?"),
        (
            "read 1, e0",
            "line 3, column 1: an instruction stands outside a queue; start a queue with `.queue mem.e0` first",
        ),
        (
            ".const k i8 [2, 16] at e0:0",
            "line 3, column 1: region `k` needs 2 words but its runs hold 1; give one word a byte of the format and \
            vector",
        ),
        (
            ".const k i8 [1, 17] at e0:0",
            "line 3, column 1: region `k` is [1, 17]; give it at least one vector and 1 to 16 lanes",
        ),
        (
            ".const k i8 [1, 2] at e0:0\n.values k 1 200",
            "line 4, column 13: `200` is no element; i8 reaches from -128 to 127",
        ),
        (
            ".const k i8 [1, 2] at e0:0\n.values k 1",
            "line 4, column 1: region `k` has 2 elements but 1 values are given; give one value an element, vector \
            after vector",
        ),
        (".zero e0:4x3\n.zero e0:6", "line 4, column 1: extent e0:6 overlaps e0:4x3; initialise each word once"),
        (
            ".data e0:4\n.hex 00ff",
            "line 3, column 1: extent e0:4 of 16 lanes a word takes 16 bytes but 2 are given; give one byte a lane of \
            each word, or say behind the run how many lanes are given",
        ),
        (
            ".equ n 3\n.data e0:4x2 n\n.hex 00010203 0405 06",
            "line 4, column 1: extent e0:4x2 of 3 lanes a word takes 6 bytes but 7 are given; give one byte a lane of \
            each word, or say behind the run how many lanes are given",
        ),
        (".data e0:4 16\n.hex 000102030405060708090a0b0c0d0e0f", ""),
        (
            ".data e0:4 0",
            "line 3, column 12: 0 of the 16 lanes of a word cannot be given; give 1 to 16, or leave the number out \
            for all",
        ),
        (
            ".data e0:4 17",
            "line 3, column 12: 17 of the 16 lanes of a word cannot be given; give 1 to 16, or leave the number out \
            for all",
        ),
        (
            ".data e0:4 all",
            "line 3, column 12: a number of lanes is expected, found `all`; write `.data RUN [RUN] [LANES]`",
        ),
        (
            ".data e0:4 3 3\n.hex 000102",
            "line 3, column 14: `.data` takes nothing here, found `3`; write `.data RUN [RUN] [LANES]`",
        ),
        (".data e0:4 w0:4 3\n.hex 000102030405", ""),
        (
            ".data e0:4 w0:4\n.hex 000102030405060708090a0b0c0d0e0f",
            "line 3, column 1: extent e0:4 with w0:4 of 16 lanes a word takes 32 bytes but 16 are given; give one \
            byte a lane of each word, or say behind the run how many lanes are given",
        ),
        (
            ".data e0:4x2 w0:4x2 3\n.hex 00010203 0405 060708090a0b0c",
            "line 3, column 1: extent e0:4x2 with w0:4x2 of 3 lanes a word takes 12 bytes but 13 are given; give one \
            byte a lane of each word, or say behind the run how many lanes are given",
        ),
        (
            ".data e0:4x2 w0:4 3\n.hex 0001",
            "line 3, column 1: extent e0:4x2 is paired with w0:4; give both the same number of words",
        ),
        (
            ".file e0:4 w0:4x2 99",
            "line 3, column 1: extent e0:4 is paired with w0:4x2; give both the same number of words",
        ),
        (
            ".data e0:4 w0:4 17",
            "line 3, column 17: 17 of the 16 lanes of a word cannot be given; give 1 to 16, or leave the number out \
            for all",
        ),
        (".data e0:4 e0:4 1\n.hex 0001", "line 3, column 1: extent e0:4 overlaps e0:4; initialise each word once"),
        (
            ".data e0:4 w0:4x1+2 1\n.hex 0001",
            "line 3, column 1: extent w0:4+2 is strided; split it into extents of consecutive words",
        ),
        (
            ".data e0:4 1/w0:4 1\n.hex 0001",
            "line 3, column 1: 1/w0:4 is on chip 1, but there are 1 chips; correct the chip or give the program more \
            chips",
        ),
        (
            ".data e0:4 z0:4",
            "line 3, column 12: a run of words such as e0:5, e0:5x4, 1/w3:16x4 or 0..7/e0:5 is expected, found \
            `z0:4`; write `.data RUN [RUN] [LANES]`",
        ),
        (
            ".data e0:4 w0:4 w1:4",
            "line 3, column 17: a number of lanes is expected, found `w1:4`; write `.data RUN [RUN] [LANES]`",
        ),
        (
            ".file e0:4 w0:4",
            "line 3, column 1: `.file` lacks an offset in the file; write `.file RUN [RUN] OFFSET [LANES]`",
        ),
        (".zero e0:4 w0:4", "line 3, column 12: `.zero` takes nothing here, found `w0:4`; write `.zero RUN`"),
        (".zero e0:4 3", "line 3, column 12: `.zero` takes nothing here, found `3`; write `.zero RUN`"),
        (
            ".zero 1..0/e0:4",
            "line 3, column 7: a run of words such as e0:5, e0:5x4, 1/w3:16x4 or 0..7/e0:5 is expected, found \
            `1..0/e0:4`; write `.zero RUN`",
        ),
        (
            ".zero 0..1/1/e0:4",
            "line 3, column 7: a run of words such as e0:5, e0:5x4, 1/w3:16x4 or 0..7/e0:5 is expected, found \
            `0..1/1/e0:4`; write `.zero RUN`",
        ),
        (
            ".zero 0..9/e0:4",
            "line 3, column 1: 1/e0:4 is on chip 1, but there are 1 chips; correct the chip or give the program more \
            chips",
        ),
        (
            ".chips 4\n.data 0..1/e0:4 1..3/w0:4",
            "line 4, column 17: the first run is on 2 chips, the second on 3; give both ranges as many chips",
        ),
        (".zero e0:4x3+2", "line 3, column 1: extent e0:4x3+2 is strided; split it into extents of consecutive words"),
        (
            ".zero 1/e0:4",
            "line 3, column 1: 1/e0:4 is on chip 1, but there are 1 chips; correct the chip or give the program more \
            chips",
        ),
        (
            ".const k i8 [2, 2] at e3..e1:0",
            "line 3, column 23: runs of words such as e0:5, 1/w3:16x4+2, e0..e3:5 or 0..7/e0..e3:5, of at most 64 \
            slices of one side is expected, found `e3..e1:0`; write `.KIND NAME FORMAT [VECTORS, LANES] at RUNS, ..`",
        ),
        (".state k i8 [64, 16] at e0..e63:0", ""),
        (
            ".state k i8 [65, 16] at e0..e64:0",
            "line 3, column 25: runs of words such as e0:5, 1/w3:16x4+2, e0..e3:5 or 0..7/e0..e3:5, of at most 64 \
            slices of one side is expected, found `e0..e64:0`; write `.KIND NAME FORMAT [VECTORS, LANES] at RUNS, ..`",
        ),
        (".block k mem.e0", "line 3, column 8: this program has no region `k`; declare it first"),
        (
            ".const k i8 [2, 16] at e1:0x2\n.block k mem.e0",
            "line 4, column 8: region `k` is a `const` of i8; instructions stand in a `code` of i8; name another \
            region or change this one",
        ),
        (
            ".code k i8 [2, 16] at e1:0x2\n.block k mem",
            "line 4, column 10: a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2 or 1/mem.w0 is expected, found \
            `mem`; write `.block REGION [CHIP/]QUEUE`",
        ),
        (
            ".code k i8 [2, 16] at e1:0x2\n.block k mem.e0\nread 0, e0\n.block k mem.e0",
            "line 6, column 1: region `k` has values already; leave out one of them",
        ),
        (
            ".code k i8 [2, 16] at e1:0x2\n.block k mem.e0\nrepeat 2, 1, 1",
            "line 5, column 1: there is nothing to repeat; put it right behind an unpaired instruction that is no nop \
            and no repeat",
        ),
        (
            ".code k i8 [2, 15] at e1:0x2\n.block k mem.e0\nread 0, e0",
            "line 3, column 1: region `k` has 15 lanes, instructions fill whole words; give it [2, 16]",
        ),
        (
            ".code k i8 [3, 16] at e1:0x3\n.block k mem.e0\nread 0, e0\nread 0, e0\nread 0, e0\nread 0, e0\nread 0, \
            e0\nread 0, e0",
            "line 4, column 1: the instructions take 2 blocks of two words, region `k` holds 1; give the region [4, \
            16]",
        ),
        (".program p", "line 3, column 10: a second program `p`; rename one"),
        (".interval 5\n.interval 6", "line 4, column 1: a second `.interval`; leave out one of them"),
        (".cycles 5\n.cycles 6", "line 4, column 1: a second `.cycles`; leave out one of them"),
    ];
    for (body, expected) in cases {
        let expected: &[&str] = if expected.is_empty() { &[] } else { &[expected] };
        assert_eq!(errors(body), expected, "{body}");
    }
}

/// Extents stand as they are written, those of initial values behind them as the regions stand.
#[test]
fn extents_keep_their_order() {
    let source = r#"
.chip small
.data w0:9x2 2
.hex 00010203
.zero e0:4
.program p
.const k i8 [2, 1] at e3:7, e3:1
.const l i8 [1, 1] at e1:0
.values l 1
.values k 1 2
.data e0:1 1
.hex ff
.queue vxm.0
nop 1
"#;
    let (container, _) = read(source).unwrap();
    let places: Vec<String> = container.image.extents.iter().map(|extent| extent.place.to_string()).collect();
    assert_eq!(places, ["w0:9x2", "e0:4", "e0:1", "e3:7", "e3:1", "e1:0"]);
    assert_eq!(container.image.extents.iter().map(Extent::live).collect::<Vec<_>>(), [2, 0, 1, 16, 16, 16]);
}

#[test]
fn each_extent_that_meets_another_is_reported() {
    let found = errors(".zero e0:20\n.zero e0:0x100\n.zero w0:0x100\n.zero e0:10x2\n.zero e0:99x2\n.zero e0:101");
    let overlap = |line: u32, place: &str, before: &str| {
        format!("line {line}, column 1: extent {place} overlaps {before}; initialise each word once")
    };
    assert_eq!(
        found,
        [overlap(4, "e0:0x100", "e0:20"), overlap(6, "e0:10x2", "e0:0x100"), overlap(7, "e0:99x2", "e0:0x100")]
    );
    let words = errors(".const k i8 [1, 1] at e0:5\n.values k 1\n.zero e0:0x9");
    assert_eq!(words, ["line 4, column 1: extent e0:5 overlaps e0:0x9; initialise each word once"]);
    // Of pairs, either place meets others; one that is wrong by itself is not held to them.
    let found = errors(
        ".zero e0:20x2\n.data e0:21 w0:5 1\n.hex 0102\n.data e1:7 e0:20 1\n.hex 0102\n.data w0:5 w0:6x2 1\n.data \
        w0:4x3 w0:6x3 1\n.hex 000102030405",
    );
    let unequal = "line 8, column 1: extent w0:5 is paired with w0:6x2; give both the same number of words".to_owned();
    let expected = [
        overlap(4, "e0:21", "e0:20x2"),
        overlap(6, "e0:20", "e0:20x2"),
        unequal,
        overlap(9, "w0:4x3", "w0:5"),
        overlap(9, "w0:6x3", "w0:4x3"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_mistakes_are_reported_at_once_and_none_twice() {
    let found = errors(".queue mem.e0\nraed 1, e0\nrepeat 3, 1, 1\nread x, y\n& write 3, e0\n.quee\nread 0, e0\n");
    let lines: Vec<&str> = found.iter().map(|error| error.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line 4", "line 6", "line 6", "line 8"], "{found:#?}");
    assert_eq!(read("").unwrap_err().len(), 2, "no chip, no program");
}

#[test]
fn short_texts_stay_small() {
    let huge = ".const k f32 [4000000, 16] at e0:0x16000000\n.fill k 1";
    assert!(errors(huge)[0].contains("make more than"), "{:?}", errors(huge));
    let many: String =
        (0..10).map(|word| format!(".const k{word} f32 [100, 16] at e{word}:0x400\n.fill k{word} 1\n")).collect();
    assert_eq!(errors(&many), [""; 0], "only what is made counts");
    let far = ".queue mem.e0\n@18446744073709551615 read 0, e0";
    assert!(errors(far)[0].contains("cycles ahead"));
}

#[test]
fn names_stand_for_numbers_operands_cycles_and_addresses() {
    let plain = r#"
.chip small
.program p
.cycles 60
.input x f16 [1, 16] at e0:8, e1:20
.const k f16 [1, 2] at e2:4x2
.values k 3 0.5
.queue mem.e0
@7 read 8, w4
.queue mem.e1
@7 read 20, w5
@23 write 24, w5
.queue mem.e2
@9 read 5, e0
.queue vxm.0
@12 add f32, _, a3, #0.5
"#;
    let named = r#"
.equ base 8             ; where x begins
.equ bus w4
.equ half #0.5
.equ late 2*base
.chip small
.program p
.cycles 4*(base+7)
.input x f16 [1, base*2] at e0:base, e1:20
.const k f16 [1, 2] at e2:4x2
.values k base-5 half
.queue mem.e0
load: @7 read x, bus
.queue mem.e1
@load read x, bus + 1
store: @load+late write x + 4, w5
.queue mem.e2
@load+2 read k+1, e0
.queue vxm.0
@store-11 add f32, _, a3, half
"#;
    let wrong = read(named).unwrap_err();
    let messages: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        ["line 16, column 25: region `x` has 1 words in slice e1, there is no word 4; words of a region count from \
            0 to 0"]
    );
    let (expected, _) = read(plain).unwrap();
    assert_eq!(read(&named.replace("x + 4", "base*3")).unwrap().0, expected);
}

#[test]
fn ranges_of_slices_are_runs() {
    let text = |runs: &str| {
        format!(".chip small\n.equ base 3\n.program p\n.state k f32 [2, 16] at {runs}\n.queue vxm.0\nnop 1\n")
    };
    let (ranges, _) = read(&text("w4..w7:base, 1/e0..e3:5")).unwrap();
    let (runs, _) = read(&text("w4:3 w5:3 w6:3 w7:3 1/e0:5 1/e1:5 1/e2:5 1/e3:5")).unwrap();
    assert_eq!(ranges, runs);
    let shown = lpu_isa::disassemble(&runs, None).0;
    assert!(shown.contains("at w4..w7:3, 1/e0..e3:5\n"), "{shown}");
}

#[test]
fn symbols_that_mean_nothing() {
    for (body, expected) in [
        (
            ".const weights i8 [1, 2] at e1:4\n.queue mem.e1\nread weigths, e0",
            "line 5, column 6: there is no symbol `weigths`; did you mean `weights`?",
        ),
        (
            ".const k i8 [1, 2] at e1:4\n.queue mem.e0\nread k, e0",
            "line 5, column 6: region `k` has no word in slice e0; use it in a slice of its own: e1",
        ),
        (
            ".equ n 300\n.queue vxm.0\nadd f32, _, a0 + n, e0",
            "line 5, column 13: operand 3 of `add` is a stream such as e4, an ALU latch such as a3, or an immediate \
            such as #0.5, #i7 or #x3f800000, found `a0 + n`, which is `a300`; write `add arithmetic, dst, a, b`",
        ),
        (
            ".equ n 99999999\n.queue mem.e0\nread n, e0",
            "line 5, column 6: operand 1 of `read` is a word address, 0 to 16777215, found `n`, which is `99999999`; \
            write `read word, dst`",
        ),
        (
            ".equ e3 7",
            "line 3, column 6: `e3` cannot be the name of a symbol; use letters, digits and `_`, and no operand such \
            as e0, a3 or f32",
        ),
        (
            ".equ _n 7\n.equ 9n 7",
            "line 4, column 6: `9n` cannot be the name of a symbol; use letters, digits and `_`, and no operand such \
            as e0, a3 or f32",
        ),
        (".equ n 7\n.equ n 8", "line 4, column 6: a second `n`; the first is in line 3; rename one"),
        (".equ n m", "line 3, column 8: there is no symbol `m`; give it above its use, with `.equ` or as a label"),
        (
            ".equ n 7 7",
            "line 3, column 8: a number, an operand, or a sum or product of numbers and constants is expected, found \
            `7`; write `.equ NAME VALUE`",
        ),
        (
            ".queue mem.e0\n@nope read 0, e0",
            "line 4, column 1: there is no symbol `nope`; give it above its use, with `.equ` or as a label",
        ),
        (
            ".queue mem.e0\nread nope, e0",
            "line 4, column 6: there is no symbol `nope`; give it above its use, with `.equ` or as a label",
        ),
        (
            ".queue mem.e0\nread 0, nope+1",
            "line 4, column 9: there is no symbol `nope`; give it above its use, with `.equ` or as a label",
        ),
        (
            ".const k i8 [1, 2] at e1:4\n.queue vxm.0\n@k nop 1",
            "line 5, column 1: `k` is a region, whose words have addresses in the queues of its slices alone; use a \
            number, a constant or a label",
        ),
        (
            ".queue mem.e0\nread 0, e0\n@0 write 1, e0",
            "line 5, column 1: cycle 0 is past: the queue has reached cycle 1; write `&` in place of `@0` to issue \
            with the instruction before, or give a cycle of 1 or later, or move earlier instructions",
        ),
        (
            ".queue mem.e0\nread 0, e0\n@0 read 1, e0",
            "line 5, column 1: cycle 0 is past: the queue has reached cycle 1; give a cycle of 1 or later, or move \
            earlier instructions",
        ),
        (
            ".queue c2c.0\nsend e0\n& receive e1",
            "line 5, column 3: this does not pair with the instruction before it; leave out `&`: queue c2c.0 issues \
            one instruction a cycle, memory slices alone issue two",
        ),
        (
            ".queue mem.e0\nlw e0, 0, out, bites",
            "line 4, column 1: `lw` does not belong in queue mem.e0 of chip 0; put it in a queue of unit mxm that \
            holds `lw`",
        ),
        (
            ".equ n",
            "line 3, column 1: `.equ` lacks a number, an operand, or a sum or product of numbers and constants; write \
            `.equ NAME VALUE`",
        ),
        (
            ".queue mem.e0\nhere: nop 3\nhere: nop 3",
            "line 5, column 1: a second `here`; the first is in line 4; rename one",
        ),
        (
            ".queue mem.e0\nhere:",
            "line 4, column 1: a label stands in front of an instruction, in its line; write it as `start: @5 read 0, \
            e0`",
        ),
        (
            ".queue mem.e0\nhere: nop 3\n@hree+2 nop 3",
            "line 5, column 1: there is no symbol `hree`; did you mean `here`?",
        ),
        (
            ".equ k 1\n.const k i8 [1, 2] at e1:4",
            "line 4, column 8: region `k` has the name of the constant in line 3; rename one",
        ),
    ] {
        assert_eq!(errors(body), [expected], "{body}");
    }
}
