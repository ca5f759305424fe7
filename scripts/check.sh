#!/usr/bin/env bash
# Formatting, lints, policy of dependencies, arrows between crates, generated files.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo xtask check-arrows
cargo xtask errors --check
cargo xtask checks --check
cargo xtask deprecations --check
deny_root="${FERRISWHEEL_CACHE:-$HOME/.cache/ferriswheel}/cargo-deny"
if [ ! -x "$deny_root/bin/cargo-deny" ]; then
  (cd / && cargo install --quiet cargo-deny --version 0.20.2 --locked --root "$deny_root")
fi
# Crates of every platform in deny.toml; what is offline below is the database of advisories.
cargo fetch --quiet --locked
"$deny_root/bin/cargo-deny" --offline --log-level error check bans licenses sources
