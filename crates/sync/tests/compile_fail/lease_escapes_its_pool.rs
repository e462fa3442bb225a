//! A buffer kept for longer than the pool that it is of.

use selvedge_sync::Pool;

fn main() {
    let lease = {
        let pool = Pool::new(1, || vec![0u8; 8]);
        pool.acquire()
    };
    drop(lease);
}
