//! A key used again while what it opened is open: the way round the order.

use selvedge_sync::lock::{Key, Mutex};

selvedge_sync::lock_ranks! { Registry, Sink }

fn main() {
    let (registry, sink) = (Mutex::<u8, Registry>::new(0), Mutex::<u8, Sink>::new(0));
    let mut key = Key::new();
    let (sink, _) = key.lock(&sink);
    let (_registry, _) = key.lock(&registry);
    drop(sink);
}
