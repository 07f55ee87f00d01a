#!/bin/sh
# A title.
#
# READ IT BEFORE YOU RUN IT, in a rescue system, as root. It erases these disks of this machine:
# /dev/vda, in place of /dev/nvme0n1 (68,719,476,736 bytes )
#
# That machine started by EFI, loader grub.
# Secure Boot was on there: keys of its own have to be enrolled again by hand.
tools() {
    need sfdisk wipefs lsblk blkid blockdev mount umount mountpoint findmnt awk sed grep chroot readlink tr pvcreate pvs vgs lvcreate mkfs.ext4 tune2fs mkswap mkfs.vfat mkfs.xfs
}

release() {
    cd /
    if mountpoint -q "$target"; then umount -R "$target"; fi
    if mountpoint -q "$top"; then umount "$top"; fi
    close_group vg0 /dev/vda7
}

open_layers() {
    quiet vgchange --activate=y vg0
    settle
}

mount_all() {
    mount_one /dev/mapper/vg0-root "$target" ext4
    mount_one /dev/vda2 "$target"/boot ext4
    mount_one /dev/vda1 "$target"/boot/efi vfat umask=0077
    mount_one /dev/mapper/vg0-thin--data "$target"/srv/data xfs
}

check_disks() {
    release
    may_erase /dev/vda 68719476736 0000000a-1111-4222-8333-444444444444
}

# ---- 1: partitions --------------------------------------------------------------------------------
phase_1() {
    release

    # /dev/nvme0n1, 68,719,476,736 bytes: now /dev/vda
    wipe /dev/vda
    {
        printf '%s\n' 'label: gpt'
        printf '%s\n' 'unit: sectors'
        printf '%s\n' 'label-id: 0000000a-1111-4222-8333-444444444444'
        printf '%s\n' 'first-lba: 2048'
        printf '%s\n' '1 : start=2048, size=1048576, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=0000000b-1111-4222-8333-444444444444, name="EFI", attrs="RequiredPartition GUID:60"'
        printf '%s\n' '2 : start=1060000, size=1048576, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=0000000c-1111-4222-8333-444444444444'
        printf '%s\n' '7 : start=2200000, size=60000000, type=E6D6D379-F507-44C2-A23C-238F2A3DF928, uuid=0000000d-1111-4222-8333-444444444444'
    } | sfdisk --quiet --wipe=always --wipe-partitions=always /dev/vda
    settle
    sfdisk --quiet --part-label /dev/vda 7 'odd "name" $HOME'
    settle
}

# ---- 2: arrays, LUKS, volume groups ---------------------------------------------------------------
phase_2() {
    release

    # the volume group vg0. Its volumes are made anew, by name and size; volume groups get a new UUID.
    pvcreate --quiet --yes -ff --uuid=abcdef-0123-4567-89ab-cdef-0123-456789 --norestorefile /dev/vda7
    vgcreate --quiet --yes --physicalextentsize=4194304b vg0 /dev/vda7
    lvcreate --quiet --yes --wipesignatures=y --zero=y --size=8589934592b --addtag=keep --name=root vg0
    lvcreate --quiet --yes --type=thin-pool --size=10737418240b --name=pool vg0
    lvcreate --quiet --yes --wipesignatures=y --zero=y --size=1073741824b --name=swap vg0
    # vg0/before was a snapshot of root: not made.
    lvcreate --quiet --yes --type=thin --virtualsize=21474836480b --thinpool=pool --name=thin-data vg0
    settle
}

# ---- 3: file systems ------------------------------------------------------------------------------
phase_3() {
    if mountpoint -q "$target"; then umount -R "$target"; fi

    # vfat on /dev/nvme0n1p1
    quiet mkfs.vfat -F 32 -i ABCD1234 -n ESP -S 512 -s 8 /dev/vda1

    # ext4 on /dev/nvme0n1p2, for /boot
    mkfs.ext4 -q -F -U 0000000e-1111-4222-8333-444444444444 /dev/vda2

    # ext4 on /dev/mapper/vg0-root, for /
    mkfs.ext4 -q -F -U 0000000f-1111-4222-8333-444444444444 /dev/mapper/vg0-root

    # xfs on /dev/mapper/vg0-thin--data, for /srv/data
    mkfs.xfs -q -f -m uuid=00000010-1111-4222-8333-444444444444,crc=1,rmapbt=1,reflink=1 -i size=512,maxpct=25 -b size=4096 -s size=512 -n ftype=1 -d agcount=4 /dev/mapper/vg0-thin--data

    # swap on /dev/mapper/vg0-swap
    mkswap --uuid=00000011-1111-4222-8333-444444444444 --label=swapping /dev/mapper/vg0-swap
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

    # /boot/efi: an item
    code=0
    "$rpdrive" --vault '/a vault' restore abababababababababababababababab:/boot/efi --to "$target"/boot --on-conflict overwrite --trust-modes || code=$?
    restored /boot/efi "$code"

    # /srv/data: an item
    code=0
    "$rpdrive" --vault '/a vault' restore abababababababababababababababab:/srv/data --to "$target"/srv --on-conflict overwrite --trust-modes || code=$?
    restored /srv/data "$code"

    # Folders that are mount points are in no point.
    mkdir -p "$target/proc" "$target/sys" "$target/dev" "$target/run" "$target/tmp"
    chmod 1777 "$target/tmp"
    sync
}

# ---- 6: adapt files that name devices -------------------------------------------------------------
phase_6() {
    # UUIDs are the old ones. Names by number, by serial or by path may be others now: UUIDs replace them.
    # Each file that changes is kept as FILE.before-rebuild.
    rename_device /dev/nvme0n1p1 UUID=ABCD-1234
    rename_device /dev/nvme0n1p2 UUID=0000000e-1111-4222-8333-444444444444
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
    # The loader's files come back with the EFI system partition; if they did not, GRUB is installed anew.
    loader=EFI/debian/shimx64.efi
    if [ -z "$loader" ] || [ ! -f "$target"/boot/efi/"$loader" ]; then
        inside grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=rebuilt --no-nvram
        loader=EFI/rebuilt/grubx64.efi
    fi
    # The fallback path: a firmware that does not know the entry, as a new machine's, starts this file.
    mkdir -p "$target"/boot/efi/EFI/BOOT
    if [ ! -f "$target"/boot/efi/EFI/BOOT/BOOTX64.EFI ]; then
        cp "$target"/boot/efi/"$loader" "$target"/boot/efi/EFI/BOOT/BOOTX64.EFI
        case $loader in
        *shim*) cp "$target"/boot/efi/"${loader%/*}"/grubx64.efi "$target"/boot/efi/EFI/BOOT/grubx64.efi ;;
        esac
    fi
    # The boot entry, unless the firmware has it. Without EFI variables here, the fallback path has to do.
    path=$(printf '%s' "/$loader" | tr / '\\')
    if [ ! -d /sys/firmware/efi ]; then say "this machine was not started by EFI: no boot entry was made"
    elif efibootmgr -v | grep -q -i -F -e 0000000b-1111-4222-8333-444444444444
    then say "the firmware has an entry for this partition"
    else efibootmgr --quiet --create --disk /dev/vda --part 1 --label debian --loader "$path" || say "the boot entry could not be made: the fallback path has to do"
    fi
    if has_inside update-grub; then inside update-grub
    elif has_inside grub2-mkconfig; then inside grub2-mkconfig -o /boot/grub2/grub.cfg
    elif has_inside grub-mkconfig; then inside grub-mkconfig -o /boot/grub/grub.cfg
    fi
    # SELinux labels everything at the first boot, which takes minutes.
    : >"$target/.autorelabel"
}

# ---- 8: checks ------------------------------------------------------------------------------------
phase_8() {
    wrong=0
    expect 'UUID of /dev/vda1' "$(blkid -p -o value -s UUID /dev/vda1 || true)" ABCD-1234
    expect 'UUID of /dev/vda2' "$(blkid -p -o value -s UUID /dev/vda2 || true)" 0000000e-1111-4222-8333-444444444444
    expect 'UUID of /dev/mapper/vg0-root' "$(blkid -p -o value -s UUID /dev/mapper/vg0-root || true)" 0000000f-1111-4222-8333-444444444444
    expect 'UUID of /dev/mapper/vg0-thin--data' "$(blkid -p -o value -s UUID /dev/mapper/vg0-thin--data || true)" 00000010-1111-4222-8333-444444444444
    expect 'UUID of /dev/mapper/vg0-swap' "$(blkid -p -o value -s UUID /dev/mapper/vg0-swap || true)" 00000011-1111-4222-8333-444444444444
    expect 'file system of /' "$(findmnt -n -o FSTYPE "$target" || true)" ext4
    expect 'file system of /boot' "$(findmnt -n -o FSTYPE "$target"/boot || true)" ext4
    expect 'file system of /boot/efi' "$(findmnt -n -o FSTYPE "$target"/boot/efi || true)" vfat
    expect 'file system of /srv/data' "$(findmnt -n -o FSTYPE "$target"/srv/data || true)" xfs
    inside findmnt --verify --tab-file /etc/fstab >&2 || say "look at /etc/fstab of the new system"
    set -- "$target"/boot/vmlinu*
    expect "a kernel in /boot" "$([ ! -e "$1" ] || echo yes)" yes
    df -h "$target" >&2
    [ "$wrong" = 0 ] || die "$wrong checks failed"
    say "now: sh SCRIPT --release, take the rescue system out, and reboot"
}

