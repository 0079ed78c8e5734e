//! The graph that chips of a tensor-parallel group run, evaluated on all of them, computes what the whole graph does,
//! for every checkpoint and in any number of stages.

use crate::families::{names, open, reference};
use crate::interpret::Evaluation;
use lpu_model::{Boundary, Graph};

/// Sums over chips are added up in another order.
const MOST: f64 = 1e-9;

fn agree(found: &[Vec<f64>], expected: &[Vec<f64>], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error = found.iter().zip(expected).map(|(found, x)| (found - x).powi(2)).sum::<f64>().sqrt();
        assert!(error <= MOST * norm, "{what}: {error} of {norm}");
    }
}

#[test]
fn a_group_computes_the_whole_graph_in_any_number_of_stages() {
    for name in names() {
        let checkpoint = open(&name);
        let graph = checkpoint.graph();
        let tokens = &reference(&name).0[..2];
        let whole = Evaluation::new(&checkpoint).logits(std::slice::from_ref(&graph), tokens);
        for chips in [1, 2, 4, 8] {
            let cut = graph.tensor_parallel(chips).unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = Evaluation::of_group(&checkpoint, chips).logits(std::slice::from_ref(&cut), tokens);
            agree(&found, &whole, &format!("{name} on {chips} chips"));
            let sizes = vec![1; cut.nodes.len()];
            let cuts = cut.cuts(&sizes);
            let most = cuts.most();
            for count in [2, 3, most] {
                let stages = cuts.stages(count, 0);
                assert_eq!(stages.len(), count.min(most), "{name} on {chips} chips");
                follow(&stages);
                let found = Evaluation::of_group(&checkpoint, chips).logits(&stages, tokens);
                agree(&found, &whole, &format!("{name} on {chips} chips in {count} stages"));
            }
        }
    }
}

/// Holds that each stage reads what the one before makes, and that the host is at both ends.
fn follow(stages: &[Graph]) {
    for pair in stages.windows(2) {
        let [made, read] = [(&pair[0], &pair[0].outputs), (&pair[1], &pair[1].inputs)].map(|(graph, ids)| {
            let mut values: Vec<_> = ids.iter().map(|&id| graph.value(id).clone()).collect();
            values.sort_by(|one, other| one.name.cmp(&other.name));
            values
        });
        assert_eq!(made, read);
        assert_eq!((pair[0].exit, pair[1].entry), (Boundary::Chips, Boundary::Chips));
    }
    assert_eq!((stages[0].entry, stages[stages.len() - 1].exit), (Boundary::Host, Boundary::Host));
}

#[test]
fn groups_of_other_sizes_are_refused() {
    let graph = open("gqa").graph();
    for chips in [0, 3, 5, 16] {
        let error = graph.tensor_parallel(chips).expect_err("no such group").to_string();
        assert!(error.contains(&format!("{chips} chips")) && error.contains("1, 2, 4 or 8"), "{error}");
    }
}
