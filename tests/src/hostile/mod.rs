//! Hostile files for each reader: nearly right ones, made from entropy, and the reader that must bear them.
//!
//! The normal test run draws them with `arbtest` and counts what the readers allocate; `tests/fuzz` draws the same ones
//! for hours.

mod json;
mod lpb;
mod lpu;

use arbitrary::{Result, Unstructured};

/// Makes a hostile file from entropy.
pub type Make = fn(&mut Unstructured<'_>) -> Result<Vec<u8>>;

/// Gives a file to its reader.
pub type Read = fn(&[u8]);

/// A reader, and what it may allocate.
pub struct Target {
    /// Name of the reader; also of the fuzz target.
    pub name: &'static str,
    /// Makes a file.
    pub make: Make,
    /// Reads it, and holds what it accepts to what it must be.
    pub read: Read,
    /// Bytes that reading may allocate besides those that follow from the file's size.
    pub fixed: usize,
    /// Bytes that reading may allocate a byte of the file.
    pub each: usize,
}

/// Every reader of files.
pub const TARGETS: &[Target] = &[
    Target { name: "lpb", make: lpb::make, read: lpb::read, fixed: 1 << 14, each: 32 },
    // Some letters a byte, and what the assembler takes for them.
    Target { name: "text", make: lpb::make, read: lpb::read_as_text, fixed: 3 << 22, each: 1024 },
    // What `.fill` and numbers of chips make, 4 MiB, while a growing buffer is copied; or what a MiB of repeated lines
    // makes, 26 MB.
    Target { name: "lpu", make: lpu::make, read: lpu::read, fixed: 1 << 25, each: 256 },
    Target { name: "safetensors", make: json::safetensors, read: json::read_safetensors, fixed: 1 << 17, each: 32 },
    // The host section of a compiled model; as `config`, which it holds.
    Target { name: "host", make: lpb::host, read: lpb::read_host, fixed: 1 << 25, each: 64 },
    // As `config`, which its metadata make; the bytes are copied once for the reader.
    Target { name: "gguf", make: json::gguf, read: json::read_gguf, fixed: 1 << 25, each: 4 },
    // A config says how many layers there are, at most 4096, and each has its own description.
    Target { name: "config", make: json::config, read: json::read_config, fixed: 1 << 25, each: 64 },
    // Beside the text, the description of the chip that it names; and a system says how many chips it has, at most
    // 10,440, each with its links.
    Target { name: "system", make: json::system, read: json::read_system, fixed: 1 << 24, each: 64 },
    Target { name: "chip", make: json::chip, read: json::read_chip, fixed: 1 << 16, each: 64 },
];

/// Makes a file from `entropy` and reads it: one step of a fuzzer.
///
/// # Panics
/// When there is no such target, or the reader is at fault.
pub fn step(name: &str, entropy: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the list");
    if let Ok(file) = (target.make)(&mut Unstructured::new(entropy)) {
        (target.read)(&file);
    }
}

/// Changes a file in up to three places: edge values, cuts, insertions, repetitions.
fn damage(u: &mut Unstructured<'_>, file: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=3)? {
        let at = u.int_in_range(0..=file.len())?;
        let length = u.int_in_range(0..=8usize)?.min(file.len() - at);
        match u.int_in_range(0..=5)? {
            0 => file.truncate(at),
            1 => drop(file.drain(at..at + length)),
            2 => drop(file.splice(at..at, u.bytes(u.len().min(length))?.to_vec())),
            3 => file[at..at + length].fill(*u.choose(&[0, 1, 0x7f, 0x80, 0xff])?),
            4 => {
                let value = *u.choose(&[0u32, 1, 1 << 16, 1 << 24, i32::MAX as u32, u32::MAX])?;
                for (byte, new) in file[at..].iter_mut().zip(value.to_le_bytes()) {
                    *byte = new;
                }
            }
            _ => {
                let from = u.int_in_range(0..=at)?;
                let part = file[from..at].to_vec();
                file.splice(at..at, part.iter().copied().take(1 << 12));
            }
        }
    }
    Ok(())
}
