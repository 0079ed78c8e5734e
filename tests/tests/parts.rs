//! Parts of a graph compiled by themselves, and programs of several contexts over one placement.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lpu::compiler::{self, Part, host};
use lpu::emulator::Machine;
use lpu::isa::RegionKind;
use lpu::model::Checkpoint;
use lpu::{Options, Precision, Session, chip};

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect()
}

/// Feeding each part the outputs of the parts before it, by name, gives the logits of the whole.
#[test]
fn parts_one_after_another_give_what_the_whole_gives() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = checkpoint("gqa");
    for precision in [Precision::F16, Precision::W8A16] {
        let options = Options { precision, context: 16 };
        let mut session = Session::compile(self::checkpoint("gqa"), &tsp, &options).unwrap();
        let mut row = vec![0.0; checkpoint.config.hidden];
        checkpoint.embedding_row(7, &mut row).unwrap();
        let mut values: BTreeMap<String, Vec<u8>> =
            host::inputs(&checkpoint.config, tsp.lanes(), options.context, 0, &row).into_iter().collect();
        let graph = checkpoint.graph();
        let layers = checkpoint.config.layers;
        let parts = (0..layers).flat_map(|layer| match layer {
            0 => vec![Part::Attention(0), Part::FeedForward(0)],
            _ => vec![Part::Layer(layer)],
        });
        for part in parts.chain([Part::Head]) {
            let compiled = compiler::compile_graph(&checkpoint, part.of(&graph).unwrap(), &tsp, &options).unwrap();
            let program = &compiled.programs[0];
            let mut machine = Machine::new(&tsp, &compiled.image).unwrap();
            for region in program.regions.iter().filter(|region| region.kind == RegionKind::Input) {
                machine.write_input(program, &region.name, &values[&region.name]).unwrap();
            }
            let prepared = machine.prepare(program).unwrap();
            assert_eq!(machine.run(&prepared, &mut ()).unwrap().cycles, program.cycles, "{part}");
            for region in program.regions.iter().filter(|region| region.kind == RegionKind::Output) {
                values.insert(region.name.clone(), machine.read_region(program, &region.name).unwrap());
            }
        }
        let whole = session.feed(7).unwrap().logits;
        let found = floats(&values["logits"]);
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut whole.iter().zip(&found).map(|(whole, found)| whole - found)) / norm(&mut whole.iter().copied());
        assert!(error < 1e-3, "{}: {error}", precision.name());
    }
}

#[test]
fn a_part_that_is_not_there_is_refused_with_the_layers_there_are() {
    let message = Part::Layer(9).of(&checkpoint("plain").graph()).unwrap_err().to_string();
    assert!(message.contains("layer:9") && message.contains("2 layers"), "{message}");
}

/// A session goes on from one bucket to the next: the bits are those of a longer context, the cycles those of the bucket.
#[test]
fn a_session_grows_from_bucket_to_bucket() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let session = |context| Session::compile(checkpoint("odd"), &tsp, &Options { precision: Precision::W8A16, context }).unwrap();
    let (mut short, mut long) = (session(272), session(512));
    assert_eq!(compiler::buckets(272), [256, 272]);
    assert_eq!(compiler::buckets(2000), [256, 512, 1024, 2000]);
    for position in 0..264u32 {
        let (a, b) = (short.feed(position % 97).unwrap(), long.feed(position % 97).unwrap());
        assert!(a.logits == b.logits, "position {position}");
        let bucket = usize::from(position >= 256);
        assert_eq!((a.cycles, b.cycles), (short.programs().unwrap()[bucket].cycles, long.programs().unwrap()[bucket].cycles));
    }
}
