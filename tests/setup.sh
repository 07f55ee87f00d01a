#!/usr/bin/env bash
# Installs what rpdrive needs, in this checkout and on this machine. Quick if everything is there already.
#   tests/setup.sh quick   for `make quick`: Python packages only, by pip, into .venv and .tools
#   tests/setup.sh demo    to run rpdrive: its Python packages, and FUSE
#   tests/setup.sh test    to test it: also the programs that the tests run, and Azurite, by npm
#   tests/setup.sh soak   for `make soak`: also QEMU, and what makes and fills the disks of guests
#   tests/setup.sh bench   to run it beside other programs; those that can't be installed are left out
# It says what it is going to install before it starts, and exits with 1 if it can't.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

AZURITE=3.35.0
WINFSPY=0.8.4
goal=${1:-test}
case $goal in quick | demo | test | soak | bench) ;; *) echo "usage: $0 quick|demo|test|soak|bench" >&2; exit 2 ;; esac
guests=no
# Everything that the tests need, and more.
[ "$goal" != soak ] || { guests=yes; goal=test; }

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

library() { # is a shared library of this name installed?
    { /sbin/ldconfig -p 2>/dev/null || ldconfig -p 2>/dev/null || true; } | grep -F -q "$1"
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# --- packages of the system ----------------------------------------------------------------------

wanted=()
want() { wanted+=("$@"); }

PYTHON=${PYTHON:-}
for candidate in $PYTHON python3 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then PYTHON=$candidate; break; fi
    PYTHON=
done
[ -n "$PYTHON" ] || fail "Python 3.11 or newer is needed: install it, or set PYTHON to its path"
[ -x .venv/bin/python ] || "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv

if [ "$(uname -s)" = Linux ] && [ "$goal" != quick ]; then
    library libfuse.so.2 || want libfuse2
    has fusermount || want fuse3
    if [ "$goal" = test ]; then
        has getfattr || want attr
        has getfacl || want acl
        has rsync || want rsync
        has systemd-analyze || want systemd
        has Xvfb || want xvfb
        has xdotool || want xdotool
        has pcmanfm || want pcmanfm
        has dbus-run-session || want dbus-x11
        has import || want imagemagick
        has xprop || want x11-utils
        has mount.exfat-fuse || want exfat-fuse
        has mkfs.exfat || want exfatprogs
        has pg_dump && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || want postgresql
        has sqlite3 || want sqlite3
        has mkfs.btrfs || want btrfs-progs
        has mkfs.xfs || want xfsprogs
        has sfdisk || want fdisk
        has chromium || want chromium
    fi
    if [ $guests = yes ]; then
        has qemu-system-x86_64 || want qemu-system-x86
        has qemu-img || want qemu-utils
        has debootstrap || want debootstrap
        has lvm || want lvm2
        has mdadm || want mdadm
        has cryptsetup || want cryptsetup-bin
        has thin_delta || want thin-provisioning-tools
        has mkfs.vfat || want dosfstools
        has sgdisk || want gdisk
        has parted || want parted
        [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || want ovmf
    fi
fi
if [ "$goal" = test ]; then
    has node || want nodejs
    has npm || want npm
fi

others=() # to compare with; going on without them
if [ "$goal" = bench ]; then
    has restic || others+=(restic)
    has borg || others+=(borgbackup)
    # Borg needs one of these to mount.
    /usr/bin/python3 -c 'import pyfuse3' 2>/dev/null || /usr/bin/python3 -c 'import llfuse' 2>/dev/null ||
        others+=(python3-pyfuse3)
    has squashfuse || others+=(squashfuse)
    has mksquashfs || others+=(squashfs-tools)
fi

# --- what is missing of the rest -----------------------------------------------------------------

# A stamp holds the hash of what the Python packages were installed from. Those for tests include those of the demo.
now=$({ cat pyproject.toml tests/locks/*.txt; pwd; } | sha256sum | cut -d ' ' -f 1)
installed() { [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$now" ]; }

case $goal in quick | test) packages=test ;; *) packages=demo ;; esac
by_pip=() by_npm=()
installed test || { [ "$packages" = demo ] && installed demo; } || by_pip+=("rpdrive and what tests/locks/$packages.txt names into .venv")
if [ "$packages" = test ] && [ ! -e ".tools/winfspy-$WINFSPY/winfspy/plumbing/_bindings.pyd" ]; then
    by_pip+=("winfspy $WINFSPY into .tools")
fi
npm_stamp=.tools/.npm-$(sha256sum tests/locks/azurite/package-lock.json | cut -c 1-16)
if [ "$goal" = test ] && [ ! -e "$npm_stamp" ]; then by_npm+=("azurite@$AZURITE, axe-core and typescript into .tools"); fi

listed() { # WORDS...: joined by commas
    local IFS=,
    echo "${*}" | sed 's/,/, /g'
}
plan=
by_apt=(${wanted[@]+"${wanted[@]}"} ${others[@]+"${others[@]}"})
[ ${#by_apt[@]} = 0 ] || plan+="; by apt: $(listed "${by_apt[@]}")"
[ ${#by_pip[@]} = 0 ] || plan+="; by pip: $(listed "${by_pip[@]}")"
[ ${#by_npm[@]} = 0 ] || plan+="; by npm: $(listed "${by_npm[@]}")"
[ -z "$plan" ] || say "going to install ${plan#; }"

# --- installing ----------------------------------------------------------------------------------

install_packages() { # PACKAGE...: fails after saying what to do
    local how="install these packages of your system: $*" root
    has apt-get || { say "$how"; return 1; }
    if [ "$(id -u)" = 0 ]; then
        root=()
    elif has sudo && sudo -n true 2>/dev/null; then
        root=(sudo -n)
    else
        say "not root, and no sudo without a password; $how"
        say "  as root: apt-get install $*"
        return 1
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || say "apt-get update failed; trying with the lists that are here"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        { say "apt-get could not install them (is there a network?); $how"; return 1; }
}

[ ${#wanted[@]} = 0 ] || install_packages "${wanted[@]}" || exit 1

[ ${#others[@]} = 0 ] || install_packages "${others[@]}" || say "going on without what is missing"
if [ "$(uname -s)" = Linux ] && [ "$goal" != quick ]; then
    [ -e /dev/fuse ] || fail "there is no /dev/fuse: load the kernel module (modprobe fuse); in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
fi

by_hash() { # only the versions in tests/locks, and only files with the hashes there
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes "$@"
}

for what in ${by_pip+"${by_pip[@]}"}; do
    case $what in
    rpdrive*)
        [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv || fail "python3 -m venv failed: install python3-venv"
        # What builds packages comes first: in an environment of its own, pip would fetch it without a hash.
        { by_hash -r tests/locks/build.txt && by_hash --no-build-isolation -r "tests/locks/$packages.txt"; } ||
            fail "pip could not install the packages in tests/locks (it needs PyPI, or PIP_INDEX_URL set to a mirror with the same files)"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ||
            fail "pip could not install rpdrive itself"
        echo "$now" >".venv/.installed-$packages"
        ;;
    winfspy*) # its Windows wheel, unpacked: its Python runs here on the stand-in for WinFsp in tests/kit/winfsp
        by_hash --no-deps --only-binary=:all: --no-compile --platform win_amd64 --python-version 3.11 --upgrade \
            --target ".tools/winfspy-$WINFSPY" -r tests/locks/winfspy.txt ||
            fail "pip could not fetch winfspy $WINFSPY for Windows (it needs PyPI, or PIP_INDEX_URL set to a mirror)"
        ;;
    esac
done

if [ ${#by_npm[@]} != 0 ]; then
    mkdir -p .tools
    cp tests/locks/azurite/package.json tests/locks/azurite/package-lock.json .tools/
    # No scripts of packages run, and each file has the hash in the lock.
    npm ci --prefix .tools --ignore-scripts --no-audit --no-fund --loglevel=error --no-update-notifier >/dev/null ||
        fail "npm could not install azurite@$AZURITE, axe-core and typescript (it needs the npm registry, or npm's registry setting on a mirror)"
    rm -f .tools/.azurite-* .tools/.npm-*
    touch "$npm_stamp"
fi
