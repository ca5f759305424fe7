//! Manifests to measure with: what a large repository of an ordinary company looks like.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FILES: usize = 2_000;
const DOCUMENTS: usize = 10_000;
/// Bytes of all documents together.
const TOTAL: usize = 10 << 20;

/// Kinds with a version that went, for three of each hundred documents.
const OLD: [(&str, &str); 6] = [
    ("policy/v1beta1", "PodDisruptionBudget"),
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler"),
    ("batch/v1beta1", "CronJob"),
    ("networking.k8s.io/v1beta1", "Ingress"),
    ("extensions/v1beta1", "Deployment"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "FlowSchema"),
];

/// Writes them; the same bytes every time.
pub fn write(directory: &Path) -> Result<()> {
    let per_file = DOCUMENTS / FILES;
    for file in 0..FILES {
        let team = directory.join(format!("team-{:02}", file % 40));
        fs::create_dir_all(&team)?;
        let mut text = String::new();
        for i in 0..per_file {
            if i > 0 {
                text.push_str("---\n");
            }
            let number = file * per_file + i;
            let start = text.len();
            document(&mut text, number);
            // A ConfigMap takes what is missing to the average size.
            if number % 5 == 3 {
                let wanted =
                    (TOTAL / DOCUMENTS * per_file).saturating_sub(text.len() - start + 2_700);
                for line in 0..wanted / 60 {
                    let _ = writeln!(
                        text,
                        "    setting.{line:03}.of.application-{number} = {:026}",
                        line * number
                    );
                }
            }
        }
        let path = team.join(format!("app-{file:04}.yaml"));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn document(text: &mut String, n: usize) {
    // 100 documents hold three old ones.
    if n % 100 == 7 || n % 100 == 47 || n % 100 == 87 {
        let (api, kind) = OLD[(n / 40) % OLD.len()];
        let _ = write!(
            text,
            "apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: old-{n}\n  namespace: team\nspec:\n  minAvailable: 1\n  selector:\n    matchLabels:\n      app: web-{n}\n"
        );
        return;
    }
    let (api, kind) = match n % 5 {
        0 => ("apps/v1", "Deployment"),
        1 => ("v1", "Service"),
        2 => ("apps/v1", "StatefulSet"),
        3 => ("v1", "ConfigMap"),
        _ => ("policy/v1", "PodDisruptionBudget"),
    };
    let _ = write!(
        text,
        "apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: web-{n}\n  namespace: team\n  labels:\n    app.kubernetes.io/name: web\n    app.kubernetes.io/instance: \"web-{n}\"\n"
    );
    match kind {
        "Service" => text.push_str("spec:\n  type: ClusterIP\n  selector:\n    app: web\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n"),
        "ConfigMap" => text.push_str("data:\n  application.properties: |\n"),
        "PodDisruptionBudget" => text.push_str("spec:\n  maxUnavailable: 1\n  selector:\n    matchLabels:\n      app: web\n"),
        _ => {
            let _ = write!(
                text,
                "spec:\n  replicas: 3\n  selector:\n    matchLabels:\n      app: web\n  template:\n    metadata:\n      labels:\n        app: web\n    spec:\n      terminationGracePeriodSeconds: 60\n      containers:\n      - name: web\n        image: registry.example.test/team/web:{n}\n        args: [\"--listen=:8080\", \"--log=json\"]\n        env:\n        - name: DATABASE_URL\n          valueFrom:\n            secretKeyRef:\n              name: database\n              key: url\n        - name: MODE\n          value: \"production\"\n        ports:\n        - containerPort: 8080\n          name: http\n        readinessProbe:\n          httpGet:\n            path: /ready\n            port: http\n          periodSeconds: 5\n        resources:\n          requests:\n            cpu: 250m\n            memory: 256Mi\n          limits:\n            memory: 256Mi\n"
            );
            if kind == "StatefulSet" {
                text.push_str("  volumeClaimTemplates:\n  - metadata:\n      name: data\n    spec:\n      accessModes: [ReadWriteOnce]\n      resources:\n        requests:\n          storage: 10Gi\n");
            }
        }
    }
}
