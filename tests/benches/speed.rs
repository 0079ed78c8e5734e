//! The speed of the fast engine and the speed of memory, alternating in one run. `docs/fast-engine.md` says how to
//! read it.
//!
//! `cargo bench -p lpu-tests --bench speed -- [smollm2|tinyllama] [w8a8|w8a16|f16] [--rounds 9] [--tokens 16]
//! [--threads 2]`
//!
//! A compiled program of random weights is kept in the target folder with its plan; `--fresh` compiles it again,
//! `--cold` starts without the plan.
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use lpu::chip::{Chip, System, preset};
use lpu::{Engines, Options, Precision, ProgramFile, Session, keep_plans};
use lpu_tests::shape::{SMOLLM2, TINYLLAMA, larger, parameters, random};

const CONTEXT: usize = 256;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_avx512(bytes: &[u64], ahead: usize) -> u64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_si512(); 4];
    for block in bytes.chunks_exact(32) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a block has four vectors; a prefetch of any address is harmless.
            let value = unsafe {
                let at = block.as_ptr().add(8 * lane);
                if ahead > 0 {
                    _mm_prefetch::<_MM_HINT_T1>(at.cast::<i8>().wrapping_add(ahead));
                }
                _mm512_loadu_si512(at.cast())
            };
            *sum = _mm512_add_epi64(*sum, value);
        }
    }
    sums.into_iter().fold(0, |total, sum| total.wrapping_add(_mm512_reduce_add_epi64(sum) as u64))
}

fn sum(bytes: &[u64], ahead: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the host has the instructions.
        return unsafe { sum_avx512(bytes, ahead) };
    }
    let _ = ahead;
    bytes.iter().fold(0, |sum, &value| sum.wrapping_add(value))
}

/// Bytes a second of one read loop on all threads.
fn read(memory: &[u64], threads: usize, ahead: usize) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for part in memory.chunks(memory.len().div_ceil(threads)) {
            scope.spawn(move || black_box(sum(part, ahead)));
        }
    });
    std::mem::size_of_val(memory) as f64 / begin.elapsed().as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Case {
    name: &'static str,
    config: &'static str,
    precision: Precision,
    chip: Chip,
}

fn program(case: &Case, fresh: bool) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/speed");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let path = folder.join(format!("{}-{}.lpb", case.name, case.precision.name()));
    if fresh || !path.exists() {
        let begin = Instant::now();
        let options = Options { precision: case.precision, context: CONTEXT, ..Options::default() };
        let session =
            Session::compile_for(random(case.config), &case.chip, &options, &Engines::REFERENCE).expect("it fits");
        let bytes = session.container().expect("it was compiled").to_bytes().expect("it has a file form");
        std::fs::write(&path, bytes).expect("the target folder is writable");
        println!("compiled in {:.1} s", begin.elapsed().as_secs_f64());
    }
    keep_plans(&System::single(&case.chip), &path).expect("it was just compiled");
    path
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut rounds, mut tokens, mut fresh) = (9, 16, false);
    let mut engines =
        Engines { threads: Some(std::thread::available_parallelism().map_or(1, usize::from)), ..Engines::default() };
    let (mut names, mut dtypes) = (Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|value| value.parse().ok()).expect("a number follows");
        match argument.as_str() {
            "--rounds" => rounds = number(),
            "--tokens" => tokens = number(),
            "--threads" => engines.threads = Some(number()),
            "--fresh" => fresh = true,
            "--cold" => engines.cache = false,
            "smollm2" | "tinyllama" => names.push(argument),
            dtype => dtypes.push(Precision::parse(dtype).expect("a shape, a number format or an option")),
        }
    }
    if names.is_empty() {
        names = vec!["smollm2".into()];
    }
    if dtypes.is_empty() {
        dtypes = vec![Precision::W8A8];
    }
    let memory: Vec<u64> = (0..32 << 20).collect();
    println!(
        "| program | threads | GB/s read | tokens/s | parameter GB/s | share | chip cycles/s | cycles | first token s \
        | RSS MB, file MB |"
    );
    for name in &names {
        for &precision in &dtypes {
            let case = match (name.as_str(), precision) {
                ("smollm2", Precision::F16) => Case { name: "smollm2", config: SMOLLM2, precision, chip: larger(8192) },
                ("smollm2", _) => {
                    Case { name: "smollm2", config: SMOLLM2, precision, chip: preset("tsp-v1").expect("it is valid") }
                }
                _ => {
                    let words = if precision == Precision::F16 { 49152 } else { 24576 };
                    Case { name: "tinyllama", config: TINYLLAMA, precision, chip: larger(words) }
                }
            };
            run(&case, rounds, tokens, &engines, fresh, &memory);
        }
    }
}

fn run(case: &Case, rounds: usize, tokens: usize, engines: &Engines, fresh: bool, memory: &[u64]) {
    let path = program(case, fresh);
    let threads = engines.threads();
    let begin = Instant::now();
    let open = || {
        let file = ProgramFile::open(&path).expect("it was just written");
        Session::open(file, &case.chip, engines).expect("it was just compiled")
    };
    let mut session = open();
    session.feed(1).expect("the program is legal");
    let first = begin.elapsed().as_secs_f64();
    let (mut bandwidths, mut speeds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let loops = [0, 2048, 8192, 16384].map(|ahead| read(memory, threads, ahead));
        bandwidths.push(loops.into_iter().fold(0.0, f64::max));
        if session.position() + tokens >= CONTEXT {
            session = open();
            session.feed(1).expect("the program is legal");
        }
        let begin = Instant::now();
        for token in 0..tokens as u32 {
            black_box(session.feed(token).expect("the program is legal"));
        }
        speeds.push(tokens as f64 / begin.elapsed().as_secs_f64());
    }
    let (bandwidth, speed) = (median(&bandwidths), median(&speeds));
    let width = if case.precision == Precision::F16 { 2 } else { 1 };
    let bytes = (parameters(case.config) * width) as f64 * speed;
    let cycles = session.stated_cycles();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default()
        .trim()
        .trim_end_matches(" kB")
        .to_owned();
    let peak = peak.parse::<f64>().unwrap_or(0.0) / 1000.0 - std::mem::size_of_val(memory) as f64 / 1e6;
    let size = std::fs::metadata(&path).map_or(0, |data| data.len()) as f64 / 1e6;
    println!(
        "| {} {} | {threads} | {:.1} | {speed:.1} | {:.1} | {:.0} % | {:.2} million | {cycles} | {first:.2} | \
        {peak:.0}, {size:.0} |",
        case.name,
        case.precision.name(),
        bandwidth / 1e9,
        bytes / 1e9,
        100.0 * bytes / bandwidth,
        cycles as f64 * speed / 1e6,
    );
}
