//! The wait matrix as an SVG heat map that any browser shows, and that a screen reader can read.

use std::fmt::Write as _;

use selvedge_sync::instruments::Report;

const CELL_WIDTH: usize = 76;
const CELL_HEIGHT: usize = 30;
const TOP: usize = 132;
const LETTER: usize = 7;

/// Text as XML has it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(letter),
        }
    }
    out
}

/// From white, through yellow and red, to dark red, for shares from 0 to 1.
fn color(share: f64) -> String {
    let stops = [(255.0, 255.0, 255.0), (254.0, 217.0, 118.0), (227.0, 26.0, 28.0), (103.0, 0.0, 13.0)];
    let at = share.clamp(0.0, 1.0) * 3.0;
    let (low, part) = ((at as usize).min(2), at - (at as usize).min(2) as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * part) as u8;
    let (a, b) = (stops[low], stops[low + 1]);
    format!("#{:02x}{:02x}{:02x}", mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Seconds, short enough for a cell.
fn seconds(value: f64) -> String {
    match value {
        0.0 => String::from("0"),
        value if value < 0.0005 => String::from("<0.001"),
        value if value < 100.0 => format!("{value:.3}"),
        value => format!("{value:.0}"),
    }
}

/// The matrix: a row for each thread that waited, a column for each that was waited for, and one for threads unknown.
pub(crate) fn heat_map(report: &Report) -> String {
    let names: Vec<String> = report.threads.iter().map(|thread| escaped(&thread.name)).collect();
    let longest = report.threads.iter().map(|thread| thread.name.chars().count()).max().unwrap_or(0);
    let left = 24 + LETTER * longest.max(8);
    let (width, height) = (left + CELL_WIDTH * (names.len() + 1) + 96, TOP + CELL_HEIGHT * names.len() + 24);
    let d = report.divergence();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"title desc\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title id=\"title\">Wait matrix of {} threads</title>\n\
         <desc id=\"desc\">Seconds that the thread of the row waited for the thread of the column. \
         Half of the sum of all: D = {d:.3} s. Darker cells are longer waits.</desc>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\">Seconds the thread of the row waited for the thread of the column\
         </text>\n<text x=\"12\" y=\"44\">D = ½·Σ|R| = {d:.3} s over {:.3} s</text>\n",
        names.len(),
        report.age.as_secs_f64(),
    );
    let across = |column: usize| left + CELL_WIDTH * column;
    for (column, name) in names.iter().map(String::as_str).chain(["unknown"]).enumerate() {
        let (x, y) = (across(column) + CELL_WIDTH / 2, TOP - 8);
        let _ = writeln!(svg, "<text transform=\"translate({x} {y}) rotate(-35)\">{name}</text>");
    }
    let known = report.wait_matrix.iter().flatten();
    let most = known.chain(&report.waited_for_unknown).fold(0.0_f64, |most, &cell| most.max(cell));
    for (row, name) in names.iter().enumerate() {
        let y = TOP + CELL_HEIGHT * row;
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", left - 8, y + 19);
        let columns = names.iter().map(String::as_str).chain(["threads unknown"]);
        let cells = report.wait_matrix[row].iter().chain([&report.waited_for_unknown[row]]);
        for (column, (&cell, other)) in cells.zip(columns).enumerate() {
            // A root, so that short waits beside long ones are not all white.
            let share = if most > 0.0 { (cell / most).sqrt() } else { 0.0 };
            let ink = if share > 0.6 { "white" } else { "black" };
            let x = across(column);
            let _ = writeln!(
                svg,
                "<g><title>{name} waited {cell:.6} s for {other}</title>\
                 <rect x=\"{x}\" y=\"{y}\" width=\"{CELL_WIDTH}\" height=\"{CELL_HEIGHT}\" fill=\"{}\" \
                 stroke=\"#ccc\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text></g>",
                color(share),
                x + CELL_WIDTH / 2,
                y + 19,
                seconds(cell),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_sync::Team;
    use selvedge_sync::instruments::{InstrumentSettings, Instruments};

    #[test]
    fn every_cell_has_its_value_and_names_are_escaped() {
        let instruments = Instruments::new(InstrumentSettings::default());
        let _main = instruments.enter("a<b> & \"c\"");
        let team = Team::new(2).unwrap();
        team.parallel(2, |_| std::thread::sleep(std::time::Duration::from_millis(5)));
        let svg = heat_map(&instruments.report());
        assert_eq!(svg.matches("<g><title>").count(), 2 * 3);
        assert_eq!(svg.matches("a&lt;b&gt; &amp; &quot;c&quot;").count(), 1 + 1 + 3 + 2);
        assert!(!svg.contains("a<b>") && svg.contains("role=\"img\"") && svg.contains("<desc"));
        assert!(svg.contains("selvedge-1 waited 0.0"), "{svg}");
    }

    #[test]
    fn colors_go_from_white_to_dark() {
        assert_eq!((color(0.0), color(1.0), color(2.0)), ("#ffffff".into(), "#67000d".into(), color(1.0)));
        assert_eq!(
            (seconds(0.0), seconds(0.0001), seconds(1.5)),
            ("0".into(), "<0.001".into(), "1.500".into())
        );
    }
}
