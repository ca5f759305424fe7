//! CRDs, reconcilers and the eviction guard.
