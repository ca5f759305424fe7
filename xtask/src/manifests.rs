//! Manifests to measure with: what a large repository of an ordinary company looks like.
//!
//! A file is one application: a Deployment, its Service, a database of its own (StatefulSet), its
//! settings (ConfigMap) and its budget. Three of a hundred documents are in a version that went.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Files.
pub const FILES: usize = 2_000;
/// Documents in them.
pub const DOCUMENTS: usize = 10_000;
/// Bytes of all documents together.
const TOTAL: usize = 10 << 20;
/// Teams, a namespace and a directory each.
const TEAMS: usize = 40;

/// Documents of a hundred that are old.
const OLD: [usize; 3] = [7, 48, 89];

/// How many old documents there are.
pub fn old() -> usize {
    DOCUMENTS / 100 * OLD.len()
}

/// Writes them; the same bytes every time.
pub fn write(directory: &Path) -> Result<()> {
    let per_file = DOCUMENTS / FILES;
    for file in 0..FILES {
        let team = directory.join(format!("team-{:02}", file % TEAMS));
        fs::create_dir_all(&team)?;
        let mut text = String::new();
        for i in 0..per_file {
            if i > 0 {
                text.push_str("---\n");
            }
            let number = file * per_file + i;
            let app = App {
                name: format!("app-{file}"),
                team: format!("team-{:02}", file % TEAMS),
            };
            if OLD.contains(&(number % 100)) {
                app.old(&mut text, number / 50);
            } else {
                match i {
                    0 => app.deployment(&mut text),
                    1 => app.service(&mut text),
                    2 => app.database(&mut text),
                    3 => app.settings(&mut text, TOTAL / FILES),
                    _ => app.budget(&mut text),
                }
            }
        }
        let path = team.join(format!("app-{file:04}.yaml"));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

struct App {
    name: String,
    team: String,
}

impl App {
    fn head(&self, text: &mut String, api: &str, kind: &str, end: &str) {
        let _ = write!(
            text,
            "apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}{end}\n  namespace: {team}\n  labels:\n    \
             app.kubernetes.io/name: {name}\n    app.kubernetes.io/part-of: \"shop\"\n",
            name = self.name,
            team = self.team
        );
    }

    fn pods(&self, text: &mut String, end: &str, image: &str, port: u16) {
        let _ = write!(
            text,
            "spec:\n  replicas: 3\n  selector:\n    matchLabels:\n      app: {name}{end}\n  template:\n    metadata:\n      labels:\n        \
             app: {name}{end}\n    spec:\n      terminationGracePeriodSeconds: 60\n      containers:\n      - name: main\n        \
             image: {image}\n        args: [\"--listen=:{port}\", \"--log=json\"]\n        env:\n        - name: DATABASE_PASSWORD\n          \
             valueFrom:\n            secretKeyRef:\n              name: database\n              key: password\n        - name: MODE\n          \
             value: \"production\"\n        ports:\n        - containerPort: {port}\n          name: main\n        readinessProbe:\n          \
             tcpSocket:\n            port: main\n          periodSeconds: 5\n        resources:\n          requests:\n            cpu: 250m\n            \
             memory: 256Mi\n          limits:\n            memory: 256Mi\n",
            name = self.name
        );
    }

    fn deployment(&self, text: &mut String) {
        self.head(text, "apps/v1", "Deployment", "");
        self.pods(text, "", "registry.example.test/shop/web:4.2", 8080);
    }

    fn database(&self, text: &mut String) {
        self.head(text, "apps/v1", "StatefulSet", "-db");
        self.pods(text, "-db", "postgres:16", 5432);
        text.push_str(
            "  volumeClaimTemplates:\n  - metadata:\n      name: data\n    spec:\n      accessModes: [ReadWriteOnce]\n      resources:\n        \
             requests:\n          storage: 10Gi\n",
        );
    }

    fn service(&self, text: &mut String) {
        self.head(text, "v1", "Service", "");
        let _ = write!(
            text,
            "spec:\n  type: ClusterIP\n  selector:\n    app: {}\n  ports:\n  - name: http\n    port: 80\n    targetPort: main\n",
            self.name
        );
    }

    /// What is missing to the average size of a file.
    fn settings(&self, text: &mut String, size: usize) {
        self.head(text, "v1", "ConfigMap", "");
        let _ = write!(
            text,
            "data:\n  application.properties: |\n    spring.datasource.url=jdbc:postgresql://{name}-db/{name}?socketTimeout=30\n    \
             spring.datasource.hikari.max-lifetime=1800000\n",
            name = self.name
        );
        let wanted = size.saturating_sub(text.len() + 270);
        for line in 0..wanted / 59 {
            let _ = writeln!(
                text,
                "    feature.{line:03}.of.{:<10} = {:026}",
                self.name,
                line * 7919
            );
        }
    }

    fn budget(&self, text: &mut String) {
        self.head(text, "policy/v1", "PodDisruptionBudget", "");
        let _ = write!(
            text,
            "spec:\n  maxUnavailable: 1\n  selector:\n    matchLabels:\n      app: {}\n",
            self.name
        );
    }

    fn old(&self, text: &mut String, which: usize) {
        let name = &self.name;
        match which % 6 {
            0 => {
                self.head(text, "policy/v1beta1", "PodDisruptionBudget", "-old");
                let _ = write!(
                    text,
                    "spec:\n  minAvailable: 1\n  selector:\n    matchLabels:\n      app: {name}-old\n"
                );
            }
            1 => {
                self.head(
                    text,
                    "autoscaling/v2beta2",
                    "HorizontalPodAutoscaler",
                    "-old",
                );
                let _ = write!(
                    text,
                    "spec:\n  maxReplicas: 9\n  minReplicas: 3\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: {name}\n  \
                     metrics:\n  - type: Resource\n    resource:\n      name: cpu\n      target:\n        type: Utilization\n        averageUtilization: 60\n"
                );
            }
            2 => {
                self.head(text, "batch/v1beta1", "CronJob", "-old");
                text.push_str(
                    "spec:\n  schedule: \"0 3 * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          \
                     containers:\n          - name: main\n            image: registry.example.test/shop/report:1\n",
                );
            }
            3 => {
                self.head(text, "networking.k8s.io/v1beta1", "Ingress", "-old");
                let _ = write!(
                    text,
                    "spec:\n  rules:\n  - host: {name}.example.test\n    http:\n      paths:\n      - path: /\n        backend:\n          serviceName: {name}\n          servicePort: 80\n"
                );
            }
            4 => {
                self.head(text, "extensions/v1beta1", "Deployment", "-old");
                self.pods(text, "-old", "registry.example.test/shop/old:1", 8080);
            }
            _ => {
                self.head(
                    text,
                    "flowcontrol.apiserver.k8s.io/v1beta2",
                    "FlowSchema",
                    "-old",
                );
                text.push_str(
                    "spec:\n  matchingPrecedence: 1000\n  priorityLevelConfiguration:\n    name: workload-low\n",
                );
            }
        }
    }
}
