//! Sequences of one model: they share programs, plans and threads and nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use lpu::chip::preset;
use lpu::model::Checkpoint;
use lpu::{Engines, Model, Options, Precision, ProgramFile, Sequence, Session};

/// What a token gave, in bits.
type Bits = (u64, Vec<u32>);

const CONTEXT: usize = 272;

fn feed(sequence: &mut Sequence, token: u32) -> Bits {
    let token = sequence.feed(token).unwrap();
    (token.cycles, token.logits.into_iter().map(f32::to_bits).collect())
}

fn all(sequence: &mut Sequence, tokens: &[u32]) -> Vec<Bits> {
    tokens.iter().map(|&token| feed(sequence, token)).collect()
}

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints/odd")).unwrap()
}

/// A model over an image in memory, and the same over a mapped file, on this many threads.
///
/// The file's `name` is one for each call: a file that is mapped must not be written again.
fn models(name: &str, threads: usize) -> [Arc<Model>; 2] {
    let tsp = preset("tsp-v1").unwrap();
    let options = Options { precision: Precision::W8A8, context: CONTEXT, ..Options::default() };
    let engines = Engines { threads: Some(threads), cache: false, ..Engines::default() };
    let memory = Model::compile(checkpoint(), &tsp, &options, &engines).unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sequences-{name}-{threads}.lpb"));
    std::fs::write(&path, memory.container().unwrap().to_bytes().unwrap()).unwrap();
    [memory, Model::open(ProgramFile::open(&path).unwrap(), &tsp, &engines).unwrap()]
}

/// Tokens of two sequences, what two sessions of their own give for them.
fn expected() -> [(Vec<u32>, Vec<Bits>); 2] {
    let tsp = preset("tsp-v1").unwrap();
    let options = Options { precision: Precision::W8A8, context: CONTEXT, ..Options::default() };
    [(5, 24), (31, 17)].map(|(step, count)| {
        let tokens: Vec<u32> = (0..count).map(|position| (position * step + 3) % 97).collect();
        let mut session = Session::compile(checkpoint(), &tsp, &options).unwrap();
        let bits = all(&mut session, &tokens);
        (tokens, bits)
    })
}

#[test]
fn sequences_of_one_model_are_as_sessions_of_their_own() {
    let expected = expected();
    for model in [1, 2].into_iter().flat_map(|threads| models("own", threads)) {
        let [mut one, mut other] = [(); 2].map(|()| model.sequence().unwrap());
        let [(ones, first), (others, second)] = &expected;
        let (mut found, mut found_other) = (Vec::new(), Vec::new());
        for position in 0..ones.len().max(others.len()) {
            found.extend(ones.get(position).map(|&token| feed(&mut one, token)));
            found_other.extend(others.get(position).map(|&token| feed(&mut other, token)));
        }
        assert!(found == *first && found_other == *second, "interleaved");
        for rounds in [1, 3] {
            let threads = [0, 1].map(|number| {
                let (model, tokens) = (Arc::clone(&model), expected[number].0.clone());
                std::thread::spawn(move || {
                    let mut sequence = model.sequence().unwrap();
                    let round = |_| {
                        sequence.truncate(0);
                        all(&mut sequence, &tokens)
                    };
                    (0..rounds).map(round).collect::<Vec<_>>()
                })
            });
            for (thread, (_, bits)) in threads.into_iter().zip(&expected) {
                let found = thread.join().unwrap();
                assert!(found.iter().all(|found| found == bits), "in parallel, {rounds} rounds");
            }
        }
    }
}

#[test]
fn a_sequence_cut_back_is_as_a_fresh_one() {
    let [(tokens, bits), (others, _)] = expected();
    for model in models("cut", 2) {
        for kept in [0, 1, 7, tokens.len()] {
            let mut sequence = model.sequence().unwrap();
            all(&mut sequence, &tokens[..kept]);
            all(&mut sequence, &others);
            sequence.truncate(kept);
            assert_eq!(sequence.position(), kept);
            assert!(all(&mut sequence, &tokens[kept..]) == bits[kept..], "cut back to {kept}");
        }
    }
}
