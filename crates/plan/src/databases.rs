//! One file per database pattern, with the same four functions each: `gate` (what must be true
//! before anything is touched), `order` (who moves when), `hand_over` (how the leading member
//! changes) and `retire` (how the extra seat leaves).

pub mod postgres;
