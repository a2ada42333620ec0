#!/usr/bin/env bash
# UniFFI 0.32.2: a method of a foreign trait that has the name of a Swift keyword is quoted for Swift, with
# backticks, in the C header that goes with the Swift code as well. No C compiler takes that header.
#
# The same name on an object's method, or on a trait that Rust alone implements, does no harm: it is the table
# of callbacks that has each method as a field. `open` is a word that a tunnel, a file or a door is likely to
# use, and Kotlin and Python have nothing against it, so that it is Swift's build, days later, that fails.
#
# Expected output: see the end.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p src
cat >Cargo.toml <<'EOF'
[package]
name = "door"
version = "0.1.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]

[[bin]]
name = "bindgen"
path = "src/bindgen.rs"

[dependencies]
async-trait = "=0.1.92"
uniffi = { version = "=0.32.2", features = ["cli"] }
EOF
cat >src/bindgen.rs <<'EOF'
fn main() {
    uniffi::uniffi_bindgen_main()
}
EOF
cat >src/lib.rs <<'EOF'
uniffi::setup_scaffolding!("door");

#[derive(Debug, uniffi::Error)]
pub enum Stuck {
    Stuck,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stuck")
    }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for Stuck {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Stuck
    }
}

#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait Door: Send + Sync {
    async fn open(&self) -> Result<(), Stuck>;
    async fn shut(&self) -> Result<(), Stuck>;
}
EOF
export CARGO_TARGET_DIR="$folder/target"
cargo build --quiet
cargo run --quiet --bin bindgen -- generate --no-format --language swift --out-dir out \
    target/debug/libdoor.so

echo "fields of the callbacks' table:"
grep -o '_Nonnull [`a-z]*;' out/*.h | sed 's/.*_Nonnull //' | grep -E 'open|shut' | sort
# What clang knows by itself and gcc does not.
if printf '#define _Nonnull\n#define _Nullable\n#include "%s"\n' "$(ls out/*.h)" |
    LC_ALL=C cc -fsyntax-only -I out -x c - 2>errors; then
    verdict="a C compiler takes the header"
else
    verdict="a C compiler refuses the header: $(grep -c "error: stray" errors) stray characters"
fi
echo "$verdict"

# fields of the callbacks' table:
# `open`;
# shut;
# a C compiler refuses the header: 2 stray characters
grep -q '`open`;' out/*.h
case $verdict in *refuses*) ;; *) exit 1 ;; esac
