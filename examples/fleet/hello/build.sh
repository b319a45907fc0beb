#!/bin/sh
# Makes the static program `hello` beside its source; the same source gives the same bytes.
set -eu
cd "$(dirname "$0")"
rustc --edition 2021 -C opt-level=2 -C strip=symbols -C target-feature=+crt-static -o hello hello.rs
