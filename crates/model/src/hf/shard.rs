//! A mapped safetensors file, and which files a folder has.
//!
//! Format: 8 bytes little-endian length of a header, the header in JSON (name → dtype, shape, offsets), the data. The
//! `safetensors` crate reads the header and checks that the tensors cover the data without gap or overlap.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it under the map")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};

use super::Error;
use super::fields::{Fields, parse};
use crate::plain_file;

/// Bytes of the length before the header.
const LENGTH: usize = 8;
/// Longest header, as in the `safetensors` crate.
const LONGEST_HEADER: u64 = 100_000_000;
/// Longest index: that of a hundred thousand tensors has some 10 MB.
const LONGEST_INDEX: u64 = 16 << 20;

/// One file of weights, mapped: `model.safetensors`, or one of those that a model is cut into.
///
/// # The file must stay as it is while it lives
/// As for [`Folder`](super::Folder).
#[derive(Debug)]
pub struct Shard {
    pub(crate) path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// Where the data begins.
    data: usize,
}

/// What a file says of one of its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardTensor {
    /// Its name.
    pub name: String,
    /// What its elements are, by the name in files: `F32`, `BF16` and many that are not computed with.
    pub dtype: String,
    /// Its dimensions, the fastest last.
    pub shape: Vec<usize>,
    /// Bytes that it takes.
    pub bytes: usize,
}

impl Shard {
    /// Maps a file and checks its header against its length.
    ///
    /// # Errors
    /// [`Error::Io`], and an error that names the file where its header is damaged or not that of its length.
    pub fn open(path: impl Into<PathBuf>) -> Result<Shard, Error> {
        let path = path.into();
        let (file, bytes) = plain_file::open(&path).map_err(Error::io("open", &path))?;
        if bytes < LENGTH as u64 {
            // Too short to map at all if empty.
            return Err(Error::HeaderLength { path, header: 0, file: bytes });
        }
        // SAFETY: the file must not be shortened or rewritten while the map lives. `save` never writes to an existing
        // file, but moves a new one into its place, and the documentation of `Folder` asks the user for the same.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
        let (header, data) = read_header(&path, &map)?;
        Ok(Shard { path, header, data, map })
    }

    /// Its path as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its header says beside the tensors, by key.
    pub fn about(&self) -> BTreeMap<&str, &str> {
        let about = self.header.metadata().iter().flatten();
        about.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// Its tensors, in the order of their data.
    pub fn tensors(&self) -> Vec<ShardTensor> {
        let about = |name: String| {
            let info = self.info(&name)?;
            let (start, end) = info.data_offsets;
            let (dtype, shape) = (info.dtype.to_string(), info.shape.clone());
            Some(ShardTensor { name, dtype, shape, bytes: end - start })
        };
        self.names().into_iter().filter_map(about).collect()
    }

    /// Names of its tensors, in the order of their data.
    pub(crate) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type, shape and place of a tensor.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        let (start, end) = tensor.data_offsets;
        &self.map[self.data + start..self.data + end]
    }
}

/// The header of a file's bytes, and where its data begins.
fn read_header(path: &Path, bytes: &[u8]) -> Result<(Metadata, usize), Error> {
    let too_long = |header| Error::HeaderLength { path: path.to_owned(), header, file: bytes.len() as u64 };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Err(too_long(0)) };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|_| length <= LONGEST_HEADER);
    let Some((header, data)) = header.and_then(|length| rest.split_at_checked(length)) else {
        return Err(too_long(length));
    };
    let parsed: Metadata =
        serde_json::from_slice(header).map_err(|source| Error::Header { path: path.to_owned(), source })?;
    if parsed.data_len() != data.len() {
        let (found, expected) = (data.len(), parsed.data_len());
        return Err(Error::DataLength { path: path.to_owned(), found, expected });
    }
    Ok((parsed, LENGTH + header.len()))
}

/// A file of JSON, whole, of at most so many bytes.
pub(crate) fn read_json(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let (file, bytes) = plain_file::open(path).map_err(Error::io("open", path))?;
    let mut json = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut json).map_err(Error::io("read", path))?;
    if read as u64 > most {
        return Err(Error::TooLong { path: path.to_owned(), bytes: bytes.max(read as u64), most });
    }
    Ok(json)
}

/// The files of weights of a folder: `model.safetensors`, or else the shards that `model.safetensors.index.json` names.
/// Whether they make a model is for [`Folder::open`](super::Folder::open) to see.
///
/// # Errors
/// [`Error::NoWeights`]; those of [`Shard::open`]; and an error for an index that is damaged, names files outside the folder,
/// or tensors that are not there.
pub fn open_shards(folder: &Path) -> Result<Vec<Shard>, Error> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![Shard::open(single)?]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        return Err(Error::NoWeights { path: folder.to_owned() });
    }
    let weights = read_index(&index, &read_json(&index, LONGEST_INDEX)?)?;
    let files: BTreeSet<&String> = weights.values().collect();
    let shards: Vec<Shard> =
        files.into_iter().map(|file| Shard::open(folder.join(file))).collect::<Result<_, _>>()?;
    for (tensor, file) in &weights {
        let path = folder.join(file);
        if shards.iter().any(|shard| shard.path == path && shard.info(tensor).is_none()) {
            return Err(Error::MissingTensor { path, tensor: tensor.clone() });
        }
    }
    Ok(shards)
}

/// The file of every tensor, by an index: `{"weight_map": {"NAME": "FILE", …}, …}`.
fn read_index(path: &Path, json: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let map = parse(json).map_err(Error::within(path))?;
    let fields = Fields::new(&map);
    let weights = fields
        .object("weight_map")
        .and_then(|weights| {
            weights.ok_or_else(|| fields.wrong("weight_map", "is needed; tensors and their files"))
        })
        .map_err(Error::within(path))?;
    let file_of = |tensor: &str| {
        let file = weights.text(tensor).map_err(Error::within(path))?.unwrap_or_default();
        if is_inside(file) {
            Ok((tensor.to_owned(), file.to_owned()))
        } else {
            let (tensor, shard) = (tensor.to_owned(), file.to_owned());
            Err(Error::ShardOutside { path: path.to_owned(), tensor, shard })
        }
    };
    weights.names().map(file_of).collect()
}

/// Whether a path of an index stays in the folder by its names alone.
fn is_inside(file: &str) -> bool {
    let mut names = Path::new(file).components().peekable();
    names.peek().is_some() && !file.contains('\\') && names.all(|name| matches!(name, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::{TensorView, serialize};

    use super::*;

    #[test]
    fn a_file_with_any_bit_flipped_or_cut_off_is_read_or_refused() {
        let view = |shape: Vec<usize>, data| TensorView::new(safetensors::Dtype::F16, shape, data).unwrap();
        let data: Vec<u8> = (0..40).collect();
        let tensors = [("a.weight", view(vec![2, 5], &data[..20])), ("b", view(vec![10], &data[20..]))];
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = serialize(tensors, Some(about)).unwrap();
        let path = Path::new("x.safetensors");
        let (header, start) = read_header(path, &bytes).unwrap();
        assert_eq!((header.data_len(), start + 40), (40, bytes.len()));
        for cut in 0..bytes.len() {
            read_header(path, &bytes[..cut]).unwrap_err();
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                match read_header(path, &flipped) {
                    Ok((header, start)) => assert_eq!(start + header.data_len(), bytes.len()),
                    Err(error) => assert!(error.to_string().contains("x.safetensors"), "{error}"),
                }
            }
        }
    }

    #[test]
    fn an_index_with_any_bit_flipped_or_cut_off_is_read_or_refused() {
        let text =
            br#"{"metadata": {"total_size": 5}, "weight_map": {"a.weight": "x-1.safetensors", "b": "y/z"}}"#;
        let path = Path::new("x.json");
        assert_eq!(read_index(path, text).unwrap()["b"], "y/z");
        for at in 0..text.len() {
            read_index(path, &text[..at]).unwrap_err();
            for bit in 0..8 {
                let mut flipped = text.to_vec();
                flipped[at] ^= 1 << bit;
                match read_index(path, &flipped) {
                    Ok(files) => assert!(files.values().all(|file| is_inside(file))),
                    Err(error) => assert!(error.to_string().contains("x.json"), "{error}"),
                }
            }
        }
    }

    #[test]
    fn only_paths_below_the_folder_are_inside() {
        for good in ["model-00001-of-00002.safetensors", "shards/a.safetensors", "a..b"] {
            assert!(is_inside(good), "{good}");
        }
        for bad in ["", ".", "..", "/etc/passwd", "../a", "a/../b", "a/../../b", "./a", "..\\a", "c:\\a"] {
            assert!(!is_inside(bad), "{bad}");
        }
    }
}
