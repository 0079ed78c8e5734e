//! Parts of a graph compiled by themselves, and programs of several contexts over one placement.

use std::path::PathBuf;

use lpu::compiler::{self, Part};
use lpu::model::Checkpoint;
use lpu::{Engines, Options, Precision, Session, Stage, Step, chip};

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)).unwrap()
}

/// Feeding each part the outputs of the parts before it, by name, gives the logits of the whole.
#[test]
fn parts_one_after_another_give_what_the_whole_gives() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = checkpoint("gqa");
    for precision in [Precision::F16, Precision::W8A16] {
        let options = Options { precision, context: 16, ..Options::default() };
        let mut session = Session::compile(self::checkpoint("gqa"), &tsp, &options).unwrap();
        let mut step = Step::of(&checkpoint, options.context, 0, 7).unwrap();
        let mut logits = Vec::new();
        let graph = checkpoint.graph();
        let layers = checkpoint.config.layers;
        let parts = (0..layers).flat_map(|layer| match layer {
            0 => vec![Part::Attention(0), Part::FeedForward(0)],
            _ => vec![Part::Layer(layer)],
        });
        for part in parts.chain([Part::Head]) {
            let compiled = lpu::compile_graph(&checkpoint, part.of(&graph).unwrap(), &tsp, &options).unwrap();
            let cycles = compiled.programs[0].cycles;
            let mut stage = Stage::of(compiled, &tsp, &Engines { verify: true, ..Engines::default() }).unwrap();
            let run = stage.run(&step).unwrap();
            assert_eq!(run.cycles, cycles, "{part}");
            step.activations.extend(stage.named(&run));
            logits = run.outputs.into_iter().next_back().unwrap();
        }
        let whole = session.feed(7).unwrap().logits;
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let error =
            norm(&mut whole.iter().zip(&logits).map(|(whole, found)| whole - found)) / norm(&mut whole.iter().copied());
        assert!(error < 1e-3, "{}: {error}", precision.name());
    }
}

#[test]
fn a_part_that_is_not_there_is_refused_with_the_layers_there_are() {
    let message = Part::Layer(9).of(&checkpoint("plain").graph()).unwrap_err().to_string();
    assert!(message.contains("layer:9") && message.contains("2 layers"), "{message}");
}

/// A session goes on from one bucket to the next: the bits are those of a longer context, the cycles those of the
/// bucket.
#[test]
fn a_session_grows_from_bucket_to_bucket() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let session = |context| {
        Session::compile(
            checkpoint("odd"),
            &tsp,
            &Options { precision: Precision::W8A16, context, ..Options::default() },
        )
        .unwrap()
    };
    let (mut short, mut long) = (session(272), session(512));
    assert_eq!(compiler::buckets(272), [256, 272]);
    assert_eq!(compiler::buckets(2000), [256, 512, 1024, 2000]);
    for position in 0..264u32 {
        let (a, b) = (short.feed(position % 97).unwrap(), long.feed(position % 97).unwrap());
        assert!(a.logits == b.logits, "position {position}");
        let bucket = usize::from(position >= 256);
        assert_eq!(
            (a.cycles, b.cycles),
            (short.programs().unwrap()[bucket].cycles, long.programs().unwrap()[bucket].cycles)
        );
    }
}
