#!/bin/sh
# demo.sh IMASEAL: do the main job on real input. A loop-mounted ext4 image is
# filled from this machine's own programs and configuration, labelled,
# verified, tampered with, and removed again.
set -eu

imaseal=$1
if [ "$(id -u)" != 0 ]; then
	echo "demo: mounting an image and writing security.ima need root; try: sudo make demo" >&2
	exit 1
fi

work=$(mktemp -d)
cleanup() {
	umount "$work/root" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
	printf '$ imaseal %s\n' "$*"
	"$imaseal" "$@"
}

step "A root file system in an image, from this machine's programs and configuration"
truncate -s 2G "$work/image"
mkfs.ext4 -q "$work/image"
mkdir "$work/root"
mount -o loop "$work/image" "$work/root"
for dir in /etc /usr/sbin /usr/share/perl /usr/share/man /usr/share/zoneinfo; do
	[ -d "$dir" ] || continue
	mkdir -p "$work/root${dir%/*}"
	cp -a "$dir" "$work/root${dir%/*}/"
done
# Programs and libraries, the smaller ones first, up to about 500 MiB.
for dir in /usr/bin /usr/lib/"$(uname -m)"-linux-gnu; do
	[ -d "$dir" ] || continue
	mkdir -p "$work/root$dir"
	find "$dir" -maxdepth 1 -type f -printf '%s %p\n' | sort -n |
		awk -v max=262144000 '(sum += $1) < max { sub(/^[0-9]+ /, ""); print }' |
		tr '\n' '\0' | xargs -0 cp -a -t "$work/root$dir"
done
find "$work/root" -type f | wc -l | xargs printf '%s files\n'

step "Hash every root-owned file"
show hash "$work/root"

step "Verify the labels"
show verify "$work/root"

step "Tamper with one file: the kernel would refuse to open it, and verify says so"
echo 'root::0:0::/:/bin/sh' >>"$work/root/etc/passwd"
status=0
show verify "$work/root" || status=$?
if [ "$status" != 4 ]; then
	echo "demo: verify should have exited with 4, not $status" >&2
	exit 1
fi

step "What a label says"
show show "$work/root/usr/sbin/mkfs.ext4"

step "Done: unmounting and removing the image"
