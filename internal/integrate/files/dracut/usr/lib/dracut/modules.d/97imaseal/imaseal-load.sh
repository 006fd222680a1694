#!/bin/sh
# Loads keys and the policy, and switches EVM on. See load in imaseal(8).
#
# Why in pre-pivot, and late there: the root file system is mounted and no program of
# it has run; SELinux, whose labels a policy may ask for, has its policy; and kernel
# 6.1 dies when a file is made in the initramfs after EVM has its HMAC key.
#
# A step that fails is told on the console and in the kernel's log, and the boot goes
# on: what is denied then is up to the policy and to ima_appraise=.

imaseal_load() {
	# shellcheck disable=SC3043
	local said status level line module
	for module in encrypted-keys trusted; do
		modprobe -q "$module" # built in, mostly
	done
	said=$(imaseal load --root /etc/imaseal/boot 2>&1)
	status=$?
	level=6
	if [ "$status" != 0 ]; then
		said="$said
imaseal: error: not all keys and rules are loaded (status $status); the boot goes on"
		level=3
		echo "$said" >/dev/console
	fi
	echo "$said" | while IFS= read -r line; do
		echo "<$level>imaseal: ${line#imaseal: }" >/dev/kmsg
	done
}

imaseal_load
