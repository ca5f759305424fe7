//! A kubectl command as kubectl reads it: verb, options, arguments, and what stands after `--`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::shell::{Call, Word};

/// The table that is written from kubectl itself.
const TABLE: &str = include_str!("../../data/lint/kubectl.txt");

/// Options by verb (`rollout.status`); those of every verb are under `*`. An option has a value or
/// not.
static OPTIONS: LazyLock<BTreeMap<&'static str, BTreeMap<&'static str, bool>>> =
    LazyLock::new(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (verb, options) = line.split_once(' ').unwrap_or((line, ""));
                let mut known = BTreeMap::new();
                for option in options.split(' ').filter(|option| !option.is_empty()) {
                    let valued = option.ends_with('=');
                    for name in option.trim_end_matches('=').split('/') {
                        known.insert(name, valued);
                    }
                }
                (!verb.is_empty()).then_some((verb, known))
            })
            .collect()
    });

/// An option of a command.
#[derive(Debug)]
pub(super) struct Flag<'a> {
    /// Its name with its dashes, without the value.
    pub name: &'a str,
    /// Its value.
    pub value: Option<&'a str>,
    /// The word that it starts in.
    pub word: &'a Word,
}

/// A kubectl command.
#[derive(Debug)]
pub(super) struct Kubectl<'a> {
    /// The call.
    pub call: &'a Call,
    /// What it does (`rollout status` is `rollout.status`).
    pub verb: String,
    /// Its options.
    pub flags: Vec<Flag<'a>>,
    /// Its arguments.
    pub args: Vec<&'a Word>,
    /// Index of the first word after `--`.
    pub tail: Option<usize>,
}

impl<'a> Kubectl<'a> {
    /// Reads a call, if it is one of kubectl and of a verb that is known.
    pub fn of(call: &'a Call) -> Option<Self> {
        if !matches!(call.name(), "kubectl" | "oc") {
            return None;
        }
        let mut command = Self {
            call,
            verb: String::new(),
            flags: Vec::new(),
            args: Vec::new(),
            tail: None,
        };
        let mut index = 1;
        while let Some(word) = call.words.get(index) {
            index += 1;
            let text = word.text.as_str();
            if text == "--" {
                command.tail = Some(index);
                break;
            }
            if !text.starts_with('-') || text == "-" {
                command.argument(word);
                continue;
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            if name.starts_with("--") {
                let takes = command.takes(name) == Some(true);
                let next = call.words.get(index).filter(|_| value.is_none() && takes);
                index += usize::from(next.is_some());
                command.flags.push(Flag {
                    name,
                    value: value.or(next.map(|word| word.text.as_str())),
                    word,
                });
                continue;
            }
            // `-it`, `-n db`, `-ndb`, `-o=json`.
            let mut at = 1;
            while let Some(short) = name.get(at..=at) {
                let option = name.get(at..).unwrap_or_default();
                let takes = command.takes(&format!("-{short}")) == Some(true);
                let known = short_name(short);
                if takes {
                    let joined = option.get(1..).filter(|rest| !rest.is_empty());
                    let next = call
                        .words
                        .get(index)
                        .filter(|_| joined.is_none() && value.is_none());
                    index += usize::from(next.is_some());
                    command.flags.push(Flag {
                        name: known,
                        value: joined.or(value).or(next.map(|word| word.text.as_str())),
                        word,
                    });
                    break;
                }
                command.flags.push(Flag {
                    name: known,
                    value,
                    word,
                });
                at += 1;
            }
        }
        OPTIONS
            .contains_key(command.verb.as_str())
            .then_some(command)
    }

    fn argument(&mut self, word: &'a Word) {
        if self.verb.is_empty() {
            self.verb.clone_from(&word.text);
            return;
        }
        let longer = format!("{}.{}", self.verb, singular(&word.text));
        if self.args.is_empty() && OPTIONS.contains_key(longer.as_str()) {
            self.verb = longer;
            return;
        }
        self.args.push(word);
    }

    /// Has an option of this verb a value? `None` when there is no such option.
    pub fn takes(&self, name: &str) -> Option<bool> {
        let of = |verb: &str| OPTIONS.get(verb).and_then(|known| known.get(name)).copied();
        of(&self.verb).or_else(|| of("*"))
    }

    /// The nearest option that this verb has.
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        let of = |verb: &str| OPTIONS.get(verb).into_iter().flat_map(|known| known.keys());
        super::nearest(name, of(&self.verb).chain(of("*")).copied())
    }

    /// An option by any of its names.
    pub fn flag(&self, names: &[&str]) -> Option<&Flag<'a>> {
        self.flags.iter().find(|flag| names.contains(&flag.name))
    }

    /// The value of an option.
    pub fn value(&self, names: &[&str]) -> Option<&'a str> {
        self.flag(names).and_then(|flag| flag.value)
    }

    /// Is a switch on?
    pub fn is_on(&self, names: &[&str]) -> bool {
        self.flag(names)
            .is_some_and(|flag| flag.value != Some("false"))
    }

    /// Kind and names of the objects that it is about.
    pub fn objects(&self) -> (String, Vec<&'a str>) {
        let mut kind = String::new();
        let mut names = Vec::new();
        for word in &self.args {
            match word.text.split_once('/') {
                Some((this, name)) if !this.starts_with('$') => {
                    kind = kind_of(this);
                    names.push(name);
                }
                _ if kind.is_empty() => kind = kind_of(&word.text),
                _ => names.push(&word.text),
            }
        }
        (kind, names)
    }

    /// The body of a patch.
    pub fn patch(&self) -> Option<serde_json::Value> {
        if self.verb != "patch" {
            return None;
        }
        let text = self.value(&["-p", "--patch"])?;
        if text.len() > 64 << 10 {
            return None;
        }
        // A patch is JSON or YAML; a variable in it stands for something in quotes or out of them.
        serde_json::from_str(text)
            .or_else(|_| serde_saphyr::from_str(text).map_err(drop))
            .ok()
    }
}

fn short_name(short: &str) -> &'static str {
    // The long form of what has one name in every verb.
    match short {
        "A" => "--all-namespaces",
        "f" => "-f",
        "i" => "--stdin",
        "k" => "--kustomize",
        "l" => "--selector",
        "n" => "--namespace",
        "o" => "--output",
        "p" => "-p",
        "t" => "--tty",
        "w" => "--watch",
        _ => "",
    }
}

fn singular(text: &str) -> &str {
    match text {
        "nodes" | "no" => "node",
        "pods" | "po" => "pod",
        other => other,
    }
}

fn kind_of(text: &str) -> String {
    let small = text.to_ascii_lowercase();
    let name = small.split('.').next().unwrap_or_default();
    match name {
        "po" | "pods" => "pod",
        "svc" | "services" => "service",
        "sts" | "statefulsets" => "statefulset",
        "deploy" | "deployments" => "deployment",
        "cm" | "configmaps" => "configmap",
        "no" | "nodes" => "node",
        "jobs" => "job",
        "ev" | "events" | "event" => "event",
        other => other,
    }
    .to_owned()
}
