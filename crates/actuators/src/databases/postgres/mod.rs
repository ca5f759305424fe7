//! PostgreSQL and PgBouncer: sessions, facts, and the hand-over window.
//!
//! [`server::Server`] and [`pooler::Pooler`] say what a hand-over needs in the words of the
//! domain; [`wire`] and [`console`] speak them over the PostgreSQL protocol; the rehearsal
//! implements them by models. [`window`] knows only the traits.

mod aftercare;
pub mod conninfo;
pub mod console;
pub mod durability;
pub mod facts;
pub mod lsn;
pub mod names;
pub mod order;
pub mod patroni;
pub mod pooler;
mod prepare;
pub mod record;
pub mod recover;
pub mod server;
pub mod session;
pub mod tls;
pub mod wal;
pub mod window;
pub mod wire;
