//! A model of the reduction over a team, threads and all.

use super::{ALL, explore};
use crate::spin::Pace;
use crate::{Reduction, Team};

/// The sum holds every shard's every element once when `finish` returns.
///
/// 2 threads, no bound on preemptions: 959,915 schedules, 40 s. Kills `crew_claim_torn`.
#[test]
fn loom_reduce_sums() {
    explore("loom_reduce_sums", ALL, || {
        let team = Team::with_pace(2, Pace::parking(1)).unwrap();
        let mut shards = [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]];
        let mut reduction = Reduction::new(1, 3);
        for (shard, gradient) in shards.iter_mut().enumerate() {
            reduction.contribute(1, shard, gradient).unwrap();
        }
        assert_eq!(reduction.finish(&team).unwrap(), [111.0, 222.0]);
    });
}
