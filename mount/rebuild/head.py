"""The fixed part of a rebuild script: options, and the functions that the phases call. No value is in it."""

USAGE = r"""
usage() {
    cat >&2 <<'EOF'
usage: sh SCRIPT --yes [--from PHASE] [--to PHASE]
       sh SCRIPT --release

It erases the disks that its head names. Read it first; change it where this machine differs.
    1  partitions                        5  restore the files
    2  arrays, LUKS, volume groups       6  adapt files that name devices
    3  file systems                      7  initramfs and boot loader
    4  mounts                            8  checks
After a failure, mend its cause and go on with --from PHASE: each phase can run again. Phases 1 to 3 erase.
--release unmounts and closes everything, e.g. before the reboot.
TARGET=DIR in the environment changes where the new system is mounted (/mnt/rebuild).
EOF
    exit 2
}
"""

FUNCTIONS = r"""
say() { printf '%s\n' "rebuild: $*" >&2; }
die() { say "$*"; exit 1; }

quiet() { # COMMAND...: its output only if it fails
    if ! told=$("$@" 2>&1); then
        printf '%s\n' "$told" >&2
        return 1
    fi
}

settle() { # wait until udev has seen new devices
    if command -v udevadm >/dev/null; then udevadm settle --timeout=60; fi
}

need() { # TOOL...: all of them have to be there
    missing=
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing="$missing $tool"
    done
    [ -z "$missing" ] || die "these tools are missing here, install them first:$missing"
}

same_device() { # A B: two names of one device
    [ "$(readlink -f "$1")" = "$(readlink -f "$2")" ]
}

may_erase() { # DISK BYTES ID: is it still the disk that the plan saw?
    [ "$(blockdev --getsize64 "$1")" = "$2" ] || die "$1 has another size than when this was written: another disk?"
    [ -z "$(lsblk -n -r -o MOUNTPOINT "$1" | tr -d ' \n')" ] || die "$1 is in use: something on it is mounted"
    if [ "$wipe" = yes ] || [ -z "$(wipefs --noheadings "$1")" ]; then return; fi
    # What an earlier run of this script made has the identifier of the old table, or of what is on the whole disk.
    table=$(sfdisk --disk-id "$1" 2>/dev/null | tr A-Z a-z)
    whole=$(blkid -p -o value -s UUID "$1" || true)
    if [ -z "$3" ] || { [ "$table" != "$3" ] && [ "$whole" != "$3" ]; }; then
        die "$1 is not empty: make the plan again with --wipe to erase it"
    fi
}

wipe() { # DISK: forget what is on it and in its partitions
    for part in $(lsblk -n -r -p -o NAME,TYPE "$1" | sed -n 's/ part$//p'); do wipefs --quiet --all "$part"; done
    wipefs --quiet --all "$1"
    settle
}

ask() { # QUESTION: read a line without showing it
    printf 'rebuild: %s: ' "$1" >&2
    if [ -t 0 ]; then stty -echo; fi
    IFS= read -r answer || true
    if [ -t 0 ]; then stty echo; printf '\n' >&2; fi
    [ -n "$answer" ] || die "no passphrase was typed"
}

ask_twice() { # QUESTION
    ask "$1"
    before=$answer
    ask "the same again"
    [ "$answer" = "$before" ] || die "the two differ"
}

open_luks() { # DEVICE NAME
    if [ ! -e "/dev/mapper/$2" ]; then
        ask "passphrase for $1"
        printf '%s' "$answer" | cryptsetup open --key-file=- "$1" "$2"
    fi
}

close_luks() { # DEVICE NAME
    if [ -e "/dev/mapper/$2" ]; then
        same_device "$(cryptsetup status "$2" | sed -n 's/^ *device: *//p')" "$1" ||
            die "/dev/mapper/$2 belongs to another device of this machine: close it first"
        cryptsetup close "$2"
    fi
}

close_array() { # DEVICE UUID
    if [ -e "$1" ]; then
        if [ -n "$2" ] && ! mdadm --detail "$1" | grep -q -i -F -e "$2"; then
            die "$1 is another array of this machine: stop it first"
        fi
        mdadm --quiet --stop "$1"
    fi
}

close_group() { # GROUP DEVICE...
    if vgs "$1" >/dev/null 2>&1; then
        group=$1
        shift
        for on in $(pvs --noheadings -o pv_name -S "vg_name=\"$group\""); do
            found=no
            for device in "$@"; do
                if same_device "$on" "$device"; then found=yes; fi
            done
            [ $found = yes ] || die "this machine has a volume group $group on $on: rename it, or detach its disk"
        done
        quiet vgchange --activate=n "$group"
    fi
}

mount_one() { # DEVICE PLACE TYPE [OPTION]
    if ! mountpoint -q "$2"; then
        mkdir -p "$2"
        mount -t "$3" ${4:+-o "$4"} "$1" "$2"
    fi
}

restored() { # WHAT CODE: 3 means that some files could not be restored, which rpdrive has listed
    case $2 in
    0) ;;
    3) say "$1: some files could not be restored, see above" ;;
    *) die "$1 could not be restored" ;;
    esac
}

keep() { # FILE: a copy, before its first change
    if [ -e "$1" ] && [ ! -e "$1.before-rebuild" ]; then cp -p "$1" "$1.before-rebuild"; fi
}

replace_field() { # FILE FIELD OLD NEW: in lines whose field is OLD
    if [ -f "$1" ] && grep -q -F -e "$3" "$1"; then
        keep "$1"
        NUMBER=$2 OLD=$3 NEW=$4 awk '
            !/^[ \t]*#/ && $ENVIRON["NUMBER"] == ENVIRON["OLD"] { $ENVIRON["NUMBER"] = ENVIRON["NEW"] }
            { print }
        ' "$1" >"$1.new"
        cat "$1.new" >"$1"
        rm "$1.new"
        say "$1: $3 is now $4"
    fi
}

replace_text() { # FILE OLD NEW: wherever OLD is a whole word
    if [ -f "$1" ] && grep -q -F -e "$2" "$1"; then
        keep "$1"
        OLD=$2 NEW=$3 awk '{
            rest = $0; done = ""; old = ENVIRON["OLD"]
            while ((at = index(rest, old)) > 0) {
                after = substr(rest, at + length(old), 1)
                done = done substr(rest, 1, at - 1) (after ~ /[A-Za-z0-9_.-]/ ? old : ENVIRON["NEW"])
                rest = substr(rest, at + length(old))
            }
            print done rest
        }' "$1" >"$1.new"
        cat "$1.new" >"$1"
        rm "$1.new"
        say "$1: $2 is now $3"
    fi
}

rename_device() { # OLD NEW: in the files that name devices
    replace_field "$target/etc/fstab" 1 "$1" "$2"
    replace_field "$target/etc/crypttab" 2 "$1" "$2"
    for file in /etc/default/grub /etc/kernel/cmdline /etc/initramfs-tools/conf.d/resume; do
        replace_text "$target$file" "$1" "$2"
    done
}

put_aside() { # FILE...
    for file in "$@"; do
        if [ -e "$target$file" ]; then mv "$target$file" "$target$file.before-rebuild"; fi
    done
}

enter() { # what a boot loader's installation needs to see
    for name in proc sys dev run; do
        mkdir -p "$target/$name"
        if ! mountpoint -q "$target/$name"; then
            mount --rbind "/$name" "$target/$name"
            mount --make-rslave "$target/$name"
        fi
    done
}

inside() { # COMMAND...: run in the new system
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$target" "$@"
}

has_inside() { # COMMAND
    inside /bin/sh -c 'command -v "$1" >/dev/null' sh "$1"
}

expect() { # WHAT FOUND WANTED
    if [ "$2" = "$3" ]; then
        say "good: $1"
    else
        say "WRONG: $1: '$2', not '$3'"
        wrong=$((wrong + 1))
    fi
}
"""

MAIN = r"""
first=1 last=8
go=no
while [ $# -gt 0 ]; do
    case $1 in
    --yes) go=yes ;;
    --from) [ $# -gt 1 ] || usage; first=$2; shift ;;
    --to) [ $# -gt 1 ] || usage; last=$2; shift ;;
    --release) go=release ;;
    *) usage ;;
    esac
    shift
done
case $first$last in [1-8][1-8]) ;; *) usage ;; esac
[ "$go" != no ] || usage
[ "$(id -u)" = 0 ] || die "this needs root"
trap 'if [ -t 0 ]; then stty echo; fi' EXIT
if [ "$go" = release ]; then
    release
    exit 0
fi
tools
case $first in [123]) check_disks ;; esac
phase=$first
while [ "$phase" -le "$last" ]; do
    say "phase $phase: $(title "$phase")"
    case $phase in [3-8]) open_layers ;; esac
    case $phase in 5 | 6 | 7 | 8) mount_all ;; esac
    "phase_$phase"
    phase=$((phase + 1))
done
say "done"
"""
