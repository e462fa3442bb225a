//! A second read of a lock under the first.

use selvedge_sync::lock::{Key, RwLock};

selvedge_sync::lock_ranks! { Params }

fn main() {
    let params = RwLock::<u8, Params>::new(0);
    let mut key = Key::new();
    let (_first, mut key) = key.read(&params);
    let (_second, _) = key.read(&params);
}
