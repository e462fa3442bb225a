//! The loss curve as a small SVG that any browser shows.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 40.0;
const MARGIN: f64 = 16.0;

/// A named line of a plot.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) color: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over a common pair of axes, from 0 (across) and the lowest value (up).
pub(crate) fn lines(across: &str, up: &str, series: &[Series<'_>]) -> String {
    let all = || {
        series.iter().flat_map(|s| s.points.iter().copied()).filter(|(x, y)| x.is_finite() && y.is_finite())
    };
    let right = all().map(|p| p.0).fold(1.0, f64::max);
    let low = all().map(|p| p.1).fold(f64::INFINITY, f64::min).floor().min(1e9);
    let high = all().map(|p| p.1).fold(low + 1.0, f64::max).ceil();
    let x_at = |x: f64| LEFT + x / right * (WIDTH - LEFT - MARGIN);
    let y_at = |y: f64| HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - BOTTOM - MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for i in 0..=5 {
        let (x, y) = (right * f64::from(i) / 5.0, low + (high - low) * f64::from(i) / 5.0);
        let (px, py, end, base) = (x_at(x), y_at(y), WIDTH - MARGIN, HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {py:.1}H{end}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{y:.1}</text>\
             <text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x:.0}</text>",
            LEFT - 6.0,
            py + 4.0,
            base + 16.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>\
         <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{up}</text>",
        (LEFT + WIDTH) / 2.0,
        HEIGHT - 6.0,
        HEIGHT / 2.0,
    );
    for (i, one) in series.iter().enumerate() {
        let mut path = String::new();
        for (x, y) in one.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let _ =
                write!(path, "{}{:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, x_at(*x), y_at(*y));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{0}\" stroke-width=\"1.5\"/>\
             <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"{0}\">{3}</text>",
            one.color,
            WIDTH - MARGIN - 6.0,
            MARGIN + 14.0 * (i as f64 + 1.0),
            one.name,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_point_lies_inside_the_frame() {
        let points = vec![(0.0, 9.3), (10.0, f64::NAN), (20.0, 2.5)];
        let svg = lines("step", "loss", &[Series { name: "training", color: "#26c", points }]);
        assert!(svg.contains("training") && !svg.contains("NaN"));
        let path = svg.lines().find(|line| line.contains("fill=\"none\"")).unwrap();
        assert_eq!(path.matches('L').count(), 1, "two points, one line: {path}");
    }
}
