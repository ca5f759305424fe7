//! Settings out of ConfigMaps and environments: keys with values, and where each value stands in its
//! text, so that a fix can change it and leave the rest alone.

use std::ops::Range;

use serde_json::Value;

use super::scene::Scene;
use super::values::{escape, list, text};
use crate::manifest::Object;

/// A text that holds settings.
pub(crate) struct Source<'a> {
    pub object: &'a Object,
    pub body: &'a Value,
    /// Path of the text in the object.
    pub path: String,
    /// For people: `application.properties`, `env DATABASE_URL of web`.
    pub name: String,
    pub text: &'a str,
    /// The one key of an environment's variable.
    variable: Option<&'a str>,
}

/// One of them.
pub(crate) struct Setting<'a> {
    /// As written, with the keys above it.
    pub key: String,
    /// In small letters, without `-` and `_`.
    pub plain: String,
    pub value: &'a str,
    pub at: Range<usize>,
}

/// Longer texts are files of another kind: certificates, dashboards, scripts.
const MAX_TEXT: usize = 256 << 10;

/// All texts of ConfigMaps and environments.
pub(crate) fn sources<'a>(scene: &Scene<'a>) -> Vec<Source<'a>> {
    let mut found = Vec::new();
    for (object, body) in scene.kind("ConfigMap") {
        let data = body.pointer("/data").and_then(Value::as_object);
        for (key, value) in data.into_iter().flatten() {
            let Some(content) = value.as_str().filter(|content| content.len() <= MAX_TEXT) else {
                continue;
            };
            let single = !content.trim().contains('\n') && is_key(key) && !is_file(key);
            found.push(Source {
                object,
                body,
                path: format!("/data/{}", escape(key)),
                name: key.clone(),
                text: content,
                variable: single.then_some(key.as_str()),
            });
        }
    }
    for workload in &scene.workloads {
        for (path, container) in workload.containers() {
            let owner = text(container, "/name").unwrap_or("?");
            for (i, variable) in list(container, "/env").iter().enumerate() {
                if let (Some(name), Some(content)) =
                    (text(variable, "/name"), text(variable, "/value"))
                {
                    found.push(Source {
                        object: workload.object,
                        body: workload.body,
                        path: format!("{path}/env/{i}/value"),
                        name: format!("env {name} of {owner}"),
                        text: content,
                        variable: Some(name),
                    });
                }
            }
        }
    }
    found
}

fn is_file(key: &str) -> bool {
    [
        ".properties",
        ".yaml",
        ".yml",
        ".ini",
        ".conf",
        ".env",
        ".json",
        ".toml",
        ".cfg",
    ]
    .iter()
    .any(|end| key.ends_with(end))
}

impl<'a> Source<'a> {
    /// The settings of the text: `key=value`, `key: value` with the keys above it by indentation, and
    /// lines of JSON. Anything else is no setting.
    pub(crate) fn settings(&self) -> Vec<Setting<'a>> {
        if let Some(name) = self.variable {
            return vec![setting(name.to_owned(), self.text, 0..self.text.len())];
        }
        let mut found = Vec::new();
        let mut above: Vec<(usize, &str)> = Vec::new();
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            let at = start;
            start += line.len();
            let trimmed = line.trim();
            if trimmed.is_empty()
                || trimmed.starts_with(['#', ';', '[', '{', '}', '<'])
                || trimmed.starts_with("//")
            {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            let assign = trimmed.find('=');
            let colon = trimmed.find(':');
            let (split, nested) = match (assign, colon) {
                (Some(a), Some(c)) if a < c => (a, false),
                (Some(a), None) => (a, false),
                (_, Some(c)) => (c, true),
                (None, None) => continue,
            };
            let key = trimmed.get(..split).unwrap_or_default().trim();
            let key = key
                .trim_start_matches("- ")
                .trim_start_matches("export ")
                .trim_matches(['"', '\'']);
            if !is_key(key) {
                continue;
            }
            let rest = trimmed.get(split + 1..).unwrap_or_default();
            let value = rest.trim().trim_end_matches(',').trim_matches(['"', '\'']);
            let offset = indent + split + 1 + rest.find(value).unwrap_or(0);
            let mut full = String::new();
            if nested {
                while above.last().is_some_and(|(column, _)| *column >= indent) {
                    above.pop();
                }
                for (_, part) in &above {
                    full.push_str(part);
                    full.push('.');
                }
                if value.is_empty() {
                    above.push((indent, key));
                    continue;
                }
            }
            full.push_str(key);
            let from = at + offset;
            if let Some(value) = self.text.get(from..from + value.len()) {
                found.push(setting(full, value, from..from + value.len()));
            }
        }
        found
    }
}

fn setting(key: String, value: &str, at: Range<usize>) -> Setting<'_> {
    let mut plain = String::with_capacity(key.len());
    plain.extend(
        key.chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_lowercase()),
    );
    Setting {
        key,
        plain,
        value,
        at,
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Want, read};

    #[test]
    fn settings_of_many_forms() {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  JDBC: jdbc:postgresql://a/b\n  app.yaml: |\n    spring:\n      datasource:\n        url: \"jdbc:postgresql://h/d\"\n      kafka:\n        acks: 1\n  a.properties: |\n    # none\n    x.y=z w\n";
        let reading = read("a.yaml", map.as_bytes(), Want::Bodies);
        let scene = Scene::of(&reading.objects);
        let all: Vec<(String, String)> = sources(&scene)
            .iter()
            .flat_map(|source| {
                source.settings().into_iter().map(|s| {
                    assert_eq!(&source.text[s.at.clone()], s.value);
                    (s.key, s.value.to_owned())
                })
            })
            .collect();
        let expected = [
            ("JDBC", "jdbc:postgresql://a/b"),
            ("x.y", "z w"),
            ("spring.datasource.url", "jdbc:postgresql://h/d"),
            ("spring.kafka.acks", "1"),
        ];
        let mut all: Vec<(&str, &str)> =
            all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.sort_by_key(|(key, _)| expected.iter().position(|(known, _)| known == key));
        assert_eq!(all, expected);
    }
}
