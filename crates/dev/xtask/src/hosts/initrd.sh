#!/bin/busybox sh
# Loads what the root disk needs, mounts it, and hands over to systemd.
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
for module in $($b cat /modules/order); do
    $b insmod "/modules/$module" || echo "cannot load $module"
done
until $b mount -t ext4 /dev/vda /root; do $b sleep 0.1; done
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
