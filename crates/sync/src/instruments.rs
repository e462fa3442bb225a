//! Who waits for whom, how long, and why it hangs.
//!
//! [`Instruments`] are made by the application and handed to nobody: a thread that has [entered](Instruments::enter)
//! them is seen, and so is every thread that it starts through this crate. Each such thread writes down what it does, in
//! a book of its own, with plain stores: no lock, no shared counter. Anyone may read all books at any time.
//!
//! ```
//! use selvedge_sync::{Team, instruments::{InstrumentSettings, Instruments}};
//!
//! let instruments = Instruments::new(InstrumentSettings::default());
//! let main = instruments.enter("main");
//! let team = Team::new(2)?;
//! team.parallel(64, |_| std::thread::sleep(std::time::Duration::from_micros(50)));
//!
//! let report = instruments.report();
//! let names: Vec<&str> = report.threads.iter().map(|thread| thread.name.as_str()).collect();
//! assert_eq!(names, ["main", "selvedge-1"]);
//! println!("{report}"); // threads, the wait matrix, sites, lock order
//! println!("threads waited for each other for {:.6} s", report.divergence());
//!
//! drop(team);
//! drop(main);
//! instruments.finish()?; // an error that names any thread still there
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without instruments the primitives look at a thread-local flag where they are about to wait. With the cargo feature
//! `instruments` off, not even that is built in.

// Under loom only what has a model is built.
pub(crate) mod place;
pub(crate) mod recorder;
pub(crate) mod seats;
pub(crate) mod status;
pub(crate) mod versioned;

pub use place::Place;

#[cfg(not(any(loom, shuttle)))]
mod live;
#[cfg(not(any(loom, shuttle)))]
pub use live::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use live::{me, shared, site};
