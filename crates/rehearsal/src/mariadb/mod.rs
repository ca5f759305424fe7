//! Modelled servers of a MariaDB set behind the trait of the drivers, and a hand-over of the set through them.
//!
//! Modelled is what a hand-over can meet: binary logs and positions by domain, replication by GTID with what its source
//! had a moment ago, the lock over a whole server with its owner and its limits, `read_only`, clients that wait, are
//! refused and are cut, members that stand still, end, and come back as what their disk says. Not modelled: more than
//! one domain, semi-synchronous commits, transactions that take time to apply, and the loss of a disk.
//!
//! # Source
//! What the models answer is held against real servers in `tests/mariadb`.

pub mod clients;
pub mod server;
pub mod set;
pub mod stage;
