//! SPDY/3.1 as far as kubectl's port-forward needs it: many connections in one WebSocket.
//!
//! kubectl opens two streams for each connection, one for errors and one for data, paired by a request id. There is no
//! flow control (kubectl's library has none either): a connection whose server does not read holds the others back
//! only once its queue is full.

mod dictionary;
mod frame;
mod session;

pub(super) use session::carry;

/// The subprotocol under which kubectl sends SPDY frames in WebSocket messages.
pub(super) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
