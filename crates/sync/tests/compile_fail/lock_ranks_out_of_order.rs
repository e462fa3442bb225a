//! A lock of a lower rank under one of a higher.

use selvedge_sync::lock::{Key, Mutex};

selvedge_sync::lock_ranks! { Registry, Sink }

fn main() {
    let (registry, sink) = (Mutex::<u8, Registry>::new(0), Mutex::<u8, Sink>::new(0));
    let mut key = Key::new();
    let (_sink, mut key) = key.lock(&sink);
    let (_registry, _) = key.lock(&registry);
}
