//! Rectangles of a row-major matrix, handed out to tasks so that no two overlap.
#![expect(unsafe_code, reason = "disjoint strided rectangles cannot be expressed by slices")]

use std::marker::PhantomData;

use ndarray::ArrayViewMut2;
use selvedge_sync::Parts;

use crate::Real;

/// Exclusive access to a rectangle of a row-major matrix.
#[derive(Debug)]
pub(crate) struct Tile<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    _exclusive: PhantomData<&'a mut T>,
}

// SAFETY: a tile is an exclusive borrow of its elements, like `&mut [T]`; whoever made it kept others away.
unsafe impl<T: Send> Send for Tile<'_, T> {}

impl<'a, T: Real> Tile<'a, T> {
    /// The whole of `view`.
    ///
    /// # Panics
    /// If its columns are not adjacent in memory.
    #[track_caller]
    pub(crate) fn new(mut view: ArrayViewMut2<'a, T>) -> Self {
        let (rows, cols) = view.dim();
        let strides = [view.strides()[0], view.strides()[1]];
        assert!(
            (cols <= 1 || strides[1] == 1) && (rows <= 1 || strides[0] >= cols as isize),
            "matrix {rows}x{cols} with strides {strides:?} is not row-major"
        );
        Tile {
            start: view.as_mut_ptr(),
            rows,
            cols,
            stride: if rows <= 1 { cols } else { strides[0].unsigned_abs() },
            _exclusive: PhantomData,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Row `r` of the rectangle.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &[T] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        let start = self.start.wrapping_add(r * self.stride);
        // SAFETY: the constructors keep `rows` rows of `cols` elements, `stride` apart, inside the borrow.
        unsafe { std::slice::from_raw_parts(start, self.cols) }
    }

    /// Row `r` of the rectangle, to write.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [T] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        let start = self.start.wrapping_add(r * self.stride);
        // SAFETY: as in `row`; exclusive through `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(start, self.cols) }
    }

    /// Rows `first..first + rows`, columns `col..col + cols`, borrowed from this tile.
    ///
    /// # Panics
    /// If they reach outside it.
    pub(crate) fn window(&mut self, first: usize, rows: usize, col: usize, cols: usize) -> Tile<'_, T> {
        assert!(
            first + rows <= self.rows && col + cols <= self.cols,
            "window {rows}x{cols} at ({first}, {col}) of {}x{}",
            self.rows,
            self.cols
        );
        // SAFETY: the sum stays inside the borrow, by the assertion above.
        let start = unsafe { self.start.add(first * self.stride + col) };
        Tile { start, rows, cols, stride: self.stride, _exclusive: PhantomData }
    }
}

/// A matrix cut into tiles of `height` x `width`, row of tiles by row of tiles; the last of each may be smaller.
#[derive(Debug)]
pub(crate) struct Grid<'a, T> {
    whole: Tile<'a, T>,
    height: usize,
    width: usize,
    across: usize,
    down: usize,
}

// SAFETY: a grid is only used through `part`, whose caller hands each index to one task.
unsafe impl<T: Send> Sync for Grid<'_, T> {}

impl<'a, T: Real> Grid<'a, T> {
    /// Cuts `view` into tiles.
    ///
    /// # Panics
    /// If the view is not row-major or a tile side is 0.
    #[track_caller]
    pub(crate) fn new(view: ArrayViewMut2<'a, T>, height: usize, width: usize) -> Self {
        let whole = Tile::new(view);
        assert!(height > 0 && width > 0, "empty tiles");
        let down = whole.rows.div_ceil(height);
        let across = whole.cols.div_ceil(width);
        Grid { whole, height, width, across, down }
    }

    /// Which tile of a row of tiles, and which row of tiles, an index is: `(down, across)`.
    pub(crate) fn position(&self, index: usize) -> (usize, usize) {
        (index / self.across, index % self.across)
    }
}

// SAFETY: tiles of different indices share no element, and all lie inside the borrowed matrix.
unsafe impl<'a, T: Real> Parts for Grid<'a, T> {
    type Part = Tile<'a, T>;

    fn len(&self) -> usize {
        self.across * self.down
    }

    unsafe fn part(&self, index: usize) -> Tile<'a, T> {
        let (down, across) = self.position(index);
        let (row, col) = (down * self.height, across * self.width);
        let rows = self.height.min(self.whole.rows - row);
        let cols = self.width.min(self.whole.cols - col);
        // SAFETY: row and col lie inside the matrix, since index < len.
        let start = unsafe { self.whole.start.add(row * self.whole.stride + col) };
        Tile { start, rows, cols, stride: self.whole.stride, _exclusive: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::*;

    proptest! {
        #[test]
        fn tiles_cover_a_matrix_once(rows in 1usize..20, cols in 1usize..20, h in 1usize..7, w in 1usize..7) {
            let mut matrix = Array2::<f32>::zeros((rows, cols));
            Team::solo().parallel_parts(Grid::new(matrix.view_mut(), h, w), |_, mut tile: Tile<'_, f32>| {
                for r in 0..tile.rows() {
                    for x in tile.row_mut(r) {
                        *x += 1.0;
                    }
                }
            });
            prop_assert!(matrix.iter().all(|&x| x == 1.0));
        }
    }
}
