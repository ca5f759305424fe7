//! Why a round, or the whole run, did not go on.

use std::time::Duration;

/// What went wrong, in a line that stands in the results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started, or ended with a failure.
    #[error("{program}: {detail}")]
    Program {
        /// Its name and the first words of its command line.
        program: String,
        /// The end of what it said.
        detail: String,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {} s", .limit.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The judge did not answer as it should.
    #[error("the probe: {0}")]
    Probe(String),
    /// An answer of a program or a file that is not what it should be.
    #[error("{0}")]
    Unexpected(String),
    /// Files.
    #[error("{what}: {source}")]
    File {
        /// The path.
        what: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// For `map_err` on files.
pub fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |source| Error::File {
        what: path.display().to_string(),
        source,
    }
}

/// For `ok_or_else` and checks.
pub fn unexpected(what: impl Into<String>) -> Error {
    Error::Unexpected(what.into())
}
