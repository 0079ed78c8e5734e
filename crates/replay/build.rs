//! Names the sources that a plan depends on, so that a kept plan is of no use to an engine of other sources.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path);
        }
    }
}

fn main() {
    let mut hasher = DefaultHasher::new();
    for folder in ["src", "../checker/src", "../chip/src", "../lanes/src", "../num/src", "../../isa/src"] {
        println!("cargo::rerun-if-changed={folder}");
        let mut files = BTreeSet::new();
        collect(Path::new(folder), &mut files);
        for file in files {
            file.hash(&mut hasher);
            std::fs::read(&file).unwrap_or_default().hash(&mut hasher);
        }
    }
    println!("cargo::rustc-env=LPU_REPLAY_SOURCES={:016x}", hasher.finish());
}
