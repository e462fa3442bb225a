//! How many rows a task takes, of kernels that work row by row.

/// Rows a task takes of `rows` rows of `cols` elements, at least 1: parts of one size, each of no more than 16 rows, and where
/// rows are long of fewer, so that the rows of a few sequences keep all threads busy.
pub(crate) fn rows_at_once(rows: usize, cols: usize) -> usize {
    /// Most rows of a task.
    const ROWS: usize = 16;
    /// Elements worth a task: about a microsecond.
    const ELEMENTS: usize = 1 << 12;
    let tasks = (rows * cols / ELEMENTS).max(rows.div_ceil(ROWS)).clamp(1, rows.max(1));
    rows.div_ceil(tasks).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_rows_go_many_at_once_and_long_ones_are_shared() {
        let cases = [(0, 5), (1, 100_000), (16, 64), (16, 576), (16, 3072), (17, 64), (4096, 384), (3, 0)];
        let expected = [1, 1, 16, 8, 2, 9, 11, 3];
        assert_eq!(cases.map(|(rows, cols)| rows_at_once(rows, cols)), expected);
    }
}
