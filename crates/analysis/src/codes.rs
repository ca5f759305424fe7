//! Codes of findings. Each has a page under `docs/checks`.

/// The target does not serve this API version.
pub const NOT_SERVED: &str = "FWD001";
/// The live object is well; the manifest that it was applied from is not.
pub const STALE_APPLY: &str = "FWD002";
/// The live object is well; the manifest that Helm keeps of its release is not.
pub const STALE_RELEASE: &str = "FWD003";
/// A client wrote the object with a version that the target does not serve.
pub const STALE_WRITER: &str = "FWD004";
/// Served at the target; goes in a later release.
pub const GOES_LATER: &str = "FWD005";
/// Deprecated; no release is known in which it goes.
pub const DEPRECATED: &str = "FWD006";
/// The target does not serve this API version yet.
pub const NOT_YET: &str = "FWD007";
/// Objects may be stored in a version that the CRD is about to lose.
pub const STORED_VERSION: &str = "FWD010";
/// A custom object uses a version that its CRD does not serve.
pub const CUSTOM_NOT_SERVED: &str = "FWD011";
/// A custom object uses a version that its CRD deprecates.
pub const CUSTOM_DEPRECATED: &str = "FWD012";

/// All of them.
pub const ALL: &[&str] = &[
    NOT_SERVED,
    STALE_APPLY,
    STALE_RELEASE,
    STALE_WRITER,
    GOES_LATER,
    DEPRECATED,
    NOT_YET,
    STORED_VERSION,
    CUSTOM_NOT_SERVED,
    CUSTOM_DEPRECATED,
];
