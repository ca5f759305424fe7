//! The judge: writers, gap and loss accounting, certificates.
