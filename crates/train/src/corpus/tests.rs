//! What a corpus promises: the same documents everywhere, no text in both halves, every byte accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn group(name: &str, root: impl Into<PathBuf>) -> Group {
    Group { name: name.into(), root: root.into() }
}

/// Groups g0, g1, … with these files each.
fn groups(dir: &Path, sizes: &[(usize, usize)]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (g, &(files, lines)) in sizes.iter().enumerate() {
        let root = dir.join(format!("g{g}"));
        for file in 0..files {
            write(&root, &format!("src/{file}.rs"), format!("let x_{g}_{file} = y;\n").repeat(lines));
        }
        groups.push(group(&format!("g{g}"), root));
    }
    groups
}

fn names(documents: &[Document]) -> Vec<String> {
    documents.iter().map(|d| format!("{}:{}", d.group, d.path.display())).collect()
}

/// Every byte that was looked at is in one place of the report.
fn assert_adds_up(report: &Report) {
    let out: u64 = report.left_out.values().map(|tally| tally.bytes).sum();
    assert_eq!(
        report.files.bytes,
        report.train.bytes + report.valid.bytes + out + report.trimmed,
        "{report}"
    );
}

fn assert_disjoint(corpus: &Corpus) {
    let train: BTreeSet<&str> = corpus.train.iter().map(|d| d.text.as_str()).collect();
    assert!(corpus.valid.iter().all(|d| !train.contains(d.text.as_str())), "a text is in both halves");
    assert!(!corpus.train.is_empty() && !corpus.valid.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn groups_stay_whole_and_nothing_else_decides(
        sizes in prop::collection::vec((1_usize..4, 1_usize..40), 2..12),
        seed: u64, holdout in 0.01_f64..0.5, threads in 1_usize..4,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let groups = groups(dir.path(), &sizes);
        let options = Options { seed, holdout, ..Options::rust() };
        let corpus = gather(&groups, &options).unwrap();
        assert_disjoint(&corpus);
        assert_adds_up(&corpus.report);
        let train: BTreeSet<_> = corpus.report.train_groups.iter().collect();
        prop_assert!(corpus.report.valid_groups.iter().all(|g| !train.contains(g)), "a group was divided");
        prop_assert_eq!(train.len() + corpus.report.valid_groups.len(), sizes.len());
        let files: usize = sizes.iter().map(|s| s.0).sum();
        prop_assert_eq!(corpus.train.len() + corpus.valid.len(), files);
        for half in [&corpus.train, &corpus.valid] {
            prop_assert!(half.is_sorted_by_key(|d| (d.group.clone(), d.path.clone())));
        }
        // Elsewhere on the disk, listed backwards, on other threads: the same documents.
        let elsewhere = tempfile::tempdir().unwrap();
        let mut moved = super::tests::groups(elsewhere.path(), &sizes);
        moved.reverse();
        let again = gather(&moved, &Options { threads, ..options }).unwrap();
        prop_assert_eq!((corpus.train, corpus.valid, corpus.report), (again.train, again.valid, again.report));
    }

    /// Where groups are small, the share held out is about the one asked for.
    #[test]
    fn the_share_is_met_when_groups_are_small(seed: u64, holdout in 0.03_f64..0.4) {
        let sizes: Vec<(u64, u64)> = (0..200).map(|i| (split::rank(seed, &[&i.to_string()]), 50 + i % 90)).collect();
        let total: u64 = sizes.iter().map(|s| s.1).sum();
        let held: u64 = sizes.iter().zip(split::choose(&sizes, holdout)).filter(|(_, c)| *c).map(|(s, _)| s.1).sum();
        let share = held as f64 / total as f64;
        prop_assert!((holdout..holdout + 0.02).contains(&share), "{share} for {holdout}");
    }

    #[test]
    fn a_lone_file_is_cut_at_a_line_end(lines in prop::collection::vec("[a-zé ]{0,12}", 2..60)) {
        let text = lines.join("\n") + "\n";
        prop_assume!(text.trim() != "" && text.len() > 40);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("poem");
        fs::write(&file, &text).unwrap();
        let corpus = gather(&[group("poem", &file)], &Options::default()).unwrap();
        let (train, valid) = (&corpus.train[0].text, &corpus.valid[0].text);
        prop_assert_eq!(format!("{train}{valid}"), text.clone());
        prop_assert!(train.ends_with('\n'));
        prop_assert!(valid.len() as f64 >= 0.1 * text.len() as f64);
        prop_assert!(valid.len() as f64 <= 0.1 * text.len() as f64 + 26.0, "at most a line more");
        assert_adds_up(&corpus.report);
    }
}

#[test]
fn another_seed_holds_other_groups_out() {
    let dir = tempfile::tempdir().unwrap();
    let groups = groups(dir.path(), &[(1, 10); 20]);
    let held_out: BTreeSet<_> = (0..10)
        .map(|seed| gather(&groups, &Options { seed, ..Options::rust() }).unwrap().report.valid_groups)
        .collect();
    assert!(held_out.len() > 4, "{held_out:?}");
}

#[test]
fn one_huge_group_is_not_the_validation_set() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..10 {
        let groups = groups(dir.path(), &[(1, 1000), (1, 20), (1, 20)]);
        let corpus = gather(&groups, &Options { seed, ..Options::rust() }).unwrap();
        assert!(!corpus.report.valid_groups.contains(&String::from("g0")), "seed {seed}");
    }
}

#[test]
fn versions_of_one_package_are_held_out_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = groups(dir.path(), &[(2, 10), (2, 10), (2, 10)]);
    all[0].name = "p".into();
    all[2].name = "p".into();
    for seed in 0..6 {
        let report = gather(&all, &Options { seed, ..Options::rust() }).unwrap().report;
        assert_eq!(report.train_groups.len() + report.valid_groups.len(), 2, "{report:?}");
    }
}

#[test]
fn with_one_folder_whole_files_are_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let groups = groups(dir.path(), &[(40, 10)]);
    let corpus = gather(&groups, &Options { holdout: 0.1, ..Options::rust() }).unwrap();
    assert_disjoint(&corpus);
    assert_eq!((corpus.train.len() + corpus.valid.len(), corpus.valid.len().abs_diff(4) <= 2), (40, true));
}

#[test]
fn everything_that_is_not_text_is_counted_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (path, bytes) in [
        ("a.rs", &b"fn a() {}\n"[..]),
        ("b.RS", b"fn b() {}\n"),
        ("c.txt", b"text"),
        ("zero.rs", b"fn\0z"),
        ("latin.rs", b"// caf\xe9\n"),
        ("empty.rs", b""),
        ("blank.rs", b" \n\t\n"),
        ("same.rs", b"fn a() {}\n"),
        ("large.rs", &[b'x'; 200]),
        (".hidden/h.rs", b"fn h() {}"),
        (".h.rs", b"fn h() {}"),
        ("target/debug/t.rs", b"fn t() {}"),
        ("src/target/mine.rs", b"fn a_module_named_target() {}"),
        ("out/target/CACHEDIR.TAG", b"Signature"),
        ("out/target/u.rs", b"fn u() {}"),
        ("Cargo.toml", b"[package]"),
    ] {
        write(root, path, bytes);
    }
    let options = Options { extensions: Some(vec!["rs".into()]), max_file_bytes: 100, ..Options::default() };
    let corpus = gather(&[group("g", root)], &options).unwrap();
    let mut kept = [names(&corpus.train), names(&corpus.valid)].concat();
    kept.sort();
    assert_eq!(kept, ["g:a.rs", "g:b.RS", "g:src/target/mine.rs"]);
    let counts: BTreeMap<_, _> =
        corpus.report.left_out.iter().map(|(reason, tally)| (*reason, (tally.count, tally.bytes))).collect();
    let expected = BTreeMap::from([
        (Reason::Hidden, (2, 0)),
        (Reason::BuildFolder, (2, 0)),
        (Reason::Extension, (2, 13)),
        (Reason::TooLarge, (1, 200)),
        (Reason::Binary, (1, 4)),
        (Reason::NotUtf8, (1, 8)),
        (Reason::Blank, (2, 4)),
        (Reason::Duplicate, (1, 10)),
    ]);
    assert_eq!(counts, expected);
    assert_adds_up(&corpus.report);
    let text = corpus.report.to_string();
    assert!(text.starts_with("11 files, ") && text.contains("binary 1 (4 bytes)"), "{text}");
}

#[cfg(unix)]
#[test]
fn links_in_circles_dead_links_and_pipes_do_not_hang_it() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    write(&root, "sub/a.txt", "one");
    write(&root, "b.txt", "two");
    write(dir.path(), "outside.txt", "three");
    symlink(&root, root.join("sub/up")).unwrap();
    symlink("circle", root.join("circle")).unwrap();
    symlink("nowhere", root.join("dead")).unwrap();
    symlink(dir.path().join("outside.txt"), root.join("linked.txt")).unwrap();
    let pipe = root.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let corpus = gather(&[group("g", &root)], &Options::default()).unwrap();
    assert_eq!(corpus.train.len() + corpus.valid.len(), 3, "the linked file is read: {}", corpus.report);
    let count = |reason| corpus.report.left_out.get(&reason).map_or(0, |tally| tally.count);
    assert_eq!((count(Reason::LinkedFolder), count(Reason::DeadLink), count(Reason::NotAFile)), (1, 2, 1));

    let error = gather(&[group("p", &pipe)], &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::CorpusNotAFile { path } if *path == pipe), "{error}");
}

#[test]
fn duplicates_stay_in_one_half_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = groups(dir.path(), &[(2, 10); 12]);
    for g in &all {
        write(&g.root, "LICENSE.rs", "the same in every package\n".repeat(20));
    }
    for seed in 0..5 {
        let corpus = gather(&all, &Options { seed, holdout: 0.3, ..Options::rust() }).unwrap();
        assert_disjoint(&corpus);
        assert_eq!(corpus.report.left_out[&Reason::Duplicate].count, 11);
        all.rotate_left(1);
    }
}

#[test]
fn the_size_limit_takes_a_stable_sample() {
    let dir = tempfile::tempdir().unwrap();
    let all = groups(dir.path(), &[(5, 10); 20]);
    let take = |max_bytes, threads| {
        let options = Options { max_bytes: Some(max_bytes), threads, ..Options::rust() };
        gather(&all, &options).unwrap()
    };
    let (small, large) = (take(2_000, 1), take(9_000, 2));
    for (corpus, limit) in [(&small, 2_000), (&large, 9_000)] {
        let taken = corpus.report.train.bytes + corpus.report.valid.bytes;
        assert!(taken <= limit && taken + 200 > limit, "{taken} of {limit}");
        assert_adds_up(&corpus.report);
        assert_disjoint(corpus);
    }
    let all_of =
        |c: &Corpus| -> BTreeSet<String> { names(&c.train).into_iter().chain(names(&c.valid)).collect() };
    assert!(all_of(&small).is_subset(&all_of(&large)), "a larger sample holds the smaller one");
    let spread: BTreeSet<_> = large.train.iter().map(|d| d.group.clone()).collect();
    assert!(spread.len() > 10, "the sample is of all groups, not of the first: {spread:?}");
}

#[test]
fn a_lone_file_over_the_limit_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("big.txt");
    fs::write(&file, "0123456789\n".repeat(1000)).unwrap();
    let options = Options { max_bytes: Some(1_000), max_file_bytes: 10, ..Options::rust() };
    let corpus = gather(&[group("big", &file)], &options).unwrap();
    assert_eq!(corpus.report.trimmed, 11_000 - 990);
    assert_eq!(corpus.train[0].text.len() + corpus.valid[0].text.len(), 990);
    assert_adds_up(&corpus.report);
}

#[test]
fn empty_corpora_are_errors_that_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let check = |groups: &[Group], options: &Options, words: &str| {
        let error = gather(groups, options).unwrap_err();
        assert!(matches!(error, Error::CorpusEmpty { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    check(&[], &Options::default(), "of 0 given");
    check(&[group("g", dir.path())], &Options::default(), "0 files");
    write(dir.path(), "a.bin", [0, 1]);
    check(&[group("g", dir.path())], &Options::default(), "binary 1 (2 bytes)");
    check(&[group("g", dir.path())], &Options::rust(), "other extensions 1");

    let file = dir.path().join("x");
    fs::write(&file, "x").unwrap();
    let error = gather(&[group("x", &file)], &Options::default()).unwrap_err();
    assert!(matches!(error, Error::CorpusTooSmall { bytes: 1, .. }), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let error = gather(&[group("g", &missing)], &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Io { op: "read", path, .. } if *path == missing), "{error}");
    assert!(error.to_string().contains("check the path"), "{error}");

    // A file that opens but whose reading fails, for the administrator too.
    #[cfg(target_os = "linux")]
    {
        let error = gather(&[group("g", "/proc/self/mem")], &Options::default()).unwrap_err();
        assert!(matches!(&error, Error::Io { op: "read", path, .. } if path.ends_with("mem")), "{error}");
    }
}

#[test]
fn impossible_options_are_errors() {
    for options in [
        Options { holdout: 0.0, ..Options::default() },
        Options { holdout: f64::NAN, ..Options::default() },
        Options { holdout: 0.6, ..Options::default() },
        Options { max_bytes: Some(0), ..Options::default() },
        Options { threads: 0, ..Options::default() },
    ] {
        assert!(matches!(gather(&[], &options), Err(Error::Setting { .. })), "{options:?}");
    }
}

fn judged(path: &str, text: &str) -> Option<Generated> {
    GeneratedFilter::default().judge(Path::new(path), text)
}

#[test]
fn generated_files_are_told_by_name_marker_and_lines() {
    let code = "fn f(x: u32) -> u32 {\n    let y = x + 1;\n    y * 2\n}\n".repeat(10);
    for path in ["src/bindings.rs", "src/tables/a.rs", "src/windows_bindings.rs"] {
        assert_eq!(judged(path, &code), Some(Generated::Name), "{path}");
    }
    for path in ["src/lib.rs", "src/table.rs", "bindings_of_keys.rs", "generate/mod.rs"] {
        assert_eq!(judged(path, &code), None, "{path}");
    }
    for first in
        ["// @generated by a tool", "/* automatically generated by rust-bindgen */", "//! DO NOT EDIT."]
    {
        assert_eq!(judged("a.rs", &format!("{first}\n{code}")), Some(Generated::Marker), "{first}");
    }
    // Said by code, or far down, it means nothing.
    assert_eq!(judged("a.rs", &format!("let s = \"do not edit\";\n{code}// @generated\n")), None);
    assert_eq!(
        judged("a.rs", &format!("{code}static S: &str = \"{}\";", "a".repeat(1001))),
        Some(Generated::LongLine)
    );

    let tables = [
        "pub const SYS_read: c_long = 63;\n",
        "pub(crate) const A: u32 = 0x1f;\n",
        "pub type __u8 = crate::ctypes::c_uchar;\n",
        "    0x1f, 0x22, -3, 4_000,\n",
        "    ('\\u{41}', '\\u{5a}'),\n",
        "pub fn lstat(path: *const c_char, buf: *mut stat) -> c_int;\n",
        "    pub st_mode: u32,\n",
    ];
    for line in tables {
        assert_eq!(judged("a.rs", &line.repeat(30)), Some(Generated::Table), "{line}");
        assert_eq!(judged("a.rs", &line.repeat(10)), None, "a few of them are no table: {line}");
        assert_eq!(judged("a.rs", &(line.repeat(10) + &code)), None, "among code they are no table: {line}");
    }
}

#[test]
fn a_package_that_is_mostly_tables_goes_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = groups(dir.path(), &[(2, 30), (2, 30), (2, 30)]);
    let tables = dir.path().join("sys");
    write(&tables, "src/consts.rs", "pub const A: u32 = 1;\n".repeat(200));
    write(&tables, "src/lib.rs", "fn code() { body() }\n".repeat(50));
    all.push(group("sys", &tables));
    // One generated file beside much that is written does not condemn it.
    write(&all[0].root, "src/bindings.rs", "fn f() { g() }\n".repeat(2000));
    write(&all[1].root, "src/t.rs", "    1, 2, 3, 4,\n".repeat(30));

    let corpus = gather(&all, &Options::rust()).unwrap();
    let groups: BTreeSet<_> =
        corpus.report.train_groups.iter().chain(&corpus.report.valid_groups).map(String::as_str).collect();
    assert_eq!(groups, BTreeSet::from(["g0", "g1", "g2"]));
    let count = |why| corpus.report.left_out[&Reason::Generated(why)].count;
    assert_eq!((count(Generated::Name), count(Generated::Table), count(Generated::Group)), (1, 2, 1));
    assert_adds_up(&corpus.report);
}

/// The rules are for folders of sources: what the user names is taken as it is.
#[test]
fn a_named_file_is_not_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bindings.txt");
    fs::write(&file, "pub const A: u32 = 1;\n".repeat(200)).unwrap();
    let corpus = gather(&[group("b", &file)], &Options::rust()).unwrap();
    assert_eq!(corpus.report.train.bytes + corpus.report.valid.bytes, 4_400);
}
