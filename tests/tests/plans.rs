//! Kept plans: a start from one gives what a start without gives, and whatever befalls the file, a run is right or the
//! plan is made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lpu::chip::{Chip, System, preset};
use lpu::isa::{ChipId, Image, Program};
use lpu::model::Checkpoint;
use lpu::replay::{PLAN_VERSION, ProgramOrigin, Replay};
use lpu::{Engines, Options, Precision, ProgramFile, Session};
use lpu_tests::dice::Dice;
use lpu_tests::groups::{pairs, repeat};
use lpu_tests::grow::grow;
use lpu_tests::scenes::compose;

const ORIGIN: ProgramOrigin = ProgramOrigin { file: [3; 32], program: 0 };
/// Bytes of magic and checksum.
const HEAD: usize = 40;

/// A folder of its own for a test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plans").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn kept(replay: &Replay, image: &Image<'_>, program: &Program) -> Vec<u8> {
    replay.keep(&replay.prepare(image, program).unwrap(), ORIGIN).expect("a legal program has a plan")
}

/// Cycles and logits of tokens around the end of the first bucket.
fn decode(path: &Path, engines: &Engines) -> Vec<(u64, Vec<u32>)> {
    let tsp = preset("tsp-v1").unwrap();
    let mut session = Session::open(ProgramFile::open(path).unwrap(), &tsp, engines).unwrap();
    let token = |position: u32| {
        let token = session.feed(position % 97).unwrap();
        (token.cycles, token.logits.into_iter().map(f32::to_bits).collect())
    };
    (0..260).map(token).collect()
}

#[test]
fn sessions_with_and_without_kept_plans_are_equal() {
    let path = folder("session").join("model.lpb");
    let checkpoint = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints/odd");
    let options = Options { precision: Precision::W8A8, context: 272, ..Options::default() };
    let session =
        Session::compile(Checkpoint::open(&checkpoint).unwrap(), &preset("tsp-v1").unwrap(), &options).unwrap();
    fs::write(&path, session.container().unwrap().to_bytes().unwrap()).unwrap();
    let plans = [0, 1].map(|program| path.with_extension(format!("lpb.plan{program}")));
    let without = decode(&path, &Engines { cache: false, ..Engines::default() });
    assert!(plans.iter().all(|plan| !plan.exists()), "no plan is kept unless wanted");
    assert!(decode(&path, &Engines::default()) == without, "plans are made and kept");
    let first = plans.each_ref().map(|plan| fs::read(plan).expect("the plan of each bucket is kept"));
    let date = |plan: &PathBuf| fs::metadata(plan).unwrap().modified().unwrap();
    let open = |plan: &PathBuf| fs::File::options().write(true).open(plan).unwrap();
    plans.iter().for_each(|plan| open(plan).set_modified(UNIX_EPOCH).unwrap());
    assert!(decode(&path, &Engines { threads: Some(1), ..Engines::default() }) == without, "plans are taken");
    assert!(plans.iter().all(|plan| date(plan) == UNIX_EPOCH), "plans that were taken are not kept again");
    for (plan, bytes) in plans.iter().zip(&first) {
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 4;
        fs::write(plan, damaged).unwrap();
    }
    assert!(decode(&path, &Engines::default()) == without, "damaged plans are made anew");
    let again = plans.each_ref().map(|plan| fs::read(plan).unwrap());
    assert!(again == first, "the same plan is kept again");
    fs::remove_file(&plans[0]).unwrap();
    fs::create_dir(&plans[0]).unwrap();
    assert!(decode(&path, &Engines::default()) == without, "a plan that cannot be kept is no reason to stop");
}

/// Plans of another content or encoding are plans of another version, so that kept ones are made anew.
#[test]
fn plans_of_another_content_have_another_version() {
    const KNOWN: (u32, &str) = (3, "7ac0e889521eac49");
    let small = preset("test-small").unwrap();
    let mut digest = blake3::Hasher::new();
    for seed in 0..24 {
        let (image, program) = grow(&small, seed, 20 + 2 * seed as usize);
        let replay = Replay::new(&System::single(&small), &image, 1).unwrap();
        digest.update(&kept(&replay, &image, &program)[HEAD..]);
    }
    let found = digest.finalize().to_hex();
    assert_eq!(
        (PLAN_VERSION, &found[..16]),
        KNOWN,
        "if plans have changed, raise PLAN_VERSION in crates/replay/src/cache.rs and put it here with the digest found"
    );
}

/// What a plan takes grows with what chips do, not with the chips that do it: a chip more adds the mailboxes of its
/// receives.
#[test]
fn chips_that_do_the_same_share_a_plan() {
    let (small, pair) = (preset("test-small").unwrap(), System::preset("test-pair").unwrap());
    let scene = compose(&pair, 8, 12);
    let bytes = |count: u16| {
        let system = pairs(&small, count);
        // Without barriers, fetches and shared counters, any start is like any other.
        let scene = repeat(&system, &scene, &mut Dice(1));
        kept(&Replay::new(&system, &scene.image, 1).unwrap(), &scene.image, &scene.program).len()
    };
    let (one, two, many) = (bytes(1), bytes(2), bytes(100));
    assert!(one > 1000, "a plan of {one} bytes");
    assert!(many - two < 99 * 40, "{one} bytes for a pair, {two} for two, {many} for a hundred");
}

#[test]
fn plans_serve_one_program_on_one_chip_alone() {
    let small = preset("test-small").unwrap();
    let (image, program) = grow(&small, 1, 40);
    let replay = Replay::new(&System::single(&small), &image, 1).unwrap();
    let bytes = kept(&replay, &image, &program);
    let restores = |replay: &Replay, program: &Program, origin| replay.restore(program, origin, &bytes).is_some();
    assert!(restores(&replay, &program, ORIGIN));
    assert!(!restores(&replay, &program, ProgramOrigin { program: 1, ..ORIGIN }));
    assert!(!restores(&replay, &program, ProgramOrigin { file: [4; 32], ..ORIGIN }));
    assert!(!restores(&replay, &Program { cycles: program.cycles + 1, ..program.clone() }, ORIGIN));
    let mut other_image = image.clone();
    other_image.extents.remove(0);
    assert!(
        !restores(&Replay::new(&System::single(&small), &other_image, 1).unwrap(), &program, ORIGIN),
        "words are elsewhere"
    );
    let figures = small.to_toml().replace("clock_mhz = { value = 900", "clock_mhz = { value = 901");
    let other = Chip::from_toml(&figures).unwrap();
    assert!(other.fingerprint() != small.fingerprint());
    assert!(!restores(&Replay::new(&System::single(&other), &image, 1).unwrap(), &program, ORIGIN), "another chip");
}

/// Every byte in turn: as it is in the file the damage is seen; with a checksum that hides it, the plan is refused
/// or runs without harm.
#[test]
fn damaged_plans_are_refused_or_harmless() {
    let small = preset("test-small").unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for seed in [3, 11, 26, 40] {
        let (image, program) = grow(&small, seed, 30 + seed as usize);
        let mut replay = Replay::new(&System::single(&small), &image, 1).unwrap();
        let whole = kept(&replay, &image, &program);
        let key = replay.key(ORIGIN);
        let mut dice = Dice(seed);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = bytes[at].wrapping_add(1 + (dice.roll() % 255) as u8);
            assert!(replay.restore(&program, ORIGIN, &bytes).is_none(), "byte {at}");
            assert!(replay.restore(&program, ORIGIN, &whole[..at]).is_none(), "cut at byte {at}");
            if at < HEAD {
                continue;
            }
            let checksum = blake3::keyed_hash(&key, &bytes[HEAD..]);
            bytes[HEAD - 32..HEAD].copy_from_slice(checksum.as_bytes());
            match replay.restore(&program, ORIGIN, &bytes) {
                None => refused += 1,
                Some(prepared) => {
                    harmless += 1;
                    let _ = replay.run(&prepared).unwrap();
                }
            }
        }
        assert!(replay.read_word(ChipId(0), small.slices().next().unwrap(), 0).is_ok());
    }
    println!("{refused} refused, {harmless} run");
    assert!(refused >= 1000 && harmless >= 100, "{refused} refused, {harmless} run");
}
