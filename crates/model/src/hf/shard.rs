//! A mapped safetensors file, and which files a folder has.
//!
//! Format: 8 bytes little-endian length of a header, the header in JSON (name → dtype, shape, offsets), the data. The
//! `safetensors` crate reads the header and checks that the tensors cover the data without gap or overlap.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it under the map")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};

use super::Error;
use super::fields::{Fields, parse};

/// Bytes of the length before the header.
const LENGTH: usize = 8;
/// Longest header, as in the `safetensors` crate.
const LONGEST_HEADER: u64 = 100_000_000;
/// Longest JSON file: an index of a hundred thousand tensors has some 10 MB.
const LONGEST_JSON: u64 = 64 << 20;

/// One file of weights.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// Where the data begins.
    data: usize,
}

impl Shard {
    /// Maps the file and checks its header against its length.
    pub(super) fn open(path: PathBuf) -> Result<Shard, Error> {
        let (file, bytes) = open_file(&path)?;
        if bytes < LENGTH as u64 {
            return Err(Error::HeaderLength { path, header: 0, file: bytes });
        }
        // SAFETY: the file must not be shortened or rewritten while the map lives. `save` never writes to an existing
        // file, but moves a new one into its place, and the documentation of `Folder` asks the user for the same.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
        let Some((length, rest)) = map.split_first_chunk::<LENGTH>() else {
            return Err(Error::HeaderLength { path, header: 0, file: bytes });
        };
        let length = u64::from_le_bytes(*length);
        let header = usize::try_from(length).ok().filter(|_| length <= LONGEST_HEADER);
        let Some((header, data)) = header.and_then(|length| rest.split_at_checked(length)) else {
            return Err(Error::HeaderLength { path, header: length, file: bytes });
        };
        let parsed: Metadata = match serde_json::from_slice(header) {
            Ok(parsed) => parsed,
            Err(source) => return Err(Error::Header { path, source }),
        };
        if parsed.data_len() != data.len() {
            return Err(Error::DataLength { path, found: data.len(), expected: parsed.data_len() });
        }
        let data = LENGTH + header.len();
        Ok(Shard { path, header: parsed, data, map })
    }

    /// Names of its tensors, in the order of their data.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type, shape and place of a tensor.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// Its bytes.
    pub(super) fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        let (start, end) = tensor.data_offsets;
        &self.map[self.data + start..self.data + end]
    }
}

/// A file of JSON, whole.
pub(super) fn read_json(path: &Path) -> Result<Vec<u8>, Error> {
    let (file, bytes) = open_file(path)?;
    let mut json = Vec::new();
    let read = file.take(LONGEST_JSON + 1).read_to_end(&mut json).map_err(Error::io("read", path))?;
    if read as u64 > LONGEST_JSON {
        return Err(Error::TooLong {
            path: path.to_owned(),
            bytes: bytes.max(read as u64),
            most: LONGEST_JSON,
        });
    }
    Ok(json)
}

/// Opens a plain file, of so many bytes: opening a pipe would wait for its other end.
fn open_file(path: &Path) -> Result<(File, u64), Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if !metadata.is_file() {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file");
        return Err(Error::io("open", path)(source));
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("read", path))?.len();
    Ok((file, bytes))
}

/// The weights of a folder: `model.safetensors`, or else the shards that `model.safetensors.index.json` names.
pub(super) fn open_all(folder: &Path) -> Result<Vec<Shard>, Error> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![Shard::open(single)?]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        return Err(Error::NoWeights { path: folder.to_owned() });
    }
    let map = read_json(&index).and_then(|json| parse(&json)).map_err(Error::within(&index))?;
    let fields = Fields::new(&map);
    let weights = fields.object("weight_map").and_then(|weights| {
        weights.ok_or_else(|| fields.wrong("weight_map", "is needed; an object from tensors to files"))
    });
    let weights = weights.map_err(Error::within(&index))?;
    let mut files = BTreeSet::new();
    for tensor in weights.names() {
        let file = weights
            .text(tensor)
            .and_then(|file| file.ok_or_else(|| weights.wrong(tensor, "must be the name of a file")));
        let file = file.map_err(Error::within(&index))?;
        if !is_inside(file) {
            let (tensor, shard) = (tensor.to_owned(), file.to_owned());
            return Err(Error::ShardOutside { path: index, tensor, shard });
        }
        files.insert(file);
    }
    let shards = files.into_iter().map(|file| Shard::open(folder.join(file)));
    let shards: Vec<Shard> = shards.collect::<Result<_, _>>()?;
    for tensor in weights.names() {
        let path = folder.join(weights.text(tensor)?.unwrap_or_default());
        if shards.iter().any(|shard| shard.path == path && shard.info(tensor).is_none()) {
            return Err(Error::MissingTensor { path, tensor: tensor.to_owned() });
        }
    }
    Ok(shards)
}

/// Whether a path of an index stays in the folder by its names alone.
fn is_inside(file: &str) -> bool {
    let mut names = Path::new(file).components().peekable();
    names.peek().is_some() && !file.contains('\\') && names.all(|name| matches!(name, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::is_inside;

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
