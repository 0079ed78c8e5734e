//! Outputs are written whole or not at all, wherever they go.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ran, Stdio};

use lpu::{Engines, Output, ProgramFile, Session, chip, write_file};

fn root(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).display().to_string()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
    command.args(arguments);
    command
}

fn lpu(arguments: &[&str]) -> Ran {
    command(arguments).output().unwrap()
}

fn piped(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn ok(ran: Ran) -> Vec<u8> {
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}

fn refused(ran: &Ran, status: i32, parts: &[&str]) {
    let message = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(status), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_has_its_old_bytes_until_the_new_ones_are_all_there() {
    let folder = scratch("whole");
    let path = folder.join("x");
    for old in [None, Some(&b"old"[..])] {
        if let Some(old) = old {
            fs::write(&path, old).unwrap();
        }
        let mut output = Output::create(&path).unwrap();
        output.write_all(&[7; 100_000]).unwrap();
        assert_eq!(fs::read(&path).ok().as_deref(), old);
        drop(output);
        assert_eq!(fs::read(&path).ok().as_deref(), old, "what was not finished is gone");
        assert_eq!(names(&folder).len(), usize::from(old.is_some()));
        Output::probe(&path).unwrap();
        assert_eq!((fs::read(&path).ok().as_deref(), names(&folder).len()), (old, usize::from(old.is_some())));
        write_file(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(&folder)), (b"new".to_vec(), vec!["x".to_owned()]));
    }
    for folder_path in [folder.clone(), folder.join(".."), PathBuf::from("/")] {
        assert!(write_file(&folder_path, b"x").unwrap_err().to_string().contains("folder"));
    }
    assert!(write_file(&folder.join("no/x"), b"x").unwrap_err().to_string().contains("there is no folder"));
}

#[cfg(unix)]
#[test]
fn permissions_links_and_devices_are_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = scratch("kept");
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o7777;
    fs::write(folder.join("plain"), "").unwrap();
    write_file(&folder.join("made"), b"x").unwrap();
    assert_eq!(mode("made"), mode("plain"), "as any new file");
    fs::set_permissions(folder.join("plain"), fs::Permissions::from_mode(0o640)).unwrap();
    write_file(&folder.join("plain"), b"x").unwrap();
    assert_eq!(mode("plain"), 0o640);
    fs::create_dir(folder.join("sub")).unwrap();
    symlink("sub/target", folder.join("link")).unwrap();
    symlink("link", folder.join("second")).unwrap();
    for bytes in [b"new", b"old"] {
        write_file(&folder.join("second"), bytes).unwrap();
        assert_eq!(fs::read(folder.join("sub/target")).unwrap(), bytes);
        assert!(folder.join("link").is_symlink() && folder.join("second").is_symlink());
    }
    assert_eq!(names(&folder.join("sub")), ["target"]);
    symlink("loop", folder.join("loop")).unwrap();
    assert!(write_file(&folder.join("loop"), b"x").is_err());
    write_file(Path::new("/dev/null"), b"x").unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let kernel = root("examples/kernels/softmax.lpu");
    refused(&lpu(&["asm", &kernel, "-o", "/dev/full"]), 1, &["/dev/full", "No space left", "; "]);
    let folder = scratch("full");
    let file = folder.join("k.lpb").display().to_string();
    ok(lpu(&["asm", &root("examples/kernels/vector-add.lpu"), "-o", &file]));
    let good = fs::read(&file).unwrap();
    // No file of the process may grow beyond a block.
    let shell = format!("trap '' XFSZ; ulimit -f 1; exec '{}' asm '{kernel}' -o '{file}'", env!("CARGO_BIN_EXE_lpu"));
    refused(&Command::new("sh").args(["-c", &shell]).output().unwrap(), 1, &["k.lpb", "; "]);
    assert!(fs::read(&file).unwrap() == good);
    assert_eq!(names(&folder), ["k.lpb"]);
}

#[test]
fn compiling_onto_a_file_that_a_run_has_mapped_changes_nothing_for_the_run() {
    let file = scratch("mapped").join("m.lpb");
    let path = file.display().to_string();
    let compile = |model: &str, dtype: &str, context: &str| {
        let model = root(&format!("tests/checkpoints/{model}"));
        ok(lpu(&["compile", &model, "-o", &path, "--dtype", dtype, "--context", context, "--json"]));
    };
    compile("plain", "w8a16", "32");
    let tsp = chip::preset("tsp-v1").unwrap();
    let open = || Session::open(ProgramFile::open(&file).unwrap(), &tsp, &Engines::default()).unwrap();
    let tokens = [5u32, 6, 7, 8, 9, 10];
    let alone: Vec<_> = {
        let mut session = open();
        tokens.map(|token| session.feed(token).unwrap()).to_vec()
    };
    let mut session = open();
    for (number, &token) in tokens.iter().enumerate() {
        assert!(session.feed(token).unwrap() == alone[number], "token {number}");
        match number {
            0 => compile("plain", "f16", "16"),
            2 => compile("gqa", "w8a8", "16"),
            4 => fs::remove_file(&file).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn places_that_cannot_be_written_are_refused_before_work_begins() {
    let folder = scratch("places");
    let inside = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("file"), "").unwrap();
    let (missing, file, itself) = (inside("no/x"), inside("file/x"), folder.display().to_string());
    // No model is there: the place is looked at first.
    for (place, reason) in [(&missing, "no folder"), (&file, "no folder"), (&itself, "it is a folder")] {
        let reason = if place == &file { "cannot write" } else { reason };
        refused(&lpu(&["compile", "/no/model", "-o", place]), 1, &[place, reason]);
        refused(&lpu(&["generate", "/no/model", "--tokens", "1", "--logits", place]), 1, &[place, reason]);
    }
    let kernel = root("examples/kernels/softmax.lpu");
    for option in ["--trace", "--output"] {
        let value = if option == "--output" { format!("y={missing}") } else { missing.clone() };
        refused(&lpu(&["run", &kernel, option, &value]), 1, &[&missing, "no folder"]);
    }
}

#[test]
fn a_dash_is_standard_input_and_output_or_refused() {
    let folder = scratch("dash");
    let file = folder.join("m.lpb").display().to_string();
    let model = root("tests/checkpoints/plain");
    ok(lpu(&["compile", &model, "-o", &file, "--context", "16"]));
    let piped_file = lpu(&["compile", &model, "-o", "-", "--context", "16"]);
    assert!(String::from_utf8_lossy(&piped_file.stderr).contains("cycles"), "the report goes to standard error");
    assert!(ok(piped_file) == fs::read(&file).unwrap());
    for device in ["/dev/stdout", "/dev/null"].into_iter().filter(|device| Path::new(device).exists()) {
        let written = ok(lpu(&["compile", &model, "-o", device, "--context", "16"]));
        assert!(device == "/dev/null" || written == fs::read(&file).unwrap());
    }
    let feed = ["--tokens", "5,6", "--max-tokens", "2", "--ignore-eos", "--logits"];
    let logits = folder.join("l.npy").display().to_string();
    ok(lpu(&[&["generate", &file], &feed[..], &[&logits]].concat()));
    assert!(ok(lpu(&[&["generate", &file], &feed[..], &["-"]].concat())) == fs::read(&logits).unwrap());
    for arguments in [
        &["compile", &model, "-o", "-", "--json"][..],
        &["generate", &file, "--tokens", "1", "--logits", "-", "--json"],
    ] {
        refused(&lpu(arguments), 2, &["standard output", "give --"]);
    }
    for arguments in [&["generate", "-", "--tokens", "1"][..], &["compile", "-", "-o", "x.lpb"]] {
        refused(&lpu(arguments), 2, &["standard input", "give the path"]);
    }
    let config = fs::read(format!("{model}/config.json")).unwrap();
    ok(piped(&["compile", "-", "--timing-only", "--context", "16"], &config));
    let named = ok(lpu(&["inspect", "sram", &file]));
    assert!(ok(piped(&["inspect", "sram", "-"], &fs::read(&file).unwrap())) == named);
    let kernel = root("examples/kernels/vector-add.lpu");
    let listed = ok(lpu(&["inspect", "dispatches", &kernel]));
    assert!(ok(piped(&["inspect", "dispatches", "-"], &fs::read(&kernel).unwrap())) == listed);
}

#[cfg(target_os = "linux")]
#[test]
fn a_chip_file_may_have_any_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = scratch("names");
    let description = ok(lpu(&["chips", "tsp-v1"]));
    for name in [&b"caf\xe9.toml"[..], b"two words.toml", "r\u{e4}ume.toml".as_bytes(), b"tsp-v1.toml"] {
        let path = folder.join(OsStr::from_bytes(name));
        fs::write(&path, &description).unwrap();
        for arguments in [
            &["compile", "--timing-only", "--context", "16"][..],
            &["inspect", "graph"],
            &["generate", "--tokens", "1"],
        ] {
            let mut command = command(arguments);
            command.arg(root("tests/checkpoints/plain")).arg("--chip").arg(&path);
            ok(command.output().unwrap());
        }
    }
    let mut missing = command(&["inspect", "graph"]);
    refused(&missing.arg("--chip").arg(OsStr::from_bytes(b"no\xe9.toml")).output().unwrap(), 1, &["no\u{fffd}.toml"]);
}
