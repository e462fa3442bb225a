//! What one loader thread does.

use std::sync::Arc;

use selvedge_sync::{CancelToken, OwnedLease, Pool, Sender, phase};

use super::{Batch, LoaderConfig};
use crate::Error;
use crate::order::Order;
use crate::tokens::TokenFile;

/// Makes every P-th batch.
pub(super) struct Maker {
    pub(super) index: usize,
    pub(super) tokens: Arc<TokenFile>,
    pub(super) order: Order,
    pub(super) buffers: Pool<Batch>,
    pub(super) config: Arc<LoaderConfig>,
    pub(super) cancel: CancelToken,
}

impl Maker {
    /// Works until cancelled or until nobody listens. An error is sent like a batch: the consumer hangs up on it.
    pub(super) fn run(&self, mut sender: Sender<Result<OwnedLease<Batch>, Error>>) {
        let mut scratch = vec![0; self.config.context + 1];
        let mut batch = self.index as u64;
        while !self.cancel.is_cancelled() {
            if let Some(fault) = &self.config.fault {
                fault(self.index, batch);
            }
            let made = {
                let _phase = phase("make batch");
                self.make(batch, &mut scratch)
            };
            if sender.send(made).is_err() {
                return;
            }
            batch += self.config.threads as u64;
        }
    }

    fn make(&self, number: u64, scratch: &mut [u32]) -> Result<OwnedLease<Batch>, Error> {
        let rows = self.config.rows;
        let start = self.config.start_row + number * rows as u64;
        let mut batch = self.buffers.acquire().into_owned();
        batch.restart(start);
        for row in start..start + rows as u64 {
            let (epoch, index) = self.order.at(row);
            batch.push(&self.tokens, self.order.window(epoch, index), scratch)?;
        }
        Ok(batch)
    }
}
