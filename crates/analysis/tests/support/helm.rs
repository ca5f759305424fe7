//! Release records as Helm writes them.

#![expect(clippy::expect_used, reason = "a buffer in memory takes everything")]

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    zip.write_all(bytes).expect("memory takes all");
    zip.finish().expect("memory takes all")
}

/// A Secret with one revision of `prod/NAME`.
pub fn secret(name: &str, revision: u32, status: &str, manifest: &str) -> String {
    let record = serde_json::json!({
        "name": name, "namespace": "prod", "version": revision,
        "info": { "status": status }, "manifest": manifest,
        "chart": { "values": { "password": "hush" } },
    });
    let inner = BASE64_STANDARD.encode(gzip(record.to_string().as_bytes()));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: sh.helm.release.v1.{name}.v{revision}\n\
         type: helm.sh/release.v1\ndata:\n  release: {}\n",
        BASE64_STANDARD.encode(inner)
    )
}
