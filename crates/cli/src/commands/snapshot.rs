//! `ferriswheel snapshot`: what the checks need of a cluster, as files.
//!
//! The directory appears whole or not at all. What could not be read is named in its index.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Output;
use crate::connect::{Connection, Managed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::gather::{Gathered, Keep, Purpose, gather};
use crate::stdout::{out, outln};

/// Collect what the checks need from a cluster into a directory, for `check --from`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel snapshot --out dump/
  ferriswheel snapshot --out dump/ --cluster SUBSCRIPTION/production-rg/aks-prod
  ferriswheel check --from dump/ --target 1.36

Reads only, with the rights of examples/snapshot/rbac.yaml. Of Secrets it reads Helm's release records alone and keeps
their manifests without values. Plain text in ConfigMaps and in the environment of containers is in the files: treat
the directory as you treat the cluster.")]
pub struct SnapshotArgs {
    /// Directory to make; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    managed: Managed,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out `snapshot`.
pub async fn run(args: SnapshotArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let out = &args.out;
    if out.exists() {
        return Err(Failure::input(format!("{} exists already", out.display()))
            .fix("name a directory that is not there: a snapshot is never mixed with another"));
    }
    let cluster = args.managed.cluster(&args.connection)?;
    let mut partial = Partial::beside(out)?;
    let gathered = gather(
        &args.connection,
        cluster.as_ref(),
        Purpose::Everything,
        &mut partial,
        quiet,
    )
    .await?;
    fs::rename(&partial.path, out).map_err(|e| unwritable(out, &e))?;
    match output {
        Output::Json => outln!("{}", gathered.index),
        Output::Text => out!("{}", words(out, &gathered)),
    }
    Ok(Exit::Done)
}

fn words(out: &Path, gathered: &Gathered) -> String {
    let objects: u64 = gathered.counts.values().sum();
    let mut text = format!(
        "{objects} objects of {} kinds are in {}\n",
        gathered.counts.len(),
        out.display()
    );
    for (name, why) in &gathered.not_read {
        text.push_str(&format!("not read: {name}: {why}\n"));
    }
    for why in &gathered.damaged {
        text.push_str(&format!("left out: {why}\n"));
    }
    text
}

fn unwritable(out: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{} cannot be written: {error}", out.display()))
        .fix("check the directory above it, its permissions and the free space")
}

/// The directory in the making; gone again unless it was renamed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(out: &Path) -> Result<Self, Failure> {
        let name = out.file_name().map(|name| name.to_string_lossy());
        let name = name.ok_or_else(|| {
            Failure::input(format!("{} names no directory", out.display())).fix("say --out dump")
        })?;
        let partial = format!(".{name}.{}.partial", std::process::id());
        let path = out.with_file_name(partial);
        // For nobody else: there may be passwords in the environment of containers.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| unwritable(out, &e))?;
        Ok(Self { path })
    }

    fn named(&self, name: &str, error: &io::Error) -> io::Error {
        let path = self.path.join(name);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    }
}

impl Keep for Partial {
    fn put(&mut self, name: &str, text: Vec<u8>) -> io::Result<()> {
        fs::write(self.path.join(name), text).map_err(|e| self.named(name, &e))
    }

    fn forget(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name)).map_err(|e| self.named(name, &e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed is gone.
        let _ = fs::remove_dir_all(&self.path);
    }
}
