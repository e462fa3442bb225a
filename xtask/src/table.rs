//! Plain tables for the terminal.

/// Lines of cells, each column as wide as its widest cell; a column whose header ends in a space is flush right.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].trim_end().chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let header_cells = header.map(|cell| cell.trim_end().to_owned());
    let mut text = String::new();
    for row in [&header_cells].into_iter().chain(rows) {
        let mut line = String::new();
        for ((cell, width), header) in row.iter().zip(widths).zip(header) {
            let cell =
                if header.ends_with(' ') { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = [["fmt".to_owned(), "1.5".to_owned()], ["clippy".to_owned(), "10.0".to_owned()]];
        assert_eq!(table(["step", "s "], &rows), "step       s\nfmt      1.5\nclippy  10.0\n");
    }
}
