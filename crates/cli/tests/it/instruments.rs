//! Traces and wait matrices of whole runs: there, whole, consistent, and without a say in the result.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::Home;

const RUN: &str = "--steps 12 --threads 2 --workers 2 --save-every 4";

/// A trace read back: its spans, and the names of its threads.
struct Trace {
    whole: Value,
    threads: BTreeMap<u64, String>,
}

impl Trace {
    #[track_caller]
    fn read(home: &Home, name: &str) -> Trace {
        let whole: Value = serde_json::from_str(&home.read(name)).expect("a trace is JSON");
        let named = |event: &&Value| event["name"] == "thread_name";
        let name = |event: &Value| {
            (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap().to_owned())
        };
        let threads = whole["traceEvents"].as_array().unwrap().iter().filter(named).map(name).collect();
        Trace { whole, threads }
    }

    fn events(&self) -> impl Iterator<Item = &Value> {
        self.whole["traceEvents"].as_array().unwrap().iter()
    }

    fn spans(&self) -> impl Iterator<Item = &Value> {
        self.events().filter(|event| event["ph"] == "X")
    }

    fn threads_with(&self, category: &str) -> BTreeSet<&str> {
        self.spans()
            .filter(|event| event["cat"] == category)
            .map(|event| self.threads[&event["tid"].as_u64().unwrap()].as_str())
            .collect()
    }

    /// Checks every span, and that those of a thread lie side by side or within one another.
    #[track_caller]
    fn check(&self) {
        let mut threads: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        // Nanoseconds, which are exact.
        let nanos = |time: &Value| (time.as_f64().unwrap() * 1000.0).round() as u64;
        for event in self.spans() {
            let (start, length) = (nanos(&event["ts"]), nanos(&event["dur"]));
            let tid = event["tid"].as_u64().unwrap();
            assert!(event["pid"] == 1 && self.threads.contains_key(&tid), "{event}");
            let site = event["args"]["site"].as_str().unwrap();
            assert!(!site.is_empty() && !event["name"].as_str().unwrap().is_empty());
            threads.entry(tid).or_default().push((start, start + length));
        }
        for spans in threads.values_mut() {
            spans.sort_by_key(|(start, end)| (*start, std::cmp::Reverse(*end)));
            let mut open: Vec<u64> = Vec::new();
            for (start, end) in spans {
                open.retain(|until| *until > *start);
                assert!(open.iter().all(|until| *end <= *until), "{start}..{end} outlasts what it is in");
                open.push(*end);
            }
        }
    }
}

#[test]
fn a_trace_shows_every_thread_and_changes_no_bit() {
    let home = Home::new();
    let plain = home.train(&format!("{RUN} --out plain")).success();
    let ended = home.train(&format!("{RUN} --out seen --trace seen.json --waits")).success();
    assert_eq!(ended.digest(), plain.digest());
    assert_eq!(home.read("seen/samples.txt"), home.read("plain/samples.txt"));
    assert!(!home.path("plain/waits.svg").exists() && !plain.stdout.contains("wait matrix"));
    assert!(ended.stderr.contains("open it in ui.perfetto.dev"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("threads left"), "{}", ended.stderr);

    let trace = Trace::read(&home, "seen.json");
    trace.check();
    let names: BTreeSet<&str> = trace.threads.values().map(String::as_str).collect();
    assert_eq!(
        names,
        ["checkpoint", "loader-0", "main", "selvedge-1", "selvedge-waits", "selvedge-watch"].into()
    );
    assert!(trace.threads_with("compute").is_superset(&["main", "selvedge-1"].into()));
    assert!(trace.threads_with("wait").contains("main"));
    let idle = ["selvedge-1", "selvedge-waits", "selvedge-watch", "checkpoint"];
    assert!(trace.threads_with("idle").is_superset(&idle.into()));
    assert!(trace.threads_with("phase").is_superset(&["main", "loader-0", "checkpoint"].into()));
    // Kernels by the lines that call them, also where a worker has one thread and runs them inline.
    let computes = |file: &str| {
        let site = |event: &Value| event["args"]["site"].as_str().unwrap().contains(file);
        trace.spans().any(|event| event["cat"] == "compute" && site(event))
    };
    assert!(computes("crates/model/src/llama.rs:") && computes("crates/tensor/src/attention/forward.rs:"));
    let phases: BTreeSet<&str> =
        trace.spans().filter(|e| e["cat"] == "phase").map(|e| e["name"].as_str().unwrap()).collect();
    let expected = ["gradient", "forward and backward", "norm", "update", "evaluation", "save", "make batch"];
    assert!(phases.is_superset(&expected.into()), "{phases:?}");
    assert_eq!(trace.spans().filter(|event| event["name"] == "update").count(), 12);
    let holds = |ph: &str| trace.events().filter(|event| event["ph"] == ph && event["cat"] == "hold").count();
    assert_eq!(holds("b"), holds("e"));
    let about = &trace.whole["otherData"];
    assert_eq!((&about["events_left_out"], &about["events_lost"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(about["events"], trace.spans().count() + holds("b"));

    consistent(&ended.stdout, &home.read("seen/waits.svg"));
    let temporary = home.names(".").into_iter().filter(|name| name.contains("tmp"));
    assert_eq!(temporary.count(), 0);
}

/// The printed matrix adds up to its D, and the heat map has the same cells.
#[track_caller]
fn consistent(printed: &str, svg: &str) {
    let mut lines = printed.lines().skip_while(|line| !line.starts_with("wait matrix"));
    let threads = lines.nth(1).unwrap().split_whitespace().count() - 1;
    let mut sum = 0.0;
    for _ in 0..threads {
        let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        // A number, a name, a cell for each thread, and one for threads unknown.
        let cells = &row[2..2 + threads];
        assert_eq!(row.len(), threads + 3);
        for cell in cells.iter().filter(|cell| **cell != ".") {
            sum += cell.parse::<f64>().unwrap();
        }
    }
    let d: f64 =
        lines.next().unwrap().strip_prefix("D = ").unwrap().strip_suffix(" s").unwrap().parse().unwrap();
    assert!(d > 0.0 && (d - sum / 2.0).abs() < 0.001 * (threads * threads) as f64, "{d} of {sum}");
    assert_eq!(svg.matches("<g><title>").count(), threads * (threads + 1));
    assert!(svg.contains(&format!("D = ½·Σ|R| = {d:.3} s")) && svg.contains("</svg>"), "{svg}");
    assert!(svg.contains("main waited ") && svg.contains(" s for selvedge-1</title>"));
}

#[test]
fn a_trace_that_is_full_says_so_and_is_whole() {
    let home = Home::new();
    let ended = home.train("--steps 6 --threads 2 --out run --trace t.json --trace-events 100").success();
    assert!(ended.stderr.contains("the trace is full: "), "{}", ended.stderr);
    let trace = Trace::read(&home, "t.json");
    trace.check();
    let written = trace.events().filter(|event| event["ph"] == "X" || event["ph"] == "b").count();
    assert_eq!(written, 100);
    assert!(trace.whole["otherData"]["events_left_out"].as_u64().unwrap() > 0);
    assert_eq!(trace.whole["otherData"]["events_at_most"], 100);
}

#[test]
fn an_interrupted_run_leaves_a_whole_trace() {
    let home = Home::new();
    let mut running = home.start_train("--steps 100000 --threads 2 --out run --trace t.json --waits");
    assert!(
        running
            .until(|_| home.path("run/steps.csv").exists() && home.read("run/steps.csv").lines().count() > 3)
    );
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code(), Some(130), "{ended:#?}");
    let trace = Trace::read(&home, "t.json");
    trace.check();
    assert!(trace.spans().count() > 100 && trace.threads_with("phase").contains("checkpoint"));
    assert!(ended.stdout.contains("wait matrix") && home.path("run/waits.svg").exists());
}

#[test]
fn a_run_that_fails_leaves_a_whole_trace_and_its_own_error() {
    let home = Home::new();
    let bad = "--lr 1000 --clip 0 --warmup 0 --weight-decay 100 --arch gpt2";
    let ended = home.train(&format!("--steps 200 --threads 2 --out run {bad} --trace t.json"));
    ended.refused(&["not finite"]);
    let trace = Trace::read(&home, "t.json");
    trace.check();
    assert!(trace.spans().any(|event| event["name"] == "gradient"));
    assert!(home.path("run/waits.svg").exists());
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_any_work() {
    let home = Home::new();
    let ended = home.train("--steps 2 --out run --trace no/such/folder/t.json");
    ended.refused(&["no/such/folder/t.json", "--trace"]);
    assert!(!home.path("run").exists());
}
