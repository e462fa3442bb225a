//! The `selvedge` binary from outside, as people and scripts meet it: files, exit codes, signals, kills.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bad_run;
mod chat;
mod constrain;
mod disk;
mod evaluate;
mod files;
mod finetune;
mod instruments;
mod kill;
mod main_job;
mod one_result;
mod output;
mod signals;
mod support;
mod threads;
mod tiny;
