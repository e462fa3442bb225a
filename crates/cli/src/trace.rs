//! A run's events in the trace format of Chrome, which Perfetto shows: one line a span, one track a thread.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use selvedge_sync::instruments::{Activity, Cursor, Doing, Event, Instruments, Site};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::say::remark;

/// A trace in the making. It is written beside its place under a temporary name, and takes its place when it is
/// [finished](Self::finish): whoever opens the file finds a whole trace, however the run ended.
#[derive(Debug)]
pub(crate) struct Trace {
    instruments: Instruments,
    cursor: Cursor,
    out: BufWriter<NamedTempFile<File>>,
    path: PathBuf,
    written: u64,
    left_out: u64,
    most: u64,
}

impl Trace {
    /// Begins a trace of at most so many events.
    pub(crate) fn begin(instruments: &Instruments, path: &Path, most: u64) -> anyhow::Result<Self> {
        let place = || format!("cannot write {}; name another --trace", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".trace.").suffix(".tmp").make_in(folder, |path| {
            // With the rights of any other file, not those of a secret one.
            File::options().write(true).create_new(true).open(path)
        });
        let mut out = BufWriter::new(file.with_context(place)?);
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n").with_context(place)?;
        let cursor = instruments.cursor();
        let path = path.to_owned();
        Ok(Trace { instruments: instruments.clone(), cursor, out, path, written: 0, left_out: 0, most })
    }

    /// Takes in the events since the last call.
    pub(crate) fn take(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let names: Vec<String> = self.instruments.ledger().into_iter().map(|entry| entry.name).collect();
        let (out, written, left_out) = (&mut self.out, &mut self.written, &mut self.left_out);
        self.cursor.drain(|event| {
            if *written >= self.most {
                *left_out += 1;
            } else if outcome.is_ok() {
                outcome = write_event(out, &event, &names, *written);
                *written += 1;
            }
        });
        outcome.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Takes in what is left, names the threads, and puts the trace in its place.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.take()?;
        let place = || format!("cannot write {}", self.path.display());
        let out = &mut self.out;
        for (tid, entry) in self.instruments.ledger().into_iter().enumerate() {
            let args = json!({ "name": entry.name, "spawned": entry.spawned.to_string() });
            line(out, &metadata("thread_name", tid, &args)).with_context(place)?;
            line(out, &metadata("thread_sort_index", tid, &json!({ "sort_index": tid })))
                .with_context(place)?;
            // What a thread waits for still has no event of its own yet.
            let (activity, site) = match entry.whereabouts.doing {
                Doing::Waiting(site) => (Activity::Wait, site),
                Doing::Resting(site) => (Activity::Rest, site),
                _ => continue,
            };
            if self.written >= self.most {
                self.left_out += 1;
                continue;
            }
            let length = entry.whereabouts.ago;
            let start = self.instruments.age().saturating_sub(length);
            let open = Event { thread: tid, activity, site, ended_by: None, start, length };
            write_event(out, &open, &[], self.written).with_context(place)?;
            self.written += 1;
        }
        let lost = self.cursor.lost();
        let about = json!({
            "events": self.written,
            "events_at_most": self.most,
            "events_left_out": self.left_out,
            "events_lost": lost,
        });
        // The last one has no comma after it.
        let last = metadata("process_name", 0, &json!({ "name": "selvedge train" }));
        write!(out, "{last}\n],\"otherData\":{about}}}\n").with_context(place)?;
        let file = self.out.into_inner().map_err(|error| error.into_error()).with_context(place)?;
        file.persist(&self.path).map_err(|error| error.error).with_context(place)?;
        remark!("trace: {} events in {}; open it in ui.perfetto.dev", self.written, self.path.display());
        if self.left_out > 0 {
            remark!("the trace is full: {} later events are not in it; see --trace-events", self.left_out);
        }
        if lost > 0 {
            remark!("{lost} events came faster than they could be written and are not in the trace");
        }
        Ok(())
    }
}

fn line(out: &mut impl std::io::Write, event: &Value) -> std::io::Result<()> {
    writeln!(out, "{event},")
}

fn metadata(name: &str, tid: usize, args: &Value) -> Value {
    json!({ "name": name, "ph": "M", "pid": 1, "tid": tid, "args": args })
}

/// An event under its number. What a thread does is a span of its track, within others or beside them. What it holds is
/// not: it may be taken in one span and released in another, so it is a track of its own, by the number.
fn write_event(
    out: &mut impl std::io::Write,
    event: &Event,
    names: &[String],
    number: u64,
) -> std::io::Result<()> {
    let mut begin = span(event, names);
    if event.activity == Activity::Hold {
        begin["id"] = json!(number);
        begin["ph"] = json!("b");
        let mut end = begin.clone();
        end["ph"] = json!("e");
        end["ts"] = json!(micros(event.start + event.length));
        line(out, &begin)?;
        return line(out, &end);
    }
    line(out, &begin)
}

/// A complete event: times in microseconds.
fn span(event: &Event, names: &[String]) -> Value {
    let (category, word) = match event.activity {
        Activity::Compute => ("compute", ""),
        Activity::Wait => ("wait", "wait: "),
        Activity::Rest => ("idle", "idle: "),
        Activity::Hold => ("hold", "hold: "),
        Activity::Phase => ("phase", ""),
        _ => ("other", ""),
    };
    let mut args = json!({ "site": event.site.to_string() });
    if let Some(name) = event.ended_by.and_then(|thread| names.get(thread)) {
        args["ended_by"] = json!(name);
    }
    json!({
        "name": format!("{word}{}", short(&event.site)),
        "cat": category,
        "ph": "X",
        "ts": micros(event.start),
        "dur": micros(event.length),
        "pid": 1,
        "tid": event.thread,
        "args": args,
    })
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Its name, or its file's and line.
fn short(site: &Site) -> String {
    match (site.name, site.place) {
        (Some(name), _) => name.to_owned(),
        (None, Some(place)) => {
            let file = place.file.rsplit(['/', '\\']).next().unwrap_or(place.file);
            format!("{file}:{}", place.line)
        }
        (None, None) => site.to_string(),
    }
}
