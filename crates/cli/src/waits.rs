//! The instruments of a run: who waited for whom, on the screen, in the run folder and as a trace.

use std::time::Duration;

use selvedge_sync::instruments::{Entered, InstrumentSettings, Instruments, ThreadsLeft, Watch};

use crate::args::TrainArgs;
use crate::heat_map::heat_map;
use crate::progress::Stage;
use crate::run_folder::RunFolder;
use crate::say::result;
use crate::trace::Trace;

/// Room for the events between two looks at them, those of a step: of each thread, and of all, at 32 bytes each.
const EVENTS: usize = 1 << 15;
const ALL_EVENTS: usize = 1 << 21;
/// Shorter spans are counted, but nobody could see them in a trace.
const SHORTEST: Duration = Duration::from_micros(1);
/// Sites that are printed, those most waited at.
const SITES: usize = 12;
/// The wait matrix in the run folder.
const WAITS: &str = "waits.svg";

/// What watches a run, if it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    on: Option<On>,
}

#[derive(Debug)]
struct On {
    instruments: Instruments,
    trace: Option<Trace>,
    print: bool,
    main: Option<Entered>,
    hangs: Option<Watch>,
}

impl Watched {
    /// Instruments and trace, if the arguments ask for them; nobody is watched yet.
    pub(crate) fn begin(args: &TrainArgs) -> anyhow::Result<Self> {
        if args.trace.is_none() && !args.waits {
            return Ok(Watched::default());
        }
        // Those that prepare, those of all workers, those of each worker, and a few more.
        let threads = 3 * args.resources.threads().max(args.workers.unwrap_or(0)).min(1 << 14) + 16;
        let events = if args.trace.is_some() { (ALL_EVENTS / threads).min(EVENTS) } else { 1 };
        let settings =
            InstrumentSettings { threads, events, shortest: SHORTEST, ..InstrumentSettings::default() };
        let instruments = Instruments::new(settings);
        let trace = match &args.trace {
            Some(path) => Some(Trace::begin(&instruments, path, args.trace_events)?),
            None => None,
        };
        Ok(Watched { on: Some(On { instruments, trace, print: args.waits, main: None, hangs: None }) })
    }

    /// Watches the calling thread and those it starts from now on.
    pub(crate) fn enter(&mut self) {
        if let Some(on) = &mut self.on {
            on.main = Some(on.instruments.enter("main"));
        }
    }

    /// From now on says on `stage` who keeps a thread waiting for longer than `deadline`, and where.
    pub(crate) fn report_hangs(&mut self, deadline: Duration, stage: Stage) -> anyhow::Result<()> {
        if let Some(on) = &mut self.on {
            on.hangs = Some(on.instruments.watch(deadline, move |hang| stage.line(&hang.to_string()))?);
        }
        Ok(())
    }

    /// The instruments, to be asked from another thread why it hangs.
    pub(crate) fn instruments(&self) -> Option<Instruments> {
        self.on.as_ref().map(|on| on.instruments.clone())
    }

    /// Takes in what has happened since the last call.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        match self.on.as_mut().and_then(|on| on.trace.as_mut()) {
            Some(trace) => trace.take(),
            None => Ok(()),
        }
    }

    /// Ends the watch over the calling thread, and writes and prints what it has seen.
    pub(crate) fn end(&mut self, folder: &RunFolder) -> anyhow::Result<()> {
        let Some(on) = &mut self.on else { return Ok(()) };
        // Joins, so that its last rest is in the trace.
        on.hangs = None;
        let report = on.instruments.report();
        let trace = on.trace.take();
        on.main = None;
        if let Some(trace) = trace {
            trace.finish()?;
        }
        selvedge_train::fs_atomic::write(&folder.file(WAITS), heat_map(&report).as_bytes())?;
        if on.print {
            result!("{report:.SITES$}")?;
        }
        Ok(())
    }

    /// Checks that every thread of the run has ended; to be called when all their owners are gone.
    pub(crate) fn finish(self) -> Result<(), ThreadsLeft> {
        let Some(On { instruments, main, hangs, .. }) = self.on else { return Ok(()) };
        drop((hangs, main));
        instruments.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use selvedge_sync::OwnedThread;

    use super::*;

    #[test]
    fn a_thread_that_is_left_is_named_with_its_place() {
        let instruments = Instruments::new(InstrumentSettings::default());
        let on = On { instruments: instruments.clone(), trace: None, print: false, main: None, hangs: None };
        let mut watched = Watched { on: Some(on) };
        watched.enter();
        watched.report_hangs(Duration::from_secs(60), Stage::spinner("")).unwrap();
        let ((begun, begins), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
        let thread = OwnedThread::spawn("loader-0", move || {
            begun.send(()).unwrap();
            ends.recv().is_err()
        });
        // Dropped before the thread, which a failure would else wait for.
        let (thread, end) = (thread.unwrap(), end);
        begins.recv().unwrap();
        let said = watched.finish().unwrap_err().to_string();
        // Neither the calling thread nor the watch over it is left.
        assert!(said.starts_with("threads left: loader-0 (spawned at crates/cli/src/waits.rs:"), "{said}");
        assert!(!said.contains(';'), "{said}");
        drop(end);
        assert_eq!(thread.join(), Ok(true));
        instruments.finish().unwrap();
    }
}
