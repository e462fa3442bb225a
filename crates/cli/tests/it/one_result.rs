//! One result, through the whole binary: the run's settings decide the bits, what it runs on does not.

use crate::support::Home;

#[test]
fn threads_workers_microbatches_recompute_and_instruction_set_change_no_bit() {
    let home = Home::new();
    for arch in ["llama --heads 4 --kv-heads 2", "gpt2"] {
        let model =
            format!("--layers 2 --channels 32 --context 32 --vocab 300 --eval-windows 4 --arch {arch}");
        let train = |name: &str, resources: &str| {
            let out = format!("{}-{name}", &arch[..4]);
            let heads = if arch.contains("--heads") { "" } else { "--heads 2" };
            let line = format!(
                "train --data text.rs {model} {heads} --batch 9 --shards 4 --steps 8 --out {out} {resources}"
            );
            let digest = home.run(&line).success().digest();
            (digest, home.read(&format!("{out}/evaluations.csv")), home.read(&format!("{out}/samples.txt")))
        };
        let want = train("plain", "--threads 1 --workers 1");
        for (i, resources) in [
            "--threads 2 --workers 1 --microbatch 1",
            "--threads 3 --workers 2 --microbatch 2",
            "--threads 8 --workers 4 --microbatch 1 --recompute",
            "--threads 1 --workers 4 --isa scalar",
            "--threads 4 --workers 3 --isa scalar --recompute --microbatch 2",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(train(&i.to_string(), resources), want, "{arch} with {resources}");
        }
    }
}

#[test]
fn the_seed_and_the_shards_do_change_the_bits() {
    // Or the test above could not fail.
    let home = Home::new();
    let mut digests = ["--seed 1", "--seed 2", "--shards 1"].map(|setting| {
        home.train(&format!("--steps 5 {setting} --out {}", setting.replace([' ', '-'], "")))
            .success()
            .digest()
    });
    digests.sort();
    assert!(digests[0] != digests[1] && digests[1] != digests[2]);
}

#[test]
fn samples_beside_training_change_no_bit_and_name_their_step() {
    let home = Home::new();
    let plain = home.train("--steps 12 --eval-every 3 --out plain").success();
    let sampled = home.train("--steps 12 --eval-every 3 --sample fn --out sampled").success();
    assert_eq!(sampled.digest(), plain.digest());
    assert_eq!(home.read("sampled/evaluations.csv"), home.read("plain/evaluations.csv"));
    let step = |line: &str| line.strip_prefix("step ")?.split_once(": \"fn")?.0.parse::<u64>().ok();
    let steps: Vec<u64> = sampled.stderr.lines().filter_map(step).collect();
    // Versions that come while a text is written may be passed over, the newest not.
    assert!(steps.iter().all(|step| step % 3 == 0) && steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    assert_eq!(steps.last(), Some(&12));
    assert!(!plain.stderr.lines().any(|line| step(line).is_some()));
}

#[test]
fn check_says_how_many_settings_agree() {
    let home = Home::new();
    let said = home.run("check --steps 2 --delays 50").success().stdout;
    assert!(said.contains("the same parameters"), "{said}");
}
