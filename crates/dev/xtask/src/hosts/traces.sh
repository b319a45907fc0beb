# Lists what a program can leave on a machine, sorted into sections, without what changes by itself.
export LC_ALL=C
section() { echo "== $1"; }
# Systemd mounts it with the first look, which is taken here.
ls /proc/sys/fs/binfmt_misc >/dev/null 2>&1
section mounts; findmnt -rn -o TARGET,SOURCE,FSTYPE | grep -v '^/run/credentials/'
section interfaces; ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/'
section addresses; ip -o addr | awk '{ print $2, $3, $4 }'
section routes; ip route show table all; ip -6 route show table all; ip rule
section rules; nft list ruleset
section namespaces; lsns -rno TYPE,COMMAND 2>/dev/null | grep -v -E 'systemd-(logind|udevd|timesyncd|networkd)' | sort -u
section groups; find /sys/fs/cgroup -type d -printf '%P\n' | grep -v -E \
    '^(system\.slice/(apt|dpkg|e2scrub|fstrim|man-db|systemd-tmpfiles|systemd-hostnamed|systemd-timedated|test-agent|modprobe|logrotate)|user\.slice)'
section processes; ps -eo ppid,comm | awk '$1 != 2 && $1 != 0 { print $2 }' |
    grep -v -x -E 'test-agent|bash|timeout|ps|awk|grep|sort|\(sd-pam\)|base64|head|\(udev-worker\)'
section listeners; ss -Hltnu | awk '{ print $1, $5 }'; ss -Hlx | awk '{ print $5 }' | grep ^/
section loops; losetup -ln -O BACK-FILE
section users; cut -d: -f1,3 /etc/passwd; cut -d: -f1,3 /etc/group
section settings; sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding kernel.pid_max fs.inotify.max_user_instances
    sysctl -a 2>/dev/null | grep -E '^net\.(ipv4\.conf|bridge)\.' | grep -E 'forwarding|route_localnet|rp_filter|call-'
section etc; find /etc -xdev -type f -exec sha256sum {} +
section files; find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /var/tmp \
    -o -path /var/log/journal -o -path /var/log/dpkg.log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg \
    -o -path /var/lib/systemd/timers -o -path /root \) -prune -o -printf '%y %p\n'
section home; find /root -printf '%y %p\n'
section run; find /run -xdev \( -path '/run/systemd' -o -path '/run/udev' -o -path '/run/log' -o -path '/run/test-agent*' \
    -o -path /run/machine-id \
    -o -path /run/user -o -path /run/credentials \) -prune -o -printf '%y %p\n'
section packages; dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n'
section end
