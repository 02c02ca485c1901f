# What building and testing need from the machine. Sourced by tools/test and tools/quickstart; installs only what is
# missing, quietly, and says exactly what to do where it cannot.
# shellcheck shell=bash

# The folder for build output: never inside the clone, so that warm runs are quick.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-/var/tmp/tidegate-target}"
# Test programs from crates.io are installed here.
export TIDEGATE_TOOLS="${TIDEGATE_TOOLS:-/var/tmp/tidegate-tools}"
export PATH="$TIDEGATE_TOOLS/bin:$PATH"

say() { printf '%s\n' "$*" >&2; }

# need_packages PACKAGE=PROBE...: installs the Debian packages whose probe (a file, or a command) is missing.
need_packages() {
  local missing=() item package probe
  for item in "$@"; do
    package=${item%%=*} probe=${item#*=}
    if [ "${probe#/}" != "$probe" ]; then compgen -G "$probe" >/dev/null || missing+=("$package")
    else command -v "$probe" >/dev/null || missing+=("$package"); fi
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "Missing Debian packages: ${missing[*]}"
    say "Install them with: sudo apt-get install ${missing[*]}"
    return 1
  fi
  say "installing ${missing[*]}"
  local log; log=$(mktemp)
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    say "apt-get could not install: ${missing[*]}"
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# need_crate NAME VERSION: installs a program from crates.io unless that version is there.
need_crate() {
  [ -x "$TIDEGATE_TOOLS/bin/$1" ] && grep -qs "\"$1 $2 " "$TIDEGATE_TOOLS/.crates2.json" && return 0
  say "installing $1 $2 from crates.io"
  local log; log=$(mktemp)
  if ! CARGO_TARGET_DIR="$TIDEGATE_TOOLS/build" cargo install --quiet --locked --root "$TIDEGATE_TOOLS" "$1@$2" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    say "cargo could not install $1 $2"
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

need_rust() {
  command -v cargo >/dev/null && return 0
  say "Rust is missing: install it from https://rustup.rs (1.95 or newer), then run this again."
  return 1
}

# To build: bindings of RocksDB are made with libclang, its C++ with a compiler.
need_build() {
  need_rust && need_packages "libclang-dev=/usr/lib/llvm-*/lib/libclang.so" "g++=g++" "make=make" "pkg-config=pkg-config" "cmake=cmake"
}

# To mount: the FUSE device, and root or fusermount3.
need_fuse() {
  if [ ! -e /dev/fuse ]; then
    if [ "$(id -u)" -eq 0 ] && modprobe fuse 2>/dev/null && [ -e /dev/fuse ]; then return 0; fi
    say "/dev/fuse is missing: load the kernel module with: sudo modprobe fuse (in a container: run it with --device /dev/fuse --cap-add SYS_ADMIN)"
    return 1
  fi
  if [ "$(id -u)" -ne 0 ]; then need_packages "fuse3=fusermount3"; fi
}
