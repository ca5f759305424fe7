//! One client per database system.

pub mod kafka;
pub mod mariadb;
pub mod memcached;
pub mod mongodb;
pub mod postgres;
pub mod record;
pub mod redis;
pub mod session;
pub mod tls;
