//! Writing a file, tensor after tensor.

use std::io::Write;

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Field, MAGIC, MAX_DIMENSIONS, MAX_KEY_BYTES, MAX_KEYS, MAX_NAME_BYTES,
    MAX_TENSORS, Metadata, Problem, Type, UnsupportedType, VERSION, WriteError, encode, header, names,
    quantize,
};

/// Elements that are quantized before they are written: whole blocks of any type.
const PIECE: usize = 1 << 14;

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its dimensions, the fastest last.
    pub shape: Vec<usize>,
    /// What its elements will be.
    pub element_type: Type,
}

/// Writes a file of version 3: the header at once, then one tensor after the other.
///
/// A file that is seen only when it is whole is the caller's business: write under another name and move it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    alignment: u64,
    tensors: Vec<(TensorSpec, usize)>,
    written: usize,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header of a file with these keys and tensors.
    ///
    /// # Errors
    /// [`WriteError::Format`] where [`Header::parse`](super::Header::parse) would not read it back,
    /// [`WriteError::Unsupported`] if a tensor's size is not known by its type, [`WriteError::Io`].
    pub fn new(out: W, metadata: &Metadata, tensors: Vec<TensorSpec>) -> Result<Self, WriteError> {
        let wrong = |field| move |problem| WriteError::Format { field, problem };
        let mut writer = Self {
            out,
            alignment: match metadata.get(ALIGNMENT_KEY) {
                None => DEFAULT_ALIGNMENT,
                Some(value) => header::alignment(value)
                    .ok_or(Problem::Alignment)
                    .map_err(wrong(Field::Value { key: ALIGNMENT_KEY.to_owned() }))?,
            },
            tensors: sized(tensors)?,
            written: 0,
            buffer: Vec::new(),
        };
        let bytes = &mut writer.buffer;
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        count(writer.tensors.len(), MAX_TENSORS, bytes).map_err(wrong(Field::TensorCount))?;
        count(metadata.len(), MAX_KEYS, bytes).map_err(wrong(Field::KeyCount))?;
        for (index, (key, value)) in metadata.iter().enumerate() {
            encode::name(key, MAX_KEY_BYTES, bytes).map_err(wrong(Field::Key { index: index as u64 }))?;
            encode::value(value, bytes).map_err(wrong(Field::Value { key: key.to_owned() }))?;
        }
        let mut offset = 0_u64;
        for (index, (spec, len)) in writer.tensors.iter().enumerate() {
            encode::name(&spec.name, MAX_NAME_BYTES, bytes)
                .map_err(wrong(Field::TensorName { index: index as u64 }))?;
            bytes.extend((spec.shape.len() as u32).to_le_bytes());
            bytes.extend(spec.shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
            bytes.extend(spec.element_type.id().to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset = padded(*len, writer.alignment)
                .and_then(|len| offset.checked_add(len))
                .ok_or(Problem::Elements)
                .map_err(wrong(Field::Offset { tensor: spec.name.clone() }))?;
        }
        let len = writer.buffer.len();
        writer.flush()?;
        writer.pad(len)?;
        Ok(writer)
    }

    /// Writes the next tensor, out of its elements in order; see [`quantize()`].
    ///
    /// # Errors
    /// [`WriteError::Count`] or [`WriteError::Length`] if it is not what was announced, [`WriteError::Unsupported`] if its
    /// type is one that [`quantize()`] does not make, [`WriteError::Io`].
    pub fn put(&mut self, values: &[f32]) -> Result<(), WriteError> {
        let (spec, len) = self.next()?;
        let expected = spec.shape.iter().product();
        if values.len() != expected {
            return Err(WriteError::Length { tensor: spec.name.clone(), expected, found: values.len() });
        }
        let element_type = spec.element_type;
        for piece in values.chunks(PIECE) {
            if let Err(source) = quantize(element_type, piece, &mut self.buffer) {
                return Err(WriteError::Unsupported { tensor: self.next()?.0.name.clone(), source });
            }
            self.flush()?;
        }
        self.written += 1;
        self.pad(len)
    }

    /// Writes the next tensor, out of its bytes as they are in a file.
    ///
    /// # Errors
    /// [`WriteError::Count`] or [`WriteError::Length`] if it is not what was announced, [`WriteError::Io`].
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (spec, expected) = self.next()?;
        if bytes.len() != expected {
            return Err(WriteError::Length { tensor: spec.name.clone(), expected, found: bytes.len() });
        }
        self.out.write_all(bytes)?;
        self.written += 1;
        self.pad(expected)
    }

    /// Flushes, and gives the output back.
    ///
    /// # Errors
    /// [`WriteError::Count`] if a tensor is missing, [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.written < self.tensors.len() {
            return Err(WriteError::Count { expected: self.tensors.len(), found: self.written });
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// The tensor whose turn it is, and its bytes.
    fn next(&self) -> Result<(&TensorSpec, usize), WriteError> {
        let expected = self.tensors.len();
        let (spec, len) =
            self.tensors.get(self.written).ok_or(WriteError::Count { expected, found: self.written + 1 })?;
        Ok((spec, *len))
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Zeros after `len` bytes, up to the next multiple of the alignment.
    fn pad(&mut self, len: usize) -> Result<(), WriteError> {
        let len = len as u64;
        let zeros = len.next_multiple_of(self.alignment) - len;
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), zeros), &mut self.out)?;
        Ok(())
    }
}

/// Tensors with the bytes that they take, checked as a reader will.
fn sized(tensors: Vec<TensorSpec>) -> Result<Vec<(TensorSpec, usize)>, WriteError> {
    if let Err(second) = names::sort(&tensors, |spec| &spec.name) {
        return Err(WriteError::Format {
            field: Field::TensorName { index: second as u64 },
            problem: Problem::Duplicate { name: tensors[second].name.clone() },
        });
    }
    let sized = |spec: TensorSpec| {
        let tensor = || spec.name.clone();
        let dimensions =
            |problem| WriteError::Format { field: Field::Dimensions { tensor: tensor() }, problem };
        if !(1..=MAX_DIMENSIONS).contains(&spec.shape.len()) {
            let found = u32::try_from(spec.shape.len()).unwrap_or(u32::MAX);
            return Err(dimensions(Problem::Dimensions { found }));
        }
        if let Some(dimension) = spec.shape.iter().rev().position(|&size| size == 0) {
            return Err(dimensions(Problem::ZeroDimension { dimension }));
        }
        if spec.element_type.block().is_none() {
            return Err(WriteError::Unsupported {
                tensor: tensor(),
                source: UnsupportedType(spec.element_type),
            });
        }
        let len = spec
            .element_type
            .bytes_of(&spec.shape)
            .map_err(|problem| WriteError::Format { field: Field::Type { tensor: tensor() }, problem })?;
        Ok((spec, len))
    };
    tensors.into_iter().map(sized).collect()
}

fn count(found: usize, limit: u64, out: &mut Vec<u8>) -> Result<(), Problem> {
    let found = found as u64;
    if found > limit {
        return Err(Problem::Limit { found, limit });
    }
    out.extend(found.to_le_bytes());
    Ok(())
}

fn padded(len: usize, alignment: u64) -> Option<u64> {
    (len as u64).checked_next_multiple_of(alignment)
}
