//! The documents are true: each path, link and anchor in them exists, and the glossary's types are where it says.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents by path from the root, without their fenced blocks.
fn documents() -> Vec<(PathBuf, String)> {
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        entries.map(move |entry| Path::new(folder).join(entry.unwrap().file_name())).collect::<Vec<_>>()
    };
    let mut paths: Vec<PathBuf> = [in_folder(""), in_folder("docs")].concat();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let text = |path: &Path| fs::read_to_string(root().join(path)).unwrap();
    let prose = |path: &Path| text(path).split("```").step_by(2).collect::<Vec<_>>().join("\n");
    paths.into_iter().map(|path| (path.clone(), prose(&path))).collect()
}

/// What is between two marks, within one line.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().flat_map(move |line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            let (_, from) = rest.split_once(open)?;
            let (found, after) = from.split_once(close)?;
            rest = after;
            Some(found)
        })
    })
}

/// The anchors of a document's headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|&letter| letter.is_alphanumeric() || "-_".contains(letter)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_path_in_the_documents_exists() {
    let mut seen = 0;
    for (document, text) in documents() {
        for path in between(&text, "`", "`") {
            let ours = ["docs/", "examples/", "crates/", "tests/", "isa/"].iter().any(|start| path.starts_with(start));
            if ours && !path.contains([' ', '*']) {
                assert!(root().join(path).exists(), "{}: {path} does not exist", document.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} paths were found");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut seen = 0;
    for (document, text) in documents() {
        for link in between(&text, "](", ")").filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            let found = fs::read_to_string(root().join(&target));
            let found = found.unwrap_or_else(|error| panic!("{}: {link}: {error}", document.display()));
            let there = anchor.is_none_or(|anchor| anchors(&found).iter().any(|each| each == anchor));
            assert!(there, "{}: {link}: no such heading", document.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} links were found");
}

#[test]
fn the_types_of_the_glossary_are_in_the_files_of_their_rows() {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let mut seen = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let place = row.split('|').nth(3).unwrap_or_else(|| panic!("three columns are needed: {row}"));
        let (paths, names): (Vec<_>, Vec<_>) = between(place, "`", "`").partition(|quoted| quoted.contains('/'));
        let sources: String = paths.iter().map(|path| fs::read_to_string(root().join(path)).unwrap()).collect();
        for name in names {
            let mut words = sources.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            assert!(words.any(|word| word == name), "`{name}` is not in {paths:?}: {row}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} types were found");
}
