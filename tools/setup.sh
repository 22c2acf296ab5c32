# Sourced by ./demo and ./check: whatever they need on a bare Debian, made here.  POSIX sh.
#
# Packages are tested for by command and installed only when missing: as root, or through sudo
# where it works without a question.  Otherwise those that cannot be done without end the script
# by name, and the others are named.  The virtual environment is .venv, keyed by its lock file's
# hash.  Set TULLE_PYTHON to choose an interpreter.

say() { printf 'tulle: %s\n' "$*" >&2; }

fail() { # one line, and the exit code for "could not do it"
    say "$*"
    exit 2
}

have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# need COMMAND=PACKAGE ...: without these nothing works.
need() {
    missing=$(missing_packages "$@")
    [ -z "$missing" ] && return
    install_packages $missing || fail "$missing: not installed: run 'apt-get install $missing' as root"
    missing=$(missing_packages "$@")
    [ -z "$missing" ] || fail "$missing: installed, and still not found: is /usr/sbin or /usr/bin unreadable?"
}

# want COMMAND=PACKAGE ...: without these something is left out, which is said.
want() {
    missing=$(missing_packages "$@")
    [ -z "$missing" ] && return
    install_packages $missing || say "$missing: not installed: what needs it is left out ('apt-get install $missing' brings it)"
}

missing_packages() {
    for pair in "$@"; do
        is_there "${pair%%=*}" || printf '%s\n' "${pair#*=}" | tr ',' '\n'
    done | sort -u | tr '\n' ' ' | sed 's/ $//'
}

is_there() {
    case $1 in
        python-venv) python_with_venv >/dev/null ;;
        static-libc) [ -n "$(find /usr/lib* -name libc.a 2>/dev/null | head -n 1)" ] ;;
        chromium-chinese) [ -e /usr/lib/chromium/locales/zh-CN.pak ] ;;
        chinese-font) [ -n "$(find /usr/share/fonts -iname 'wqy*' -o -iname '*cjk*' 2>/dev/null | head -n 1)" ] ;;
        ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
        *) have "$1" ;;
    esac
}

install_packages() {
    have apt-get || return 1
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
    say "installing $*"
    log=$(mktemp)
    if ! { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# An interpreter that is new enough and can make an environment.  The distribution's comes first: it is built with
# profile-guided optimisation, which those that people build beside it mostly are not, and runs a third faster.
python_with_venv() {
    for candidate in ${TULLE_PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# environment LOCK: .venv with exactly what LOCK pins, and tulle from this tree.
environment() {
    lock=$1
    key=$(sha256sum "$lock" | cut -d ' ' -f 1)
    built=$(cat pyproject.toml hatch_build.py csrc/* 2>/dev/null | sha256sum | cut -d ' ' -f 1)
    if [ ! -x .venv/bin/python ] || ! grep -qsxF "$key" .venv/locks; then
        say "making the Python environment from $lock"
        if [ ! -x .venv/bin/python ] || ! grep -qs . .venv/locks; then
            rm -rf .venv
            "$(python_with_venv)" -m venv .venv || fail ".venv: cannot be made here"
        fi
        .venv/bin/python -m pip install -q --no-input --disable-pip-version-check --require-hashes -r "$lock" ||
            fail "$lock: cannot be installed: is a Python package index reachable?"
        printf '%s\n' "$key" >>.venv/locks
        rm -f .venv/built
    fi
    if ! grep -qsxF "$built" .venv/built; then
        say "building tulle"
        .venv/bin/python -m pip install -q --no-input --disable-pip-version-check --no-deps --no-build-isolation -e . ||
            fail "tulle: cannot be built from this tree"
        printf '%s\n' "$built" >.venv/built
    fi
    PATH="$PWD/.venv/bin:$PATH:/usr/sbin:/sbin"
    export PATH
}

cd "$(dirname "$0")" || exit 2
umask 022
[ "$(uname -s)" = Linux ] || fail "$(uname -s): network namespaces are Linux's: run this on a Linux machine"
need python-venv=python3,python3-venv ca-certificates=ca-certificates ip=iproute2 nft=nftables
want cc=gcc static-libc=libc6-dev musl-gcc=musl-tools
