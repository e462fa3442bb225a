//! Rectangles of matrices: strided ones to read, and row-major ones to write, handed out to tasks so that no two overlap.
#![expect(unsafe_code, reason = "disjoint strided rectangles cannot be expressed by slices")]

use std::marker::PhantomData;

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_sync::Parts;

use crate::Real;
use crate::hints::{claim, prefetch};

/// Shared access to a matrix of any strides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a, T> {
    start: *const T,
    rows: usize,
    cols: usize,
    row_step: isize,
    col_step: isize,
    _shared: PhantomData<&'a T>,
}

// SAFETY: shared access to elements, like `&[T]`.
unsafe impl<T: Sync> Send for Strided<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Strided<'_, T> {}

impl<'a, T> From<ArrayView2<'a, T>> for Strided<'a, T> {
    fn from(view: ArrayView2<'a, T>) -> Self {
        let (rows, cols) = view.dim();
        let (row_step, col_step) = (view.strides()[0], view.strides()[1]);
        Strided { start: view.as_ptr(), rows, cols, row_step, col_step, _shared: PhantomData }
    }
}

impl<'a, T: Copy> Strided<'a, T> {
    /// `rows` by `cols` elements of `data`, rows and columns so many elements apart.
    ///
    /// # Panics
    /// If they do not fit into `data`.
    #[inline]
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize, row_step: usize, col_step: usize) -> Self {
        let end = if rows > 0 && cols > 0 { (rows - 1) * row_step + (cols - 1) * col_step + 1 } else { 0 };
        assert!(
            end <= data.len(),
            "matrix {rows}x{cols} with steps {row_step} and {col_step} in {} elements",
            data.len()
        );
        Strided {
            start: data.as_ptr(),
            rows,
            cols,
            // Steps of more than the data are those of one row or column, and never taken.
            row_step: row_step.min(data.len()).cast_signed(),
            col_step: col_step.min(data.len()).cast_signed(),
            _shared: PhantomData,
        }
    }

    /// Tells the processor that all of it is about to be read; of adjacent columns only.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if self.has_adjacent_columns() {
            for row in 0..self.rows {
                prefetch(self.start.wrapping_offset(row.cast_signed() * self.row_step), self.cols);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The first element; dangling if there is none.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) fn start(&self) -> *const T {
        self.start
    }

    /// Elements from a row to the next.
    #[inline(always)]
    pub(crate) fn row_step(&self) -> isize {
        self.row_step
    }

    /// Elements from a column to the next.
    #[inline(always)]
    pub(crate) fn col_step(&self) -> isize {
        self.col_step
    }

    /// Whether the elements of a row lie side by side.
    #[inline(always)]
    pub(crate) fn has_adjacent_columns(&self) -> bool {
        self.col_step == 1 || self.cols <= 1 || self.rows == 0
    }

    /// Rows become columns.
    pub(crate) fn turned(self) -> Self {
        let Strided { start, rows, cols, row_step, col_step, _shared } = self;
        Strided { start, rows: cols, cols: rows, row_step: col_step, col_step: row_step, _shared }
    }

    /// Rows `first..first + rows`, columns `col..col + cols`.
    ///
    /// # Panics
    /// If they reach outside.
    #[inline(always)]
    pub(crate) fn window(&self, first: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(
            first + rows <= self.rows && col + cols <= self.cols,
            "window {rows}x{cols} at ({first}, {col}) of {}x{}",
            self.rows,
            self.cols
        );
        let offset = first.cast_signed() * self.row_step + col.cast_signed() * self.col_step;
        // Of an empty window the start may lie outside, and is not read.
        Strided { start: self.start.wrapping_offset(offset), rows, cols, ..*self }
    }

    /// Row `r`, whose elements lie side by side.
    ///
    /// # Panics
    /// If there is no such row, or its elements do not lie side by side.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [T] {
        assert!(r < self.rows && self.has_adjacent_columns(), "row {r} of {}", self.rows);
        let start = self.start.wrapping_offset(r.cast_signed() * self.row_step);
        // SAFETY: the constructors keep `cols` adjacent elements there inside the borrow.
        unsafe { std::slice::from_raw_parts(start, self.cols) }
    }

    /// The element at row `r` and column `c`.
    ///
    /// # Safety
    /// Both are below the numbers of rows and columns.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, r: usize, c: usize) -> T {
        let offset = r.cast_signed() * self.row_step + c.cast_signed() * self.col_step;
        // SAFETY: inside the borrow, by the caller's word and the constructors.
        unsafe { *self.start.wrapping_offset(offset) }
    }
}

/// Shared access to a matrix whose columns lie in panels of W, rows of adjacent elements in each; the last may be narrower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a, T, const W: usize> {
    /// The first panel.
    first: Strided<'a, T>,
    /// Elements from a panel to the next.
    apart: usize,
    cols: usize,
    /// Elements from what is read to what will be after it, which is called for meanwhile; 0 if that is not known.
    ahead: usize,
    /// Of pairs of bf16, or what was made of them, an exponent that no number but 0 is below of, as it is in the bits; 0 if
    /// nobody has looked.
    least: u32,
}

impl<'a, T: Copy, const W: usize> Panels<'a, T, W> {
    /// A matrix of adjacent columns, seen as panels.
    ///
    /// # Panics
    /// If its columns are not adjacent.
    #[inline]
    pub(crate) fn lying(matrix: Strided<'a, T>) -> Self {
        assert!(matrix.has_adjacent_columns(), "rows of the right operand lie in one piece");
        let cols = matrix.cols();
        Panels { first: matrix.window(0, matrix.rows(), 0, W.min(cols)), apart: W, cols, ahead: 0, least: 0 }
    }

    /// `rows` rows of panels that begin at `data`, `apart` elements from one to the next.
    ///
    /// # Panics
    /// If they do not fit into `data`, or overlap.
    #[inline]
    pub(crate) fn packed(data: &'a [T], rows: usize, cols: usize, apart: usize) -> Self {
        let last = cols.saturating_sub(1) / W * apart;
        assert!(
            rows * W <= apart || cols <= W,
            "panels of {rows} rows of {W} do not fit into {apart} elements"
        );
        let width = cols - cols.saturating_sub(1) / W * W;
        // Checks the last, which ends last; then the first, which is as tall.
        Strided::new(&data[last.min(data.len())..], rows, width, W, 1);
        Panels { first: Strided::new(data, rows, W.min(cols), W, 1), apart, cols, ahead: 0, least: 0 }
    }

    /// The same, where what lies so many elements behind is read next: products of few rows call for it meanwhile.
    #[inline]
    pub(crate) fn with_ahead(self, ahead: usize) -> Self {
        Panels { ahead, ..self }
    }

    #[inline(always)]
    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    /// The same of pairs of bf16 that have been looked through for their least exponent.
    #[inline]
    pub(crate) fn with_least(self, least: u32) -> Self {
        Panels { least, ..self }
    }

    #[inline(always)]
    pub(crate) fn least(&self) -> u32 {
        self.least
    }

    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.first.rows()
    }

    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Rows `first..first + rows`.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(crate) fn rows_from(&self, first: usize, rows: usize) -> Self {
        Panels { first: self.first.window(first, rows, 0, self.first.cols()), ..*self }
    }

    /// The first `cols` columns.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(crate) fn first_cols(&self, cols: usize) -> Self {
        assert!(cols <= self.cols, "{cols} columns of {}", self.cols);
        Panels { first: self.first.window(0, self.first.rows(), 0, W.min(cols)), cols, ..*self }
    }

    /// The panel of columns `col..col + W`, or those that there are.
    ///
    /// # Panics
    /// If there is no such column, or no panel begins with it.
    #[inline(always)]
    pub(crate) fn panel(&self, col: usize) -> Strided<'a, T> {
        assert!(col < self.cols && col.is_multiple_of(W), "panel at column {col} of {}", self.cols);
        let start = self.first.start.wrapping_add(col / W * self.apart);
        Strided { start, cols: W.min(self.cols - col), ..self.first }
    }
}

/// Exclusive access to a rectangle of a row-major matrix.
#[derive(Debug)]
pub(crate) struct Tile<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    /// What is written is not read again soon.
    late: bool,
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
            late: false,
            _exclusive: PhantomData,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The first element.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) fn start(&mut self) -> *mut T {
        self.start
    }

    /// Elements from a row to the next.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) fn row_step(&self) -> usize {
        self.stride
    }

    /// Whether what is written is not read again soon, so that it may go past the caches.
    #[inline(always)]
    pub(crate) fn is_late(&self) -> bool {
        self.late
    }

    /// The same, of which what is written is not read again soon, or is. Whoever writes past the caches owes a
    /// [`settle`] at the end of the task.
    #[inline(always)]
    pub(crate) fn with_late(self, late: bool) -> Self {
        Tile { late, ..self }
    }

    /// Tells the processor that rows `first..first + rows` of columns `col..col + cols` are about to be used.
    #[inline(always)]
    pub(crate) fn prefetch(&self, first: usize, rows: usize, col: usize, cols: usize) {
        for row in first..first + rows {
            prefetch(self.start.wrapping_add(row * self.stride + col).cast_const(), cols);
        }
    }

    /// Tells the processor that all of it is about to be written, see [`claim`].
    #[inline]
    pub(crate) fn claim(&mut self) {
        for row in 0..self.rows {
            claim(self.start.wrapping_add(row * self.stride), self.cols);
        }
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

    /// One row as rows of `cols` elements, one after another.
    ///
    /// # Panics
    /// If there are more rows, or the columns are no multiple of that.
    pub(crate) fn folded(self, cols: usize) -> Self {
        assert!(self.rows == 1 && self.cols.is_multiple_of(cols), "{self:?} in rows of {cols}");
        Tile { rows: self.cols / cols.max(1), cols, stride: cols, ..self }
    }

    /// Rows `first..first + rows`, columns `col..col + cols`, for as long as the tile.
    ///
    /// # Panics
    /// If they reach outside it.
    ///
    /// # Safety
    /// Nobody else uses these elements meanwhile.
    pub(crate) unsafe fn part(&self, first: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(
            first + rows <= self.rows && col + cols <= self.cols,
            "part {rows}x{cols} at ({first}, {col}) of {}x{}",
            self.rows,
            self.cols
        );
        let start = self.start.wrapping_add(first * self.stride + col);
        Tile { start, rows, cols, stride: self.stride, late: self.late, _exclusive: PhantomData }
    }

    /// Rows `first..first + rows`, borrowed from this tile.
    ///
    /// # Panics
    /// If they reach outside it.
    pub(crate) fn whole_rows(&mut self, first: usize, rows: usize) -> Tile<'_, T> {
        self.window(first, rows, 0, self.cols)
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
        Tile { start, rows, cols, stride: self.stride, late: self.late, _exclusive: PhantomData }
    }
}

/// A matrix cut into tiles of `height` x `width`, row of tiles by row of tiles; the last of each may be smaller.
#[derive(Debug)]
pub(crate) struct Grid<'a, T> {
    whole: Tile<'a, T>,
    height: usize,
    width: usize,
    order: Order,
}

/// In which order the tiles of a grid are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    across: usize,
    down: usize,
    by_columns: bool,
}

impl Order {
    /// Which tile of a column of tiles, and which of a row, an index is: `(down, across)`.
    #[inline]
    pub(crate) fn position(self, index: usize) -> (usize, usize) {
        if self.by_columns {
            (index % self.down, index / self.down)
        } else {
            (index / self.across, index % self.across)
        }
    }
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
        Grid { whole, height, width, order: Order { across, down, by_columns: false } }
    }

    /// The same tiles, counted column by column if told, not row by row.
    pub(crate) fn by_columns(mut self, by_columns: bool) -> Self {
        self.order.by_columns = by_columns;
        self
    }

    /// How they are counted.
    pub(crate) fn order(&self) -> Order {
        self.order
    }
}

// SAFETY: tiles of different indices share no element, and all lie inside the borrowed matrix.
unsafe impl<'a, T: Real> Parts for Grid<'a, T> {
    type Part = Tile<'a, T>;

    fn len(&self) -> usize {
        self.order.across * self.order.down
    }

    unsafe fn part(&self, index: usize) -> Tile<'a, T> {
        let (down, across) = self.order.position(index);
        let (row, col) = (down * self.height, across * self.width);
        let rows = self.height.min(self.whole.rows - row);
        let cols = self.width.min(self.whole.cols - col);
        // SAFETY: row and col lie inside the matrix, since index < len.
        let start = unsafe { self.whole.start.add(row * self.whole.stride + col) };
        Tile { start, rows, cols, stride: self.whole.stride, late: self.whole.late, _exclusive: PhantomData }
    }
}

/// A second matrix cut as a first one is, if there is one: its tiles go beside those of the first.
#[derive(Debug)]
pub(crate) struct Beside<'a, T> {
    grid: Option<Grid<'a, T>>,
    len: usize,
}

impl<'a, T: Real> Beside<'a, T> {
    /// Cuts `view`, of shape `dim`, into tiles; without a view, every tile is `None`.
    ///
    /// # Panics
    /// As [`Grid::new`], and if the view is of another shape.
    #[track_caller]
    pub(crate) fn new(
        view: Option<ArrayViewMut2<'a, T>>,
        dim: (usize, usize),
        height: usize,
        width: usize,
    ) -> Self {
        let len = dim.0.div_ceil(height) * dim.1.div_ceil(width);
        let grid = view.map(|view| {
            assert_eq!(view.dim(), dim, "a matrix beside one of another shape");
            Grid::new(view, height, width)
        });
        Beside { grid, len }
    }

    /// As [`Grid::by_columns`].
    pub(crate) fn by_columns(self, by_columns: bool) -> Self {
        Beside { grid: self.grid.map(|grid| grid.by_columns(by_columns)), ..self }
    }
}

// SAFETY: tiles of a grid, which are disjoint.
unsafe impl<'a, T: Real> Parts for Beside<'a, T> {
    type Part = Option<Tile<'a, T>>;

    fn len(&self) -> usize {
        self.len
    }

    unsafe fn part(&self, index: usize) -> Option<Tile<'a, T>> {
        // SAFETY: the caller hands each index out once, and the grid has as many parts as this.
        self.grid.as_ref().map(|grid| unsafe { grid.part(index) })
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
