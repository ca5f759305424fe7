//! libpq connection strings (`primary_conninfo`): parsed, edited, quoted.

use std::fmt::Write as _;

/// A parsed connection string. Holds secrets, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnInfo(Vec<(String, String)>);

/// The string is not a keyword/value connection string.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection string is malformed near character {at}")]
pub struct Malformed {
    /// Offset in characters.
    pub at: usize,
}

impl ConnInfo {
    /// Parses `keyword = value` pairs with libpq's quoting rules.
    ///
    /// # Source
    /// libpq, "Keyword/Value Connection Strings": values in single quotes, `\'` and `\\` escaped.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let chars: Vec<char> = text.chars().collect();
        let mut pairs = Vec::new();
        let mut at = 0;
        let skip_space = |at: &mut usize| {
            while chars.get(*at).is_some_and(|c| c.is_whitespace()) {
                *at += 1;
            }
        };
        loop {
            skip_space(&mut at);
            if at >= chars.len() {
                return Ok(Self(pairs));
            }
            let start = at;
            while chars
                .get(at)
                .is_some_and(|c| *c != '=' && !c.is_whitespace())
            {
                at += 1;
            }
            let key: String = chars[start..at].iter().collect();
            skip_space(&mut at);
            if key.is_empty() || chars.get(at) != Some(&'=') {
                return Err(Malformed { at });
            }
            at += 1;
            skip_space(&mut at);
            let mut value = String::new();
            if chars.get(at) == Some(&'\'') {
                at += 1;
                loop {
                    match chars.get(at) {
                        None => return Err(Malformed { at }),
                        Some('\'') => {
                            at += 1;
                            break;
                        }
                        Some('\\') => {
                            at += 1;
                            value.push(*chars.get(at).ok_or(Malformed { at })?);
                            at += 1;
                        }
                        Some(c) => {
                            value.push(*c);
                            at += 1;
                        }
                    }
                }
            } else {
                while let Some(c) = chars.get(at).filter(|c| !c.is_whitespace()) {
                    if *c == '\\' {
                        at += 1;
                        value.push(*chars.get(at).ok_or(Malformed { at })?);
                    } else {
                        value.push(*c);
                    }
                    at += 1;
                }
            }
            pairs.push((key, value));
        }
    }

    /// Value of a keyword; the last one wins, as in libpq.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a keyword.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_owned(), value.into()));
    }

    /// Removes a keyword.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The string for the server, every value quoted.
    pub fn to_conninfo(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            // Writing into a String cannot fail.
            let _ = write!(text, "{key}='{quoted}'");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_quoting() {
        let mut info =
            ConnInfo::parse(r"user=replicator password='it\'s \\ secret' host = pg-0.pg")
                .ok()
                .unwrap();
        assert_eq!(info.get("password"), Some(r"it's \ secret"));
        info.set("host", "pg-1.pg");
        let again = ConnInfo::parse(&info.to_conninfo()).ok().unwrap();
        assert_eq!(again.get("host"), Some("pg-1.pg"));
        assert_eq!(again.get("password"), Some(r"it's \ secret"));
        assert_eq!(again.get("user"), Some("replicator"));
    }

    #[test]
    fn unclosed_quote_is_malformed() {
        assert!(ConnInfo::parse("host='x").is_err());
        assert!(ConnInfo::parse("host").is_err());
    }
}
