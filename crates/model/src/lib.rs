//! A Kubernetes cluster in memory and in virtual time.
