//! The instruments of a run: who waited for whom, on the screen, in the run folder and as a trace.

use std::time::Duration;

use selvedge_sync::instruments::{Entered, InstrumentSettings, Instruments};

use crate::args::TrainArgs;
use crate::heat_map::heat_map;
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
        Ok(Watched { on: Some(On { instruments, trace, print: args.waits, main: None }) })
    }

    /// Watches the calling thread and those it starts from now on.
    pub(crate) fn enter(&mut self) {
        if let Some(on) = &mut self.on {
            on.main = Some(on.instruments.enter("main"));
        }
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

    /// Ends the watch, and writes and prints what it has seen.
    pub(crate) fn end(self, folder: &RunFolder) -> anyhow::Result<()> {
        let Some(On { instruments, trace, print, main: _main }) = self.on else { return Ok(()) };
        let report = instruments.report();
        if let Some(trace) = trace {
            trace.finish()?;
        }
        selvedge_train::fs_atomic::write(&folder.file(WAITS), heat_map(&report).as_bytes())?;
        if print {
            result!("{report:.SITES$}")?;
        }
        Ok(())
    }
}
