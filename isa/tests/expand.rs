//! Lines that are assembled more than once, or from other files: what they make, where their mistakes are, and how
//! little a short text can make.

use std::borrow::Cow;

use lpu_isa::{AsmError, ChipId, ChipRef, Container, Queue, SourceMap, assemble, disassemble};
use proptest::prelude::*;

type Files<'f> = &'f [(&'f str, &'f str)];

fn read(source: &str, files: Files<'_>) -> Result<(Container<'static>, SourceMap), Vec<AsmError>> {
    let mut load = |name: &str| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| Cow::Owned(text.as_bytes().to_vec())).ok_or_else(|| format!("there is no {name}"))
    };
    assemble(source, &mut load, &mut |name| {
        (name == "small").then(|| (ChipRef { name: name.into(), fingerprint: [7; 32] }, 16))
    })
}

/// The text and what it stands for, line by line, give the same container.
fn same(short: &str, long: &str, files: Files<'_>) {
    let head = ".chip small\n.program p\n";
    let read =
        |text: &str| read(&format!("{head}{text}"), files).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}")).0;
    assert_eq!(read(short), read(long), "{short}");
}

fn errors(body: &str, files: Files<'_>) -> Vec<String> {
    let found = read(&format!(".chip small\n.program p\n{body}"), files);
    found.map(|_| Vec::new()).unwrap_or_else(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn short_texts_stand_for_long_ones() {
    let files: Files<'_> = &[
        ("a.inc", ".equ four 4\n.queue mem.e0\nread four, e0"),
        ("lib/b.inc", ".include c.inc\n.include c.inc\n"),
        ("lib/c.inc", "read 1, e0\n"),
        ("it.inc", "read {i}, e{i}\n"),
        ("marked.inc", "\u{feff}read 7, e0\n"),
    ];
    for (short, long) in [
        (
            ".rept 3, i\n.queue mem.e{i}\n@i read {10*i}, e{i}\n.endr",
            ".queue mem.e0\nread 0, e0\n.queue mem.e1\n@1 read 10, e1\n.queue mem.e2\n@2 read 20, e2",
        ),
        (
            ".queue mem.e0\n.rept 2\n.rept 2, j\nread j, e0 + j\n.endr\n.endr",
            ".queue mem.e0\nread 0, e0\nread 1, e1\nread 0, e0\nread 1, e1",
        ),
        (".queue mem.e0\n.rept 0, i\nraed\n.rept 2\n.endr\n.endr\nread 0, e0", ".queue mem.e0\nread 0, e0"),
        (
            ".equ n 4\n.queue mem.e0\n.rept n/2+n%3-1, i\n.equ x i*2\nl{i}: read x, e0\n.endr\n@l1+5 read {l0}, e1",
            ".queue mem.e0\nread 0, e0\nread 2, e0\n@6 read 0, e1",
        ),
        (
            ".queue mem.e0\nld: @3 read 0, e0\n.equ st ld + 18\n@st read 1, e0\n.cycles st+4",
            ".queue mem.e0\n@3 read 0, e0\n@21 read 1, e0\n.cycles 25",
        ),
        (".include a.inc\nread four, e1", ".queue mem.e0\nread 4, e0\nread 4, e1"),
        (".queue mem.e0\n.include lib/b.inc", ".queue mem.e0\nread 1, e0\nread 1, e0"),
        (".queue mem.e0\n.include marked.inc", ".queue mem.e0\nread 7, e0"),
        (".chips 4\n.zero 1..3/e0:5x2", ".chips 4\n.zero 1/e0:5x2\n.zero 2/e0:5x2\n.zero 3/e0:5x2"),
        (".equ n 5\n.chips 2\n.zero 0..1/e0:n\n.zero 1..1/w0:n", ".chips 2\n.zero e0:5\n.zero 1/e0:5\n.zero 1/w0:5"),
        (
            ".chips 3\n.data 0..2/e0:5x2 2\n.hex 0102\n.hex 0304",
            ".chips 3\n.data e0:5x2 2\n.hex 01020304\n.data 1/e0:5x2 2\n.hex 01020304\n.data 2/e0:5x2 2\n.hex 01020304",
        ),
        (
            ".chips 3\n.data 0..1/e0:5 1..2/w0:6 1\n.hex 0102",
            ".chips 3\n.data e0:5 1/w0:6 1\n.hex 0102\n.data 1/e0:5 2/w0:6 1\n.hex 0102",
        ),
        (
            ".chips 2\n.image it.inc\n.file 0..1/e0:5 1 3\n.file 0..1/e1:5 0..1/w1:5 0 2",
            ".chips 2\n.image it.inc\n.file e0:5 1 3\n.file 1/e0:5 1 3\n.file e1:5 w1:5 0 2\n.file 1/e1:5 1/w1:5 0 2",
        ),
        (".queue mem.e0\n.rept 3, i\n.include it.inc\n.endr", ".queue mem.e0\nread 0, e0\nread 1, e1\nread 2, e2"),
        (
            ".const k i16 [1, 8] at e0:0x2\n.values k 0..3 -1 9..3+3",
            ".const k i16 [1, 8] at e0:0x2\n.values k 0 1 2 3 -1 9 6 3",
        ),
        (
            ".equ n 3\n.const k f16 [1, 8] at e0:0x2\n.values k n..-4",
            ".const k f16 [1, 8] at e0:0x2\n.values k 3 2 1 0 -1 -2 -3 -4",
        ),
        (
            ".const k i8 [1, 9] at e0:0\n.rept 9, i\n.values k {(i*7)%9}\n.endr",
            ".const k i8 [1, 9] at e0:0\n.values k 0 7 5 3 1 8 6 4 2",
        ),
        (".state k i8 [4, 16] at 1..2/e3..e4:5", ".state k i8 [4, 16] at 1/e3:5, 1/e4:5, 2/e3:5, 2/e4:5"),
        (
            ".state k i8 [2, 16] at 0/e0:5 1/e0:9\n.queue 0..1/mem.e0\nld: read k, e0\n@ld+7 read k, e1",
            ".state k i8 [2, 16] at 0/e0:5 1/e0:9\n.queue mem.e0\nread 5, e0\n@7 read 5, e1\n.queue 1/mem.e0\nread 9, \
            e0\n@7 read 9, e1",
        ),
    ] {
        same(short, long, files);
    }
}

#[test]
fn mistakes_say_where_and_in_which_iteration() {
    let files: Files<'_> = &[
        ("lib/bad.inc", "; a comment\n.queue mem.e{i}\nread {i}, x{i}\n"),
        ("loop.inc", ".include loop2.inc\n"),
        ("loop2.inc", ".include loop.inc\n"),
        ("open.inc", ".rept 2\n"),
    ];
    for (body, expected) in [
        (
            ".rept 3, i\n.queue mem.e0\n  read {i}, e0, {i}\n.endr",
            "line 5, column 3: `read` takes 2 operands, found 3; write `read word, dst`; in iteration 0 of the \
            `.rept` in line 3",
        ),
        (
            ".rept 3, i\n.queue mem.e0\nread {100*i}, e{127*i}\n.endr",
            "line 5, column 15: operand 2 of `read` is a stream such as e0 or w31, found `e254`; write `read word, \
            dst`; in iteration 2 of the `.rept` in line 3",
        ),
        (
            ".rept 2, i\n.include lib/bad.inc\n.endr",
            "lib/bad.inc, line 3, column 11: operand 2 of `read` is a stream such as e0 or w31, found `x0`; write \
            `read word, dst`; included from line 4; in iteration 0 of the `.rept` in line 3",
        ),
        (
            ".include loop.inc",
            "loop2.inc, line 1, column 10: `loop.inc` includes itself; leave this line out; included from line 1 of \
            loop.inc; included from line 3",
        ),
        (
            ".include none",
            "line 3, column 10: `none` cannot be included: there is no none; put it beside the text or correct its \
            name",
        ),
        (
            ".include open.inc",
            "open.inc, line 1, column 1: this `.rept` has no `.endr`; close it with `.endr` in the same file; \
            included from line 3",
        ),
        (".endr", "line 3, column 1: `.endr` ends no `.rept`; leave it out"),
        (
            ".rept 2, e0\n.endr",
            "line 3, column 10: `e0` cannot be the name of a symbol; use letters, digits and `_`, and no operand such \
            as e0, a3 or f32",
        ),
        (".equ i 3\n.rept 2, i\n.endr", "line 4, column 10: a second `i`; the first is in line 3; rename one"),
        (
            ".rept x\nraed\n.endr",
            "line 3, column 7: a number of repetitions is expected, found `x`; write `.rept COUNT [NAME]`",
        ),
        (".rept {\nraed\n.endr", "line 3, column 7: this brace does not close; write an expression as in `mem.e{8+i}`"),
        (
            ".queue mem.e{}",
            "line 3, column 13: `` is no sum or product of numbers and symbols; write an expression as in `mem.e{8+i}`",
        ),
        (
            ".queue mem.e{j}",
            "line 3, column 13: there is no symbol `j`; give it above its use, with `.equ` or as a label",
        ),
        (
            ".queue mem.e0\n.rept 2\nl: read 0, e0\n.endr",
            "line 5, column 1: a second `l`; the first is in line 5; rename one; in iteration 1 of the `.rept` in \
            line 4",
        ),
        (
            ".const k i8 [1, 4] at e0:0\n.values k 0..3+0",
            "line 4, column 11: a range in steps of 0; give a step of at least 1; a range whose last number is \
            smaller counts down",
        ),
        (
            ".const k i8 [1, 4] at e0:0\n.values k 126..129",
            "line 4, column 11: 128 is no element; i8 reaches from -128 to 127",
        ),
        (
            ".const k i8 [1, 4] at e0:0\n.values k 0..4",
            "line 4, column 1: region `k` has 4 elements but 5 values are given; give one value an element, vector \
            after vector",
        ),
        (
            ".queue 1/mem.e0\nnop 3\n.queue 0..1/mem.e0\nl: read 0, e0",
            "line 6, column 1: `l` is cycle 0 on chip 0 and cycle 3 on chip 1; bring the queues to the same cycle \
            with `@` first, or label a line of one chip",
        ),
        (
            ".state k i8 [1, 4] at e0:0\n.queue 0..3/mem.e0\nread k, e0",
            "line 5, column 6: region `k` has no word in slice 1/e0 (on chip 1); use it in a slice of its own: 0/e0",
        ),
        (
            ".queue 3..1/mem.e0",
            "line 3, column 8: a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2, 1/mem.w0 or 0..7/mem.e4 is expected, \
            found `3..1/mem.e0`; write `.queue [CHIP[..CHIP]/]QUEUE`",
        ),
    ] {
        assert_eq!(errors(body, files), [expected], "{body}");
    }
}

#[test]
fn the_source_map_knows_files_and_iterations() {
    let files: Files<'_> = &[("x.inc", "\nread {i}, e0\n")];
    let (_, map) =
        read(".chip small\n.program p\n.queue mem.e0\n.rept 2, i\n.include x.inc\n.endr\nread 9, e0\n", files).unwrap();
    let queue: Queue = "mem.e0".parse().unwrap();
    let place = map.place(0, ChipId(0), queue, 1).unwrap();
    assert_eq!((place.file.unwrap().name.as_str(), place.line), ("x.inc", 2));
    assert_eq!(place.trail, ["included from line 5", "in iteration 1 of the `.rept` in line 4"]);
    let plain = map.place(0, ChipId(0), queue, 2).unwrap();
    assert_eq!((plain.file, plain.line, plain.trail.len(), map.line(0, ChipId(0), queue, 2)), (None, 7, 0, Some(7)));
}

/// Nothing short makes much: each is refused at once, with its line.
#[test]
fn short_texts_expand_to_little() {
    let nested = |count: &str| format!("{}{}", format!(".rept {count}\n").repeat(16), ".endr\n".repeat(16));
    let files: Files<'_> =
        &[("two.inc", ".queue mem.e0\nread 0, e0\n.include three.inc\n"), ("three.inc", "read 0, e0\nread 0, e0\n")];
    for (body, expected) in [
        (".rept 18446744073709551615\n\n.endr".to_owned(), "bring more than"),
        (nested("1000"), "bring more than"),
        (".rept 1000000\n.rept 1000000\n.include two.inc\n.endr\n.endr".into(), "bring more than"),
        (".queue 0..65534/mem.e0\nread 0, e0\nread 0, e0".into(), "bring more than"),
        (".queue c2c.0\nsend e0\n.like 1..65534 0 0=1".into(), "bring more than"),
        (".const k i32 [16384, 16] at e0:0x65536\n.values k 0..2000000000".into(), "bring more than"),
        (".rept 1000000, i\n.state r{i} i8 [64, 16] at e0..e63:0\n.endr".into(), "bring more than"),
        (format!("{}{}", ".rept 1\n".repeat(17), ".endr\n".repeat(17)), "nested more than 16 deep"),
        (".rept 5000\nraed 0, e0\n.endr".into(), "outside a queue"),
    ] {
        let begin = std::time::Instant::now();
        let found = errors(&body, files);
        assert!(found.len() == 1 && found[0].contains(expected), "{body}: {found:?}");
        assert!(begin.elapsed().as_secs() < 20, "{body}");
    }
    let (container, _) = read(&format!(".chip small\n.program p\n{}", nested("1")), files).unwrap();
    assert_eq!(container.programs[0].items(), 0);
}

/// Chips with other links than the first are written so that they may be read again, however many there are.
#[test]
fn links_of_many_chips_are_read_back() {
    let text = ".chip small\n.program p\n.queue c2c.0\nsend e0\n.queue c2c.1\nsend e0\n.like 1..200 0 0=2 1=3\n";
    let (container, _) = read(text, &[]).unwrap();
    let mut many = container.clone();
    let like = many.programs[0].chips[1].clone();
    many.programs[0].chips.resize(40_000, like);
    let shown = disassemble(&many, None).0;
    assert!(read(&shown, &[]).unwrap().0 == many);
}

/// Extents on many chips stay within what a text may bring: the image file's bytes count for what is taken of it.
#[test]
fn extents_on_many_chips_are_bounded() {
    let many = "repetition, inclusion and lines for several chips bring more than";
    let image = "x".repeat(1 << 16);
    let files: Files<'_> = &[("image", &image)];
    let hex = "00".repeat(1 << 12);
    for (text, bounded) in [
        (".zero 0..999/e0:5".to_owned(), false),
        (".zero 0..65534/e0:5".to_owned(), true),
        (format!(".data 0..9/e0:0x256\n.hex {hex}"), false),
        (format!(".data 0..999/e0:0x256\n.hex {hex}"), true),
        (".image image\n.file 0..15/e0:0x4096 0".to_owned(), false),
        (".image image\n.file 0..99/e0:0x4096 0".to_owned(), true),
        (".image image\n.file 0..15/e0:0x16777215 0".to_owned(), true),
    ] {
        let found = errors(&format!(".chips 65535\n{text}"), files);
        assert_eq!(
            found.iter().any(|error| error.contains(many)),
            bounded,
            "{}: {found:?}",
            &text[..text.len().min(60)]
        );
        assert_eq!(found.is_empty(), !bounded, "{found:?}");
    }
}

/// Chips whose queues are the same, written so or not, share one queue set, which is written once.
#[test]
fn equal_sets_are_written_once() {
    let text = ".chip small\n.program p\n.chips 40\n.queue 1..39/vxm.0\nnop 5\nexp e0, a0\n.queue 0..3/mem.e0\n\
        read 0, e0\n.queue 5/mem.e0\nread 0, e0\n";
    let (container, _) = read(text, &[]).unwrap();
    let shown = disassemble(&container, None).0;
    let lines = |start: &str| shown.lines().filter_map(|line| line.strip_prefix(start)).collect::<Vec<_>>().join(", ");
    assert_eq!(lines(".queue "), "mem.e0, 1/mem.e0, 1/vxm.0, 4/vxm.0");
    assert_eq!(lines(".like "), "2..3 1, 5 1, 6..39 4");
    assert_eq!(read(&shown, &[]).unwrap().0, container);
}

proptest! {
    /// Expressions in braces are their values, wherever they stand, and spans point at what is written.
    #[test]
    fn braces_are_values(a in 0u32..9, b in 1u32..9, blanks in 0usize..4) {
        let pad = " ".repeat(blanks);
        let value = (a * b + 7) / b % 5;
        let short = format!("{pad}.queue mem.e{{({a}*{b}+7)/{b} % 5}}\n{pad}@{{{a}}} read {{{a}+{b}}}, e{{{b}}}");
        same(&short, &format!(".queue mem.e{value}\n@{a} read {}, e{b}", a + b), &[]);
        let wrong = read(&format!(".chip small\n.program p\n{short}, {{{a}}}"), &[]).unwrap_err();
        prop_assert_eq!((wrong[0].span.line, wrong[0].span.column as usize), (4, blanks + 5 + a.to_string().len()));
        let operand = read(&format!(".chip small\n.program p\n{}\n", short.replace(", e{", ", x{")), &[]).unwrap_err();
        let source = format!(".chip small\n.program p\n{}\n", short.replace(", e{", ", x{"));
        let span = operand[0].span;
        prop_assert_eq!(&source[span.start..span.start + span.length], format!("x{{{b}}}"));
    }

    /// A text of random repetitions is the text that they stand for.
    #[test]
    fn repetitions_are_lines(
        counts in prop::collection::vec(0u64..4, 1..5),
        words in prop::collection::vec(0u32..100, 1..4),
    ) {
        let mut short = ".queue mem.e0\n".to_owned();
        for (depth, count) in counts.iter().enumerate() {
            short += &format!(".rept {count}, i{depth}\n");
        }
        let sum: Vec<String> = (0..counts.len()).map(|depth| format!("i{depth}*{}", depth + 1)).collect();
        for word in &words {
            short += &format!("read {word}+{}, e0\n", sum.join("+"));
        }
        short += &".endr\n".repeat(counts.len());
        let mut plain = ".queue mem.e0\n".to_owned();
        let mut indices = vec![vec![]];
        for count in &counts {
            indices = indices.iter().flat_map(|head: &Vec<u64>| (0..*count)
                .map(move |index| [&head[..], &[index]].concat())).collect();
        }
        for index in indices {
            let sum: u64 = index.iter().zip(1..).map(|(index, factor)| index * factor).sum();
            words.iter().for_each(|word| plain += &format!("read {}, e0\n", u64::from(*word) + sum));
        }
        same(&short, &plain, &[]);
    }
}
