//! Commands of a shell script, in the order in which they run, with what stands around them.
//!
//! A parser of the shell reads the text; here its tree becomes a list of calls. Wrappers (`sudo`,
//! `timeout`, `watch`) are taken off, what runs in a pod (`kubectl exec POD -- ...`) and what another
//! shell is given (`bash -c "..."`) are calls of their own. Nothing is executed or expanded.

mod walk;

use std::collections::BTreeMap;

use shuck_parser::parser::{ParseStatus, Parser};

use super::text::{Place, Script};

/// Shells inside shells that are followed. Two are common (`kubectl exec -- bash -c`).
const MAX_SHELLS: usize = 4;

/// Commands of one file that are looked at: rules compare calls with each other, and no person
/// follows a runbook of so many.
pub(super) const MAX_CALLS: usize = 5_000;

/// Parameters inside of parameters (`${a:-${b:-...}}`). The parser's time grows with the square of
/// this; people nest two or three.
const MAX_PARAMETERS: usize = 100;

/// A word of a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    /// Its text without quotes; variables as `$name`, commands as `$(...)`.
    pub text: String,
    /// Where it starts.
    pub place: Place,
    /// Part of it is known only when it runs.
    pub dynamic: bool,
}

/// Where a call stands in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pipe {
    /// Which.
    pub id: usize,
    /// How many commands stand before it.
    pub index: usize,
}

/// A command.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    /// Name and arguments.
    pub words: Vec<Word>,
    /// Which script of the file.
    pub script: usize,
    /// The pod that it runs in.
    pub pod: Option<Word>,
    /// Indices of the loops around it, the outermost first.
    pub loops: Vec<usize>,
    /// It decides what happens next: a condition, or one side of `&&` and `||`.
    pub decides: bool,
    /// It is the condition of a loop.
    pub polled: bool,
    /// Its pipeline.
    pub pipe: Option<Pipe>,
    /// Its output becomes part of a command; the variable, where that is an assignment.
    pub captured: Option<String>,
    /// Where its output goes, when that is a file.
    pub output: Option<String>,
    /// What it reads as standard input, when that is written in the script.
    pub input: Option<(String, Place)>,
    /// What people wrote before it.
    pub comment: String,
    /// What it is wrapped in.
    pub wrappers: Vec<String>,
    /// The script does not wait for it.
    pub background: bool,
    /// Another call has the same command in a wrapper (`kubectl exec`).
    pub inner: bool,
}

impl Call {
    /// The command's name without its directory.
    pub fn name(&self) -> &str {
        let name = self.words.first().map_or("", |word| &word.text);
        name.rsplit('/').next().unwrap_or(name)
    }

    /// The arguments.
    pub fn args(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Where it starts.
    pub fn place(&self) -> Place {
        self.words.first().map_or_else(Place::default, |w| w.place)
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|w| w.text.as_str()).collect();
        words.join(" ")
    }

    /// The arguments in one line, in small letters.
    pub fn small(&self) -> String {
        self.line().to_ascii_lowercase()
    }
}

/// What a loop does.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    /// Where it starts.
    pub place: Place,
    /// Its variable and values, for a `for`.
    pub over: Option<(String, Vec<Word>)>,
    /// It waits until its condition holds (`until`).
    pub until: bool,
}

/// Everything that a script runs.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// In the order in which they run.
    pub calls: Vec<Call>,
    /// Loops.
    pub loops: Vec<Loop>,
    /// What people wrote, with the lines.
    pub comments: Vec<(Place, String)>,
    /// Values that are written in the script: variable, value.
    pub values: Vec<(String, String)>,
    /// There were more than [`MAX_CALLS`].
    pub full: bool,
    /// Pipelines so far.
    pipes: usize,
    /// The first call at each place of a pipeline.
    piped: BTreeMap<(usize, usize), usize>,
}

impl Commands {
    fn add(&mut self, call: Call) {
        if self.calls.len() >= MAX_CALLS {
            self.full = true;
            return;
        }
        if let Some(pipe) = call.pipe {
            let place = (pipe.id, pipe.index);
            self.piped.entry(place).or_insert(self.calls.len());
        }
        self.calls.push(call);
    }

    /// The call at a place of a pipeline.
    pub fn at(&self, pipe: usize, index: usize) -> Option<&Call> {
        self.calls.get(*self.piped.get(&(pipe, index))?)
    }
}

/// Why a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: String,
}

/// Reads a script.
///
/// What can be read is read, also when there is an error.
pub(super) fn read(script: &Script, index: usize, commands: &mut Commands) -> Option<Broken> {
    nested(script, index, commands, &walk::Around::default(), 0)
}

fn nested(
    script: &Script,
    index: usize,
    commands: &mut Commands,
    around: &walk::Around,
    depth: usize,
) -> Option<Broken> {
    if depth > MAX_SHELLS {
        return None;
    }
    if let Some(at) = too_deep(&script.text) {
        return Some(Broken {
            place: script.place_of(at),
            reason: "parameters are nested too deeply".to_owned(),
        });
    }
    let result = Parser::new(&script.text).parse();
    walk::Walk {
        source: &script.text,
        script,
        index,
        commands,
        depth,
    }
    .file(&result.file, around);
    if result.status == ParseStatus::Clean {
        return None;
    }
    let broken = match (&result.terminal_error, result.diagnostics.first()) {
        (_, Some(diagnostic)) => Broken {
            place: script.place(diagnostic.span.start.line(), diagnostic.span.start.column()),
            reason: diagnostic.message.clone(),
        },
        (Some(error), None) => {
            let shuck_parser::Error::Parse {
                message,
                line,
                column,
            } = error;
            Broken {
                place: script.place(*line, *column),
                reason: message.clone(),
            }
        }
        (None, None) => return None,
    };
    Some(broken)
}

/// Where parameters are nested deeper than is read.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'$' && bytes.get(at + 1) == Some(&b'{') {
            depth += 1;
        } else if *byte == b'}' {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_PARAMETERS {
            return Some(at);
        }
    }
    None
}
