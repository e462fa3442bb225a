//! A mapped file.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it under the map")]

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use selvedge_tensor::Quantized;

use crate::plain_file;

use super::{Error, Header, TensorInfo, Type, UnsupportedType, blocks, dequantize};

/// A file in memory: its header, and its tensors where they lie.
///
/// # The file must stay as it is while it is mapped
/// Shortening a mapped file makes the next read of it a bus error that no program can catch, and changing it in place
/// changes the tensors. Replace a model's file by moving another one to its name.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    header: Header,
    map: Mmap,
}

impl File {
    /// Maps a file and parses its header. Of the tensors nothing is read.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Format`] if it is not a whole GGUF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let (file, _) = plain_file::open(path).map_err(Error::io("open", path))?;
        // SAFETY: the file must not be shortened or rewritten while the map lives. The type's documentation asks the user
        // for that; the parser holds every offset against the length of this map.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let header =
            Header::parse(&map).map_err(|source| Error::Format { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), header, map })
    }

    /// The file's path as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything before the tensors.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tensor of a name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.header.tensor(name).map(|info| Tensor { file: self, info })
    }

    /// The tensor at a place among those of the header.
    pub(super) fn tensor_at(&self, place: usize) -> Tensor<'_> {
        Tensor { file: self, info: &self.header.tensors()[place] }
    }

    /// All tensors, in the order of the file's list.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.header.tensors().iter().map(|info| Tensor { file: self, info })
    }
}

/// A tensor of a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    file: &'a File,
    info: &'a TensorInfo,
}

impl<'a> Tensor<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.info.name()
    }

    /// Its dimensions, the fastest last.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.info.shape()
    }

    /// Number of rows: the product of all dimensions but the last.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.info.rows()
    }

    /// Elements of a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.info.columns()
    }

    /// What its elements are.
    #[must_use]
    pub fn element_type(&self) -> Type {
        self.info.element_type()
    }

    /// Its bytes, row after row; each row has the same number of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the type is not known, for then nobody can say how many there are.
    pub fn bytes(&self) -> Result<&'a [u8], Error> {
        match self.element_type().block() {
            Some(_) => Ok(&self.file.map[self.info.range()]),
            None => Err(self.unsupported(UnsupportedType(self.element_type()))),
        }
    }

    /// Turns its elements into f32, see [`dequantize()`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] if they are of a type that this is not known for.
    ///
    /// # Panics
    /// If `out` has another number of elements.
    pub fn dequantize(&self, out: &mut [f32]) -> Result<(), Error> {
        dequantize(self.element_type(), self.bytes()?, out).map_err(|source| self.unsupported(source))
    }

    /// Its rows as weights (N, K) that are multiplied as they are; none if its type has no [`form`](blocks::form).
    #[must_use]
    pub fn quantized(&self) -> Option<Quantized> {
        blocks::weights(self.element_type(), (self.rows(), self.columns()), self.bytes().ok()?)
    }

    /// Whether its elements can be turned into f32.
    pub(super) fn check(&self) -> Result<(), Error> {
        super::dequantize(self.element_type(), &[], &mut []).map_err(|source| self.unsupported(source))
    }

    fn unsupported(&self, source: UnsupportedType) -> Error {
        Error::Unsupported { path: self.file.path.clone(), tensor: self.name().to_owned(), source }
    }
}
