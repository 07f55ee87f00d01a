#!/bin/sh
# A title.
#
# READ IT BEFORE YOU RUN IT, in a rescue system, as root. It erases these disks of this machine:
# /dev/vda, in place of /dev/sda (8,589,934,592 bytes )
#
# That machine started by BIOS, loader grub.
tools() {
    need sfdisk wipefs lsblk blkid blockdev mount umount mountpoint findmnt awk sed grep chroot readlink tr mkfs.ext4 tune2fs mkswap
}

release() {
    cd /
    if mountpoint -q "$target"; then umount -R "$target"; fi
    if mountpoint -q "$top"; then umount "$top"; fi
}

open_layers() {
    :
}

mount_all() {
    mount_one /dev/vda1 "$target" ext4
}

check_disks() {
    release
    may_erase /dev/vda 8589934592 0x1234abcd
}

# ---- 1: partitions --------------------------------------------------------------------------------
phase_1() {
    release

    # /dev/sda, 8,589,934,592 bytes: now /dev/vda
    wipe /dev/vda
    {
        printf '%s\n' 'label: dos'
        printf '%s\n' 'unit: sectors'
        printf '%s\n' 'label-id: 0x1234abcd'
        printf '%s\n' '1 : start=2048, size=8000000, type=83, bootable'
        printf '%s\n' '2 : start=8003584, size=1000448, type=5'
        printf '%s\n' '5 : start=8005632, size=998400, type=82'
    } | sfdisk --quiet --wipe=always --wipe-partitions=always /dev/vda
    settle
    settle
}

# ---- 2: arrays, LUKS, volume groups ---------------------------------------------------------------
phase_2() {
    release
}

# ---- 3: file systems ------------------------------------------------------------------------------
phase_3() {
    if mountpoint -q "$target"; then umount -R "$target"; fi

    # ext4 on /dev/sda1, for /
    # Features that are not set again: odd_one
    mkfs.ext4 -q -F -U 00000001-1111-4222-8333-444444444444 -L 'it'"'"'s root' -O none,64bit,ext_attr,extent,has_journal,metadata_csum -b 4096 -I 256 -N 250000 /dev/vda1
    quiet tune2fs -r 10000 -e remount-ro -o user_xattr,acl /dev/vda1

    # swap on /dev/sda5
    mkswap --uuid=00000002-1111-4222-8333-444444444444 /dev/vda5
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

    # Folders that are mount points are in no point.
    mkdir -p "$target/proc" "$target/sys" "$target/dev" "$target/run" "$target/tmp"
    chmod 1777 "$target/tmp"
    sync
}

# ---- 6: adapt files that name devices -------------------------------------------------------------
phase_6() {
    # UUIDs are the old ones. Names by number, by serial or by path may be others now: UUIDs replace them.
    # Each file that changes is kept as FILE.before-rebuild.
    rename_device /dev/disk/by-id/ata-OLD_1234-part1 UUID=00000001-1111-4222-8333-444444444444
    rename_device /dev/disk/by-id/ata-OLD_1234-part5 UUID=00000002-1111-4222-8333-444444444444
    rename_device /dev/sda1 UUID=00000001-1111-4222-8333-444444444444
    rename_device /dev/sda5 UUID=00000002-1111-4222-8333-444444444444
    # By hand: /dev/sdq9 is named there, and is nothing that this script made.
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
    if has_inside update-grub; then inside update-grub
    elif has_inside grub2-mkconfig; then inside grub2-mkconfig -o /boot/grub2/grub.cfg
    elif has_inside grub-mkconfig; then inside grub-mkconfig -o /boot/grub/grub.cfg
    fi
}

# ---- 8: checks ------------------------------------------------------------------------------------
phase_8() {
    wrong=0
    expect 'UUID of /dev/vda1' "$(blkid -p -o value -s UUID /dev/vda1 || true)" 00000001-1111-4222-8333-444444444444
    expect 'UUID of /dev/vda5' "$(blkid -p -o value -s UUID /dev/vda5 || true)" 00000002-1111-4222-8333-444444444444
    expect 'file system of /' "$(findmnt -n -o FSTYPE "$target" || true)" ext4
    inside findmnt --verify --tab-file /etc/fstab >&2 || say "look at /etc/fstab of the new system"
    set -- "$target"/boot/vmlinu*
    expect "a kernel in /boot" "$([ ! -e "$1" ] || echo yes)" yes
    df -h "$target" >&2
    [ "$wrong" = 0 ] || die "$wrong checks failed"
    say "now: sh SCRIPT --release, take the rescue system out, and reboot"
}

