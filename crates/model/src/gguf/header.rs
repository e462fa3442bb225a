//! Everything in a file before the tensors, and where they lie.

use super::decode::Cursor;
use super::tensors::{self, LEAST_TENSOR_BYTES, TensorInfo};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Field, FormatError, MAGIC, MAX_KEY_BYTES, MAX_KEYS, MAX_TENSORS,
    Metadata, Problem, Value, names,
};

/// A key of one byte with a value of one byte: lengths, kind, and these.
const LEAST_KEY_BYTES: u64 = 8 + 1 + 4 + 1;

/// The metadata of a file and the places of its tensors.
#[derive(Clone, Debug)]
pub struct Header {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Places in `tensors`, by name.
    order: Vec<usize>,
}

impl Header {
    /// Reads the header of a file, of which `bytes` are all bytes.
    ///
    /// What it says is checked: names are unique, tensors of known types lie within the file, aligned and apart from each
    /// other, and rows are whole blocks.
    ///
    /// # Errors
    /// Where and why `bytes` are no GGUF file that can be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let cursor = &mut Cursor::new(bytes);
        let version = version(cursor)?;
        let tensors = cursor
            .count(LEAST_TENSOR_BYTES, MAX_TENSORS)
            .map_err(|fault| fault.in_field(Field::TensorCount))?;
        let keys =
            cursor.count(LEAST_KEY_BYTES, MAX_KEYS).map_err(|fault| fault.in_field(Field::KeyCount))?;
        let (metadata, alignment) = metadata(cursor, keys)?;
        let (tensors, order) = tensors::read(cursor, tensors, alignment, bytes.len())?;
        Ok(Self { version, alignment, metadata, tensors, order })
    }

    /// The file's version, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensors' offsets are multiples of, in bytes.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Values by key.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file's list.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.place(name).map(|at| &self.tensors[at])
    }

    /// The place of a tensor among [`Header::tensors`].
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        let at = names::find(&self.tensors, &self.order, TensorInfo::name, name).ok()?;
        Some(self.order[at])
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, FormatError> {
    let found = cursor.array().map_err(|fault| fault.in_field(Field::Magic))?;
    if found != MAGIC {
        return Err(FormatError { offset: 0, field: Field::Magic, problem: Problem::Magic { found } });
    }
    let offset = cursor.offset();
    let problem = match cursor.u32().map_err(|fault| fault.in_field(Field::Version))? {
        found @ (2 | 3) => return Ok(found),
        // Versions are small numbers: turned round, they end in zeros.
        found if found != 0 && found.trailing_zeros() >= 16 => Problem::BigEndian,
        found => Problem::Version { found },
    };
    Err(FormatError { offset, field: Field::Version, problem })
}

/// The metadata and the alignment that they say.
fn metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<(Metadata, u64), FormatError> {
    let (mut entries, mut offsets) = (Vec::new(), Vec::new());
    for index in 0..count as u64 {
        offsets.push(cursor.offset());
        let key = cursor.name(MAX_KEY_BYTES).map_err(|fault| fault.in_field(Field::Key { index }))?;
        let value = cursor.value().map_err(|fault| fault.in_field(Field::Value { key: key.to_owned() }))?;
        entries.push((key.to_owned(), value));
    }
    let aligning = entries.iter().position(|(key, _)| key == ALIGNMENT_KEY);
    let alignment = match aligning {
        None => DEFAULT_ALIGNMENT,
        Some(at) => alignment(&entries[at].1).ok_or_else(|| FormatError {
            offset: offsets[at],
            field: Field::Value { key: ALIGNMENT_KEY.to_owned() },
            problem: Problem::Alignment,
        })?,
    };
    let metadata = Metadata::of(entries).map_err(|(second, name)| FormatError {
        offset: offsets[second],
        field: Field::Key { index: second as u64 },
        problem: Problem::Duplicate { name },
    })?;
    Ok((metadata, alignment))
}

/// The alignment that a value of [`ALIGNMENT_KEY`] means.
pub(super) fn alignment(value: &Value) -> Option<u64> {
    match value {
        Value::U32(bytes) if bytes.is_power_of_two() && bytes % 8 == 0 => Some(u64::from(*bytes)),
        _ => None,
    }
}
