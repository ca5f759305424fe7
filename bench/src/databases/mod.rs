//! How the leaders of a database move, measured for one system after the other, each in a sandbox of its own.
//!
//! A round: the database is whole; the writers go; the act; writes are back; the database is whole again; every write
//! is looked up. What is special to a system is in its module, see [`system`].
//!
//! # Invariants
//! - Every round that was begun is in the results, also one that failed.
//! - What a method leaves behind is put right before the next round and not during one.

mod example;
mod kafka;
mod mariadb;
mod memcached;
mod mongodb;
mod redis;
mod report;
mod results;
mod runner;
mod system;
mod window;

use jiff::Timestamp;

use self::results::{Results, Round};
use self::runner::Runner;
use self::system::{Facts, Method};
use crate::error::Result;
use crate::machine::{self, Machine};
use crate::sandbox::Sandbox;
use crate::{Places, store};

/// What a person asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Systems; all by default
    #[arg(long, value_delimiter = ',', value_parser = known_system)]
    systems: Vec<&'static Facts>,
    /// Methods, each with its own number of rounds if wanted: redis/ferriswheel:30,redis/page
    #[arg(long, value_delimiter = ',', value_parser = known_method)]
    methods: Vec<Wanted>,
    /// Rounds of each method that names none [default: 10, and 3 where a round takes minutes]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    #[command(flatten)]
    places: Places,
}

/// A method of a system, and for how many rounds.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    system: &'static str,
    method: &'static Method,
    rounds: Option<u32>,
}

fn known_system(text: &str) -> Result<&'static Facts, String> {
    let keys: Vec<&str> = system::ALL.iter().map(|facts| facts.key).collect();
    system::ALL
        .into_iter()
        .find(|facts| facts.key == text)
        .ok_or_else(|| format!("choose from {}", keys.join(", ")))
}

fn known_method(text: &str) -> Result<Wanted, String> {
    let (path, rounds) = match text.split_once(':') {
        Some((path, rounds)) => {
            let number = rounds.parse().ok().filter(|number| *number > 0);
            let number = number.ok_or_else(|| format!("{rounds:?} is no number of rounds"))?;
            (path, Some(number))
        }
        None => (text, None),
    };
    let (system, key) = path
        .split_once('/')
        .ok_or_else(|| "write it as SYSTEM/METHOD[:ROUNDS]".to_owned())?;
    let facts = known_system(system)?;
    let keys: Vec<&str> = facts.methods.iter().map(|method| method.key).collect();
    facts
        .methods
        .iter()
        .find(|method| method.key == key)
        .map(|method| Wanted {
            system: facts.key,
            method,
            rounds,
        })
        .ok_or_else(|| format!("choose from {}", keys.join(", ")))
}

impl Arguments {
    /// What is to be run of a system: everything of the systems that are named, or of all; or the methods alone.
    fn cycle(&self, facts: &'static Facts) -> Vec<(&'static Method, u32)> {
        let rounds =
            |method: &Method, own: Option<u32>| own.or(self.rounds).unwrap_or(method.rounds);
        if !self.methods.is_empty() {
            let of = self.methods.iter().filter(|w| w.system == facts.key);
            return of
                .map(|wanted| (wanted.method, rounds(wanted.method, wanted.rounds)))
                .collect();
        }
        let named = self.systems.iter().any(|named| named.key == facts.key);
        if !self.systems.is_empty() && !named {
            return Vec::new();
        }
        facts
            .methods
            .iter()
            .map(|method| (method, rounds(method, None)))
            .collect()
    }
}

/// Measures what was asked for.
///
/// # Errors
/// A sandbox or a database does not come up. A round that fails is a result.
pub async fn bench(arguments: &Arguments) -> Result<()> {
    for facts in system::ALL {
        let wanted = arguments.cycle(facts);
        if !wanted.is_empty() {
            measure(&arguments.places, facts, &wanted).await?;
        }
    }
    Ok(())
}

async fn measure(
    places: &Places,
    facts: &'static Facts,
    wanted: &[(&'static Method, u32)],
) -> Result<()> {
    let places = places.find()?;
    let load = machine::load();
    tracing::info!("{}: the sandbox", facts.title);
    let sandbox = Sandbox::up(&places.ferriswheel, facts.pools).await?;
    let mut runner = Runner::up(sandbox, facts, &places.repository).await?;
    let mut results = Results {
        schema: results::SCHEMA.to_owned(),
        system: facts.key.to_owned(),
        server: runner.server().await?,
        machine: Machine::here(&places.repository, &places.ferriswheel, String::new(), load).await,
        rounds: Vec::new(),
    };
    let date = results.machine.started.strftime("%Y-%m-%d");
    let name = format!("{}-{date}.json", facts.key);
    let raw = places.directory.join(&name);
    for (method, number) in order(wanted) {
        if runner.is_spent_for(method) {
            tracing::info!("{}: another sandbox", facts.title);
            drop(runner);
            let sandbox = Sandbox::up(&places.ferriswheel, facts.pools).await?;
            runner = Runner::up(sandbox, facts, &places.repository).await?;
        }
        let round = runner.round(method, number).await;
        tell(&round);
        results.rounds.push(round);
        results.machine.finished = Timestamp::now();
        // After every round, so that a run that is cut short leaves what it has.
        store(&raw, &results)?;
    }
    drop(runner);
    let section = report::section(&results, facts, &format!("benchmarks/{name}"));
    places.show(&format!("bench-{}", facts.key), &section)?;
    tracing::info!("raw data: {}", raw.display());
    Ok(())
}

/// Rounds of the methods take turns; one with fewer rounds has them spread over the whole run.
fn order(wanted: &[(&'static Method, u32)]) -> Vec<(&'static Method, u32)> {
    let cycles = wanted.iter().map(|(_, rounds)| *rounds).max().unwrap_or(0);
    let mut order = Vec::new();
    for cycle in 1..=cycles {
        for (method, rounds) in wanted {
            // How many are due by the end of this cycle, if none is to be left at the end of the last.
            let number = cycle * rounds / cycles;
            if number > (cycle - 1) * rounds / cycles {
                order.push((*method, number));
            }
        }
    }
    order
}

fn tell(round: &Round) {
    let measured = round.certificate.clone().unwrap_or_default();
    let gaps: Vec<String> = measured
        .shards
        .values()
        .map(|share| format!("{:.0}", share.longest_ack_gap_ms.unwrap_or(f64::NAN)))
        .collect();
    let failure = round.failure.as_ref().map_or_else(String::new, |failure| {
        format!(" FAILED ({:?}): {}", failure.stage, failure.detail)
    });
    let cache = measured.cache.as_ref().map_or_else(String::new, |cache| {
        format!(
            ", worst second {:.1} % (bound {:.1} %), {} old values",
            cache.lowest.unwrap_or(f64::NAN),
            cache.bound,
            cache.wrong_values
        )
    });
    tracing::info!(
        "{} {}: gaps {} ms, {} errors, lost {:?}{cache}, act {:.1} s, whole after {:.1} s, round {:.1} s{failure}",
        round.method,
        round.number,
        gaps.join(" "),
        measured.errors,
        measured.acked_lost,
        round.act_s.unwrap_or(f64::NAN),
        round.whole_s.unwrap_or(f64::NAN),
        round.took_s,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_rounds_are_spread_over_the_run() {
        let all = |key| known_method(key).unwrap().method;
        let (a, b) = (all("redis/ferriswheel"), all("redis/page"));
        let order = order(&[(a, 4), (b, 2)]);
        let keys: Vec<_> = order.iter().map(|(m, n)| (m.key, *n)).collect();
        assert_eq!(
            keys,
            [
                ("ferriswheel", 1),
                ("ferriswheel", 2),
                ("page", 1),
                ("ferriswheel", 3),
                ("ferriswheel", 4),
                ("page", 2)
            ]
        );
    }

    #[test]
    fn methods_are_written_with_their_system() {
        assert_eq!(known_method("redis/page:2").unwrap().rounds, Some(2));
        assert!(known_method("redis/pag").unwrap_err().contains("page"));
        assert!(known_method("redis/page:0").is_err());
        assert!(known_method("page").unwrap_err().contains("SYSTEM/METHOD"));
    }
}
