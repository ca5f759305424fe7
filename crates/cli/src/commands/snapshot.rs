//! `ferriswheel snapshot`: what the checks need of a cluster, as files.
//!
//! The directory appears whole or not at all. What could not be read is named in its index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use ferriswheel_actuators::kubernetes::dump::{self, DumpError, Resource, Sink};
use ferriswheel_analysis::manifest::manifests_alone;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Output;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stdout::{out, outln};

/// Collect what the checks need from a cluster into a directory, for `check --from`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel snapshot --out dump/
  ferriswheel check --from dump/ --target 1.36

Reads only, with the rights of examples/snapshot/rbac.yaml. Of Secrets it reads Helm's release records alone and keeps
their manifests without values. Plain text in ConfigMaps and in the environment of containers is in the files: treat
the directory as you treat the cluster.")]
pub struct SnapshotArgs {
    /// Directory to make; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Largest file that is written; a longer list goes on in the next. 32 MiB: a quarter of what
/// `check` reads as one.
const FILE: u64 = 32 << 20;

/// The index among the files.
const INDEX: &str = "snapshot.json";

/// Carries out `snapshot`.
#[expect(clippy::print_stderr, reason = "progress is a note")]
pub async fn run(args: SnapshotArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let out = &args.out;
    if out.exists() {
        return Err(Failure::input(format!("{} exists already", out.display()))
            .fix("name a directory that is not there: a snapshot is never mixed with another"));
    }
    let client = args.connection.kube().await?;
    let partial = Partial::beside(out)?;
    let (server, resources) = dump::resources(&client)
        .await
        .map_err(|e| Failure::unexpected(&e).fix("see that `kubectl version` answers"))?;
    let mut sink = Files::new(&partial.path);
    let mut refused = BTreeMap::new();
    for resource in resources.iter().chain([&dump::helm_records()]) {
        if !quiet {
            eprintln!("reading {}", resource.name());
        }
        match dump::list(&client, resource, &mut sink).await {
            Ok(()) => sink.end().map_err(|e| unwritable(out, &e))?,
            Err(DumpError::Sink(e)) => return Err(unwritable(out, &e)),
            Err(DumpError::Request(e)) if matches!(e.status(), Some(403..=405)) => {
                sink.drop_list().map_err(|e| unwritable(out, &e))?;
                let why = std::error::Error::source(&e)
                    .map_or_else(|| e.to_string(), ToString::to_string);
                refused.insert(resource.name(), why);
            }
            Err(DumpError::Request(e)) => {
                return Err(Failure::unexpected(&e)
                    .fix("run it again: nothing was kept, and nothing was changed"));
            }
        }
    }
    let index = json!({
        "apiVersion": "ferriswheel.dev/v1alpha1",
        "kind": "SnapshotIndex",
        "takenAt": Timestamp::now(),
        "server": server,
        "objects": sink.counts,
        "helmRecordsLeftOut": sink.damaged,
        "notRead": refused,
    });
    fs::write(partial.path.join(INDEX), format!("{index:#}\n"))
        .and_then(|()| fs::rename(&partial.path, out))
        .map_err(|e| unwritable(out, &e))?;
    match output {
        Output::Json => outln!("{index}"),
        Output::Text => out!("{}", words(out, &sink, &refused)),
    }
    Ok(Exit::Done)
}

fn words(out: &Path, sink: &Files, refused: &BTreeMap<String, String>) -> String {
    let objects: u64 = sink.counts.values().sum();
    let mut text = format!(
        "{objects} objects of {} kinds are in {}\n",
        sink.counts.len(),
        out.display()
    );
    for (name, why) in refused {
        text.push_str(&format!("not read: {name}: {why}\n"));
    }
    for why in &sink.damaged {
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
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed is gone.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Lists as files, `deployments.apps.json`; a long one goes on in `deployments.apps.2.json`.
struct Files {
    directory: PathBuf,
    name: String,
    written: Vec<PathBuf>,
    file: Option<(BufWriter<File>, u64)>,
    objects: u64,
    counts: BTreeMap<String, u64>,
    damaged: Vec<String>,
}

impl Files {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            name: String::new(),
            written: Vec::new(),
            file: None,
            objects: 0,
            counts: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.close()?;
        if self.objects > 0 {
            self.counts.insert(self.name.clone(), self.objects);
        }
        self.written.clear();
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some((mut file, _)) = self.file.take() {
            file.write_all(b"\n]}\n")?;
            file.flush()?;
        }
        Ok(())
    }

    fn drop_list(&mut self) -> io::Result<()> {
        self.file = None;
        self.objects = 0;
        for path in self.written.drain(..) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn put(&mut self, object: &Value) -> io::Result<()> {
        let text = object.to_string();
        if self.file.as_ref().is_some_and(|(_, size)| *size > FILE) {
            self.close()?;
        }
        if let Some((file, size)) = self.file.as_mut() {
            write!(file, ",\n{text}")?;
            *size += text.len() as u64;
        } else {
            let part = match self.written.len() {
                0 => String::new(),
                n => format!(".{}", n + 1),
            };
            let path = self.directory.join(format!("{}{part}.json", self.name));
            let mut file = BufWriter::new(File::create(&path)?);
            self.written.push(path);
            write!(
                file,
                "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n{text}"
            )?;
            self.file = Some((file, text.len() as u64));
        }
        self.objects += 1;
        Ok(())
    }
}

impl Sink for Files {
    type Error = io::Error;

    fn begin(&mut self, resource: &Resource) -> io::Result<()> {
        self.drop_list()?;
        self.name = resource.name();
        Ok(())
    }

    fn page(&mut self, objects: Vec<Value>) -> io::Result<()> {
        for object in objects {
            match manifests_alone(&object) {
                Some(Ok(record)) => self.put(&record)?,
                Some(Err(why)) => self.damaged.push(why),
                // A Secret that is no record was not asked for, whatever the server says.
                None if object["kind"] == "Secret" => {}
                None => self.put(&object)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_begins_anew_leaves_nothing_of_its_first_start() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path());
        let pods =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let resource = Resource {
            plural: "pods".to_owned(),
            ..dump::helm_records()
        };
        files.begin(&resource).unwrap();
        files.page(vec![pods("a"), pods("b")]).unwrap();
        files.begin(&resource).unwrap();
        files.page(vec![pods("c")]).unwrap();
        files
            .page(vec![json!({"kind": "Secret", "data": {"word": "mellon"}})])
            .unwrap();
        files.end().unwrap();
        let text = fs::read_to_string(directory.path().join("pods.json")).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{text}");
        assert_eq!(list["items"][0]["metadata"]["name"], "c");
        assert_eq!(files.counts["pods"], 1);
    }
}
