//! Program text through the command: chips and systems of one's own, included files, standard input and output.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lpu::chip::{PRESETS, SYSTEMS, System, preset};
use proptest::prelude::*;

fn lpu(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
    let mut child = command
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn good(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = lpu(folder, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a command that is refused says.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = lpu(folder, arguments, b"");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A chip of its own: `test-small` with some figures changed.
fn chip(figures: &[(&str, u32)]) -> String {
    let text = preset("test-small").unwrap().to_toml();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("name", _)) => "name = \"mine\"".to_owned(),
        Some((name, _)) => match figures.iter().find(|(figure, _)| *figure == name) {
            Some((_, value)) => format!("{name} = {value}"),
            None => line.to_owned(),
        },
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A kernel for all chips of a system: a word of each is read, taken and written.
fn kernel(name: &str, system: &System) -> String {
    let chips = system.chips();
    let lanes = system.chip().lanes();
    let range = if chips > 1 { format!("0..{}/", chips - 1) } else { String::new() };
    format!(
        ".chip {name}\n.program p\n.input x i8 [{chips}, {lanes}] at {range}e0:0\n\
        .output y i8 [{chips}, {lanes}] at {range}w0:0\n\
         .queue {range}mem.e0\nload: @0 read x, w0\n.queue {range}mem.w0\n@load+{} write y, w0\n",
        system.chip().values().mem_read + 2
    )
}

/// Whatever the chip: text to binary to text and back, checked and run, with `--chip`; another description is refused
/// by both fingerprints.
fn trips(folder: &Path, description: &str, other: &str) {
    fs::write(folder.join("mine.toml"), description).unwrap();
    fs::write(folder.join("other.toml"), other).unwrap();
    let system = System::read(description, &mut preset).unwrap();
    fs::write(folder.join("k.lpu"), kernel("mine.toml", &system)).unwrap();
    good(folder, &["asm", "k.lpu", "-o", "k.lpb"], b"");
    let text = good(folder, &["disasm", "k.lpb", "--chip", "mine.toml"], b"");
    fs::write(folder.join("again.lpu"), &text).unwrap();
    good(folder, &["asm", "again.lpu", "-o", "again.lpb", "--chip", "mine.toml"], b"");
    assert_eq!(fs::read(folder.join("k.lpb")).unwrap(), fs::read(folder.join("again.lpb")).unwrap());
    assert_eq!(good(folder, &["disasm", "again.lpb"], b""), text);
    fs::write(folder.join("named.lpu"), kernel("mine", &system)).unwrap();
    for file in ["k.lpb", "again.lpu", "k.lpu", "named.lpu"] {
        let shown = String::from_utf8(good(folder, &["check", file, "--chip", "mine.toml"], b"")).unwrap();
        assert!(shown.contains("legal, "), "{shown}");
        good(folder, &["inspect", "sram", file, "--chip", "mine.toml"], b"");
        let message = refused(folder, &["run", file, "--chip", "mine.toml"]);
        assert!(message.contains("--input x=FILE.npy"), "only the input is missing: {message}");
    }
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let fingerprints =
        [description, other].map(|text| hex(System::read(text, &mut preset).unwrap().reference().fingerprint));
    for command in ["asm", "disasm", "check", "run"] {
        for file in ["k.lpb", "again.lpu"] {
            let mut arguments = vec![command, file, "--chip", "other.toml"];
            if command == "asm" {
                arguments.extend(["-o", "never.lpb"]);
            }
            let message = refused(folder, &arguments);
            assert!(fingerprints.iter().all(|fingerprint| message.contains(fingerprint)), "{arguments:?}: {message}");
        }
    }
    assert!(!folder.join("never.lpb").exists());
    let message = refused(folder, &["check", "again.lpu"]);
    assert!(message.contains(&fingerprints[0]) && message.contains("--chip"), "{message}");
    // What `chips` prints is the same chip or system, and says its fingerprint.
    let printed = good(folder, &["chips", "mine.toml"], b"");
    assert!(String::from_utf8_lossy(&printed).starts_with(&format!("# fingerprint {}\n", fingerprints[0])));
    fs::write(folder.join("printed.toml"), &printed).unwrap();
    assert_eq!(good(folder, &["chips", "printed.toml"], b""), printed);
    good(folder, &["check", "k.lpb", "--chip", "printed.toml"], b"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn programs_for_any_chip_and_system_go_through_all_forms(
        superlanes in 1u32..=20, streams in 1u32..=8, slices in 1u32..=60, share in 1u32..=16, read in 1u32..=64,
        write in 1u32..=64,
        links in 1u32..=64, chips in 1u16..=9, seed: u64,
    ) {
        let folder = scratch(&format!("trips-{seed:x}"));
        let figures = [
            ("superlanes", superlanes), ("streams", 16 * streams), ("slices_per_side", slices),
            ("slices_per_position", share),
            ("mem_read", read), ("mem_write", write), ("c2c_queues", links),
        ];
        let chip = chip(&figures);
        let system = |read: u32, chips: u16| {
            let chip = chip.replace(&format!("mem_read = {}", figures[4].1), &format!("mem_read = {read}"));
            if chips == 1 {
                return chip;
            }
            // Links from chip to chip in a row, by a queue of either end that the seed picks.
            let link = |one: u16| (seed >> (one % 8) & 7) as u32 % links;
            let pair = |one: u16| format!("\"{}.{} - {one}.{}\"", one - 1, link(one), link(one + 3));
            let pairs: Vec<String> = (1..chips).filter(|one| one % 2 == 1).map(pair).collect();
            format!("name = \"mine\"\nchips = {chips}\nlinks = [{}]\n[chip]\n{chip}\n", pairs.join(", "))
        };
        trips(&folder, &system(read, chips), &system(read % 64 + 1, chips));
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn presets_print_as_what_they_are() {
    let folder = scratch("presets");
    for name in [PRESETS, SYSTEMS].concat() {
        let printed = String::from_utf8(good(&folder, &["chips", name], b"")).unwrap();
        let read = System::read(&printed, &mut |name| panic!("{name} is asked for")).unwrap();
        assert_eq!(read, System::preset(name).unwrap());
    }
}

#[test]
fn descriptions_extend_presets_and_files_of_their_folder() {
    let folder = scratch("extends");
    fs::create_dir(folder.join("lib")).unwrap();
    let described = [
        ("slow.toml", "name = 'slow'\nextends = 'lib/base.toml'\nmem_write = 3\n"),
        ("lib/base.toml", "name = 'base'\nextends = 'more.toml'\nmem_read = 9\n"),
        ("lib/more.toml", "name = 'more'\nextends = 'stacked-like'\nmem_read = 7\nmem_write = 7\n"),
        ("pair.toml", "name = 'pair'\nchip = 'slow.toml'\nchips = 2\nlinks = 'all'\n"),
        ("one.toml", "name = 'one'\nextends = 'two.toml'\n"),
        ("two.toml", "name = 'two'\nextends = 'lib/../one.toml'\n"),
        ("nowhere.toml", "name = 'nowhere'\nextends = 'nothing.toml'\n"),
        ("unknown.toml", "name = 'unknown'\nextends = 'tsp-v9'\n"),
        ("itself.toml", "name = 'itself'\nchip = 'itself.toml'\nchips = 2\n"),
    ];
    for (name, text) in described {
        fs::write(folder.join(name), text).unwrap();
    }
    let expected = preset("stacked-like").unwrap().with(&[("mem_read", 9), ("mem_write", 3)]).unwrap();
    for name in ["slow.toml", "pair.toml"] {
        let printed = String::from_utf8(good(&folder, &["chips", name], b"")).unwrap();
        let read = System::read(&printed, &mut |name| panic!("{name} is asked for")).unwrap();
        assert_eq!(read.chip().fingerprint(), expected.fingerprint(), "{name}");
        assert_eq!(read.chip().synthetic(), expected.synthetic(), "{name}");
    }
    for (name, expected) in [
        ("one.toml", "one.toml extends "),
        ("two.toml", "none may extend itself"),
        ("itself.toml", "none may extend itself"),
        ("nowhere.toml", "nothing.toml"),
        ("unknown.toml", "no chip preset `tsp-v9`; presets are tsp-v1"),
    ] {
        let said = refused(&folder, &["chips", name]);
        assert!(said.contains(expected), "{name}: {said}");
    }
    let kernel = ".chip stacked-like\n.program p\n.zero e0:0\n.queue mem.e0\n@5 read 0, e0\n";
    fs::write(folder.join("k.lpu"), kernel).unwrap();
    let ran = String::from_utf8(good(&folder, &["run", "k.lpu"], b"")).unwrap();
    assert!(ran.contains("chip `stacked-like` is synthetic: "), "{ran}");
    let ran = String::from_utf8(good(&folder, &["run", "k.lpu", "--json"], b"")).unwrap();
    assert!(ran.contains("\"synthetic\":\"a question"), "{ran}");
    let listed = String::from_utf8(good(&folder, &["chips"], b"")).unwrap();
    let is_marked = |name: &str| listed.lines().any(|line| line.starts_with(name) && line.ends_with(", synthetic"));
    assert!(is_marked("lp30-rack-like ") && is_marked("stacked-like ") && !is_marked("tsp-v1 "), "{listed}");
}

#[test]
fn standard_input_and_output_take_the_place_of_files() {
    let folder = scratch("streams");
    let text = ".chip test-small\n.program p\n.queue mem.e0\n@5 read 0, e0\n.zero e0:0\n";
    fs::write(folder.join("k.lpu"), text).unwrap();
    good(&folder, &["asm", "k.lpu", "-o", "k.lpb"], b"");
    let file = fs::read(folder.join("k.lpb")).unwrap();
    assert_eq!(good(&folder, &["asm", "-", "-o", "-"], text.as_bytes()), file);
    let shown = good(&folder, &["disasm", "k.lpb"], b"");
    assert_eq!(good(&folder, &["disasm", "-"], &file), shown);
    assert_eq!(good(&folder, &["disasm", "-", "-o", "-"], &file), shown);
    for input in [text.as_bytes(), &file[..]] {
        let checked = String::from_utf8(good(&folder, &["check", "-"], input)).unwrap();
        assert!(checked.contains("<stdin> `p`: legal, 13 cycles"), "{checked}");
        let ran = String::from_utf8(good(&folder, &["run", "-"], input)).unwrap();
        assert!(
            ran.contains("13 cycles") && ran.contains("1 instructions preloaded"),
            "a wait is no instruction: {ran}"
        );
    }
    let output = lpu(&folder, &["check", "-"], b".chip test-small\n.program p\nread 0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("<stdin>:3:1"), "{output:?}");
}

#[test]
fn mistakes_in_included_files_and_iterations_say_where_they_are() {
    let folder = scratch("include");
    fs::create_dir(folder.join("lib")).unwrap();
    let main = ".chip test-small\n.program p\n.zero e0:0x9\n.include lib/reads.inc\n";
    fs::write(folder.join("k.lpu"), main).unwrap();
    fs::write(folder.join("lib/reads.inc"), ".rept 2, i\n.include one.inc\n.endr\n").unwrap();
    fs::write(folder.join("lib/one.inc"), ".queue mem.e{i}\nread {i}, e{i}, 3\n").unwrap();
    let message = refused(&folder, &["check", "k.lpu"]);
    for part in [
        "lib/one.inc:2:1",
        "read {i}, e{i}, 3\n",
        "note: included from line 2 of lib/reads.inc",
        "note: in iteration 0 of the `.rept` in line 1 of lib/reads.inc",
        "note: included from line 4",
        "error: 1 mistake in k.lpu",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    fs::write(folder.join("lib/one.inc"), ".queue mem.e{i}\nread {i}, e{i}\n").unwrap();
    let output = lpu(&folder, &["check", "k.lpu"], b"");
    let listed = String::from_utf8(output.stdout).unwrap();
    let expected = "lib/one.inc:2: cycle 0, mem.e1 (read): word-uninitialised";
    assert!(
        listed.starts_with(expected) && listed.contains("    read {i}, e{i}\n    included from line 2"),
        "{listed}"
    );
    fs::write(folder.join("k.lpu"), ".chip test-small\n.include /dev/zero\n.include nothing\n.include .\n").unwrap();
    let message = refused(&folder, &["check", "k.lpu"]);
    assert_eq!(message.matches("cannot be included: ").count(), 3, "{message}");
}

#[test]
fn a_chip_that_only_the_text_knows_is_the_one_that_is_given() {
    let folder = scratch("absent-description");
    fs::write(folder.join("mine.toml"), chip(&[("mem_read", 7)])).unwrap();
    fs::write(folder.join("other.toml"), chip(&[("mem_read", 9)])).unwrap();
    fs::write(folder.join("broken.toml"), "name = 3").unwrap();
    let text = |chip: &str| format!(".chip {chip}\n.program p\n.queue vxm.0\nexp _, #i0\n");
    for name in ["nosuch.toml", "nosuch", "mine", "mine.toml", "folder/mine.toml"] {
        fs::write(folder.join("k.lpu"), text(&format!("\"{name}\""))).unwrap();
        good(&folder, &["check", "k.lpu", "--chip", "mine.toml"], b"");
        good(&folder, &["run", "k.lpu", "--chip", "mine.toml"], b"");
        good(&folder, &["asm", "k.lpu", "-o", "k.lpb", "--chip", "mine.toml"], b"");
        good(&folder, &["check", "k.lpb", "--chip", "mine.toml"], b"");
        if name != "mine.toml" {
            assert!(refused(&folder, &["check", "k.lpu"]).contains(name));
        }
    }
    // What has a description of another fingerprint contradicts, and so does a fingerprint in the text.
    let fingerprint = "00".repeat(32);
    for name in ["other.toml".to_owned(), "test-small".to_owned(), format!("nosuch 64 {fingerprint}")] {
        fs::write(folder.join("k.lpu"), text(&name)).unwrap();
        let message = refused(&folder, &["check", "k.lpu", "--chip", "mine.toml"]);
        assert!(message.contains("fingerprint"), "{name}: {message}");
    }
    fs::write(folder.join("k.lpu"), text("broken.toml")).unwrap();
    assert!(refused(&folder, &["check", "k.lpu", "--chip", "mine.toml"]).contains("name"));
}

/// Whatever needs a chip that the system does not have is refused by every command, in text and in binary.
#[test]
fn chips_that_a_system_does_not_have_are_refused() {
    let folder = scratch("absent");
    let cases = [
        (
            "test-small",
            ".queue 3/mem.e0\nread 0, e0\n.zero 3/e0:0\n",
            "the image at 3/e0:0 needs chip 3, but the system has 1",
        ),
        (
            "test-small",
            ".queue 1/vxm.0\nnop 4\n",
            "k.lpu:5: cycle 0, vxm.0 (nop): range-overflow: the queue needs chip 1, but the system has 1",
        ),
        ("test-small", ".state x i8 [1 16] at 2/w0:4\n", "the region at 2/w0:4 needs chip 2, but the system has 1"),
        ("test-small", ".chips 2\n", "the program needs chip 1, but the system has 1"),
        ("test-pair", ".queue 0..2/vxm.0\nnop 4\n", "the queue needs chip 2, but the system has 2"),
        ("test-pair", ".chips 8\n.zero 1..7/w0:0\n", "the image at 7/w0:0 needs chip 7, but the system has 2"),
    ];
    for (chip, text, expected) in cases {
        fs::write(
            folder.join("k.lpu"),
            format!(".chip {chip}\n.program p\n.queue vxm.0\n{text}.queue vxm.1\nexp _, #i0\n"),
        )
        .unwrap();
        let checked = lpu(&folder, &["check", "k.lpu"], b"");
        let listed = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(checked.status.code(), Some(1), "{listed}");
        assert!(listed.contains(expected), "{listed}");
        let first = listed.lines().next().unwrap().split_once(": ").unwrap().1.to_owned();
        for arguments in [
            &["run", "k.lpu"][..],
            &["run", "k.lpu", "--engine", "reference"],
            &["run", "k.lpu", "--verify"],
            &["asm", "k.lpu", "-o", "k.lpb"],
            &["disasm", "k.lpu"],
            &["inspect", "sram", "k.lpu"],
            &["inspect", "dispatches", "k.lpu"],
        ] {
            let message = refused(&folder, arguments);
            assert!(message.contains(&first), "{arguments:?}: {message}, not {first}");
        }
        assert!(!folder.join("k.lpb").exists());
    }
    // A binary file that an assembler which knows nothing of chips made.
    let known = System::preset("test-small").unwrap();
    let text = ".chip test-small\n.program p\n.queue 1/vxm.0\nexp _, #i0\n";
    let mut by_name = |_: &str| Some((known.reference(), known.chip().lanes() as u32));
    let (container, _) = lpu::isa::assemble(text, &mut |_| Err(String::new()), &mut by_name).unwrap();
    fs::write(folder.join("b.lpb"), container.to_bytes().unwrap()).unwrap();
    let checked = lpu(&folder, &["check", "b.lpb"], b"");
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("the queue needs chip 1"));
    for arguments in
        [&["run", "b.lpb"][..], &["run", "b.lpb", "--verify"], &["disasm", "b.lpb"], &["inspect", "sram", "b.lpb"]]
    {
        let message = refused(&folder, arguments);
        assert!(message.contains("the queue needs chip 1, but the system has 1"), "{arguments:?}: {message}");
    }
}

/// A description may have any name that the system takes.
#[cfg(unix)]
#[test]
fn a_description_may_have_any_bytes_in_its_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = scratch("names");
    let name = std::ffi::OsStr::from_bytes(b"chip-\xff.toml");
    if fs::write(folder.join(name), chip(&[])).is_err() {
        return;
    }
    fs::write(folder.join("k.lpu"), ".chip mine\n.program p\n.queue vxm.0\nnop 1\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
    let output = command.current_dir(&folder).args(["check", "k.lpu", "--chip"]).arg(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
