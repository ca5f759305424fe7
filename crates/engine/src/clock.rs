//! Time, passed in.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A clock to read and to wait by.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// tokio's clock from a fixed origin: with the runtime's clock paused, hours pass in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    origin: Timestamp,
    began: tokio::time::Instant,
}

impl VirtualClock {
    /// Begins at `origin`. Must be called inside a runtime.
    pub fn new(origin: Timestamp) -> Self {
        Self {
            origin,
            began: tokio::time::Instant::now(),
        }
    }

    /// Time since the origin.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.origin + self.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
