#!/bin/sh
# Installs or removes Hornero from its tarball: any distribution, any POSIX shell. Run twice, it changes nothing more.
set -eu

usage() {
	cat <<-END
		usage: install.sh [--prefix DIR] [--destdir DIR] [--uninstall [--purge]]

		  --prefix DIR    install below DIR instead of /usr/local
		  --destdir DIR   put everything below DIR, as for a package or an image; nothing is started or stopped
		  --uninstall     remove what was installed; running services are taken down, and their data stays
		  --purge         with --uninstall: delete /var/lib/hornero too: images, ledger, keys, logs
	END
}

fail() {
	echo "install.sh: $1" >&2
	if [ -n "${2:-}" ]; then echo "hint: $2" >&2; fi
	exit 1
}

prefix=/usr/local destdir= uninstall= purge=
while [ $# -gt 0 ]; do
	case "$1" in
	--prefix | --destdir)
		if [ $# -lt 2 ]; then fail "\`$1\` needs a directory"; fi
		case "$2" in
		/*) ;;
		*) fail "\`$2\` is no absolute path" ;;
		esac
		if [ "$1" = --prefix ]; then prefix=${2%/}; else destdir=${2%/}; fi
		shift
		;;
	--uninstall) uninstall=yes ;;
	--purge) purge=yes ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		fail "there is no option \`$1\`"
		;;
	esac
	shift
done
if [ -n "$purge" ] && [ -z "$uninstall" ]; then fail "\`--purge\` goes with \`--uninstall\`"; fi

here=$(cd "$(dirname "$0")" && pwd)
home=/var/lib/hornero
root=$destdir$prefix
unit=$destdir/etc/systemd/system/hornero.service
# What is installed, so that a later version and the removal know it: paths below the prefix.
own=share/hornero
list=$root/$own/installed

if [ "$(uname -s)" != Linux ]; then fail "this is $(uname -s), and Hornero runs on Linux only"; fi
# The program's machine is in its ELF header, bytes 18 and 19.
program=$here/files/bin/hornero
if [ -e "$program" ]; then
	case "$(dd if="$program" bs=1 skip=18 count=1 2>/dev/null | od -An -tu1 | tr -d ' ')" in
	62) wanted=x86_64 ;;
	183) wanted=aarch64 ;;
	*) fail "\`$program\` is no program for Linux" "unpack the tarball again" ;;
	esac
	if [ "$(uname -m)" != "$wanted" ]; then
		fail "this machine is $(uname -m), and this is Hornero for $wanted" "take the tarball for your machine, or build Hornero from its source"
	fi
fi
if [ "$(id -u)" != 0 ]; then fail "only root can install Hornero, which runs as root" "sudo $0"; fi

systemd_runs() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

# The homes that the program at this prefix serves now.
homes() {
	for process in /proc/[0-9]*; do
		case "$(readlink "$process/exe" 2>/dev/null)" in
		"$prefix/bin/hornero" | "$prefix/bin/hornero (deleted)") ;;
		*) continue ;;
		esac
		[ "$process/root" -ef / ] || continue
		tr '\0' '\n' <"$process/cmdline" 2>/dev/null | {
			of='' previous=''
			while read -r word; do
				if [ "$previous" = --home ]; then of=$word; fi
				previous=$word
			done
			if [ -n "$of" ]; then echo "$of"; fi
		}
	done | sort -u
}

# Removes what is listed on stdin: files, and directories that this script made and that are empty now.
remove_listed() {
	sort -r | while read -r path; do
		case "$path" in
		"" | /* | *..*) ;;
		*/) rmdir "$root/$path" 2>/dev/null || true ;;
		*) rm -f "$root/$path" ;;
		esac
	done
}

# Makes a directory below the prefix, and prints those that were missing.
make_directory() {
	if [ -d "$root/$1" ]; then return; fi
	case "$1" in
	*/*) make_directory "${1%/*}" ;;
	esac
	mkdir "$root/$1"
	echo "$1/"
}

if [ -n "$uninstall" ]; then
	if [ ! -e "$list" ]; then
		echo "nothing is installed below $root"
		if [ -z "$purge" ]; then exit 0; fi
	else
		if [ -z "$destdir" ]; then
			for running in $(homes); do
				echo "taking down every service of $running, since nothing could look after them without the program"
				"$prefix/bin/hornero" --home "$running" down --all --reason "hornero is uninstalled" ||
					fail "services of $running could not be taken down, so everything stays installed" \
						"\`hornero --home $running down --force\` ends them without the ledger"
			done
		fi
		if systemd_runs && [ -e "$unit" ]; then systemctl disable --now hornero.service || true; fi
		rm -f "$unit"
		installed=$(cat "$list")
		printf '%s\n' "$installed" "$own/install.sh" "$own/installed" | remove_listed
		if systemd_runs; then systemctl daemon-reload || true; fi
		if [ -z "$destdir" ]; then rm -f /run/hornero-network.lock; fi
		echo "removed Hornero from $root"
	fi
	if [ -n "$purge" ]; then
		below=$(sed -n "s|^[^ ]* \\($destdir$home/[^ ]*\\) .*|\\1|p" /proc/self/mounts)
		if [ -n "$below" ]; then fail "$destdir$home stays, because $below is mounted" "unmount it first"; fi
		rm -rf "$destdir$home"
		echo "deleted $destdir$home"
	elif [ -d "$destdir$home" ]; then
		echo "images, ledger and keys stay in $destdir$home; \`--uninstall --purge\` deletes them"
	fi
	exit 0
fi

[ -d "$here/files" ] || fail "\`$here/files\` is missing" "run install.sh from the unpacked tarball"
"$program" --version >/dev/null || fail "the program does not start here" "its error stands above"

umask 022
mkdir -p "$root"
before=''
if [ -e "$list" ]; then before=$(cat "$list"); fi
files=$(cd "$here/files" && find . -type f ! -path ./lib/systemd/system/hornero.service | sed 's|^\./||' | sort)
made=$(
	printf '%s\n' "$own/installed" "$files" | while read -r path; do make_directory "${path%/*}"; done
)
# Known before anything is there: what is interrupted can be removed.
printf '%s\n' "$before" "$files" "$made" | sort -u | sed '/^$/d' >"$list.new"
mv -f "$list.new" "$list"
put() {
	# In place by a rename: a program that runs can't be written over, and no half file is ever there.
	cp "$1" "$2.new"
	chmod "$3" "$2.new"
	mv -f "$2.new" "$2"
}
printf '%s\n' "$files" | while read -r path; do
	mode=644
	if [ -x "$here/files/$path" ]; then mode=755; fi
	put "$here/files/$path" "$root/$path" $mode
done
put "$here/install.sh" "$root/$own/install.sh" 755
# What an older version had and this one has not; directories stay listed.
gone=$(printf '%s\n' "$before" | while read -r path; do
	case "$path" in
	"" | */) ;;
	*) if ! printf '%s\n' "$files" | grep -qxF "$path"; then echo "$path"; fi ;;
	esac
done)
if [ -n "$gone" ]; then
	printf '%s\n' "$gone" | remove_listed
	grep -vxF "$gone" "$list" >"$list.new"
	mv -f "$list.new" "$list"
fi

if [ -d "$destdir/etc/systemd" ] || systemd_runs; then
	mkdir -p "$(dirname "$unit")"
	sed "s|/usr/bin/hornero|$prefix/bin/hornero|g" "$here/files/lib/systemd/system/hornero.service" >"$unit.new"
	chmod 644 "$unit.new"
	mv -f "$unit.new" "$unit"
fi
echo "installed $("$program" --version) below $root"
if systemd_runs; then
	systemctl daemon-reload
	if systemctl is-active --quiet hornero.service; then
		systemctl restart hornero.service
		echo "control was restarted and takes over what runs"
	else
		echo "to start services again at boot: systemctl enable --now hornero"
	fi
fi
echo "to remove it: $root/$own/install.sh --uninstall"
