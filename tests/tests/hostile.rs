//! Readers under hostile files: no panic, no hang, no allocation above a small multiple of the file's size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use arbtest::arbtest;
use lpu_tests::hostile::{TARGETS, Target};

/// The system's allocator, counting what the thread at hand has allocated, and the most at once.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Both cells are gone while a thread ends; what it frees then is of no interest.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is; counting touches two cells of the thread and
// allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; the pointer came from `alloc`, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that reading takes at once, beyond what there was before.
fn most_allocated(target: &Target, file: &[u8]) -> usize {
    let before = LIVE.get();
    MOST.set(before);
    (target.read)(file);
    (MOST.get() - before) as usize
}

fn bear(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let (mut files, mut worst) = (0u32, (0.0, 0, 0));
    arbtest(|u| {
        let file = (target.make)(u)?;
        let most = most_allocated(target, &file);
        let ratio = most as f64 / (target.fixed + target.each * file.len()) as f64;
        assert!(ratio <= 1.0, "{name}: reading {} bytes took {most}", file.len());
        if ratio > worst.0 {
            worst = (ratio, most, file.len());
        }
        files += 1;
        Ok(())
    })
    .size_max(1 << 12)
    .budget_ms(1_200)
    .run();
    println!("{name}: {files} files; the costliest, of {} bytes, took {}", worst.2, worst.1);
}

#[test]
fn lpb() {
    bear("lpb");
}

#[test]
fn text() {
    bear("text");
}

#[test]
fn host() {
    bear("host");
}

#[test]
fn lpu() {
    bear("lpu");
}

#[test]
fn safetensors() {
    bear("safetensors");
}

#[test]
fn gguf() {
    bear("gguf");
}

#[test]
fn system() {
    bear("system");
}

#[test]
fn config() {
    bear("config");
}

#[test]
fn chip() {
    bear("chip");
}

/// What is long only when taken apart: a region of sixteen million words of zeros, a long name in the comment of each
/// of many instructions, many regions over the same words of code.
#[test]
fn short_files_give_short_texts() {
    let head = ".chip small 16 0707070707070707070707070707070707070707070707070707070707070707\n";
    let name = "n".repeat(60_000);
    let reads = "read 0, e0\n".repeat(3000);
    let same: String = (0..3000).map(|index| format!(".code c{index} i8 [2000 16] at e0:0x2000\n")).collect();
    let texts = [
        format!("{head}.zero e0:0x16777216\n.program p\n.code c i8 [16777216 16] at e0:0x16777216\n"),
        format!("{head}.program p\n.input {name} i8 [1 16] at e0:0\n.queue mem.e0\n{reads}"),
        format!("{head}.data e0:0x2000\n.hex {}\n.program p\n{same}", "04".repeat(32_000)),
    ];
    let target = TARGETS.iter().find(|target| target.name == "text").unwrap();
    for text in texts {
        let (container, _) = lpu_isa::assemble(&text, &mut |_| Err("no files".into()), &mut |_| None).unwrap();
        let file = container.to_bytes().unwrap();
        let most = most_allocated(target, &file);
        assert!(most <= target.fixed + target.each * file.len(), "{} bytes took {most}", file.len());
    }
}

/// Short texts that repeat what takes most memory a byte: none gets further than the bound on what repetition brings.
#[test]
fn repetition_takes_bounded_memory() {
    let head = ".chip small\n.program p\n.state x i8 [1 1] at e0:9\n";
    let target = TARGETS.iter().find(|target| target.name == "lpu").unwrap();
    for body in [
        ".at e0..e63:0",
        ".at e0..e63:0 e0..e63:0 e0..e63:0 e0..e63:0",
        ".queue mem.e0\n.rept 99999\n@{262140*i} nop 1\n.endr",
        ".zero e0:{i}",
        ".data e0:{i} 1\n.hex 00",
        ".state r{i} i8 [1 1] at e0:{i}",
        ".program p{i}",
        ".queue vxm.{i}\nnop 1",
        ".queue mem.e0\nl{i}: nop 1",
        ".equ x{i} 1",
        "",
        ".rept 9",
        ".include c.inc",
        ".fill x 1",
        ".values x 0..{i}",
        ".queue 0..{i}/mem.e0\nread 0, e0",
        "raed",
        "{",
        ".code c{i} i8 [2 16] at e1:{i}\n.block c{i} vxm.0\nexp _, a0",
    ] {
        for ends in ["\n.endr\n", "\n.endr\n.endr\n"] {
            let text = format!("{head}.rept 1000000000, i\n{body}{ends}");
            let most = most_allocated(target, text.as_bytes());
            println!("{body:?}: {most}");
            assert!(most <= target.fixed + target.each * text.len(), "{body:?} took {most}");
        }
    }
}

/// Texts of a megabyte, each of one kind of line that looks something up among all lines before it.
#[test]
fn long_texts_take_no_time_that_matters() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let head = ".chip small\n.program p\n";
    let texts = [
        ("constants", lines(40_000, &|index| format!(".equ name_{index} {index}\n"))),
        ("unknown symbols among constants", {
            lines(20_000, &|index| format!(".equ name_{index} {index}\n"))
                + head
                + ".queue mem.e0\n"
                + &lines(20_000, &|index| format!("read nome-{index}, e0\n"))
        }),
        ("runs among constants", {
            lines(20_000, &|index| format!(".equ name_{index} {index}\n"))
                + head
                + &lines(20_000, &|index| format!(".input r{index} i8 [1 1] at e0:name_{index}\n"))
        }),
        ("regions", head.to_owned() + &lines(30_000, &|index| format!(".input r{index} i8 [1 1] at e0:{index}\n"))),
        ("values of regions", {
            head.to_owned()
                + &lines(20_000, &|index| format!(".input r{index} i8 [1 1] at e0:{index}\n"))
                + &lines(20_000, &|index| format!(".fill r{index} 1\n"))
        }),
        ("values of unknown regions", {
            head.to_owned()
                + &lines(20_000, &|index| format!(".input r{index} i8 [1 1] at e0:{index}\n"))
                + &lines(20_000, &|index| format!(".fill s{index} 1\n"))
        }),
        ("addresses in regions", {
            head.to_owned()
                + &lines(20_000, &|index| format!(".input r{index} i8 [1 1] at e0:{index}\n"))
                + ".queue mem.e0\n"
                + &lines(20_000, &|index| format!("read r{index}, e0\n"))
        }),
        ("words of one region", {
            let runs = lines(20_000, &|index| format!(".at e0:{index}\n"));
            head.to_owned()
                + ".input r i8 [20001 1] at e0:99999\n"
                + &runs
                + ".queue mem.e0\n"
                + &lines(20_000, &|_| "read r+20000, e0\n".into())
        }),
        ("programs", ".chip small\n".to_owned() + &lines(40_000, &|index| format!(".program p{index}\n"))),
        ("labels", head.to_owned() + ".queue mem.e0\n" + &lines(30_000, &|index| format!("l{index}: nop 1\n"))),
        ("unknown mnemonics", head.to_owned() + ".queue mem.e0\n" + &lines(40_000, &|_| "raed 1, e0\n".into())),
        ("one long line", head.to_owned() + ".queue mem.e0\nread " + &"1,".repeat(300_000)),
        ("one long sum", head.to_owned() + ".queue mem.e0\nread " + &"1+".repeat(300_000) + "1, e0"),
        ("words in one line", head.to_owned() + ".input r i8 [1 1] at " + &"e0:1 ".repeat(200_000)),
    ];
    let target = TARGETS.iter().find(|target| target.name == "lpu").unwrap();
    for (what, text) in texts {
        let begin = std::time::Instant::now();
        (target.read)(text.as_bytes());
        let seconds = begin.elapsed().as_secs_f64();
        println!("{what}: {} bytes in {seconds:.3} s", text.len());
        // Two orders of magnitude above what it takes, and below what a search through all lines for each line took.
        assert!(seconds < 60.0, "{what}");
    }
}

#[test]
fn every_target_can_be_run_for_long() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
    let manifest = std::fs::read_to_string(format!("{folder}/Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let source = std::fs::read_to_string(format!("{folder}/fuzz_targets/{name}.rs")).unwrap();
        assert!(
            source.contains(&format!("step(\"{name}\"")) && manifest.contains(&format!("name = \"{name}\"")),
            "{name}"
        );
    }
}
