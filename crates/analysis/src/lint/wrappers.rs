//! Commands that run other commands.

use super::kubectl::Kubectl;
use super::shell::{Call, Word};

/// What a call is.
pub(super) enum Unwrapped {
    /// A command that runs no other.
    Plain,
    /// The first words only change how the rest runs.
    Wrapper {
        /// The wrapper's name.
        name: String,
        /// Index of the command's name.
        rest: usize,
    },
    /// A command in a pod.
    Pod {
        /// Its name.
        pod: Word,
        /// Index of the command's name.
        rest: usize,
    },
    /// Another shell.
    Shell {
        /// Index of its script.
        script: usize,
    },
}

/// What a call runs.
pub(super) fn unwrap(call: &Call) -> Unwrapped {
    let name = call.name().to_owned();
    let text = |index: usize| call.words.get(index).map_or("", |word| word.text.as_str());
    // Index of the first word that is no option; `valued` are the options with a value.
    let after = |valued: &[&str]| {
        let mut index = 1;
        while text(index).starts_with('-') {
            index += if valued.contains(&text(index)) { 2 } else { 1 };
        }
        index
    };
    let wrapper = |rest: usize| {
        if rest < call.words.len() {
            Unwrapped::Wrapper {
                name: name.clone(),
                rest,
            }
        } else {
            Unwrapped::Plain
        }
    };
    match name.as_str() {
        "sudo" => wrapper(after(&["-u", "-g", "-h", "-p"])),
        "nohup" | "exec" | "command" | "builtin" | "time" => wrapper(after(&[])),
        "nice" => wrapper(after(&["-n"])),
        "stdbuf" => wrapper(after(&["-o", "-e", "-i"])),
        "watch" => wrapper(after(&["-n", "--interval"])),
        "timeout" => wrapper(after(&["-k", "-s", "--kill-after", "--signal"]) + 1),
        "env" => {
            let mut index = after(&["-u", "-C"]);
            while text(index).contains('=') {
                index += 1;
            }
            wrapper(index)
        }
        "bash" | "sh" | "zsh" | "ash" | "dash" => {
            let script = call.words.iter().position(|word| {
                word.text.starts_with('-')
                    && !word.text.starts_with("--")
                    && word.text.ends_with('c')
            });
            match script.map(|flag| flag + 1) {
                Some(script) if script < call.words.len() => Unwrapped::Shell { script },
                _ => Unwrapped::Plain,
            }
        }
        "kubectl" | "oc" => match Kubectl::of(call) {
            Some(command) if command.verb == "exec" => match (command.args.first(), command.tail) {
                (Some(pod), Some(rest)) => Unwrapped::Pod {
                    pod: (*pod).clone(),
                    rest,
                },
                _ => Unwrapped::Plain,
            },
            _ => Unwrapped::Plain,
        },
        _ => Unwrapped::Plain,
    }
}
