//! The shape of a Llama's decode graph, its text and its parts.

use crate::support::{Parts, tiny};
use lpu_model::{Block, Dtype, Graph, Op};
use serde_json::{Value, json};

fn graph(parts: &Parts) -> Graph {
    parts.open().unwrap().graph()
}

#[test]
fn text_shows_every_node_with_its_shapes() {
    let parts = tiny(Dtype::F32).set("num_hidden_layers", json!(1));
    let checkpoint = parts.open().unwrap();
    let text = checkpoint.graph().to_text(checkpoint.weights());
    assert_eq!(text, include_str!("graph.txt"), "the text is now:\n{text}");
}

#[test]
fn values_are_made_before_they_are_used_and_named_once() {
    let graph = graph(&tiny(Dtype::F32));
    let mut made = vec![false; graph.values.len()];
    for id in &graph.inputs {
        made[id.index()] = true;
    }
    for node in &graph.nodes {
        assert!(node.inputs.iter().all(|id| made[id.index()]), "{}", node.name);
        assert!(!made[node.output.index()], "{}", node.name);
        made[node.output.index()] = true;
    }
    assert!(made.iter().all(|made| *made));
    let mut names: Vec<&str> = graph.values.iter().map(|v| v.name.as_str()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), graph.values.len());
    for (number, cache) in graph.caches.iter().enumerate() {
        assert_eq!((cache.layer, cache.kv_heads, cache.head_dim), (number, 2, 6));
    }
}

/// The tensors of the embedding and of the head, and how many notes there are.
fn ends(parts: &Parts) -> (String, String, usize) {
    let checkpoint = parts.open().unwrap();
    let graph = checkpoint.graph();
    let Op::Linear { weight, bias: None } = graph.nodes.last().unwrap().op else {
        panic!("the last node is the head");
    };
    let name = |id| checkpoint.weights().name(id).to_owned();
    (name(checkpoint.embedding()), name(weight), checkpoint.notes().len())
}

/// As `transformers` does it: a stored head that differs is used, and said to be; of two equal ones, or where one is
/// missing, there is one.
#[test]
fn a_tied_head_uses_the_embedding_unless_another_one_is_stored() {
    const TABLE: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    let tied = |tie: Value| tiny(Dtype::F32).set("tie_word_embeddings", tie);
    let both = tied(json!(true));
    let mut equal = both.clone();
    equal.tensors.insert(HEAD.to_owned(), equal.tensors[TABLE].clone());
    let mut one_bit = equal.clone();
    *one_bit.tensors.get_mut(HEAD).unwrap().2.last_mut().unwrap() ^= 1;
    let expected = |embedding: &str, head: &str, notes| (embedding.to_owned(), head.to_owned(), notes);
    assert_eq!(ends(&both), expected(TABLE, HEAD, 1));
    assert_eq!(ends(&one_bit), expected(TABLE, HEAD, 1));
    assert_eq!(ends(&equal), expected(TABLE, TABLE, 0));
    assert_eq!(ends(&tied(json!(true)).without(HEAD)), expected(TABLE, TABLE, 0));
    assert_eq!(ends(&tied(json!(true)).without(TABLE)), expected(HEAD, HEAD, 0));
    // The default of the family, here that ends are two.
    assert_eq!(ends(&tied(Value::Null)), expected(TABLE, HEAD, 0));
    let note = &both.open().unwrap().notes()[0].clone();
    assert!(note.contains("\"lm_head.weight\" is stored and differs"), "{note}");
    let untied = both.open().unwrap().config;
    assert!(!untied.tie_embeddings && !untied.to_json().contains("\"tie_word_embeddings\":true"));
}

#[test]
fn biases_come_with_their_fields() {
    let count = |attention: bool, mlp: bool| {
        let parts = tiny(Dtype::F32).set("attention_bias", json!(attention)).set("mlp_bias", json!(mlp));
        let biased = |op: &Op| matches!(op, Op::Linear { bias: Some(_), .. });
        let graph = graph(&parts);
        graph.nodes.iter().filter(|node| biased(&node.op)).count()
    };
    assert_eq!(count(false, false), 0);
    assert_eq!(count(true, false), 2 * 4);
    assert_eq!(count(false, true), 2 * 3);
    assert_eq!(count(true, true), 2 * 7);
}

#[test]
fn blocks_are_in_order() {
    let blocks = graph(&tiny(Dtype::F32)).blocks();
    let expected =
        [Block::Attention(0), Block::FeedForward(0), Block::Attention(1), Block::FeedForward(1), Block::Head];
    assert_eq!(blocks, expected);
}

#[test]
fn a_part_stands_alone() {
    let whole = graph(&tiny(Dtype::F32));
    assert_eq!(whole.cut(0..5), whole);
    let part = whole.cut(1..3);
    assert_eq!(part.blocks(), whole.blocks()[1..3]);
    let names =
        |ids: &[lpu_model::ValueId]| -> Vec<String> { ids.iter().map(|id| part.value(*id).name.clone()).collect() };
    assert_eq!(names(&part.inputs), ["layers.0.attention.sum"]);
    assert_eq!(names(&part.outputs), ["layers.1.attention.sum"]);
    assert_eq!(part.caches, [whole.caches[1]]);
    let producers = part.producers();
    assert_eq!(producers[part.inputs[0].index()], None);
    let last = producers[part.outputs[0].index()].unwrap();
    assert_eq!(part.node(last).name, "layers.1.attention.sum");
    assert_eq!(whole.cut(2..2), Graph::default());
}
