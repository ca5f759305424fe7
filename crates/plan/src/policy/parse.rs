//! Reads a spec, and says of a mistake where it is and what was probably meant.

use serde_saphyr::Error;

use super::{KafkaSpec, PERCENTAGES, PostgresSpec, SYSTEMS, Strategy, Tls, TlsMode, Upgrade};
use crate::codes;
use crate::diagnostic::{Diagnostic, Place};

/// Version of the document that this program reads.
pub const API_VERSION: &str = "ferriswheel.dev/v1alpha1";
/// Kind of the document that this program reads.
pub const KIND: &str = "Upgrade";

/// Reads a spec. `file_name` is for the diagnostics only.
///
/// # Errors
/// One diagnostic for the first mistake of form (the rest of the text cannot be judged then), or
/// all mistakes of content at once. Each has its line and column where the text has one.
pub fn parse(file_name: &str, text: &str) -> Result<Upgrade, Vec<Diagnostic>> {
    let upgrade: Upgrade =
        serde_saphyr::from_str(text).map_err(|e| vec![explain(file_name, text, &e)])?;
    let problems = content(file_name, text, &upgrade);
    if problems.is_empty() {
        Ok(upgrade)
    } else {
        Err(problems)
    }
}

fn explain(file_name: &str, text: &str, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    let place = error.location().and_then(|location| {
        Some(Place {
            line: usize::try_from(location.line()).ok().filter(|n| *n > 0)?,
            column: usize::try_from(location.column()).ok()?.max(1),
        })
    });
    let diagnostic = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown(file_name, "field", field, expected),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown(file_name, "choice", variant, expected),
        Error::SerdeMissingField { field, .. } => Diagnostic::new(
            codes::SPEC_VALUE,
            file_name,
            format!("`{field}` is missing"),
        )
        .fix(format!("add `{field}:` here")),
        other => {
            // The last line of a YAML error's text repeats the place, which has its own field.
            let message = other.to_string();
            let message = message.lines().next().unwrap_or_default().trim().to_owned();
            if message.contains(SYSTEMS) {
                return Diagnostic::new(codes::SPEC_VALUE, file_name, message)
                    .fix("say once what it is, for example `redis: { statefulSet: db/redis }`")
                    .at(place);
            }
            if message.contains(PERCENTAGES) {
                return Diagnostic::new(codes::SPEC_VALUE, file_name, message)
                    .fix("choose a number from 0 to 100")
                    .at(place);
            }
            Diagnostic::new(codes::SPEC_SYNTAX, file_name, message)
                .fix("correct the value; `docs/patterns/postgres.md` shows a complete spec")
        }
    };
    match place.and_then(|place| Some((place, text.lines().nth(place.line - 1)?))) {
        Some((_, line)) => diagnostic.seen(line.trim_end()).at(place),
        None => diagnostic.at(place),
    }
}

fn unknown(file_name: &str, what: &str, found: &str, known: &[&'static str]) -> Diagnostic {
    let diagnostic = Diagnostic::new(
        codes::SPEC_FIELD,
        file_name,
        format!("unknown {what} `{found}`"),
    );
    diagnostic.fix(match nearest(found, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    })
}

/// The known name that was probably meant.
///
/// 0.75: `poller` finds `poolers` and `statefulset` finds `statefulSet`, while unrelated names of
/// the same length stay below 0.7.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    known
        .iter()
        .map(|name| {
            let score = strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase());
            (score, *name)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn content(file_name: &str, text: &str, upgrade: &Upgrade) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if upgrade.api_version != API_VERSION || upgrade.kind != KIND {
        problems.push(
            Diagnostic::new(
                codes::SPEC_KIND,
                file_name,
                format!("this is a `{}` of `{}`", upgrade.kind, upgrade.api_version),
            )
            .fix(format!(
                "write `apiVersion: {API_VERSION}` and `kind: {KIND}`"
            ))
            .at(place_of(
                text,
                if upgrade.kind == KIND {
                    "apiVersion"
                } else {
                    "kind"
                },
            )),
        );
    }
    if upgrade.metadata.name.trim().is_empty() {
        problems.push(
            Diagnostic::new(codes::SPEC_VALUE, file_name, "`metadata.name` is empty")
                .fix("give the run a name")
                .at(place_of(text, "name")),
        );
    }
    problems.extend(databases(file_name, text, upgrade));
    problems.extend(strategy(file_name, text, upgrade));
    problems
}

fn strategy(file_name: &str, text: &str, upgrade: &Upgrade) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let wrong = |what: &str| Diagnostic::new(codes::SPEC_VALUE, file_name, what);
    match (&upgrade.spec.strategy, &upgrade.spec.target) {
        (Strategy::FerrisWheel(_), None) => problems.push(
            wrong("`target` is missing")
                .fix("say where the pools shall be: `target: { kubernetesVersion: \"1.36.3\" }`, or choose `strategy: { handOver: {} }` to move the primary only")
                .at(place_of(text, "spec")),
        ),
        (Strategy::HandOver(_), Some(_)) => problems.push(
            wrong("a hand-over alone touches no machine and has no target")
                .fix("remove `target`, or choose `strategy: { ferrisWheel: {} }`")
                .at(place_of(text, "target")),
        ),
        _ => {}
    }
    if let Strategy::HandOver(hand_over) = &upgrade.spec.strategy
        && hand_over.to.is_some()
        && upgrade.spec.databases.len() > 1
    {
        problems.push(
            wrong("`to` names one pod, the spec several databases")
                .fix("write one spec for each database, or leave `to` out")
                .at(place_of(text, "to")),
        );
    }
    // An hour: longer is a mistake of units, and each member would wait that long.
    let soak_seconds = upgrade.spec.strategy.soak_seconds();
    if soak_seconds > 3_600 {
        problems.push(
            Diagnostic::new(
                codes::SPEC_VALUE,
                file_name,
                format!("`soakSeconds` is {soak_seconds} s"),
            )
            .fix("choose at most 3600")
            .at(place_of(text, "soakSeconds")),
        );
    }
    problems
}

fn databases(file_name: &str, text: &str, upgrade: &Upgrade) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let specs = &upgrade.spec.databases;
    if specs.is_empty() {
        problems.push(
            Diagnostic::new(codes::SPEC_VALUE, file_name, "`databases` is empty")
                .fix("name the database that lives on the pool")
                .at(place_of(text, "databases")),
        );
    }
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index].iter().any(|other| other.name == spec.name) {
            problems.push(
                Diagnostic::new(
                    codes::SPEC_VALUE,
                    file_name,
                    format!("two databases have the name `{}`", spec.name),
                )
                .fix("give each its own name"),
            );
        }
        let set = spec.stateful_set();
        if specs[..index]
            .iter()
            .any(|other| other.stateful_set() == set)
        {
            problems.push(
                Diagnostic::new(
                    codes::SPEC_VALUE,
                    file_name,
                    format!("two databases name the set `{set}`"),
                )
                .fix("name each set once"),
            );
        }
        if let Some(postgres) = spec.postgres() {
            problems.extend(self::postgres(file_name, text, postgres));
        }
        let of_redis = spec.redis().and_then(|redis| redis.tls.as_ref());
        let of_mongodb = spec.mongodb().and_then(|mongodb| mongodb.tls.as_ref());
        let of_mariadb = spec.mariadb().and_then(|mariadb| mariadb.tls.as_ref());
        if let Some(tls) = of_redis.or(of_mongodb).or(of_mariadb) {
            problems.extend(secured(file_name, text, "tls", tls));
            problems.extend(decided(file_name, text, tls));
        }
        if let Some(kafka) = spec.kafka() {
            problems.extend(self::kafka(file_name, text, kafka));
        }
    }
    problems
}

/// A mode that verifies has something to verify with.
fn secured(file_name: &str, text: &str, field: &str, tls: &Tls) -> Option<Diagnostic> {
    let missing = match tls.mode {
        mode if mode.verifies() && tls.ca.is_none() => "ca",
        TlsMode::VerifyFull if tls.server_name.is_none() => "serverName",
        _ => return None,
    };
    Some(
        Diagnostic::new(
            codes::SPEC_VALUE,
            file_name,
            format!("`{field}` has the mode {} and no `{missing}`", tls.mode),
        )
        .fix(match missing {
            "ca" => "name the Secret that has the authority's certificate under `ca.crt`",
            _ => {
                "say what name the certificates have, for example `$(POD).pg.db.svc.cluster.local`"
            }
        })
        .at(place_of(text, field)),
    )
}

/// Whether these sessions are encrypted is the spec's to say.
fn decided(file_name: &str, text: &str, tls: &Tls) -> Option<Diagnostic> {
    (tls.mode == TlsMode::Prefer).then(|| {
        Diagnostic::new(
            codes::SPEC_VALUE,
            file_name,
            "`tls` has the mode prefer, and sessions with this system are encrypted or they are not",
        )
        .fix("write `mode: require`, `verify-ca` or `verify-full`; leave `tls` out for plain text")
        .at(place_of(text, "tls"))
    })
}

fn postgres(file_name: &str, text: &str, spec: &PostgresSpec) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let sessions = [("tls", &spec.tls), ("poolerTls", &spec.pooler_tls)];
    for (field, tls) in sessions {
        let tls = tls.as_ref();
        problems.extend(tls.and_then(|tls| secured(file_name, text, field, tls)));
    }
    if spec.pause >= spec.window {
        problems.push(
            Diagnostic::new(
                codes::SPEC_VALUE,
                file_name,
                format!(
                    "`pause` ({}) leaves nothing of `window` ({})",
                    spec.pause, spec.window
                ),
            )
            .fix("keep `pause` below `window`")
            .at(place_of(text, "pause")),
        );
    }
    problems
}

fn kafka(file_name: &str, text: &str, spec: &KafkaSpec) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if spec.pace > KafkaSpec::LONGEST_PACE {
        problems.push(
            Diagnostic::new(
                codes::SPEC_VALUE,
                file_name,
                format!("`pace` is {}", spec.pace),
            )
            .fix("choose at most 1m: one leadership is moved in each span of this length")
            .at(place_of(text, "pace")),
        );
    }
    if !spec.names_a_topic() {
        problems.push(
            Diagnostic::new(
                codes::SPEC_VALUE,
                file_name,
                format!("no topic's name can begin with `{}`", spec.topic),
            )
            .fix(format!(
                "use letters, digits, `.`, `_` and `-`, {} characters at most",
                KafkaSpec::LONGEST_TOPIC
            ))
            .at(place_of(text, "topic")),
        );
    }
    problems
}

/// Where a key first stands. Good enough for keys that a spec has once.
fn place_of(text: &str, key: &str) -> Option<Place> {
    text.lines().enumerate().find_map(|(index, line)| {
        let start = line.find(key)?;
        let alone = !line[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
        (alone && line[start + key.len()..].starts_with(':')).then_some(Place {
            line: index + 1,
            column: start + 1,
        })
    })
}
