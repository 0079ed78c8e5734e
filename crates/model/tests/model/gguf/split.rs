//! Models in several files: any part opens all of them, and parts that do not fit are refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, refused};
use lpu_model::Checkpoint;

fn part(number: usize) -> String {
    format!("split-{number:05}-of-00003.gguf")
}

fn stored(number: usize) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/checkpoints/gguf");
    fs::read(folder.join(part(number))).unwrap()
}

/// A folder with the three parts, each changed by `change`; a part that becomes empty is left out.
fn changed(change: impl Fn(usize, &mut Vec<u8>)) -> Folder {
    let folder = Folder::new();
    for number in 1..=3 {
        let mut bytes = stored(number);
        change(number, &mut bytes);
        if !bytes.is_empty() {
            folder.put(&part(number), bytes);
        }
    }
    folder
}

/// Replaces the bytes after a key and its type.
fn set(bytes: &mut [u8], key: &str, value: &[u8]) {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len() + 4;
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn weights(path: &Path) -> Vec<Vec<f32>> {
    let checkpoint = Checkpoint::open(path).unwrap();
    assert_eq!(checkpoint.name(), "split");
    checkpoint.weights().ids().map(|id| checkpoint.weights().vector_f32(id)).collect()
}

#[test]
fn any_part_opens_all() {
    let folder = changed(|_, _| ());
    let first = weights(&folder.path().join(part(1)));
    for number in 2..=3 {
        assert_eq!(weights(&folder.path().join(part(number))), first, "part {number}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    type Change = fn(usize, &mut Vec<u8>);
    let cases: [(&str, Change, &str); 9] = [
        (
            "a missing part",
            |number, bytes| {
                if number == 2 {
                    bytes.clear()
                }
            },
            "part 2 of 3 of the model, ",
        ),
        (
            "a missing first part",
            |number, bytes| {
                if number == 1 {
                    bytes.clear()
                }
            },
            "part 1 of 3 of the model, ",
        ),
        (
            "a cut part",
            |number, bytes| {
                if number == 2 {
                    bytes.truncate(3000)
                }
            },
            "00002-of-00003.gguf: it has 3000 bytes and its tensors need ",
        ),
        (
            "an empty part",
            |number, bytes| {
                if number == 2 {
                    *bytes = b"GG".to_vec()
                }
            },
            "00002-of-00003.gguf: it ends at byte 2",
        ),
        (
            "another count",
            |number, bytes| {
                if number == 2 {
                    set(bytes, "split.count", &4u16.to_le_bytes())
                }
            },
            "00002-of-00003.gguf: `split.count` is 4 and 3 was expected of part 2",
        ),
        (
            "another number",
            |number, bytes| {
                if number == 2 {
                    set(bytes, "split.no", &2u16.to_le_bytes())
                }
            },
            "00002-of-00003.gguf: `split.no` is 2 and 1 was expected of part 2",
        ),
        (
            "more tensors",
            |number, bytes| {
                if number == 1 {
                    set(bytes, "split.tensors.count", &15i32.to_le_bytes())
                }
            },
            "00001-of-00003.gguf: the parts hold 14 tensors and `split.tensors.count` is 15",
        ),
        (
            "a part twice",
            |number, bytes| {
                if number == 3 {
                    *bytes = stored(2)
                }
            },
            "`split.no` is 1 and 2 was expected of part 3",
        ),
        (
            "a tensor twice",
            |number, bytes| {
                if number == 3 {
                    let old = b"blk.0.ffn_norm.weight";
                    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
                    bytes[at..at + old.len()].copy_from_slice(b"blk.0.ffn_down.weight");
                }
            },
            "00003-of-00003.gguf: the tensor `blk.0.ffn_down.weight` is there twice",
        ),
    ];
    for (what, change, words) in cases {
        let folder = changed(change);
        for number in 1..=3 {
            let path = folder.path().join(part(number));
            if path.exists() {
                let error = refused(Checkpoint::open(&path)).to_string();
                // A part that says something else than its name is refused for that when it is the one that is opened.
                assert!(error.contains(words) || number != 1, "{what}, part {number}: {error}");
            }
        }
    }
}

#[test]
fn a_part_under_another_name_is_refused_with_the_name_that_it_needs() {
    let folder = Folder::new();
    folder.put("model.gguf", stored(2));
    let error = refused(Checkpoint::open(&folder.path().join("model.gguf"))).to_string();
    assert!(
        error.contains("it is part 2 of 3 of a model, but its name does not end in `-00002-of-00003.gguf`"),
        "{error}"
    );
}
