#!/bin/bash
# Runs test programs on another kernel, in a virtual machine without acceleration:
#   on-kernel.sh DIRECTORY SCRIPT PROGRAM...
# DIRECTORY holds an unpacked kernel package (`dpkg-deb -x linux-image-*.deb DIRECTORY`). SCRIPT is run by busybox's shell
# as root of a small machine that has nothing but cgroup2, these programs at their own paths with their libraries, and
# mkfs.erofs. Its output is shown; the last line is `ended with CODE`.
set -euo pipefail
kernel=$1 script=$2; shift 2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
release=$(ls "$kernel/lib/modules")
root=$work/root
mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,var/tmp,root,mnt,media,etc,run,lib,lib64,usr/bin}
chmod 1777 "$root/tmp" "$root/var/tmp"
cp /bin/busybox "$root/bin/busybox"
for name in sh mount cat ls cp mkdir rm uname poweroff sleep umount dmesg grep head tail tar id stat echo chmod env find; do
    ln -s busybox "$root/bin/$name"
done
place() {
    mkdir -p "$root$(dirname "$1")"
    cp -L "$1" "$root$1"
    { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        [ -e "$root$library" ] || cp -L "$library" "$root$library"
    done
}
for program in $(realpath -s "$@") "$(command -v mkfs.erofs)" /bin/kmod /bin/cp /bin/sh; do
    [ "$program" = /bin/sh ] || rm -f "$root$program"
    [ "$program" = /bin/sh ] || place "$program"
done
ln -s /bin/kmod "$root/sbin/modprobe"
mkdir -p "$root/lib/modules"
cp -r "$kernel/lib/modules/$release" "$root/lib/modules/"
rm -rf "$root/lib/modules/$release/kernel/"{sound,drivers/{gpu,media,net/wireless,infiniband,iio,staging,usb,scsi}}
depmod -b "$root" "$release"
echo "root:x:0:0::/root:/bin/sh" > "$root/etc/passwd"
cp "$script" "$root/script"
cat > "$root/start" <<'START'
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys
mkdir -p /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "kernel $(uname -r)"
busybox ip link set lo up
sh /script
echo "ended with $?"
busybox poweroff -f
START
chmod +x "$root/start"
first=$work/first
mkdir -p "$first"/{bin,proc,sys,dev,disk,modules}
cp /bin/busybox "$first/bin/"
for module in virtio_pci virtio_blk ext4; do
    modprobe -d "$root" -S "$release" --show-depends $module 2>/dev/null | awk '/^insmod/ {print $2}'
done | awk '!seen[$0]++' > "$work/order"
{
    echo '#!/bin/busybox sh'
    echo '/bin/busybox mount -t devtmpfs dev /dev'
    number=100
    while read -r module; do
        number=$((number + 1))
        target=$first/modules/$number.ko
        case $module in
            *.xz) xz -dc "$module" > "$target" ;;
            *.zst) zstd -qdc "$module" > "$target" ;;
            *) cp "$module" "$target" ;;
        esac
        echo "/bin/busybox insmod /modules/$number.ko"
    done < "$work/order"
    echo '/bin/busybox mount -t ext4 /dev/vda /disk && /bin/busybox mount -t devtmpfs dev /disk/dev'
    echo 'exec /bin/busybox switch_root /disk /start'
} > "$first/init"
chmod +x "$first/init"
(cd "$first" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd"
size=$(du -sm "$root" | cut -f1)
truncate -s $((size * 5 / 4 + 600))M "$work/disk"
mke2fs -q -F -t ext4 -d "$root" "$work/disk"
rm -rf "$root"
timeout "${LIMIT:-540}" nice -n 5 qemu-system-x86_64 -machine q35 -cpu max -smp 2 -m 2048 -nographic -no-reboot \
    -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" \
    -drive file="$work/disk",format=raw,if=virtio,cache=unsafe -nic none < /dev/null
