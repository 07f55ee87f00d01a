#!/bin/bash
# Runs in a guest: installs a small Debian (the kit's own) on /dev/vda. LAYOUT is one of
#   plain      MBR, one ext4 partition                                         (BIOS)
#   bios-lvm   GPT, /boot ext4, LVM with / ext4, /var xfs, swap                (BIOS)
#   efi-lvm    the same, with an ESP                                           (EFI)
# The system starts the kit's agent, so that its guest answers, and has no need of a network.
set -euo pipefail
layout=$1
target=/mnt
mkdir -p /media/kit
mount -o ro /dev/disk/by-id/virtio-guest-root /media/kit

case $layout in
plain)
    sfdisk -q /dev/vda <<<$'label: dos\nstart=2048, type=83, bootable'
    udevadm settle
    mkfs.ext4 -q -L root /dev/vda1
    mount /dev/vda1 $target
    ;;
bios-lvm | efi-lvm)
    if [ "$layout" = bios-lvm ]; then first='size=2048, type=21686148-6449-6E6F-744E-656564454649, name="BIOS boot"'
    else first='size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"'; fi
    # The gap and the odd start are on purpose.
    sfdisk -q /dev/vda <<EOF
label: gpt
1 : start=2048, $first
2 : start=140000, size=262144, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="boot files"
5 : start=411648, type=E6D6D379-F507-44C2-A23C-238F2A3DF928, attrs="GUID:60"
EOF
    udevadm settle
    mkfs.ext4 -q -L boot -m 1 /dev/vda2
    pvcreate -q /dev/vda5
    vgcreate -q -s 8M vg0 /dev/vda5
    lvcreate -q -y -W y -L 760M -n root vg0
    lvcreate -q -y -W y -L 320M -n var-files vg0
    lvcreate -q -y -W y -L 64M -n swap vg0
    mkfs.ext4 -q -L system -m 2 -O ^metadata_csum /dev/vg0/root
    mkfs.xfs -q -L var -m rmapbt=1 /dev/vg0/var-files
    mkswap -q -L swapping /dev/vg0/swap
    mount /dev/vg0/root $target
    mkdir $target/var $target/boot
    mount /dev/vg0/var-files $target/var
    mount /dev/vda2 $target/boot
    if [ "$layout" = efi-lvm ]; then
        mkfs.vfat -F 32 -n ESP /dev/vda1 >/dev/null
        mkdir $target/boot/efi
        mount /dev/vda1 $target/boot/efi
    fi
    ;;
*) echo "unknown layout $layout" >&2; exit 2 ;;
esac

cp -a /media/kit/. $target/
umount /media/kit

id() { blkid -o value -s UUID "$1"; }
case $layout in
plain) echo "UUID=$(id /dev/vda1) / ext4 errors=remount-ro 0 1" ;;
*-lvm)
    echo "/dev/mapper/vg0-root / ext4 errors=remount-ro 0 1"
    echo "UUID=$(id /dev/vda2) /boot ext4 defaults 0 2"
    echo "UUID=$(id /dev/vg0/var-files) /var xfs defaults 0 0"
    echo "LABEL=swapping none swap sw 0 0"
    [ "$layout" != efi-lvm ] || echo "UUID=$(id /dev/vda1) /boot/efi vfat umask=0077 0 1"
    ;;
esac >$target/etc/fstab

echo small >$target/etc/hostname
mkdir -p $target/usr/local/lib/guest $target/etc/default
cp /usr/local/lib/guest/agent.py /usr/local/lib/guest/code $target/usr/local/lib/guest/
cat >$target/etc/systemd/system/guest-agent.service <<EOF
[Unit]
Description=Runs commands for a test
[Service]
ExecStartPre=-/sbin/modprobe -a virtio_console fuse
ExecStartPre=/usr/local/lib/guest/code
ExecStart=/usr/bin/python3 -I /usr/local/lib/guest/agent.py
Restart=always
[Install]
WantedBy=multi-user.target
EOF
ln -sf /etc/systemd/system/guest-agent.service $target/etc/systemd/system/multi-user.target.wants/
cat >$target/etc/default/grub <<EOF
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"
GRUB_TERMINAL=serial
GRUB_DISABLE_OS_PROBER=true
EOF

for name in proc sys dev run; do mount --rbind /$name $target/$name; done
if [ "$layout" = efi-lvm ]; then
    chroot $target grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=debian
else
    chroot $target grub-install --target=i386-pc /dev/vda
fi
chroot $target update-grub
for name in run dev sys proc; do umount -R -l $target/$name; done
sync
umount -R $target
