// Package kernellab boots Debian kernels under qemu and lets them judge labels.
//
// Labels are right when a kernel in enforce mode agrees. The lab shows them to
// the kernels of [Series], each a Debian cloud kernel that has IMA, EVM, both
// parameters ima_policy and ima_appraise, and plain keyrings _ima and _evm. Its
// tests run as root with
//
//	IMASEAL_TEST=kernel go test -timeout 30m ./internal/kernellab/
//
// and are skipped without that word, or if a program is missing; with CI=true a
// missing program is a failure. Subtests that boot are parallel: -parallel N says
// how many machines run at a time, each with a core and 1 GiB. Nothing is emulated in the judgement: only the
// machine, by qemu's TCG, so that no KVM is needed.
//
// # A case
//
// An image is made and mounted, the tree in it labelled and perhaps spoilt, the
// image unmounted and booted with a list of probes, one verdict for each:
//
//	func TestChanged(t *testing.T) {
//		l := kernellab.Open(t)
//		img := l.TreeImage(t, kernellab.Ext4) // or NewImage: empty, small, with a UUID
//		dir := img.Mount(t)
//		// … run l.Imaseal(t) on dir, change files …
//		img.Unmount(t)
//		res := l.Boot(t, kernellab.Case{
//			Kernel: l.Kernel(t, "6.12"),
//			Image:  img,
//			Append: kernellab.EnforceTCB,
//			Probes: []kernellab.Probe{
//				{Name: "changed", Op: kernellab.Read, Path: "/etc/changed"},
//				{Name: "cat", Op: kernellab.Tree, Script: "cat /etc/passwd"},
//			},
//		})
//		v := res.Verdict(t, "changed") // v.Errno EACCES, v.Cause invalid-hash
//	}
//
// A boot takes five seconds and a probe a fraction of a millisecond, besides the
// hashing in the guest, some 15 MiB/s: put thousands into one boot rather than
// booting twice. Read, Write, MapExec and Exec are made by the guest program
// itself, Exec with the program killed before its first instruction, so that the
// whole tree can be tried; Tree runs a script by the tree's own shell and
// programs, which are appraised as well. AddKey offers a certificate to a keyring of
// its own, and tells what the kernel makes of it. With ima_appraise=log in Append nothing
// is denied and Verdict.Cause still tells what would be.
//
// A case may have other images besides the root, Case.More, for probes with Image 1
// and so on: they cost a mount instead of a boot.
//
// Keys, policy rules and EVM are fields of a Case and come before the root
// filesystem is mounted, in the order of the fields:
//
//	Keys:   []Key{IMAKey(cert), EVMKey(cert)},
//	Policy: []string{"appraise func=FILE_CHECK fowner=0 appraise_type=imasig"},
//	EVM:    []string{"2"},
//
// or, for HMACs, HMACKeys(master, blob) and "1". These kernels take one policy,
// once: either ima_policy= or Policy, not both. A program such as imaseal gets
// into the initramfs by Files and is called from Setup or an Sh probe.
//
// # What happens
//
// The first process of the guest is the program in probe, built by the lab. It
// loads the modules, does what the Case says, makes the probes and writes its
// verdicts to a raw disk (/dev/vdb), where no kernel message can get between
// them; the console goes to a file and ends up in the error message. Causes come
// from the audit netlink socket, since the kernel log is rate limited. Changes to
// the image are forgotten unless Case.Keep is set.
//
// On 6.1 with the HMAC key loaded, creating a file in the initramfs crashes the
// kernel. The guest program creates none after EVM is on, and neither must the
// script of an Sh probe; the root filesystem is not concerned.
//
// # By hand
//
// With IMASEAL_LAB_KEEP=DIR each boot is also kept below DIR, with a script:
//
//	IMASEAL_LAB_KEEP=/tmp/lab IMASEAL_TEST=kernel go test -v -run 'TestHMAC/6.12' ./internal/kernellab/
//	/tmp/lab/TestHMAC_6.12-*/boot lab.shell
//
// What the script gets as arguments goes to the kernel command line; lab.shell
// gives a shell in the initramfs when everything is set up, before the probes.
//
// # Cache
//
// Kernels, the Debian tree (mmdebstrap, the machine's own release) and images of
// it are kept in imaseal in the user's cache directory, or where IMASEAL_CACHE
// says, or in /var/cache/imaseal for root without a home. Suites are looked at
// again after a day and a half; once something is cached, no network is needed.
// The newest kernel series may be missing, the others may not. Images of
// running tests lie in the cache too, and what a killed test left is unmounted
// and removed by the next.
package kernellab
