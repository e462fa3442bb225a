//! How many threads a run has, as the system counts them.
#![cfg(target_os = "linux")]

use std::fs;

use crate::support::Home;

#[test]
fn the_number_of_threads_is_bounded_by_the_settings() {
    let home = Home::new();
    for (threads, workers) in [(1, 1), (4, 1), (4, 2), (4, 4)] {
        let line = format!(
            "--steps 60 --threads {threads} --workers {workers} --save-every 5 --out run-{threads}-{workers}"
        );
        let mut running = home.start_train(&line);
        let tasks = format!("/proc/{}/task", running.child.id());
        let mut most = 0;
        running.until(|_| {
            most = most.max(fs::read_dir(&tasks).map_or(0, Iterator::count));
            false
        });
        running.end().success();
        // The team of all threads, the workers' own teams within the same budget, and one each: watchdog, loader,
        // saver, and the main thread if it is in no team.
        let bound = 2 * threads + 4;
        assert!((3..=bound).contains(&most), "{most} threads for {line}, at most {bound} are expected");
    }
}
