//! A journal in memory, for rehearsals and tests. It survives the driver, as a file would.

use std::sync::{Mutex, PoisonError};

use ferriswheel_plan::ids::PlanId;
use jiff::Timestamp;

use super::{AppendError, Journal, ReadError};
use crate::record::{Entry, Record};

/// Records in a vector.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    records: Mutex<Vec<Record>>,
}

impl Journal for MemoryJournal {
    fn append(
        &self,
        plan: &PlanId,
        epoch: u64,
        at: Timestamp,
        entry: Entry,
    ) -> Result<Record, AppendError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let in_charge = records
            .iter()
            .filter(|record| record.entry == Entry::Driving)
            .map(|record| record.epoch)
            .max()
            .unwrap_or(0);
        let epoch = fence(&entry, epoch, in_charge)?;
        let record = Record {
            seq: u64::try_from(records.len()).unwrap_or(u64::MAX) + 1,
            at,
            plan: plan.clone(),
            epoch,
            entry,
        };
        records.push(record.clone());
        Ok(record)
    }

    fn after(&self, seq: u64) -> Result<Vec<Record>, ReadError> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(records
            .iter()
            .filter(|record| record.seq > seq)
            .cloned()
            .collect())
    }
}

/// The epoch that an entry is written under, if it may be written.
pub(super) fn fence(entry: &Entry, ours: u64, in_charge: u64) -> Result<u64, AppendError> {
    match entry {
        Entry::Driving => Ok(in_charge + 1),
        Entry::Asked { .. } => Ok(in_charge),
        _ if ours == in_charge => Ok(ours),
        _ => Err(AppendError::Conflict { ours, in_charge }),
    }
}
