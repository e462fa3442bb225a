//! A forked child gets errors, and waits for no thread that it does not have.
#![cfg(all(target_os = "linux", not(any(loom, shuttle))))]
#![expect(unsafe_code, reason = "forking")]

use selvedge_sync::{OwnedThread, RegionError, Team};
use std::ffi::c_int;
use std::time::Duration;

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(id: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: c_int) -> !;
}

#[test]
fn a_forked_child_is_told_and_never_hangs() {
    let team = Team::new(3).unwrap();
    team.parallel(8, |_| {});
    let thread = OwnedThread::spawn("parent's", || std::thread::sleep(Duration::from_millis(100))).unwrap();
    // SAFETY: the child only uses what this crate promises to work there, and ends by `_exit`.
    let child = unsafe { fork() };
    if child == 0 {
        // A hang ends by a signal, and fails the test.
        // SAFETY: no handler is involved.
        unsafe { alarm(10) };
        let owner = std::os::unix::process::parent_id();
        let user = std::process::id();
        let forked = team.try_parallel(8, |_| {}) == Err(RegionError::Forked { owner, user });
        drop(team);
        let lost = thread.join().is_err_and(|lost| lost.message.contains("fork"));
        let mut sum = [0; 4];
        let fresh = Team::new(2).is_ok_and(|team| {
            team.parallel_parts(selvedge_sync::items(&mut sum), |index, sum| *sum = index);
            sum == [0, 1, 2, 3]
        });
        // SAFETY: ends the child here.
        unsafe { _exit(if forked && lost && fresh { 0 } else { 1 }) };
    }
    assert!(child > 0, "fork failed");
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let ended = unsafe { waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0), "the child failed or was stopped");
    // The parent's are as they were.
    assert_eq!(team.try_parallel(8, |_| {}), Ok(()));
    assert_eq!(thread.join(), Ok(()));
}
