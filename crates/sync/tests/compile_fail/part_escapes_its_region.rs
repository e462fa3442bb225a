//! A part of a region's output kept until after its owner has changed.

use selvedge_sync::{Team, chunks};
use std::sync::Mutex;

fn main() {
    let mut outputs = vec![0u8; 4];
    let kept = Mutex::new(None);
    Team::solo().parallel_parts(chunks(&mut outputs, 4), |_, part| {
        *kept.lock().unwrap() = Some(part);
    });
    outputs.clear();
    drop(kept);
}
