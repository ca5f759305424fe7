//! What checks and diagnoses need of a cluster and of its resource manager: as texts, kept in files for later or in
//! memory for now.
//!
//! # Invariants
//! - Both ways keep the same texts under the same names, so that a check says the same of either.
//! - In memory nothing of the cluster touches a disk: there is nothing to clean up, also when the program is killed.
//! - What could not be read is named in the index, which is the last of the texts.

use std::collections::BTreeMap;
use std::io;

use ferriswheel_actuators::databases::session::chain;
use ferriswheel_actuators::kubernetes::dump::{self, DumpError, Resource, Sink};
use ferriswheel_analysis::manifest::{Reading, Want, manifests_alone};
use ferriswheel_plan::policy::ClusterRef;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::failure::Failure;
use crate::input;

/// A longer list goes on in another text. 32 MiB: a quarter of what `check` reads as one.
const LONGEST: usize = 32 << 20;

/// The index among the texts.
const INDEX: &str = "snapshot.json";

/// Where the texts go.
pub trait Keep {
    /// Keeps a text.
    fn put(&mut self, name: &str, text: Vec<u8>) -> io::Result<()>;

    /// The text does not count any more.
    fn forget(&mut self, name: &str) -> io::Result<()>;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is: objects and their states.
    Check,
    /// What goes on too: events, and who answers for a Service.
    Everything,
}

/// What was gathered.
#[derive(Debug)]
pub struct Gathered {
    /// The index.
    pub index: Value,
    /// Objects by kind.
    pub counts: BTreeMap<String, u64>,
    /// What could not be read, and why.
    pub not_read: BTreeMap<String, String>,
    /// Helm's records that do not decode.
    pub damaged: Vec<String>,
}

/// Reads the cluster, and its resource manager where the cluster is named.
#[expect(clippy::print_stderr, reason = "progress is a note")]
pub async fn gather(
    connection: &Connection,
    managed: Option<&ClusterRef>,
    purpose: Purpose,
    keep: &mut dyn Keep,
    quiet: bool,
) -> Result<Gathered, Failure> {
    let client = connection.kube().await?;
    let (server, resources) = dump::resources(&client)
        .await
        .map_err(|e| Failure::unexpected(&e).fix("see that `kubectl version` answers"))?;
    let mut lists = Lists::new(keep);
    let mut not_read = BTreeMap::new();
    for resource in resources.iter().chain([&dump::helm_records()]) {
        if purpose == Purpose::Check && resource.is_of_the_moment() {
            continue;
        }
        if !quiet {
            eprintln!("reading {}", resource.name());
        }
        match dump::list(&client, resource, &mut lists).await {
            Ok(()) => lists.end(false).map_err(|e| unkept(&e))?,
            Err(DumpError::Sink(e)) => return Err(unkept(&e)),
            Err(DumpError::Request(e)) if matches!(e.status(), Some(403..=405)) => {
                lists.drop_list().map_err(|e| unkept(&e))?;
                let why = std::error::Error::source(&e)
                    .map_or_else(|| e.to_string(), ToString::to_string);
                not_read.insert(resource.name(), why);
            }
            Err(DumpError::Request(e)) => {
                return Err(Failure::unexpected(&e)
                    .fix("run it again: nothing was kept, and nothing was changed"));
            }
        }
    }
    if let Some(cluster) = managed {
        if !quiet {
            eprintln!("reading {} from Azure Resource Manager", cluster.name);
        }
        let arm = connection.arm_of(cluster)?;
        for part in ferriswheel_actuators::azure::dump::parts(&arm).await {
            match part.answer {
                Ok(items) => lists.whole(part.name, &items).map_err(|e| unkept(&e))?,
                Err(e) => {
                    not_read.insert(part.name.to_owned(), chain(&e));
                }
            }
        }
    }
    let (counts, damaged) = (lists.counts, lists.damaged);
    let index = json!({
        "apiVersion": "ferriswheel.dev/v1alpha1",
        "kind": "SnapshotIndex",
        "takenAt": Timestamp::now(),
        "server": server,
        "objects": counts,
        "helmRecordsLeftOut": damaged,
        "notRead": not_read,
    });
    keep.put(INDEX, format!("{index:#}\n").into_bytes())
        .map_err(|e| unkept(&e))?;
    Ok(Gathered {
        index,
        counts,
        not_read,
        damaged,
    })
}

/// Reads the cluster into memory, for a command that is done with it at its end. Says how many texts there were.
pub async fn read(
    connection: &Connection,
    cluster: Option<&ClusterRef>,
    want: Want,
    quiet: bool,
) -> Result<(Reading, usize), Failure> {
    let purpose = if want == Want::Diagnosis {
        Purpose::Everything
    } else {
        Purpose::Check
    };
    let mut memory = Memory::new(want);
    gather(connection, cluster, purpose, &mut memory, quiet).await?;
    Ok(memory.reading())
}

fn unkept(error: &io::Error) -> Failure {
    Failure::input(format!("what was read cannot be kept: {error}"))
        .fix("check the directory, its permissions and the free space")
}

/// Texts in memory: read at once, so that only what was asked for stays.
struct Memory {
    want: Want,
    read: BTreeMap<String, Reading>,
}

impl Memory {
    fn new(want: Want) -> Self {
        Self {
            want,
            read: BTreeMap::new(),
        }
    }

    /// All of it, in the order in which a directory of the same texts is read.
    fn reading(self) -> (Reading, usize) {
        let texts = self.read.len();
        let mut whole = Reading::default();
        for part in self.read.into_values() {
            whole.append(part);
        }
        (whole, texts)
    }
}

impl Keep for Memory {
    fn put(&mut self, name: &str, text: Vec<u8>) -> io::Result<()> {
        let reading = input::text(&format!("<cluster>/{name}"), &text, self.want)?;
        self.read.insert(name.to_owned(), reading);
        Ok(())
    }

    fn forget(&mut self, name: &str) -> io::Result<()> {
        self.read.remove(name);
        Ok(())
    }
}

/// Lists as texts, `deployments.apps.json`; a long one goes on in `deployments.apps.2.json`.
struct Lists<'k> {
    keep: &'k mut dyn Keep,
    name: String,
    kept: Vec<String>,
    text: Vec<u8>,
    objects: u64,
    counts: BTreeMap<String, u64>,
    damaged: Vec<String>,
}

impl<'k> Lists<'k> {
    fn new(keep: &'k mut dyn Keep) -> Self {
        Self {
            keep,
            name: String::new(),
            kept: Vec::new(),
            text: Vec::new(),
            objects: 0,
            counts: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }

    /// A list that is there already.
    fn whole(&mut self, name: &str, items: &[Value]) -> io::Result<()> {
        self.drop_list()?;
        name.clone_into(&mut self.name);
        for item in items {
            self.put(item)?;
        }
        self.end(true)
    }

    /// `empty`: that there are none is worth telling.
    fn end(&mut self, empty: bool) -> io::Result<()> {
        self.close()?;
        if self.objects > 0 || empty {
            self.counts.insert(self.name.clone(), self.objects);
        }
        self.kept.clear();
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        self.text.extend_from_slice(b"\n]}\n");
        let part = match self.kept.len() {
            0 => String::new(),
            n => format!(".{}", n + 1),
        };
        let name = format!("{}{part}.json", self.name);
        self.kept.push(name.clone());
        self.keep.put(&name, std::mem::take(&mut self.text))
    }

    fn drop_list(&mut self) -> io::Result<()> {
        self.text.clear();
        self.objects = 0;
        for name in self.kept.drain(..) {
            self.keep.forget(&name)?;
        }
        Ok(())
    }

    fn put(&mut self, object: &Value) -> io::Result<()> {
        if self.text.len() > LONGEST {
            self.close()?;
        }
        let head: &[u8] = if self.text.is_empty() {
            b"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n"
        } else {
            b",\n"
        };
        self.text.extend_from_slice(head);
        self.text.extend_from_slice(object.to_string().as_bytes());
        self.objects += 1;
        Ok(())
    }
}

impl Sink for Lists<'_> {
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
        let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": "1"}});
        let resource = Resource {
            plural: "pods".to_owned(),
            ..dump::helm_records()
        };
        let mut memory = Memory::new(Want::Names);
        let mut lists = Lists::new(&mut memory);
        lists.begin(&resource).unwrap();
        lists.page(vec![pod("a"), pod("b")]).unwrap();
        // As long as the first part was, it was put away.
        lists.close().unwrap();
        lists.begin(&resource).unwrap();
        lists.page(vec![pod("c")]).unwrap();
        lists
            .page(vec![json!({"kind": "Secret", "data": {"word": "mellon"}})])
            .unwrap();
        lists.end(false).unwrap();
        assert_eq!(lists.counts["pods"], 1);
        let (reading, texts) = memory.reading();
        assert_eq!(texts, 1);
        assert_eq!(reading.skipped, []);
        let names: Vec<&str> = reading.objects.iter().map(|o| &*o.name).collect();
        assert_eq!(names, ["c"]);
        assert_eq!(&*reading.objects[0].file, "<cluster>/pods.json");
    }

    #[test]
    fn that_there_is_nothing_of_a_kind_is_told_where_it_matters() {
        let mut memory = Memory::new(Want::Names);
        let mut lists = Lists::new(&mut memory);
        lists.whole("arm.maintenanceConfigurations", &[]).unwrap();
        assert_eq!(lists.counts["arm.maintenanceConfigurations"], 0);
        assert_eq!(memory.reading().1, 0);
    }
}
