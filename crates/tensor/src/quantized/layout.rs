//! How blocks of 32 outputs lie side by side.
//!
//! A panel is block after block along K. A block is lines of 64 bytes: scales, leasts, the codes' upper bits, the codes. The
//! codes of four steps of k (a group) of sixteen outputs are a line, output by output. Of narrower codes a line has the lower
//! 4 bits of two groups, of group g in the lower halves of bytes and of g + 4 in the upper. What codes of 5 or 6 bits have
//! beyond is in lines of its own, in the byte of the same place: one bit of each of eight groups, or two of each of four.
//!
//! Scales and leasts are f16, a line each of 32 outputs. In forms with factors these two lines lie before every eight blocks,
//! and a block begins with one line of factors: 32 of scales and 32 of leasts, or, where a block has two parts, 32 of either.
//! So a weight takes what it takes in a file, but for factors of 6 bits, which are bytes here.

use half::f16;

use super::block::weight;
use super::{BLOCK, Block, COLS, Form, GROUP, Parts, SUPER_BLOCK, SuperBlock};
pub(super) use crate::gather::Line;

/// Groups of a block.
pub(super) const GROUPS: usize = BLOCK / GROUP;
/// Blocks of a super-block.
const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// What lies where.
impl Form {
    /// Bits of a code that do not lie with the others.
    const fn upper_bits(self) -> usize {
        if self.is_narrow() { self.bits() - 4 } else { 0 }
    }

    /// Whether two codes share a byte.
    pub(super) const fn is_narrow(self) -> bool {
        self.bits() < 8
    }

    /// Lines before eight blocks.
    const fn head(self) -> usize {
        if self.has_factors() { 1 + self.has_least() as usize } else { 0 }
    }

    /// Lines of a block that codes and their upper bits follow.
    const fn before_codes(self) -> usize {
        if self.has_factors() { 1 } else { 1 + self.has_least() as usize }
    }

    /// Lines of a block.
    const fn lines(self) -> usize {
        self.before_codes() + COLS * BLOCK * self.bits() / 8 / size_of::<Line>()
    }

    /// Lines of so many blocks.
    pub(super) const fn lines_of(self, blocks: usize) -> usize {
        blocks * self.lines() + blocks.div_ceil(BLOCKS) * self.head()
    }

    /// Where in a block the codes of a group lie: the line of the first sixteen outputs, which the other's follows, and the
    /// lowest bit of bytes.
    #[inline(always)]
    pub(super) const fn codes_at(self, group: usize) -> (usize, usize) {
        let first = self.before_codes() + 2 * self.upper_bits();
        if self.is_narrow() {
            (first + group % (GROUPS / 2) * 2, group / (GROUPS / 2) * 4)
        } else {
            (first + group * 2, 0)
        }
    }

    /// The same of their upper bits, and a mask of so many.
    #[inline(always)]
    pub(super) const fn upper_at(self, group: usize) -> Option<(usize, usize, u8)> {
        let bits = self.upper_bits();
        if bits == 0 {
            return None;
        }
        let groups = 8 / bits;
        Some((self.before_codes() + group / groups * 2, group % groups * bits, (1 << bits) - 1))
    }
}

/// The blocks of a panel: see [`block`].
#[inline(always)]
pub(super) fn blocks(form: Form, panel: &[Line]) -> impl Iterator<Item = (&[Line], &[Line])> {
    let (mut head, mut rest, mut left) = (&panel[..0], panel, 0);
    std::iter::from_fn(move || {
        if form.head() > 0 && left == 0 {
            (head, rest) = rest.split_at_checked(form.head())?;
            left = BLOCKS;
        }
        left = usize::wrapping_sub(left, 1);
        let block;
        (block, rest) = rest.split_at_checked(form.lines())?;
        Some((head, block))
    })
}

/// Block `b` of a panel: the lines before its super-block, if the form has any, and its own.
#[inline(always)]
pub(super) fn block(form: Form, panel: &[Line], b: usize) -> (&[Line], &[Line]) {
    let (head, at) = starts(form, b);
    (&panel[head..head + form.head()], &panel[at..at + form.lines()])
}

/// Where the lines before the super-block of block b begin, and where its own.
#[inline(always)]
const fn starts(form: Form, b: usize) -> (usize, usize) {
    let head = b / BLOCKS * form.lines_of(BLOCKS);
    (head, head + form.head() + b % BLOCKS * form.lines())
}

/// The codes of a group, of the first or second sixteen outputs.
#[inline(always)]
pub(super) fn codes(form: Form, block: &[Line], group: usize, half: usize) -> [u8; 64] {
    let (line, shift) = form.codes_at(group);
    let mut codes = block[line + half].0;
    if form.is_narrow() {
        codes = codes.map(|code| code >> shift & 15);
    }
    if let Some((line, shift, mask)) = form.upper_at(group) {
        let upper = &block[line + half].0;
        codes.iter_mut().zip(upper).for_each(|(code, upper)| *code |= (upper >> shift & mask) << 4);
    }
    codes
}

/// What the codes of an output are multiplied by in a part of a block.
#[inline(always)]
pub(super) fn scale(form: Form, (head, block): (&[Line], &[Line]), part: usize, col: usize) -> f32 {
    if !form.has_factors() {
        return half_at(&block[0], col).to_f32();
    }
    let factor = block[0].0[part * COLS + col];
    let factor = if form.parts() == 2 { f32::from(factor.cast_signed()) } else { f32::from(factor) };
    half_at(&head[0], col).to_f32() * factor
}

/// What is added to the weights of an output in a block, of forms that have it.
#[inline(always)]
pub(super) fn least(form: Form, (head, block): (&[Line], &[Line]), col: usize) -> f32 {
    if form.has_factors() {
        half_at(&head[1], col).to_f32() * f32::from(block[0].0[COLS + col])
    } else {
        half_at(&block[1], col).to_f32()
    }
}

/// The weights of an output in block `b` of a panel.
pub(super) fn weights(form: Form, panel: &[Line], b: usize, col: usize) -> [f32; BLOCK] {
    let lines = block(form, panel, b);
    let least = if form.has_least() { least(form, lines, col) } else { 0.0 };
    let mut weights = [0.0; BLOCK];
    for (group, weights) in weights.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let (half, byte) = place(col, group * GROUP);
        let scale = scale(form, lines, group * form.parts() / GROUPS, col);
        let codes = codes(form, lines.1, group, half);
        weights.iter_mut().zip(&codes[byte..]).for_each(|(w, &code)| *w = weight(form, scale, least, code));
    }
    weights
}

/// Sets block `b` of an output of a panel of zeros.
///
/// # Panics
/// If a code is too large for the form.
pub(super) fn put_block(form: Form, panel: &mut [Line], b: usize, col: usize, block: &Block) {
    let (_, at) = starts(form, b);
    put_half(&mut panel[at], col, block.scale);
    if form.has_least() {
        put_half(&mut panel[at + 1], col, block.least);
    }
    put_codes(form, &mut panel[at..], col, &block.codes);
}

/// Sets super-block `at` of an output of a panel of zeros, as far as the panel reaches.
///
/// # Panics
/// If a code is too large for the form, or the parts are another form's.
pub(super) fn put_super_block(form: Form, panel: &mut [Line], at: usize, col: usize, of: &SuperBlock) {
    let (head, first) = starts(form, at * BLOCKS);
    put_half(&mut panel[head], col, of.scale);
    if let Parts::Of32 { least, .. } = of.parts {
        put_half(&mut panel[head + 1], col, least);
    }
    let blocks = panel[first..].chunks_mut(form.lines()).zip(of.codes.as_chunks::<BLOCK>().0);
    for (b, (lines, codes)) in blocks.enumerate() {
        let factors = &mut lines[0].0;
        (factors[col], factors[COLS + col]) = match (form.parts(), &of.parts) {
            (1, Parts::Of32 { scales, leasts, .. }) => (scales[b], leasts[b]),
            (2, Parts::Of16 { scales }) => (scales[2 * b].cast_unsigned(), scales[2 * b + 1].cast_unsigned()),
            (_, parts) => panic!("{form:?} has other parts than {parts:?}"),
        };
        put_codes(form, lines, col, codes);
    }
}

fn put_codes(form: Form, block: &mut [Line], col: usize, codes: &[u8; BLOCK]) {
    for (k, &code) in codes.iter().enumerate() {
        assert!(code <= form.most(), "a code of {code} in {form:?}");
        let (half, byte) = place(col, k);
        let (line, shift) = form.codes_at(k / GROUP);
        let lower = if form.is_narrow() { code & 15 } else { code };
        block[line + half].0[byte] |= lower << shift;
        if let Some((line, shift, _)) = form.upper_at(k / GROUP) {
            block[line + half].0[byte] |= code >> 4 << shift;
        }
    }
}

/// Where in the two lines of a group the code of weight k of an output lies: which line, which byte.
fn place(col: usize, k: usize) -> (usize, usize) {
    (col / (COLS / 2), col % (COLS / 2) * GROUP + k % GROUP)
}

fn half_at(line: &Line, col: usize) -> f16 {
    f16::from_bits(u16::from_le_bytes([line.0[2 * col], line.0[2 * col + 1]]))
}

fn put_half(line: &mut Line, col: usize, x: f16) {
    line.0[2 * col..2 * col + 2].copy_from_slice(&x.to_bits().to_le_bytes());
}
