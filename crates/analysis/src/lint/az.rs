//! An az command as az reads it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::shell::{Call, Word};

/// The table that is written from az itself.
const TABLE: &str = include_str!("../../data/lint/az.txt");

/// What an option takes.
#[derive(Debug)]
pub(super) struct Known {
    /// All of its names.
    pub names: Vec<&'static str>,
    /// The command does not start without it.
    pub required: bool,
}

/// Commands with their options; no options when only the command's name is known.
static COMMANDS: LazyLock<BTreeMap<&'static str, Vec<Known>>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, options) = line.split_once('\t').unwrap_or((line, ""));
            let known = options
                .split(' ')
                .filter(|option| !option.is_empty())
                .map(|option| Known {
                    names: option
                        .trim_end_matches(['!', '?', '+'])
                        .split('/')
                        .collect(),
                    required: option.contains('!'),
                })
                .collect();
            (name, known)
        })
        .collect()
});

/// Options of every command.
const GLOBAL: [&str; 12] = [
    "--debug",
    "--help",
    "-h",
    "--only-show-errors",
    "--output",
    "-o",
    "--query",
    "--verbose",
    "--subscription",
    "--ids",
    "--no-wait",
    "--yes",
];

/// Groups of which every command is known.
const GROUPS: [&str; 3] = ["aks", "network traffic-manager", "network dns record-set"];

/// An option with its values.
#[derive(Debug)]
pub(super) struct Flag<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its values.
    pub values: Vec<&'a str>,
    /// Its word.
    pub word: &'a Word,
}

/// An az command.
#[derive(Debug)]
pub(super) struct Az<'a> {
    /// The call.
    pub call: &'a Call,
    /// Words before the first option.
    pub path: String,
    /// Its options.
    pub flags: Vec<Flag<'a>>,
}

impl<'a> Az<'a> {
    /// Reads a call, if it is one of az.
    pub fn of(call: &'a Call) -> Option<Self> {
        if call.name() != "az" {
            return None;
        }
        let args = call.args();
        let options = args
            .iter()
            .position(|word| word.text.starts_with('-'))
            .unwrap_or(args.len());
        let path: Vec<&str> = args
            .iter()
            .take(options)
            .map(|word| word.text.as_str())
            .collect();
        let mut flags: Vec<Flag<'_>> = Vec::new();
        for word in args.iter().skip(options) {
            let is_name = word.text.strip_prefix('-').is_some_and(|rest| {
                rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic())
            });
            if is_name {
                let (name, value) = match word.text.split_once('=') {
                    Some((name, value)) if name.starts_with("--") => (name, vec![value]),
                    _ => (word.text.as_str(), Vec::new()),
                };
                flags.push(Flag {
                    name,
                    values: value,
                    word,
                });
            } else if let Some(flag) = flags.last_mut() {
                flag.values.push(&word.text);
            }
        }
        Some(Self {
            call,
            path: path.join(" "),
            flags,
        })
    }

    /// The options of its command, where they are known.
    pub fn known(&self) -> Option<&'static [Known]> {
        let (_, known) = COMMANDS.get_key_value(self.path.as_str())?;
        (!known.is_empty()).then_some(known.as_slice())
    }

    /// Is it a command of a group of which every command is known, and not one of them?
    pub fn is_unknown(&self) -> bool {
        GROUPS
            .iter()
            .any(|group| self.path.starts_with(&format!("{group} ")))
            && !COMMANDS.contains_key(self.path.as_str())
            && !COMMANDS
                .keys()
                .any(|name| name.starts_with(&format!("{} ", self.path)))
            && !self.path.contains('$')
    }

    /// The nearest command that there is.
    pub fn nearest_command(&self) -> Option<&'static str> {
        super::nearest(&self.path, COMMANDS.keys().copied())
    }

    /// Does the command have an option? az takes the start of a name where it is the only one.
    pub fn has(known: &[Known], name: &str) -> bool {
        let all = || known.iter().flat_map(|one| one.names.iter()).chain(&GLOBAL);
        all().any(|one| *one == name)
            || (name.starts_with("--")
                && all().filter(|one| one.starts_with(name)).count() == 1)
            // `-gRG`
            || (!name.starts_with("--")
                && name.get(..2).is_some_and(|short| all().any(|one| *one == short)))
    }

    /// The nearest option.
    pub fn nearest(known: &[Known], name: &str) -> Option<&'static str> {
        super::nearest(name, known.iter().flat_map(|one| one.names.iter()).copied())
    }

    /// An option by any of its names.
    pub fn flag(&self, names: &[&str]) -> Option<&Flag<'a>> {
        self.flags.iter().find(|flag| names.contains(&flag.name))
    }

    /// The only value of an option.
    pub fn value(&self, names: &[&str]) -> Option<&'a str> {
        self.flag(names)
            .and_then(|flag| flag.values.first().copied())
    }
}
