//! A permit of a semaphore that is gone.

use selvedge_sync::{Permit, Semaphore};

fn permit() -> Permit<'static> {
    let semaphore = Semaphore::new(1);
    semaphore.acquire(1).unwrap()
}

fn main() {
    drop(permit());
}
