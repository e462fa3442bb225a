//! Holds whole groups out for validation; with one group whole files; with one file its end.

use super::{Document, Options};
use crate::Error;

/// What is held out of a lone file, at least: a twentieth of a small file is too little to measure on.
const LONE_FILE_HOLDOUT: f64 = 0.10;

/// How far over the wanted share one more unit may take the validation half.
const SLACK: f64 = 1.5;

/// A number in which the seed and each part count: the same on every machine, unrelated for unequal parts.
pub(super) fn rank(seed: u64, parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        // The length first, so that no two lists of parts run together to the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    u64::from_le_bytes(std::array::from_fn(|i| digest.as_bytes()[i]))
}

/// Divides documents, sorted by group and path, into training and validation; both keep the order and neither is empty.
pub(super) fn split(
    mut documents: Vec<Document>,
    options: &Options,
) -> Result<(Vec<Document>, Vec<Document>), Error> {
    if let [_] = documents[..] {
        return cut_in_two(documents.remove(0), options.holdout.max(LONE_FILE_HOLDOUT));
    }
    // The units that stay whole: one number per document, equal for those of one unit.
    let one_group = documents.windows(2).all(|pair| pair[0].group == pair[1].group);
    let mut unit = 0;
    let mut units: Vec<usize> = vec![0];
    for pair in documents.windows(2) {
        unit += usize::from(one_group || pair[0].group != pair[1].group);
        units.push(unit);
    }
    let mut sizes = vec![(0, 0_u64); unit + 1];
    for (document, &unit) in documents.iter().zip(&units) {
        let path = document.path.to_string_lossy();
        let name: &[&str] = if one_group { &[&document.group, &path] } else { &[&document.group] };
        // Of a group's documents the last one's rank stands, and it is the same for all: only the name counts.
        sizes[unit].0 = rank(options.seed, name);
        sizes[unit].1 += document.text.len() as u64;
    }
    let held_out = choose(&sizes, options.holdout);
    let mut halves = (Vec::new(), Vec::new());
    for (document, unit) in documents.into_iter().zip(units) {
        if held_out[unit] { halves.1.push(document) } else { halves.0.push(document) }
    }
    Ok(halves)
}

/// Chooses units, in order of rank, until their bytes are about `holdout` of all; at least one, never all.
///
/// A unit that would take the choice far over the share is passed by: one large package shall not be the validation set.
pub(super) fn choose(units: &[(u64, u64)], holdout: f64) -> Vec<bool> {
    let total: u64 = units.iter().map(|unit| unit.1).sum();
    let wanted = total as f64 * holdout;
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|&i| (units[i].0, i));
    let mut chosen = vec![false; units.len()];
    let mut bytes = 0;
    for &i in &order {
        let with = bytes + units[i].1;
        if (bytes as f64) < wanted && with as f64 <= wanted * SLACK {
            chosen[i] = true;
            bytes = with;
        }
    }
    if bytes == 0
        && let Some(&smallest) = order.iter().min_by_key(|&&i| units[i].1)
    {
        chosen[smallest] = true;
    }
    chosen
}

fn cut_in_two(mut document: Document, holdout: f64) -> Result<(Vec<Document>, Vec<Document>), Error> {
    let length = document.text.len();
    let at = cut_before(&document.text, (length as f64 * (1.0 - holdout)) as usize);
    if at == 0 || at == length {
        return Err(Error::CorpusTooSmall { path: document.path, bytes: length as u64 });
    }
    let text = document.text.split_off(at);
    let valid = Document { group: document.group.clone(), path: document.path.clone(), text };
    Ok((vec![document], vec![valid]))
}

/// The last line end, or failing that the last character boundary, not after `limit`; the whole length if that is less.
pub(super) fn cut_before(text: &str, limit: usize) -> usize {
    if limit >= text.len() {
        return text.len();
    }
    let limit = text.floor_char_boundary(limit);
    text[..limit].rfind('\n').map_or(limit, |line_end| line_end + 1)
}
