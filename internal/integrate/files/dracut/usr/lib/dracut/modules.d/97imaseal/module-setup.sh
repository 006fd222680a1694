#!/bin/bash
# The module imaseal of dracut: puts imaseal, keys and the policy into the initramfs,
# and loads them there. The files are those that "imaseal load" finds: see imaseal(8).
# After a change of one: dracut --regenerate-all --force
#
# What is not sound, such as a policy under which the host would not boot, is told,
# and no initramfs is made: the old one stays.

imaseal=@IMASEAL@

# called by dracut
check() {
	require_binaries "$imaseal" || return 1
	return 0
}

# called by dracut
depends() {
	echo securityfs
	return 0
}

# called by dracut
installkernel() {
	hostonly='' instmods encrypted-keys trusted
}

# called by dracut; its variables are initdir, kernel and moddir
install() {
	# shellcheck disable=SC2154
	local arguments=(--copy-to "$initdir/etc/imaseal/boot" --kernel-version "$kernel") certificate

	# Its hooks do the same, with what they find on the root file system: the second
	# policy would be refused.
	if dracut_module_included integrity; then
		dfatal 'imaseal: the module integrity does the same: leave one of them out (omit_dracutmodules+=" integrity " in /etc/dracut.conf.d)'
		exit 1
	fi

	inst "$imaseal" /usr/bin/imaseal
	if [[ -e /boot/config-$kernel ]]; then
		arguments+=(--kernel-config "/boot/config-$kernel")
	fi
	if [[ -e /etc/imaseal/config ]]; then
		arguments+=(--config /etc/imaseal/config)
	fi
	if ! "$imaseal" load "${arguments[@]}"; then
		dfatal 'imaseal: keys or policy are not sound; no initramfs is made'
		exit 1
	fi

	# Kernels with CONFIG_IMA_LOAD_X509 and CONFIG_EVM_LOAD_X509 load these by
	# themselves, before anything runs.
	for certificate in /etc/keys/x509_ima.der /etc/keys/x509_evm.der; do
		if [[ -e $certificate ]]; then
			inst_simple "$certificate"
		fi
	done

	# shellcheck disable=SC2154
	inst_hook pre-pivot 90 "$moddir/imaseal-load.sh"
}
