//! Charts as SVG that any browser shows: bars beside each other or lines, over named places.

use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 60.0;
/// Room for the places' names, which are turned.
const BOTTOM: f64 = 110.0;
/// Colours that people with any colour vision tell apart (Okabe and Ito).
const COLORS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
/// Ratios beyond this are drawn on a scale of factors.
const LINEAR: f64 = 5.0;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ratios as bars, with a line at 1.
    Ratios,
    /// Values from 0 as lines.
    Lines,
}

/// Values of one name, one for each place; where there is none, NaN.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the values are.
    pub(crate) up: String,
    pub(crate) kind: Kind,
    pub(crate) places: Vec<String>,
    pub(crate) series: Vec<Series>,
}

/// Where values lie on the paper.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    marks: Vec<f64>,
}

impl Scale {
    fn new(kind: Kind, values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && *value > 0.0).collect();
        let least = values.iter().copied().fold(1.0, f64::min);
        let most = values.iter().copied().fold(1.0, f64::max);
        if kind == Kind::Ratios && (most > LINEAR || least < 1.0 / LINEAR) {
            let (low, high) = (least.log10().floor(), most.log10().ceil());
            let marks = (low as i32..=high as i32).map(|power| 10.0_f64.powi(power)).collect();
            return Self { low, high, logarithmic: true, marks };
        }
        // Steps of 1, 2 or 5, at most eight.
        let rough = most / 8.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (most / step).ceil() as usize;
        let marks = (0..=count).map(|at| at as f64 * step).collect();
        Self { low: 0.0, high: count as f64 * step, logarithmic: false, marks }
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - BOTTOM - TOP)
    }

    /// Where bars begin.
    fn ground(&self) -> f64 {
        self.y(if self.logarithmic { 1.0 } else { 0.0 })
    }
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number short enough for an axis.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let values = self.series.iter().flat_map(|series| series.values.iter().copied());
        let scale = Scale::new(self.kind, values);
        let (title, up) = (escaped(&self.title), escaped(&self.up));
        let (ground, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"title\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <title id=\"title\">{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{up}</text>\n",
            (TOP + ground) / 2.0
        );
        for mark in &scale.marks {
            let (y, name) = (scale.y(*mark), short(*mark));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let each = (end - LEFT) / self.places.len().max(1) as f64;
        for (at, place) in self.places.iter().enumerate() {
            let (x, y) = (LEFT + (at as f64 + 0.5) * each, ground + 14.0);
            let _ = writeln!(
                svg,
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-45)\" text-anchor=\"end\">{}</text>",
                escaped(place)
            );
        }
        for (at, (series, color)) in self.series.iter().zip(COLORS.iter().cycle()).enumerate() {
            let x = LEFT + at as f64 * 150.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"42\">{}</text>",
                x + 15.0,
                escaped(&series.name)
            );
            match self.kind {
                Kind::Ratios => self.bars(&mut svg, &scale, at, color, each),
                Kind::Lines => self.line(&mut svg, &scale, at, color, each),
            }
        }
        if self.kind == Kind::Ratios {
            let _ = writeln!(svg, "<path d=\"M{LEFT} {:.1}H{end}\" stroke=\"black\"/>", scale.y(1.0));
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The places and values of a series that has them.
    fn drawn(&self, at: usize) -> impl Iterator<Item = (usize, &str, f64)> {
        let values = self.places.iter().zip(&self.series[at].values).enumerate();
        values
            .map(|(place, (name, &value))| (place, name.as_str(), value))
            .filter(|(_, _, value)| value.is_finite() && *value > 0.0)
    }

    fn bars(&self, svg: &mut String, scale: &Scale, at: usize, color: &str, each: f64) {
        let width = each * 0.8 / self.series.len() as f64;
        for (place, name, value) in self.drawn(at) {
            let x = LEFT + (place as f64 + 0.1) * each + at as f64 * width;
            let (y, ground) = (scale.y(value), scale.ground());
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{color}\">\
                 <title>{}, {}: {value:.3}</title></rect>",
                y.min(ground),
                (y - ground).abs(),
                escaped(name),
                escaped(&self.series[at].name)
            );
        }
    }

    fn line(&self, svg: &mut String, scale: &Scale, at: usize, color: &str, each: f64) {
        let mut path = String::new();
        for (place, name, value) in self.drawn(at) {
            let (x, y) = (LEFT + (place as f64 + 0.5) * each, scale.y(value));
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"><title>{}, {}: {value:.3}</title>\
                 </circle>",
                escaped(name),
                escaped(&self.series[at].name)
            );
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(kind: Kind, values: Vec<f64>) -> Chart {
        let places = (0..values.len()).map(|at| format!("place <{at}>")).collect();
        let series = vec![Series { name: "a & b".into(), values }];
        Chart { title: "ratios".into(), up: "times".into(), kind, places, series }
    }

    #[test]
    fn every_value_that_is_there_is_drawn_inside_the_frame() {
        for (kind, tag) in [(Kind::Ratios, "<rect x"), (Kind::Lines, "<circle")] {
            for most in [0.9, 3.0, 340.0] {
                let svg = chart(kind, vec![0.8, f64::NAN, most]).svg();
                // The legend has a rectangle too.
                let legend = usize::from(kind == Kind::Ratios);
                assert_eq!(svg.matches(tag).count(), 2 + legend, "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                assert!(svg.contains("a &amp; b") && svg.contains("place &lt;2&gt;") && !svg.contains("<2>"));
                for y in
                    svg.split("y=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok())
                {
                    assert!((0.0..=HEIGHT).contains(&y), "{y} in {svg}");
                }
            }
        }
    }

    #[test]
    fn bars_of_factors_begin_at_one() {
        let scale = Scale::new(Kind::Ratios, [0.5, 300.0].into_iter());
        assert!(scale.logarithmic && scale.marks == [0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(scale.ground(), scale.y(1.0));
        assert!(scale.y(0.5) > scale.ground() && scale.y(300.0) < scale.ground());
        let linear = Scale::new(Kind::Ratios, [0.5, 1.3].into_iter());
        assert!(!linear.logarithmic && linear.low == 0.0 && linear.high >= 1.3);
    }

    #[test]
    fn nothing_at_all_is_still_a_chart() {
        assert!(chart(Kind::Lines, Vec::new()).svg().ends_with("</svg>\n"));
    }
}
