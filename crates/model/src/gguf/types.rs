//! Types of tensors' elements.

use std::fmt;

use super::Problem;

/// What elements a tensor has, by the number in files. Any number is a type; those that files are known to have have a name
/// and a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Type(u32);

/// What a tensor's rows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    /// Elements of a block.
    pub elements: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

/// Number, name, elements of a block, bytes of a block. Numbers that are left out were withdrawn from the format.
const KNOWN: [(u32, &str, usize, usize); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl Type {
    /// Numbers of 32 bits.
    pub const F32: Type = Type(0);
    /// Numbers of 16 bits.
    pub const F16: Type = Type(1);
    /// Numbers of 16 bits, the upper half of an f32.
    pub const BF16: Type = Type(30);
    /// Blocks of 32, 8 bits: scale·code.
    pub const Q8_0: Type = Type(8);
    /// Blocks of 32, 4 bits: scale·(code − 8).
    pub const Q4_0: Type = Type(2);
    /// Blocks of 32, 4 bits: scale·code + least.
    pub const Q4_1: Type = Type(3);
    /// Blocks of 32, 5 bits: scale·(code − 16).
    pub const Q5_0: Type = Type(6);
    /// Blocks of 32, 5 bits: scale·code + least.
    pub const Q5_1: Type = Type(7);
    /// Blocks of 256, 4 bits, with a scale and a least of 6 bits for each 32.
    pub const Q4_K: Type = Type(12);
    /// Blocks of 256, 5 bits, with a scale and a least of 6 bits for each 32.
    pub const Q5_K: Type = Type(13);
    /// Blocks of 256, 6 bits, with a scale of 8 bits for each 16.
    pub const Q6_K: Type = Type(14);

    /// The type that a file means by `id`.
    #[must_use]
    pub fn from_id(id: u32) -> Self {
        Type(id)
    }

    /// Its number in files.
    #[must_use]
    pub fn id(self) -> u32 {
        self.0
    }

    /// Its name, if it is known.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|(_, name, ..)| *name)
    }

    /// Its block, if it is known.
    #[must_use]
    pub fn block(self) -> Option<BlockSize> {
        self.known().map(|&(_, _, elements, bytes)| BlockSize { elements, bytes })
    }

    /// Bytes that a tensor of a shape takes, the fastest dimension last; 0 if the type is not known.
    pub(super) fn bytes_of(self, shape: &[usize]) -> Result<usize, Problem> {
        let elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let elements = elements.ok_or(Problem::Elements)?;
        let Some(block) = self.block() else { return Ok(0) };
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(block.elements) {
            return Err(Problem::Ragged { columns, block: block.elements, found: self });
        }
        (elements / block.elements).checked_mul(block.bytes).ok_or(Problem::Elements)
    }

    fn known(self) -> Option<&'static (u32, &'static str, usize, usize)> {
        KNOWN.iter().find(|(id, ..)| *id == self.0)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}, which is unknown", self.0),
        }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Type({})", self.0),
        }
    }
}
