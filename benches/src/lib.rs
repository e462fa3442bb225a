//! What several comparisons share.

pub mod reference;

/// The middle one of the values, the higher of the middle two; NaN if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
