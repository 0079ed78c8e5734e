//! Checkpoints and chips: configs, headers of tensor files and descriptions whose fields are edge values or of another
//! kind.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use lpu_chip::{Chip, System, preset};
use lpu_model::{Checkpoint, Config};
use serde_json::{Map, Value, json};

/// The config of a test checkpoint.
fn good_config() -> &'static Map<String, Value> {
    static CONFIG: OnceLock<Map<String, Value>> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints/plain/config.json");
        serde_json::from_slice(&std::fs::read(path).expect("the checkpoint is committed"))
            .expect("its config is an object")
    })
}

/// A value that a reader may not expect.
fn odd(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth < 3 { 11 } else { 9 })? {
        0 => Value::Null,
        1 => json!(u.arbitrary::<bool>()?),
        2 => json!(u.int_in_range(-2..=20)?),
        3 => json!(*u.choose(&[i64::MIN, -1, 0, 1 << 22, 1 << 31, 1 << 32, i64::MAX])?),
        4 => json!(u64::MAX),
        5 => json!(*u.choose(&[0.0, -0.5, 1e-320, 1e38, 1e39, 1e300])?),
        6 => json!(*u.choose(&["", "llama3", "silu", "F32", "LlamaForCausalLM", "é\u{0}"])?),
        7 => json!("x".repeat(u.int_in_range(0..=300)?)),
        8 => json!([]),
        9 => json!({}),
        10 => Value::Array((0..u.int_in_range(0..=4)?).map(|_| odd(u, depth + 1)).collect::<Result<_>>()?),
        _ => json!({ *u.choose(&["rope_type", "factor", "value", "tag"])?: odd(u, depth + 1)? }),
    })
}

pub(super) fn config_text(u: &mut Unstructured<'_>) -> Result<String> {
    let mut config = good_config().clone();
    let keys: Vec<String> = config.keys().cloned().collect();
    for _ in 0..u.int_in_range(0..=3)? {
        let more = [
            "rope_parameters",
            "rope_scaling",
            "head_dim",
            "quantization_config",
            "dtype",
            "attention_bias",
            "mlp_bias",
        ];
        let key = if u.arbitrary()? { u.choose(&keys)?.clone() } else { (*u.choose(&more)?).to_owned() };
        if u.ratio(1, 5)? {
            config.remove(&key);
        } else {
            config.insert(key, odd(u, 0)?);
        }
    }
    Ok(Value::Object(config).to_string())
}

pub(super) fn config(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut file = match u.int_in_range(0..=15)? {
        0 => "[".repeat(u.int_in_range(0..=100_000)?).into_bytes(),
        1 => format!("{{\"a\":{}", "{\"a\":".repeat(u.int_in_range(0..=10_000)?)).into_bytes(),
        _ => config_text(u)?.into_bytes(),
    };
    super::damage(u, &mut file)?;
    Ok(file)
}

pub(super) fn read_config(file: &[u8]) {
    if let Ok(config) = Config::from_json(file) {
        let again = Config::from_json(config.to_json().as_bytes());
        assert!(again.is_ok_and(|again| again == config), "an accepted config is read back from what it writes");
    }
}

/// Tensors of the plain checkpoint with false statements in the header.
pub(super) fn safetensors(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut header = Map::new();
    let mut at = 0u64;
    for index in 0..u.int_in_range(0..=6)? {
        let shape: Vec<u64> = (0..u.int_in_range(0..=3)?).map(|_| u.int_in_range(0..=9)).collect::<Result<_>>()?;
        let (dtype, bytes) = *u.choose(&[("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("F8_E4M3", 1), ("Q", 1)])?;
        let length = shape.iter().product::<u64>() * bytes;
        let mut tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + length] });
        at += length;
        if u.ratio(1, 4)? {
            tensor[*u.choose(&["dtype", "shape", "data_offsets", "more"])?] = odd(u, 0)?;
        }
        let name = if u.arbitrary()? {
            "model.embed_tokens.weight".to_owned()
        } else {
            format!("model.layers.{index}.input_layernorm.weight")
        };
        header.insert(name, tensor);
    }
    if u.ratio(1, 4)? {
        header.insert("__metadata__".into(), odd(u, 0)?);
    }
    let header = Value::Object(header).to_string();
    let length = if u.ratio(7, 8)? {
        header.len() as u64
    } else {
        *u.choose(&[0, 1, 8, u64::from(u32::MAX), 1 << 40, u64::MAX])?
    };
    let mut file = [&length.to_le_bytes(), header.as_bytes(), &vec![0; at as usize]].concat();
    super::damage(u, &mut file)?;
    Ok(file)
}

pub(super) fn read_safetensors(file: &[u8]) {
    static CONFIG: OnceLock<String> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Value::Object(good_config().clone()).to_string());
    let parts = vec![("m.safetensors".to_owned(), Cow::Owned(file.to_vec()))];
    if let Err(error) = Checkpoint::from_parts(config.as_bytes(), parts, None) {
        assert!(!error.to_string().is_empty());
    }
}

/// A committed GGUF file with damaged metadata and tensor entries: of one matrix each, or of matrices of experts.
pub(super) fn gguf(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    static GOOD: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let good = GOOD.get_or_init(|| {
        let read =
            |name: &str| std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints/gguf").join(name));
        ["llama-f16.gguf", "mixtral.gguf", "granite.gguf"]
            .map(|name| read(name).expect("the file is committed"))
            .to_vec()
    });
    let good = u.choose(good)?;
    let end = *u.choose(&[24, 200, 1200, 2000, 8000])?;
    let mut file = good[..end].to_vec();
    super::damage(u, &mut file)?;
    if u.ratio(7, 8)? {
        file.extend_from_slice(&good[end..]);
    }
    Ok(file)
}

pub(super) fn read_gguf(file: &[u8]) {
    if let Err(error) = Checkpoint::from_gguf("m.gguf", Cow::Owned(file.to_vec())) {
        assert!(!error.to_string().is_empty());
    }
}

pub(super) fn chip(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    static GOOD: OnceLock<String> = OnceLock::new();
    let good = GOOD.get_or_init(|| preset("test-small").expect("the preset is valid").to_toml());
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.choose_index(lines.len())?;
        let name = lines[at].split('=').next().unwrap_or_default().trim().to_owned();
        let value = u.choose(&[
            "0",
            "1",
            "-1",
            "65535",
            "65536",
            "4294967296",
            "9223372036854775807",
            "9223372036854775808",
            "1e9",
            "nan",
            "''",
            "[]",
            "{ value = 1, tag = 'x' }",
            "{}",
            "true",
        ])?;
        match u.int_in_range(0..=3)? {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, format!("{name} = {value}")),
            _ => lines[at] = format!("{name} = {value}"),
        }
        if lines.is_empty() {
            break;
        }
    }
    let mut file = lines.join("\n").into_bytes();
    super::damage(u, &mut file)?;
    Ok(file)
}

pub(super) fn read_chip(file: &[u8]) {
    let Ok(text) = std::str::from_utf8(file) else { return };
    if let Ok(chip) = Chip::from_toml(text) {
        let again = Chip::from_toml(&chip.to_toml());
        assert!(again.is_ok_and(|again| again == chip), "an accepted chip is read back from what it writes");
        assert!(chip.sram_bytes() > 0 && !chip.queues().is_empty());
    }
}

pub(super) fn system(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const LISTED: &[(&str, &str)] =
        &[("name", "'s'"), ("chip", "'test-small'"), ("chips", "3"), ("links", "['0.0 - 1.0', '1.1 - 2.0 far']")];
    const WIRED: &[(&str, &str)] = &[
        ("name", "'s'"),
        ("chip", "'test-small'"),
        ("chips_per_node", "2"),
        ("nodes_per_rack", "3"),
        ("global_links", "2"),
        ("racks", "2"),
        ("rack_links", "2"),
    ];
    let (fields, class) = if u.ratio(1, 2)? { (LISTED, "far") } else { (WIRED, "global") };
    let mut text = String::new();
    for &(name, good) in fields {
        let odd = [
            "'all'",
            "''",
            "0",
            "1024",
            "65536",
            "-1",
            "[]",
            "[1]",
            "['0.0 - 0.0']",
            "['0.65535 - 1.65536']",
            "['-']",
            "'tsp-v1'",
            "{}",
            "16",
            "{ value = 2, tag = 'noted', source = 's' }",
        ];
        let value = if u.ratio(3, 4)? { good } else { u.choose(&odd)? };
        if u.ratio(15, 16)? {
            text += &format!("{name} = {value}\n");
        }
    }
    if u.ratio(3, 4)? {
        text += &format!("[link_classes.{class}]\nlatency = {}\ninterval = 9\n", u.choose(&["5", "0", "'x'", "650"])?);
    }
    let mut file = text.into_bytes();
    super::damage(u, &mut file)?;
    Ok(file)
}

pub(super) fn read_system(file: &[u8]) {
    let Ok(text) = std::str::from_utf8(file) else { return };
    if let Ok(system) = System::read(text, &mut preset) {
        assert!(!system.name().is_empty() && system.chip().sram_bytes() > 0);
        let again = System::read(&system.to_toml(), &mut |name| preset(&format!("no {name}")));
        assert!(again.is_ok_and(|again| again == system), "an accepted system is read back from what it writes");
    }
}
