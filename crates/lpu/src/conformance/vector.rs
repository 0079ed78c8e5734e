//! Vectors as their files hold them: reading, the program that each describes, and comparison with what an engine did.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use lpu_chip::{Chip, ChipError, System};
use lpu_isa::{ChipId, Container, assemble, encode_queue};
use serde::Deserialize;
use thiserror::Error;

use super::outcome::{FaultSite, Outcome};

/// Why vectors cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VectorError {
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}; give the folder of the vectors, such as tests/conformance", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is no list of vectors.
    #[error("{}: {source}; its README.md describes the format", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A chip or system description that cannot be used.
    #[error("{}: {source}", path.display())]
    Chip {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ChipError,
    },
}

/// Words with a use.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct VectorRegion {
    kind: String,
    at: String,
    words: u32,
}

/// One vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The name, unique.
    pub name: String,
    chips: usize,
    memory: BTreeMap<String, String>,
    regions: Vec<VectorRegion>,
    /// Items of each queue, as text.
    pub queues: BTreeMap<String, Vec<String>>,
    binary: BTreeMap<String, String>,
    stated: Option<u64>,
    cycles: Option<u64>,
    activity: Option<Vec<serde_json::Value>>,
    #[serde(rename = "final")]
    changed: Option<BTreeMap<String, String>>,
    /// The first fault of an illegal program.
    pub fault: Option<FaultSite>,
}

/// A set of vectors and the system they are for.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// The system.
    pub system: System,
    /// All vectors, file by file.
    pub list: Vec<Vector>,
}

/// Gives the text of a file.
type LoadText<'a> = dyn FnMut(&Path) -> std::io::Result<Cow<'static, str>> + 'a;

impl Vectors {
    /// Reads a folder: `system.toml`, the chip it names, and `vectors/*.json`.
    ///
    /// # Errors
    /// [`VectorError`] names the file.
    pub fn open(folder: &Path) -> Result<Self, VectorError> {
        let inside = folder.join("vectors");
        let entries =
            std::fs::read_dir(&inside).map_err(|source| VectorError::Read { path: inside.clone(), source })?;
        let names = entries.flatten().map(|entry| entry.path());
        let lists = names.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        Self::gather(&folder.join("system.toml"), lists, &mut |path| std::fs::read_to_string(path).map(Cow::Owned))
    }

    /// Reads the files of such a folder from memory, each by its path in the folder, as `vectors/control.json`.
    ///
    /// # Errors
    /// As [`Vectors::open`].
    pub fn from_files(files: &[(&str, &'static str)]) -> Result<Self, VectorError> {
        let lists = files.iter().filter(|(name, _)| name.ends_with(".json")).map(|(name, _)| name.into()).collect();
        Self::gather(Path::new("system.toml"), lists, &mut |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|&(_, text)| Cow::Borrowed(text)).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })
    }

    fn gather(path: &Path, mut lists: Vec<PathBuf>, load: &mut LoadText<'_>) -> Result<Self, VectorError> {
        let mut read = |path: &Path| load(path).map_err(|source| VectorError::Read { path: path.to_owned(), source });
        let text = read(path)?;
        let mut inner = None;
        let mut by_name = |name: &str| {
            let found = read(&path.with_file_name(name)).map(|text| Chip::from_toml(&text));
            match found {
                Ok(chip) => chip,
                Err(error) => {
                    let message = error.to_string();
                    inner = Some(error);
                    Err(ChipError::Syntax { message })
                }
            }
        };
        let system = System::from_toml(&text, &mut by_name);
        if let Some(error) = inner {
            return Err(error);
        }
        let system = system.map_err(|source| VectorError::Chip { path: path.to_owned(), source })?;
        lists.sort();
        let mut list = Vec::new();
        for path in lists {
            let found: Vec<Vector> =
                serde_json::from_str(&read(&path)?).map_err(|source| VectorError::Format { path, source })?;
            list.extend(found);
        }
        Ok(Self { system, list })
    }

    /// The program that a vector describes.
    ///
    /// # Errors
    /// What the assembler does not accept.
    pub fn container(&self, vector: &Vector) -> Result<Container<'static>, String> {
        let mut text = format!(".chip {}\n", self.system.name());
        let put =
            |text: &mut String, line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a String takes all text");
        for (place, content) in &vector.memory {
            put(&mut text, format_args!(".data {place}\n"));
            for start in (0..content.len()).step_by(64) {
                put(&mut text, format_args!(".hex {}\n", &content[start..(start + 64).min(content.len())]));
            }
        }
        put(&mut text, format_args!(".program \"{}\"\n.chips {}\n", vector.name, vector.chips));
        if let Some(stated) = vector.stated.or(vector.cycles) {
            put(&mut text, format_args!(".cycles {stated}\n"));
        }
        for (number, VectorRegion { kind, at, words }) in vector.regions.iter().enumerate() {
            put(
                &mut text,
                format_args!(".{kind} r{number} i8 [{words}, {}] at {at}x{words}\n", self.system.chip().lanes()),
            );
        }
        for (queue, items) in &vector.queues {
            put(&mut text, format_args!(".queue {queue}\n{}\n", items.join("\n")));
        }
        let mut by_name = |_: &str| Some((self.system.reference(), self.system.chip().lanes() as u32));
        let assembled = assemble(&text, &mut |_| Ok(Cow::Borrowed(&[][..])), &mut by_name);
        let (mut container, map) = assembled
            .map_err(|errors| errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; "))?;
        if !map.cycles_stated(0) {
            let cycles = lpu_checker::cycles(&self.system, &container.image, &container.programs[0])
                .map_err(|error| error.to_string())?;
            container.programs[0].cycles = cycles;
        }
        Ok(container)
    }

    /// Whether our encoding of a vector's queues is the vector's.
    ///
    /// # Errors
    /// Names the first queue that differs.
    pub fn encoded_alike(&self, vector: &Vector, container: &Container<'_>) -> Result<(), String> {
        for (ChipId(chip), _) in container.programs[0].each_chip() {
            for (queue, items) in container.programs[0].queues(ChipId(chip)) {
                let found: String = encode_queue(items).iter().map(|byte| format!("{byte:02x}")).collect();
                let name = format!("{chip}/{queue}");
                let expected =
                    vector.binary.get(&name).ok_or_else(|| format!("the vector has no binary form of {name}"))?;
                if *expected != found {
                    return Err(format!("{name} encodes as {found}, the vector says {expected}"));
                }
            }
        }
        Ok(())
    }
}

impl Vector {
    /// The first difference between an outcome and what must happen.
    #[must_use]
    pub fn difference(&self, outcome: &Outcome) -> Option<String> {
        match (outcome, &self.fault) {
            (Outcome::Refused(reason), _) => Some(reason.clone()),
            (Outcome::Fault(found), Some(expected)) => {
                (found != expected).then(|| format!("fault {found:?}, expected {expected:?}"))
            }
            (Outcome::Fault(found), None) => Some(format!("fault {found:?}, expected none")),
            (Outcome::Ran { .. }, Some(expected)) => Some(format!("no fault, expected {expected:?}")),
            (Outcome::Ran { cycles, words, activity }, None) => {
                if Some(*cycles) != self.cycles {
                    return Some(format!("{cycles} cycles, expected {:?}", self.cycles));
                }
                self.memory_difference(words.as_ref()?).or_else(|| self.activity_difference(activity.as_ref()?))
            }
        }
    }

    /// Words are those of the vector, or zero where it names none.
    fn memory_difference(&self, words: &BTreeMap<String, String>) -> Option<String> {
        let mut expected = self.memory.clone();
        expected.extend(self.changed.clone().unwrap_or_default());
        for (place, found) in words {
            let wanted = expected.remove(place).unwrap_or_else(|| "0".repeat(found.len()));
            if *found != wanted {
                return Some(format!("word {place} is {found}, expected {wanted}"));
            }
        }
        expected.keys().next().map(|place| format!("the engine has no word {place}"))
    }

    fn activity_difference(&self, found: &[serde_json::Value]) -> Option<String> {
        let texts = |events: &[serde_json::Value]| {
            let mut texts: Vec<(u64, String)> =
                events.iter().map(|event| (event[0].as_u64().unwrap_or(0), event.to_string())).collect();
            texts.sort();
            texts
        };
        let (found, expected) = (texts(found), texts(self.activity.as_deref().unwrap_or_default()));
        let first = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        match first {
            Some((found, expected)) => Some(format!("activity {}, expected {}", found.1, expected.1)),
            None if found.len() != expected.len() => {
                Some(format!("{} events, expected {}", found.len(), expected.len()))
            }
            None => None,
        }
    }
}
