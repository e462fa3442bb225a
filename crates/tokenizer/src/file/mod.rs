//! The tokenizer file: one JSON object, the same bytes for the same tokenizer, with a checksum.
//!
//! ```json
//! {"format":"selvedge-tokenizer","version":1,"checksum":"fnv1a64:0123456789abcdef","tokenizer":
//!  {"pretokenizer":"gpt4","special_tokens":[["<|endoftext|>",258]],"model":{"merges":[[116,104],[256,101]]}}}
//! ```
//!
//! `merges` names the pairs in the order in which they were learnt: ids below 256 are bytes, and the i-th pair makes the
//! token 256 + i. A tokenizer built from ranks has `"ranks":[["61",64],...]` instead: bytes in hexadecimal, and the id. One
//! of a published model has `"published":{...}`, the fields of [`Model::Published`], and its special tokens in there. The
//! checksum is 64-bit FNV-1a of the `tokenizer` object as it is written here, without blanks: it finds accidents, not
//! forgery, and everything is checked regardless of it.

mod atomic;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::added::Added;
use crate::error::TokenProblem;
use crate::published::{Gap, Published};
use crate::vocab::{Origin, Vocab};
use crate::{Error, TokenId, Tokenizer};

const FORMAT: &str = "selvedge-tokenizer";
const VERSION: u64 = 1;

/// About twice the largest published vocabularies, of some 30 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Read first, so that a file of another kind or version is named as such, whatever else is in it.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u64,
    checksum: String,
    tokenizer: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    pretokenizer: String,
    special_tokens: Vec<(String, TokenId)>,
    model: Model,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Model {
    Merges(Vec<(TokenId, TokenId)>),
    Ranks(Vec<(String, TokenId)>),
    Published(Box<PublishedModel>),
}

/// [`Published`], with bytes in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedModel {
    tokens: Vec<(String, TokenId)>,
    merges: Vec<(TokenId, TokenId)>,
    added: Vec<Added>,
    unreachable: Vec<(String, TokenId)>,
    whole: bool,
    gap: Gap,
    nfc: bool,
    prefix: Vec<TokenId>,
    suffix: Vec<TokenId>,
    end_of_text: TokenId,
}

impl PublishedModel {
    fn from_published(published: Published) -> Self {
        let Published { tokens, merges, added, unreachable, whole, gap, nfc, prefix, suffix, end_of_text } =
            published;
        let write = |list: Vec<(Vec<u8>, TokenId)>| {
            list.into_iter().map(|(bytes, id)| (to_hex(&bytes), id)).collect()
        };
        Self {
            tokens: write(tokens),
            merges,
            added,
            unreachable: write(unreachable),
            whole,
            gap,
            nfc,
            prefix,
            suffix,
            end_of_text,
        }
    }

    fn into_published(self) -> Result<Published, Error> {
        let Self { tokens, merges, added, unreachable, whole, gap, nfc, prefix, suffix, end_of_text } = self;
        let (tokens, unreachable) = (parse_tokens(tokens)?, parse_tokens(unreachable)?);
        Ok(Published { tokens, merges, added, unreachable, whole, gap, nfc, prefix, suffix, end_of_text })
    }
}

fn parse_tokens(list: Vec<(String, TokenId)>) -> Result<Vec<(Vec<u8>, TokenId)>, Error> {
    let parse = |(hex, id): (String, TokenId)| match from_hex(&hex) {
        Some(bytes) => Ok((bytes, id)),
        None => Err(Error::Token { id, problem: TokenProblem::NotHex }),
    };
    list.into_iter().map(parse).collect()
}

impl Tokenizer {
    /// The content of the tokenizer's file: the same bytes for the same tokenizer, on every machine.
    ///
    /// # Errors
    ///
    /// None in practice: [`Error::Json`] if the serializer refuses.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let vocab = self.vocab();
        let (model, special_tokens) = match vocab.origin() {
            Origin::Merges(merges) => (Model::Merges(merges.clone()), vocab.specials().to_vec()),
            Origin::Ranks => {
                let ranks = vocab.ordinary().map(|(bytes, id)| (to_hex(bytes), id)).collect();
                (Model::Ranks(ranks), vocab.specials().to_vec())
            }
            Origin::Published(published) => {
                let published = PublishedModel::from_published(vocab.published(published));
                (Model::Published(Box::new(published)), Vec::new())
            }
        };
        let tokenizer = Content { pretokenizer: self.pretokenizer().name().into(), special_tokens, model };
        let checksum = checksum(&tokenizer)?;
        let document = Document { format: FORMAT.into(), version: VERSION, checksum, tokenizer };
        let mut json = serde_json::to_vec(&document).map_err(json_error)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// The content may come from anyone: whatever is wrong with it has its variant in [`Error`], with the place.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        check_file_size(json.len() as u64)?;
        let Header { format, version } = serde_json::from_slice(json).map_err(json_error)?;
        if format != FORMAT {
            return Err(Error::Format { found: format, expected: FORMAT });
        }
        if version != VERSION {
            return Err(Error::Version { found: version, known: VERSION });
        }
        let document: Document = serde_json::from_slice(json).map_err(json_error)?;
        let computed = checksum(&document.tokenizer)?;
        if document.checksum != computed {
            return Err(Error::Checksum { stored: document.checksum, computed });
        }
        let Content { pretokenizer, special_tokens, model } = document.tokenizer;
        let pretokenizer = pretokenizer.parse()?;
        let vocab = match model {
            Model::Merges(merges) => Vocab::from_merges(merges, special_tokens)?,
            Model::Ranks(ranks) => Vocab::from_ranks(parse_tokens(ranks)?, special_tokens)?,
            Model::Published(published) => Vocab::from_published(published.into_published()?)?,
        };
        Ok(Self::new(vocab, pretokenizer))
    }

    /// Writes the tokenizer's file, all or nothing: whoever reads `path`, even after a crash, finds what was there before
    /// or the whole new file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the step that failed; `path` is then as it was before, unless only the last step, flushing the
    /// folder, failed.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        atomic::write(path.as_ref(), &self.to_json()?)
    }

    /// Reads a tokenizer's file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::Load`] if it does not hold a usable tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io_error = |action| move |source| Error::Io { action, path: path.into(), source };
        let load_error = |error| Error::Load { path: path.into(), source: Box::new(error) };
        let file = File::open(path).map_err(io_error("open"))?;
        let size = file.metadata().map_err(io_error("examine"))?.len();
        check_file_size(size).map_err(load_error)?;
        let mut json = Vec::new();
        // The size is only a hint (the path may be a pipe, or a file that grows).
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut json).map_err(io_error("read"))?;
        Self::from_json(&json).map_err(load_error)
    }
}

pub(crate) fn check_file_size(bytes: u64) -> Result<(), Error> {
    if bytes > MAX_FILE_BYTES {
        return Err(Error::FileTooLarge { bytes, limit: MAX_FILE_BYTES });
    }
    Ok(())
}

pub(crate) fn json_error(source: serde_json::Error) -> Error {
    Error::Json { line: source.line(), column: source.column(), source }
}

fn checksum(content: &Content) -> Result<String, Error> {
    let json = serde_json::to_vec(content).map_err(json_error)?;
    // FNV-1a: each step is one-to-one in the state, so two contents of one length that differ in one byte differ here.
    let hash = json.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Ok(format!("fnv1a64:{hash:016x}"))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Accepts what `to_hex` writes: lower-case digits, two for a byte.
fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}
