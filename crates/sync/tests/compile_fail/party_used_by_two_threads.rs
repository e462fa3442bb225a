//! One party of a barrier in two threads, which would count for two.

use selvedge_sync::Barrier;

fn in_two_threads(_: impl Send, _: impl Send) {}

fn main() {
    let (_, mut parties) = Barrier::new(1);
    let party = &mut parties[0];
    in_two_threads(|| party.wait(), || party.wait());
}
