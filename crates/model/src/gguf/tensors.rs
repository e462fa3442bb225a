//! The list of tensors: names, shapes, types and places, checked.

use std::ops::Range;

use super::decode::{Cursor, Fault};
use super::{Field, FormatError, MAX_DIMENSIONS, MAX_NAME_BYTES, Problem, Type, names};

/// A name of one byte, one dimension: lengths, number of dimensions, type, offset, and these.
pub(super) const LEAST_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// A tensor's name, shape, type and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    name: String,
    shape: [usize; MAX_DIMENSIONS],
    dimensions: usize,
    element_type: Type,
    range: Range<usize>,
}

impl TensorInfo {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its dimensions, the fastest last; files have them the other way round.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.dimensions]
    }

    /// Number of rows: the product of all dimensions but the last.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape()[..self.dimensions - 1].iter().product()
    }

    /// Elements of a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.shape[self.dimensions - 1]
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.rows() * self.columns()
    }

    /// What its elements are.
    #[must_use]
    pub fn element_type(&self) -> Type {
        self.element_type
    }

    /// Its bytes in the file; empty if its type is not known, for then nobody can say how many there are.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// Where a tensor is, by the file.
struct Place {
    /// Where its entry in the list begins.
    entry: u64,
    /// Where its offset stands.
    at: u64,
    /// Its offset from the first tensor.
    offset: u64,
    /// Bytes that it takes, 0 if its type is not known.
    bytes: usize,
}

/// The tensors of a file of `len` bytes, and their order by name.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    count: usize,
    alignment: u64,
    len: usize,
) -> Result<(Vec<TensorInfo>, Vec<usize>), FormatError> {
    let (mut tensors, mut places) = (Vec::new(), Vec::new());
    for index in 0..count as u64 {
        let (info, place) = entry(cursor, index)?;
        tensors.push(info);
        places.push(place);
    }
    let order = names::sort(&tensors, TensorInfo::name).map_err(|second| FormatError {
        offset: places[second].entry,
        field: Field::TensorName { index: second as u64 },
        problem: Problem::Duplicate { name: tensors[second].name.clone() },
    })?;
    let start = cursor.offset().next_multiple_of(alignment);
    for (info, place) in tensors.iter_mut().zip(&places) {
        info.range = place.range(start, alignment, len).map_err(|problem| place.fault(info, problem))?;
    }
    if let Some((first, second)) = overlap(&tensors) {
        let problem = Problem::Overlap { other: tensors[first].name.clone() };
        return Err(places[second].fault(&tensors[second], problem));
    }
    Ok((tensors, order))
}

/// One entry of the list. Its range is not known yet.
fn entry(cursor: &mut Cursor<'_>, index: u64) -> Result<(TensorInfo, Place), FormatError> {
    let entry = cursor.offset();
    let name = cursor.name(MAX_NAME_BYTES).map_err(|fault| fault.in_field(Field::TensorName { index }))?;
    let tensor = || name.to_owned();
    let (shape, dimensions) =
        shape(cursor).map_err(|fault| fault.in_field(Field::Dimensions { tensor: tensor() }))?;
    let at_type = cursor.offset();
    let id = cursor.u32().map_err(|fault| fault.in_field(Field::Type { tensor: tensor() }))?;
    let element_type = Type::from_id(id);
    let bytes = element_type.bytes_of(&shape[..dimensions]).map_err(|problem| FormatError {
        offset: at_type,
        field: Field::Type { tensor: tensor() },
        problem,
    })?;
    let at = cursor.offset();
    let offset = cursor.u64().map_err(|fault| fault.in_field(Field::Offset { tensor: tensor() }))?;
    let info = TensorInfo { name: tensor(), shape, dimensions, element_type, range: 0..0 };
    Ok((info, Place { entry, at, offset, bytes }))
}

/// Dimensions, the fastest last, and their number; no product of them overflows.
fn shape(cursor: &mut Cursor<'_>) -> Result<([usize; MAX_DIMENSIONS], usize), Fault> {
    let offset = cursor.offset();
    let found = cursor.u32()?;
    let dimensions = found as usize;
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(Fault { offset, problem: Problem::Dimensions { found } });
    }
    let (mut shape, mut elements) = ([0; MAX_DIMENSIONS], 1_usize);
    for dimension in 0..dimensions {
        let offset = cursor.offset();
        let size = cursor.u64()?;
        if size == 0 {
            return Err(Fault { offset, problem: Problem::ZeroDimension { dimension } });
        }
        let product = usize::try_from(size).ok().and_then(|size| Some((size, elements.checked_mul(size)?)));
        (shape[dimensions - 1 - dimension], elements) =
            product.ok_or(Fault { offset, problem: Problem::Elements })?;
    }
    Ok((shape, dimensions))
}

impl Place {
    /// The bytes in a file of `len`, whose first tensor is at `start`.
    fn range(&self, start: u64, alignment: u64, len: usize) -> Result<Range<usize>, Problem> {
        if !self.offset.is_multiple_of(alignment) {
            return Err(Problem::Misaligned { found: self.offset, alignment });
        }
        let range = start.checked_add(self.offset).and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(self.bytes)?;
            (end <= len).then_some(start..end)
        });
        range.ok_or(Problem::Outside {
            start: start.saturating_add(self.offset),
            bytes: self.bytes as u64,
            len: len as u64,
        })
    }

    fn fault(&self, info: &TensorInfo, problem: Problem) -> FormatError {
        FormatError { offset: self.at, field: Field::Offset { tensor: info.name.clone() }, problem }
    }
}

/// Two tensors that share bytes, the one that begins first first.
fn overlap(tensors: &[TensorInfo]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&at| (tensors[at].range.start, tensors[at].range.end));
    let shared = order.windows(2).find(|pair| tensors[pair[0]].range.end > tensors[pair[1]].range.start);
    shared.map(|pair| (pair[0], pair[1]))
}
