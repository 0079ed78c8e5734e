//! A model as a whole: config, graph, weights and tokenizer.

use std::borrow::Cow;
use std::path::Path;
#[cfg(feature = "tokenizer")]
use std::sync::OnceLock;

#[cfg(feature = "tokenizer")]
use crate::Tokenizer;
use crate::folder::{self, FileBytes, Files, TensorFile};
use crate::gguf;
use crate::graph::GraphBuilder;
use crate::{Config, Dtype, Graph, ModelError, WeightId, Weights};

/// A model read from a Hugging Face folder, from bytes, or from a config alone.
///
/// Weights stay in the mapped files or the given bytes; they are never copied.
/// ```
/// use lpu_model::Checkpoint;
///
/// // Without weights, to compile for timing; `Checkpoint::open` reads a folder.
/// let config = br#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 48,
///     "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 24,
///     "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}"#;
/// let shape = Checkpoint::from_config(config)?;
/// assert_eq!(shape.config.layers, 1);
/// println!("{} operations a token", shape.graph().nodes.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Checkpoint {
    /// The checked config.
    pub config: Config,
    name: String,
    graph: Graph,
    weights: Weights,
    embedding: WeightId,
    positions: Option<WeightId>,
    tokenizer_json: Option<Result<Vec<u8>, String>>,
    notes: Vec<String>,
    #[cfg(feature = "tokenizer")]
    tokenizer: OnceLock<Result<Tokenizer, String>>,
}

impl Checkpoint {
    /// Opens a folder with `config.json`, `*.safetensors` and, if it is to take text,
    /// `tokenizer.json`; the stop ids of a `generation_config.json` are added to the config's. Or opens a GGUF file,
    /// with the other parts of its model where there are several.
    ///
    /// # Errors
    /// Everything that can be wrong with config and weights; see [`ModelError`]. A damaged
    /// tokenizer is reported when it is used.
    pub fn open(folder: &Path) -> Result<Checkpoint, ModelError> {
        let absolute = folder.canonicalize();
        let absolute = absolute.as_deref().unwrap_or(folder);
        if gguf::is_gguf(folder) {
            return Checkpoint::of_gguf(gguf::open(folder)?, &gguf::model_name(absolute));
        }
        folder::check(folder)?;
        let config = folder::read(folder, "config.json")?.ok_or_else(|| {
            let path = folder.to_path_buf();
            match folder::first_gguf(folder) {
                Some(file) => ModelError::GgufFolder { folder: path, file },
                None => ModelError::NoConfig { folder: path },
            }
        })?;
        let mut config = Config::from_json(&config)?;
        if let Some(json) = folder::read(folder, "generation_config.json")? {
            config.add_generation(&json)?;
        }
        let files = folder::map_tensor_files(folder)?;
        let tokenizer_json = folder::read(folder, "tokenizer.json")?;
        let name = absolute.file_name().map_or("model".into(), |name| name.to_string_lossy());
        Checkpoint::assemble(config, &name, Some(files), None, tokenizer_json.map(Ok))
    }

    /// Opens what the shape of a model is read from: as [`Checkpoint::open`], but a `config.json` by itself or a folder
    /// without weights will do, with weights of zero.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], but for weights that are not there.
    pub fn open_shape(path: &Path) -> Result<Checkpoint, ModelError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| ModelError::Unreadable { path: path.to_path_buf(), source })
        };
        if path.is_file() && !gguf::is_gguf(path) {
            let file = path.display().to_string();
            return Checkpoint::from_config(&read(path)?)
                .map_err(|error| ModelError::ConfigFile { file, source: Box::new(error) });
        }
        match Checkpoint::open(path) {
            Err(ModelError::NoWeights { folder } | ModelError::OtherFormat { folder, .. }) => {
                let absolute = folder.canonicalize();
                let name = absolute.as_deref().unwrap_or(&folder).file_name();
                let name = name.map_or("model".into(), |name| name.to_string_lossy());
                Ok(Checkpoint::from_config(&read(&folder.join("config.json"))?)?.with_name(&name))
            }
            opened => opened,
        }
    }

    /// Makes a checkpoint from the bytes of a GGUF file; `name` is the model's and that in errors.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_gguf(name: &str, bytes: Cow<'static, [u8]>) -> Result<Checkpoint, ModelError> {
        Checkpoint::of_gguf(gguf::parts(name, FileBytes::Given(bytes))?, name)
    }

    /// Whether a path is that of a GGUF file: by its name, or by its first bytes.
    pub fn is_gguf(path: &Path) -> bool {
        gguf::is_gguf(path)
    }

    fn of_gguf(parts: gguf::GgufFile, name: &str) -> Result<Checkpoint, ModelError> {
        Checkpoint::assemble(parts.config, name, Some(parts.files), Some(parts.naming), parts.tokenizer)
    }

    /// Makes a checkpoint from the contents of its files: `safetensors` are tensor files with
    /// the names that errors give them. Borrowed bytes are used where they are.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_parts(
        config_json: &[u8],
        safetensors: Vec<(String, Cow<'static, [u8]>)>,
        tokenizer_json: Option<&[u8]>,
    ) -> Result<Checkpoint, ModelError> {
        let files = safetensors.into_iter().map(|(name, bytes)| TensorFile {
            name,
            bytes: FileBytes::Given(bytes),
            tensors: None,
        });
        let files = Files { files: files.collect(), ..Files::default() };
        let tokenizer_json = tokenizer_json.map(|json| Ok(json.to_vec()));
        let config = Config::from_json(config_json)?;
        Checkpoint::assemble(config, "model", Some(files), None, tokenizer_json)
    }

    /// Makes a checkpoint without weights, to compile for timing: shapes come from the config and
    /// every element reads as zero.
    ///
    /// # Errors
    /// Everything that can be wrong with a config.
    pub fn from_config(config_json: &[u8]) -> Result<Checkpoint, ModelError> {
        Checkpoint::assemble(Config::from_json(config_json)?, "config", None, None, None)
    }

    fn assemble(
        mut config: Config,
        name: &str,
        files: Option<Files>,
        naming: Option<gguf::Naming>,
        tokenizer_json: Option<Result<Vec<u8>, String>>,
    ) -> Result<Checkpoint, ModelError> {
        let mut notes = Vec::new();
        if config.tie_embeddings
            && let Some(files) = &files
        {
            let untied = config.untied()?;
            let head = untied.decoder.head.as_ref().expect("a head of its own");
            if Weights::differ([&config.decoder.embedding, head], config.architecture.row().prefix, files)? {
                notes.push(format!(
                    "config.json says that the head shares the embedding table, but \"{}\" is stored and differs from \
                    it: it is used, as transformers does; set \"tie_word_embeddings\": false to say so",
                    head.name
                ));
                config = untied;
            }
        }
        let mut builder = GraphBuilder::default();
        config.decoder.build(&config, &mut builder);
        let weights = match files {
            Some(files) => match naming {
                Some(naming) => naming.bind(builder.weights, files)?,
                None => Weights::bind(builder.weights, config.architecture.row().prefix, files)?,
            },
            None => Weights::absent(builder.weights, config.dtype.unwrap_or(Dtype::F32)),
        };
        Ok(Checkpoint {
            config,
            name: name.to_owned(),
            graph: builder.graph,
            weights,
            embedding: builder.embedding.expect("every family has an embedding"),
            positions: builder.positions,
            tokenizer_json,
            notes,
            #[cfg(feature = "tokenizer")]
            tokenizer: OnceLock::new(),
        })
    }

    /// The same checkpoint under another name.
    pub fn with_name(mut self, name: &str) -> Checkpoint {
        name.clone_into(&mut self.name);
        self
    }

    /// Name of the folder; `model` for bytes and `config` for a config alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person should know about how the files were read; as a rule nothing.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The whole decode step: from the embedding row of a token to its logits.
    pub fn graph(&self) -> Graph {
        self.graph.clone()
    }

    /// The tensors that the graph names.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The embedding table, shape `[vocab, hidden]`.
    pub fn embedding(&self) -> WeightId {
        self.embedding
    }

    /// Reads the embedding row of a token into `out`, `hidden` elements.
    ///
    /// # Errors
    /// [`ModelError::TokenOutOfRange`].
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn embedding_row(&self, token: u32, out: &mut [f32]) -> Result<(), ModelError> {
        if token as usize >= self.config.vocab {
            return Err(ModelError::TokenOutOfRange { token, last: self.config.vocab - 1 });
        }
        self.weights.row_f32(self.embedding, token as usize, out);
        Ok(())
    }

    /// The table of learned positions, shape `[positions, hidden]`, if the model has one.
    pub fn positions(&self) -> Option<WeightId> {
        self.positions
    }

    /// Reads the row of a learned position into `out`, `hidden` elements: the graph's input `position`. Returns whether
    /// the model has such rows; `out` is left as it is when not.
    ///
    /// # Errors
    /// [`ModelError::PositionOutOfRange`].
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn position_row(&self, position: u32, out: &mut [f32]) -> Result<bool, ModelError> {
        let Some(table) = self.positions else { return Ok(false) };
        let rows = self.weights.shape(table)[0];
        if position as usize >= rows {
            return Err(ModelError::PositionOutOfRange { position, last: rows - 1 });
        }
        self.weights.row_f32(table, position as usize, out);
        Ok(true)
    }

    /// The bytes of `tokenizer.json`, if there is one; for a GGUF file one made from its metadata, if they can be taken
    /// over.
    pub fn tokenizer_json(&self) -> Option<&[u8]> {
        self.tokenizer_json.as_ref()?.as_deref().ok()
    }

    /// The bytes of `tokenizer.json`, as [`Checkpoint::tokenizer_json`], or why a GGUF file's tokenizer cannot be taken
    /// over.
    ///
    /// # Errors
    /// [`ModelError::GgufTokenizer`].
    pub fn checked_tokenizer_json(&self) -> Result<Option<&[u8]>, ModelError> {
        let checked = self.tokenizer_json.as_ref().map(|json| {
            json.as_deref()
                .map_err(|detail| ModelError::GgufTokenizer { model: self.name.clone(), detail: detail.clone() })
        });
        checked.transpose()
    }

    /// The tokenizer, loaded at the first call.
    ///
    /// # Errors
    /// [`ModelError::NoTokenizer`] and [`ModelError::BadTokenizer`].
    #[cfg(feature = "tokenizer")]
    pub fn tokenizer(&self) -> Result<&Tokenizer, ModelError> {
        let json =
            self.checked_tokenizer_json()?.ok_or_else(|| ModelError::NoTokenizer { model: self.name.clone() })?;
        self.tokenizer
            .get_or_init(|| Tokenizer::load(json))
            .as_ref()
            .map_err(|detail| ModelError::BadTokenizer { detail: detail.clone() })
    }
}
