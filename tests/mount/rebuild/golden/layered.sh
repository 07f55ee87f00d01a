#!/bin/sh
# A title.
#
# READ IT BEFORE YOU RUN IT, in a rescue system, as root. It erases these disks of this machine:
# /dev/vda, in place of /dev/sda (12,884,901,888 bytes )
# /dev/vdb, in place of /dev/sdb (12,884,901,888 bytes )
#
# That machine started by BIOS, loader grub.
# Not made by this script:
# /dev/sdc1 (ntfs, /mnt/usb): on no disk that is named
tools() {
    need sfdisk wipefs lsblk blkid blockdev mount umount mountpoint findmnt awk sed grep chroot readlink tr mdadm cryptsetup stty mkfs.btrfs btrfs mkfs.ext2 tune2fs
}

release() {
    cd /
    if mountpoint -q "$target"; then umount -R "$target"; fi
    if mountpoint -q "$top"; then umount "$top"; fi
    close_luks /dev/md1 safe
    close_array /dev/md0 aaaaaaaa:bbbbbbbb:cccccccc:eeeeeeee
    close_array /dev/md1 aaaaaaaa:bbbbbbbb:cccccccc:dddddddd
}

open_layers() {
    if [ ! -e /dev/md1 ]; then
        mdadm --quiet --assemble /dev/md1 /dev/vda3 /dev/vdb3
    fi
    settle
    if [ ! -e /dev/md0 ]; then
        mdadm --quiet --assemble /dev/md0 /dev/vda2
    fi
    settle
    open_luks /dev/md1 safe
    settle
}

mount_all() {
    mount_one /dev/mapper/safe "$target" btrfs subvol=/@
    mount_one /dev/md0 "$target"/boot ext2
    mount_one /dev/mapper/safe "$target"/home btrfs subvol=/@home
}

check_disks() {
    release
    may_erase /dev/vda 12884901888 00000064-1111-4222-8333-444444444444
    may_erase /dev/vdb 12884901888 000000c8-1111-4222-8333-444444444444
}

# ---- 1: partitions --------------------------------------------------------------------------------
phase_1() {
    release

    # /dev/sda, 12,884,901,888 bytes: now /dev/vda
    wipe /dev/vda
    {
        printf '%s\n' 'label: gpt'
        printf '%s\n' 'unit: sectors'
        printf '%s\n' 'label-id: 00000064-1111-4222-8333-444444444444'
        printf '%s\n' 'first-lba: 34'
        printf '%s\n' '1 : start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649, uuid=00000065-1111-4222-8333-444444444444'
        printf '%s\n' '2 : start=2048, size=1048576, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid=00000066-1111-4222-8333-444444444444'
        printf '%s\n' '3 : start=1052672, size=20971520, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid=00000067-1111-4222-8333-444444444444'
    } | sfdisk --quiet --wipe=always --wipe-partitions=always /dev/vda
    settle

    # /dev/sdb, 12,884,901,888 bytes: now /dev/vdb
    wipe /dev/vdb
    {
        printf '%s\n' 'label: gpt'
        printf '%s\n' 'unit: sectors'
        printf '%s\n' 'label-id: 000000c8-1111-4222-8333-444444444444'
        printf '%s\n' 'first-lba: 34'
        printf '%s\n' '1 : start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649, uuid=000000c9-1111-4222-8333-444444444444'
        printf '%s\n' '2 : start=2048, size=1048576, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid=000000ca-1111-4222-8333-444444444444'
        printf '%s\n' '3 : start=1052672, size=20971520, type=A19D880F-05FC-4D3B-A006-743F0F84911E, uuid=000000cb-1111-4222-8333-444444444444'
    } | sfdisk --quiet --wipe=always --wipe-partitions=always /dev/vdb
    settle
    settle
}

# ---- 2: arrays, LUKS, volume groups ---------------------------------------------------------------
phase_2() {
    release

    # the array /dev/md1, raid1. It synchronises in the background; /proc/mdstat says how far it is.
    mdadm --create /dev/md1 --run --quiet --level=raid1 --raid-devices=2 --metadata=1.2 --uuid=aaaaaaaa:bbbbbbbb:cccccccc:dddddddd --name=1 --homehost=store --bitmap=internal /dev/vda3 /dev/vdb3
    settle

    # the array /dev/md0, raid1. It synchronises in the background; /proc/mdstat says how far it is.
    mdadm --create /dev/md0 --run --quiet --level=raid1 --raid-devices=2 --metadata=1.0 --uuid=aaaaaaaa:bbbbbbbb:cccccccc:eeeeeeee /dev/vda2 missing
    settle

    # the LUKS container on /dev/md1. Its keys are in no recovery point: it gets a new passphrase, which is asked for
    # here.
    # It had 2 key slots: add the others by `cryptsetup luksAddKey`.
    ask_twice 'new passphrase for /dev/md1'
    printf '%s' "$answer" | cryptsetup luksFormat --batch-mode --key-file=- --type=luks2 --uuid=0000012c-1111-4222-8333-444444444444 --cipher=aes-xts-plain64 --key-size=512 --hash=sha256 --pbkdf=argon2id --sector-size=512 --offset=32768 /dev/md1
    printf '%s' "$answer" | cryptsetup open --key-file=- /dev/md1 safe
    settle
}

# ---- 3: file systems ------------------------------------------------------------------------------
phase_3() {
    if mountpoint -q "$target"; then umount -R "$target"; fi

    # btrfs on /dev/mapper/safe, for /, /home
    # mkfs.btrfs refuses a UUID that it finds, also on the device that it is about to erase.
    wipefs --quiet --all /dev/mapper/safe
    quiet mkfs.btrfs -q -f --uuid=0000012d-1111-4222-8333-444444444444 --label=all --nodesize=16384 --sectorsize=4096 --checksum=xxhash64 --data=single --metadata=dup /dev/mapper/safe
    # The subvolume .snapshots/1 was read-only, so it was probably a snapshot: not made.
    mkdir -p "$top"
    mount -t btrfs -o subvolid=5 /dev/mapper/safe "$top"
    quiet btrfs subvolume create "$top"/@
    btrfs subvolume set-default "$top"/@
    quiet btrfs subvolume create "$top"/@home
    mkdir -p "$top"/@/var
    quiet btrfs subvolume create "$top"/@/var/lib
    umount "$top"

    # ext2 on /dev/md0, for /boot
    mkfs.ext2 -q -F -U 0000012e-1111-4222-8333-444444444444 /dev/md0
    settle
}

# ---- 4: mounts ------------------------------------------------------------------------------------
phase_4() {
    mount_all
}

# ---- 5: restore the files -------------------------------------------------------------------------
phase_5() {

    # /: an item
    code=0
    "$rpdrive" --vault '/a vault' restore abababababababababababababababab --to "$target" --on-conflict overwrite --trust-modes || code=$?
    restored / "$code"

    # /boot: an item
    code=0
    "$rpdrive" --vault '/a vault' restore abababababababababababababababab:/boot --to "$target" --on-conflict overwrite --trust-modes || code=$?
    restored /boot "$code"

    # /home: an item
    code=0
    "$rpdrive" --vault '/a vault' restore abababababababababababababababab:/home --to "$target" --on-conflict overwrite --trust-modes || code=$?
    restored /home "$code"

    # Folders that are mount points are in no point.
    mkdir -p "$target/proc" "$target/sys" "$target/dev" "$target/run" "$target/tmp"
    chmod 1777 "$target/tmp"
    sync
}

# ---- 6: adapt files that name devices -------------------------------------------------------------
phase_6() {
    # UUIDs are the old ones. Names by number, by serial or by path may be others now: UUIDs replace them.
    # Each file that changes is kept as FILE.before-rebuild.
    # By hand: a key file opens a container. Add it: cryptsetup luksAddKey DEVICE KEYFILE
    # LVM's list of devices and GRUB's map name the old disks; both are made again when they are missing.
    put_aside /etc/lvm/devices/system.devices /boot/grub/device.map /boot/grub2/device.map
    # Network interfaces: rules and connections that name a hardware address (MAC) have to be changed by hand.
}

# ---- 7: initramfs and boot loader -----------------------------------------------------------------
phase_7() {
    enter
    # The initial RAM disk: it knows devices, and holds copies of crypttab and mdadm.conf.
    if has_inside update-initramfs; then inside update-initramfs -u -k all
    elif has_inside dracut; then inside dracut --force --regenerate-all
    elif has_inside mkinitcpio; then inside mkinitcpio -P
    else say "no tool for the initramfs is known: make it by hand"
    fi
    # The boot loader, on each disk that had one.
    if has_inside grub-install; then inside grub-install --target=i386-pc /dev/vda
    elif has_inside grub2-install; then inside grub2-install --target=i386-pc /dev/vda
    else say "no grub-install in the new system: install its boot loader by hand"
    fi
    if has_inside grub-install; then inside grub-install --target=i386-pc /dev/vdb
    elif has_inside grub2-install; then inside grub2-install --target=i386-pc /dev/vdb
    else say "no grub-install in the new system: install its boot loader by hand"
    fi
    if has_inside update-grub; then inside update-grub
    elif has_inside grub2-mkconfig; then inside grub2-mkconfig -o /boot/grub2/grub.cfg
    elif has_inside grub-mkconfig; then inside grub-mkconfig -o /boot/grub/grub.cfg
    fi
}

# ---- 8: checks ------------------------------------------------------------------------------------
phase_8() {
    wrong=0
    expect 'UUID of /dev/mapper/safe' "$(blkid -p -o value -s UUID /dev/mapper/safe || true)" 0000012d-1111-4222-8333-444444444444
    expect 'UUID of /dev/md0' "$(blkid -p -o value -s UUID /dev/md0 || true)" 0000012e-1111-4222-8333-444444444444
    expect 'file system of /' "$(findmnt -n -o FSTYPE "$target" || true)" btrfs
    expect 'file system of /boot' "$(findmnt -n -o FSTYPE "$target"/boot || true)" ext2
    expect 'file system of /home' "$(findmnt -n -o FSTYPE "$target"/home || true)" btrfs
    inside findmnt --verify --tab-file /etc/fstab >&2 || say "look at /etc/fstab of the new system"
    set -- "$target"/boot/vmlinu*
    expect "a kernel in /boot" "$([ ! -e "$1" ] || echo yes)" yes
    df -h "$target" >&2
    [ "$wrong" = 0 ] || die "$wrong checks failed"
    say "now: sh SCRIPT --release, take the rescue system out, and reboot"
}

