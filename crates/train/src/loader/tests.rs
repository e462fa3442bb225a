//! The batches are those of the order, whatever the threads do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tokens::TokenWriter;

/// A file in which token i is i: a row's first token names its window.
fn counting(tokens: u32) -> (tempfile::TempDir, Arc<TokenFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tokens");
    let mut writer = TokenWriter::create(&path, tokens.max(1), [0; 32]).unwrap();
    writer.push(&(0..tokens).collect::<Vec<_>>(), u64::from(tokens)).unwrap();
    writer.finish().unwrap();
    (dir, Arc::new(TokenFile::open(&path).unwrap()))
}

fn config(rows: usize, context: usize, threads: usize) -> LoaderConfig {
    LoaderConfig { threads, deadline: Duration::from_secs(20), ..LoaderConfig::new(rows, context, 7) }
}

fn batches(file: &Arc<TokenFile>, config: LoaderConfig, count: usize) -> Vec<Batch> {
    let mut loader = Loader::start(Arc::clone(file), config, &CancelToken::new()).unwrap();
    (0..count).map(|_| loader.next().unwrap().clone()).collect()
}

#[test]
fn each_epoch_is_an_exact_permutation_for_any_number_of_threads() {
    let (_dir, file) = counting(5 * 12 + 3);
    for threads in 1..=8 {
        // Twelve windows in rows of three: four batches an epoch.
        let all = batches(&file, config(3, 5, threads), 12);
        for (e, epoch) in all.chunks(4).enumerate() {
            let mut seen = BTreeMap::<u32, u32>::new();
            for batch in epoch {
                assert_eq!((batch.rows, batch.context, batch.tokens.len()), (3, 5, 15));
                for (row, targets) in batch.tokens.chunks(5).zip(batch.targets.chunks(5)) {
                    assert!(row.windows(2).all(|w| w[1] == w[0] + 1), "a row is a run of the text");
                    assert!(row.iter().zip(targets).all(|(a, b)| *b == a + 1), "a target is what follows");
                    *seen.entry(row[0]).or_default() += 1;
                }
            }
            let expected: BTreeMap<u32, u32> = (0..12).map(|w| (w * 5, 1)).collect();
            assert_eq!(seen, expected, "epoch {e} with {threads} threads");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn threads_depth_and_delays_change_nothing(
        threads in 1_usize..6, depth in 1_usize..4, rows in 1_usize..5, start in 0_u64..100, delays: u64,
    ) {
        let (_dir, file) = counting(3 * 17 + 1);
        let plain = LoaderConfig { start_row: start, ..config(rows, 3, 1) };
        let fault: Fault = Arc::new(move |thread, batch| {
            let nap = delays.rotate_left((thread as u32 * 13 + batch as u32 * 7) % 64) % 3;
            std::thread::sleep(Duration::from_micros(nap * 100));
        });
        let busy = LoaderConfig { threads, depth, fault: Some(fault), ..plain.clone() };
        prop_assert_eq!(batches(&file, plain, 9), batches(&file, busy, 9));
    }

    #[test]
    fn a_resumed_loader_continues_the_unbroken_sequence(taken in 0_usize..20, threads in 1_usize..5) {
        let (_dir, file) = counting(3 * 17 + 1);
        let whole = batches(&file, config(4, 3, 2), 24);
        let mut first = Loader::start(Arc::clone(&file), config(4, 3, 3), &CancelToken::new()).unwrap();
        for batch in &whole[..taken] {
            prop_assert_eq!(first.next().unwrap(), batch);
        }
        let resumed = LoaderConfig { start_row: first.row(), ..config(4, 3, threads) };
        prop_assert_eq!(&batches(&file, resumed, 24 - taken)[..], &whole[taken..]);
    }

    #[test]
    fn validation_rows_are_all_windows_once_in_order(
        tokens in 2_u32..80, context in 1_usize..9, rows in 1_usize..7, limit in prop::option::of(1_u64..9),
    ) {
        prop_assume!(tokens as usize > context);
        let (_dir, file) = counting(tokens);
        let windows = u64::from(tokens - 1) / context as u64;
        let expected = windows.min(limit.unwrap_or(u64::MAX));
        let all = ValidationRows::new(file, rows, context, limit).unwrap();
        prop_assert_eq!(all.windows(), expected);
        let all: Vec<Batch> = all.collect::<Result<_, _>>().unwrap();
        let inputs: Vec<u32> = all.iter().flat_map(|b| b.tokens.clone()).collect();
        prop_assert!(inputs.iter().copied().eq(0..expected as u32 * context as u32));
        prop_assert!(all.iter().flat_map(|b| &b.targets).zip(&inputs).all(|(t, i)| *t == i + 1));
        prop_assert!(all[..all.len() - 1].iter().all(|b| b.rows == rows));
        prop_assert_eq!(all.iter().map(|b| b.rows as u64).sum::<u64>(), expected);
    }
}

#[test]
fn buffers_are_used_again() {
    let (_dir, file) = counting(400);
    let config = LoaderConfig { depth: 1, ..config(7, 11, 2) };
    let mut loader = Loader::start(file, config, &CancelToken::new()).unwrap();
    let (mut seen, mut taken) = (std::collections::BTreeSet::new(), Vec::new());
    for _ in 0..60 {
        let batch = loader.next().unwrap();
        seen.extend([batch.tokens.as_ptr(), batch.targets.as_ptr()]);
        // Takes the place of whatever was given back to the allocator, so that it cannot come from there again.
        taken.extend([0, 1].map(|_| Vec::<u32>::with_capacity(batch.tokens.capacity())));
    }
    assert!(seen.len() <= 2 * (2 * (1 + 1) + 1), "{} buffers", seen.len());
}

/// Other rows per batch cut the same sequence of rows elsewhere: what makes microbatches free to choose.
#[test]
fn the_sequence_of_rows_does_not_depend_on_the_batch() {
    let (_dir, file) = counting(3 * 17 + 1);
    let rows = |rows: usize| -> Vec<u32> {
        batches(&file, config(rows, 3, 2), 24 / rows).into_iter().flat_map(|b| b.tokens).collect()
    };
    assert_eq!(rows(1), rows(6));
    assert_eq!(rows(4), rows(8));
}

#[test]
fn a_bad_token_is_the_consumers_error_at_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tokens");
    let mut writer = TokenWriter::create(&path, 100, [0; 32]).unwrap();
    writer.push(&[1; 41], 41).unwrap();
    writer.finish().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[128 + 2 * 22] = 200; // in the sixth window of four
    std::fs::write(&path, bytes).unwrap();
    let file = Arc::new(TokenFile::open(&path).unwrap());
    let order = Order::new(7, 10);
    let at = (0..10).find(|&i| order.window(0, i) == 5).unwrap();

    let mut loader = Loader::start(Arc::clone(&file), config(1, 4, 3), &CancelToken::new()).unwrap();
    for _ in 0..at {
        loader.next().unwrap();
    }
    let error = loader.next().unwrap_err();
    assert!(
        matches!(&error, Error::TokenId { path: p, offset: 172, id: 200, vocab: 100 } if *p == path),
        "{error}"
    );
    assert!(matches!(loader.next(), Err(Error::LoaderEnded)));

    let outcomes: Vec<bool> =
        ValidationRows::new(file, 2, 4, None).unwrap().map(|batch| batch.is_ok()).collect();
    assert_eq!(outcomes, [true, true, false], "an error ends the validation rows");
}

#[test]
fn impossible_settings_are_errors() {
    let (_dir, file) = counting(20);
    let start = |config| Loader::start(Arc::clone(&file), config, &CancelToken::new()).map(|_| ());
    let good = config(2, 4, 1);
    start(good.clone()).unwrap();
    for bad in [
        LoaderConfig { rows: 0, ..good.clone() },
        LoaderConfig { rows: usize::MAX, ..good.clone() },
        LoaderConfig { context: 0, ..good.clone() },
        LoaderConfig { threads: 0, ..good.clone() },
        LoaderConfig { threads: usize::MAX, ..good.clone() },
        LoaderConfig { depth: 0, ..good.clone() },
        LoaderConfig { start_row: u64::MAX, ..good.clone() },
    ] {
        assert!(matches!(start(bad.clone()), Err(Error::Setting { .. })), "{bad:?}");
    }
    let long = LoaderConfig { context: 20, ..good };
    assert!(matches!(start(long), Err(Error::ContextTooLong { tokens: 20, context: 20, .. })));
    assert!(matches!(ValidationRows::new(Arc::clone(&file), 0, 4, None), Err(Error::Setting { .. })));
    assert!(matches!(ValidationRows::new(Arc::clone(&file), 1, 4, Some(0)), Err(Error::Setting { .. })));
    assert!(matches!(ValidationRows::new(file, 1, 20, None), Err(Error::ContextTooLong { .. })));
}
