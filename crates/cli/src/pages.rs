//! The page of each code that a command reports, kept in the binary.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::stdout::out;

/// Codes with their pages, in the order of the codes.
#[derive(Clone, Copy, Debug)]
pub struct Pages(pub &'static [(&'static str, &'static str)]);

/// Pages of a directory, named by their codes.
macro_rules! pages {
    ($directory:literal: $($code:literal),* $(,)?) => {
        $crate::pages::Pages(&[$((
            $code,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/", $directory, "/", $code, ".md"))
        )),*])
    };
}

pub(crate) use pages;

impl Pages {
    /// The page of a code.
    pub fn find(self, code: &str) -> Option<&'static str> {
        let found = self.0.iter().find(|(known, _)| *known == code);
        found.map(|(_, page)| *page)
    }

    /// What the code says, out of the first line of its page.
    pub fn title(self, code: &str) -> &'static str {
        let first = self.find(code).and_then(|page| page.lines().next());
        let first = first.unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, title)| title)
    }

    /// Carries out `--explain`.
    ///
    /// # Errors
    /// There is no such code, or nobody reads.
    pub fn explain(self, code: &str) -> Result<Exit, Failure> {
        let Some(page) = self.find(&code.to_ascii_uppercase()) else {
            let known: Vec<&str> = self.0.iter().map(|(code, _)| *code).collect();
            return Err(Failure::input(format!("no finding has the code {code}"))
                .fix(format!("one of {}", known.join(", "))));
        };
        out!("{page}");
        Ok(Exit::Done)
    }
}
