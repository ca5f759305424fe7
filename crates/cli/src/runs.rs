//! Runs on disk: one directory a plan, named by its id.

use std::path::{Path, PathBuf};

use clap::Args;
use ferriswheel_engine::journal::sqlite::SqliteJournal;
use ferriswheel_engine::journal::{Journal, ReadError};
use ferriswheel_engine::record::Record;
use ferriswheel_engine::state::State;
use ferriswheel_engine::status::{Status, status};
use ferriswheel_plan::plan::Plan;

use crate::exit::Exit;
use crate::failure::Failure;

/// Where runs are kept.
#[derive(Clone, Debug, Args)]
pub struct RunsDir {
    /// Directory of all runs [default: ~/.local/state/ferriswheel/runs]
    #[arg(long, value_name = "DIR", env = "FERRISWHEEL_RUNS")]
    runs: Option<PathBuf>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory.
    pub directory: PathBuf,
}

impl RunsDir {
    fn root(&self) -> PathBuf {
        self.runs.clone().unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
                .join(".local/state/ferriswheel/runs")
        })
    }

    /// The run of a plan, made if it is not there.
    pub fn create(&self, plan: &Plan) -> Result<Run, Failure> {
        let directory = self.root().join(plan.id.as_str());
        let failed = |e: std::io::Error| {
            Failure::input(format!("{} cannot be written: {e}", directory.display()))
                .fix("choose another directory with --runs DIR")
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let run = Run { directory };
        if !run.plan_file().exists() {
            let bytes = serde_json::to_vec_pretty(plan).map_err(|e| Failure::unexpected(&e))?;
            std::fs::write(run.plan_file(), bytes).map_err(|e| {
                Failure::input(format!(
                    "{} cannot be written: {e}",
                    run.plan_file().display()
                ))
            })?;
        }
        Ok(run)
    }

    /// A run by its id or the beginning of it; without one, the latest.
    pub fn find(&self, id: Option<&str>) -> Result<Run, Failure> {
        let root = self.root();
        let mut found: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(&root)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                id.is_none_or(|id| name.starts_with(id))
            })
            .filter_map(|entry| {
                let touched = entry
                    .path()
                    .join("journal.db")
                    .metadata()
                    .ok()?
                    .modified()
                    .ok()?;
                Some((touched, entry.path()))
            })
            .collect();
        found.sort();
        if let (Some(id), true) = (id, found.len() > 1) {
            return Err(
                Failure::input(format!("{} runs begin with {id}", found.len()))
                    .fix("write more of the id"),
            );
        }
        let (_, directory) = found.pop().ok_or_else(|| {
            Failure::input(format!(
                "no run{} in {}",
                id.map(|id| format!(" {id}")).unwrap_or_default(),
                root.display()
            ))
            .fix("start one: ferriswheel apply PLAN")
        })?;
        Ok(Run { directory })
    }
}

impl Run {
    /// The plan as it was approved.
    pub fn plan_file(&self) -> PathBuf {
        self.directory.join("plan.json")
    }

    /// The journal.
    pub fn journal_file(&self) -> PathBuf {
        self.directory.join("journal.db")
    }

    /// The world before the first act.
    pub fn before_file(&self) -> PathBuf {
        self.directory.join("before.json")
    }

    /// The plan.
    pub fn plan(&self) -> Result<Plan, Failure> {
        read_plan(&self.plan_file())
    }

    /// The journal, checked.
    pub fn journal(&self) -> Result<SqliteJournal, Failure> {
        SqliteJournal::open(&self.journal_file()).map_err(|e| damaged(&self.journal_file(), &e))
    }

    /// Where the run stands.
    pub fn status(&self, plan: &Plan) -> Result<Status, Failure> {
        let (records, _) = self.records()?;
        status(plan, &records).map_err(|e| Failure::unexpected(&e))
    }

    /// Every record and what they mean.
    pub fn records(&self) -> Result<(Vec<Record>, State), Failure> {
        let records = self
            .journal()?
            .after(0)
            .map_err(|e| damaged(&self.journal_file(), &e))?;
        let state = State::replay(&records).map_err(|e| {
            Failure::one(Exit::Refused, "FW0402", e.to_string())
                .fix("keep the file for analysis; make a new plan from the world as it is")
        })?;
        Ok((records, state))
    }
}

fn damaged(path: &Path, error: &ReadError) -> Failure {
    let code = match error {
        ReadError::Damaged { .. } => "FW0402",
        ReadError::TooNew { .. } => "FW0403",
        ReadError::Store(_) => "FW0404",
    };
    let mut failure = Failure::one(Exit::Refused, code, error.to_string())
        .evidence(format!("journal {}", path.display()));
    if let Some(source) = std::error::Error::source(error) {
        failure = failure.evidence(source.to_string());
    }
    failure.fix("keep the file for analysis; make a new plan from the world as it is")
}

/// Reads a plan file and refuses an edited one.
pub fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let bytes = std::fs::read(path).map_err(|e| {
        Failure::input(format!("{} cannot be read: {e}", path.display()))
            .fix("make one: ferriswheel plan SPEC --out FILE")
    })?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::input(format!("{} is not a plan: {e}", path.display()))
            .fix("make one: ferriswheel plan SPEC --out FILE")
    })?;
    match plan.is_intact() {
        Ok(true) => Ok(plan),
        _ => Err(Failure::one(
            Exit::Refused,
            "FW0405",
            format!("{} was changed after it was made", path.display()),
        )
        .evidence(format!(
            "its id {} is not the digest of its content",
            plan.id
        ))
        .fix("plans are immutable: change the spec and plan again")),
    }
}
