//! Scripts that were found in a file, with the place of every line.

/// Where something stands in the file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// Where a script was found, which says how a shell would run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file of its own, or what a container or a ConfigMap runs.
    Program,
    /// A block that says it is for a shell; people paste it.
    Block,
    /// A block without a language: read when it has a command that is known.
    Guess,
    /// A step of a pipeline that stops at the first failure by itself.
    Step,
    /// Lines between blocks, where a fence went missing.
    Prose,
}

/// A script, and where its lines come from.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Its text.
    pub text: String,
    /// Where each line of the text starts in the file.
    pub lines: Vec<Place>,
    /// Where each line of the text starts in the text.
    starts: Vec<usize>,
    /// Where it was found.
    pub found: Found,
}

impl Script {
    /// An empty one.
    pub fn new(found: Found) -> Self {
        Self {
            text: String::new(),
            lines: Vec::new(),
            starts: Vec::new(),
            found,
        }
    }

    /// Adds a line that starts at a place.
    pub fn push(&mut self, line: &str, at: Place) {
        self.starts.push(self.text.len());
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push(at);
    }

    /// The place of a byte of the text.
    pub fn place_of(&self, byte: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= byte);
        self.place(line, 1)
    }

    /// The place of a line and column of the text, both from 1.
    pub fn place(&self, line: usize, column: usize) -> Place {
        let known = self.lines.get(line.saturating_sub(1)).or(self.lines.last());
        let Some(start) = known else {
            return Place { line: 1, column: 1 };
        };
        Place {
            line: start.line,
            column: start.column + u32::try_from(column.saturating_sub(1)).unwrap_or(0),
        }
    }
}

/// Spaces that a line starts with.
pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// A column from 1 after so many bytes.
pub(super) fn column(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX - 1) + 1
}

/// A line number from an index.
pub(super) fn line(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX - 1) + 1
}
