//! An all-reduce by itself, as the compiler makes it: terms on eight chips become their sum on all of them.

use lpu_chip::System;
use lpu_compiler::{Group, Precision, Target, place, schedule};
use lpu_model::{Block, Boundary, Checkpoint, Graph, Node, Op, Shard, Value, ValueId};

fn all_reduce(width: usize) -> Graph {
    let chips = 8;
    let value = |name: &str, width: usize, shard| Value { name: name.to_owned(), width, rows: 1, shard };
    let node = |name: &str, op, input: usize, output: usize| Node {
        name: name.to_owned(),
        block: Block::Head,
        op,
        inputs: [ValueId::new(input)].into_iter().collect(),
        output: ValueId::new(output),
    };
    Graph {
        nodes: vec![node("sum", Op::ReduceScatter, 0, 1), node("all", Op::AllGather, 1, 2)],
        values: vec![
            value("terms", width, Shard::Partial { chips, width }),
            value("sum", width.div_ceil(chips), Shard::Piece { chips, width }),
            value("all", width.div_ceil(chips) * chips, Shard::Pieces { chips, width }),
        ],
        inputs: vec![ValueId::new(0)],
        outputs: vec![ValueId::new(2)],
        entry: Boundary::Host,
        exit: Boundary::Host,
        ..Graph::default()
    }
}

/// Cycles of a whole run: from the first read of a term to the sum in fp32 on every chip, the last tile included.
#[test]
fn sums_over_eight_chips_take_no_more_cycles_than_stated() {
    let config = r#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 24,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}"#;
    let checkpoint = Checkpoint::from_config(config.as_bytes()).expect("a config of a known family");
    let node = System::preset("tsp-v1-node").expect("it ships");
    let mut target = Target::new(node.chip(), Precision::F16);
    target.group = Group::of(&node, 8).expect("a node has eight chips");
    for (width, stated) in [(576, 671), (4096, 766), (8192, 959)] {
        let placed = place(&target, &checkpoint, all_reduce(width), 16).expect("it fits");
        let cycles = schedule(&placed, 16).expect("it has a schedule").cycles;
        assert!(cycles <= stated, "{width} values: {cycles} cycles");
    }
}
