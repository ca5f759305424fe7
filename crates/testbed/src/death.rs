//! The death of a process that acts: it does nothing after the moment at which a test ends it.
//!
//! A task that is aborted goes on until it next waits, and a server on loopback often answers before
//! that; unwinding stops at the very statement. Sessions end as their owner is dropped.

use std::fmt::Debug;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;

struct Death;

/// Dies here, without a word.
pub fn die() -> ! {
    resume_unwind(Box::new(Death))
}

/// Runs what is to die on its way.
///
/// # Panics
/// It comes to its end, or fails in another way.
pub async fn dies<T: Debug>(work: impl Future<Output = T>) {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(end) => panic!("it has outlived its death: {end:?}"),
        Err(cause) if cause.is::<Death>() => {}
        Err(cause) => resume_unwind(cause),
    }
}
