# make help lists the targets. CI calls "make test" and nothing else.

GO ?= go
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
MANDIR = $(DESTDIR)$(PREFIX)/share/man
FUZZTIME ?= 20000x
SEED ?= 1
WORLDS ?= 50
COUNT ?= 3000
PAIRS ?= 10000
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# program=package pairs, installed by .ci/need where the program is missing.
NEED_ROOT = mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs mkfs.btrfs=btrfs-progs mkfs.vfat=dosfstools setfattr=attr setcap=libcap2-bin \
	losetup=mount chattr=e2fsprogs evmctl=ima-evm-utils openssl=openssl strace=strace keyctl=keyutils fuser=psmisc \
	python3=python3 m4=m4 apt-get=apt dpkg=dpkg tar=tar zstd=zstd
NEED_KEYS = openssl=openssl nginx=nginx-light softhsm2-util=softhsm2 pkcs11-tool=opensc p11-kit=p11-kit swtpm=swtpm tpm2_createprimary=tpm2-tools \
	/usr/share/doc/tpm2-openssl/copyright=tpm2-openssl \
	journalctl=systemd /lib/systemd/systemd-journal-remote=systemd-journal-remote
NEED_CLUSTER = sbatch=slurm-client slurmctld=slurmctld slurmd=slurmd munged=munge
NEED_SHELLS = bash=bash zsh=zsh fish=fish mandoc=mandoc systemd-analyze=systemd
NEED_KERNEL = $(NEED_ROOT) qemu-system-x86_64=qemu-system-x86 /usr/bin/busybox=busybox-static mmdebstrap=mmdebstrap \
	tune2fs=e2fsprogs debugfs=e2fsprogs xfs_admin=xfsprogs tar=tar xz=xz-utils dpkg=dpkg apt-get=apt \
	fsverity=fsverity mksquashfs=squashfs-tools tar2sqfs=squashfs-tools-ng fakeroot=fakeroot /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
NEED_ARCHIVES = tar=tar /usr/bin/busybox=busybox-static bsdtar=libarchive-tools python3=python3 gzip=gzip zstd=zstd xz=xz-utils \
	mmdebstrap=mmdebstrap mksquashfs=squashfs-tools tar2sqfs=squashfs-tools-ng ostree=ostree
NEED_IMAGES = umoci=umoci skopeo=skopeo mke2fs=e2fsprogs debugfs=e2fsprogs e2fsck=e2fsprogs tune2fs=e2fsprogs sfdisk=fdisk setfacl=acl fakeroot=fakeroot jq=jq
NEED_HOOKS = apt-get=apt dpkg-deb=dpkg getfattr=attr dnf=dnf /usr/lib/python3/dist-packages/dnf-plugins/post-transaction-actions.py=dnf-plugins-core \
	pacman=pacman-package-manager rpmbuild=rpm unshare=util-linux
NEED_PACKAGES = rpm=rpm rpmbuild=rpm rpmsign=rpm rpmkeys=rpm gpg=gnupg bsdtar=libarchive-tools dpkg-deb=dpkg bzip2=bzip2
NEED_PAGES = chromium=chromium
NEED_DEMO = mkfs.ext4=e2fsprogs losetup=mount

# Architectures that the program is built and vetted for, and those whose tests of
# formats run under emulation: one with 32 bits, one of big endian order.
ARCHES = amd64 arm64 arm 386 riscv64 s390x ppc64le mips
EMULATED = s390x arm
FORMATS = ./hash ./internal/rpmfile ./internal/tarfile/... ./internal/tree/oci/document ./internal/tree/oci/flat ./internal/imaevm ./internal/policy/... ./internal/appraise ./internal/undo
NEED_EMULATED = qemu-s390x-static=qemu-user-static qemu-arm-static=qemu-user-static

.PHONY: all build install uninstall demo test check lint cross test-unit fuzz test-root test-kernel differential certificates rsa-lanes bench clean help

all: build

build: ## build the static program ./imaseal
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o imaseal .

install: build ## install program, manual and completions below $(DESTDIR)$(PREFIX)
	install -D -m 0755 imaseal $(BINDIR)/imaseal
	install -D -m 0644 doc/imaseal.8 $(MANDIR)/man8/imaseal.8
	install -D -m 0644 doc/imaseal-key.7 $(MANDIR)/man7/imaseal-key.7
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	./imaseal completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/imaseal
	./imaseal completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_imaseal
	./imaseal completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/imaseal.fish

uninstall: ## remove what install put there
	rm -f $(BINDIR)/imaseal $(MANDIR)/man8/imaseal.8 $(MANDIR)/man7/imaseal-key.7 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/imaseal \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_imaseal \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/imaseal.fish

demo: build ## label, verify and tamper with a real tree in a loop-mounted image (root)
	@.ci/need $(NEED_DEMO)
	@internal/demo/demo.sh ./imaseal

test: lint cross test-unit fuzz test-root test-kernel ## run everything; needs root, installs what is missing

check: lint test-unit ## what needs no privilege

lint: ## gofmt, vet, staticcheck, shellcheck
	@.ci/need shellcheck=shellcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	shellcheck .ci/need .ci/run internal/demo/demo.sh doc/examples/imaseal-key-openssl $$(grep -rl '^#!' internal/integrate/files)

cross: ## build and vet for other architectures, run the tests of formats on two of them
	@.ci/need $(NEED_EMULATED)
	@set -e; for arch in $(ARCHES); do \
		echo "build and vet for $$arch"; \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) build -o /dev/null . ; \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) vet ./...; \
	done
	@set -e; for arch in $(EMULATED); do \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) test -exec "qemu-$$arch-static" $(FORMATS); \
	done

test-unit: ## unit and script tests under the race detector
	@.ci/need $(NEED_SHELLS) $(NEED_KEYS) $(NEED_ROOT) $(NEED_ARCHIVES) $(NEED_CLUSTER) $(NEED_IMAGES) $(NEED_PACKAGES) $(NEED_PAGES)
	IMASEAL_TEST= $(GO) test -race -timeout 40m ./...

fuzz: ## every fuzz target for $(FUZZTIME): inputs (20000x) or time (1m)
	@set -e; $(GO) list ./... | while read -r pkg; do \
		for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$pkg" </dev/null; \
		done; \
	done

test-root: ## tests that need root: loop-mounted ext4 and xfs, real security.* attributes
	@.ci/need $(NEED_KEYS) $(NEED_ROOT) $(NEED_ARCHIVES) $(NEED_CLUSTER) $(NEED_IMAGES) $(NEED_PACKAGES) $(NEED_HOOKS) buildah=buildah
	IMASEAL_TEST=root $(GO) test -timeout 40m ./...

test-kernel: ## boot labelled trees on real kernels under emulation (root)
	@.ci/need $(NEED_KEYS) $(NEED_KERNEL)
	IMASEAL_TEST=kernel $(GO) test -v -timeout 60m ./internal/kernellab/

differential: ## have kernels and imaseal check judge WORLDS trees and policies, from SEED on (root)
	@.ci/need $(NEED_KERNEL)
	IMASEAL_TEST=kernel $(GO) test -v -timeout 0 -run TestDifferential ./internal/kernellab/ -seed $(SEED) -worlds $(WORLDS)

certificates: ## offer COUNT certificates of SEED, most of them odd, to kernels and to imaseal's rules (root)
	@.ci/need $(NEED_KERNEL)
	IMASEAL_TEST=kernel $(GO) test -v -timeout 0 -run TestCertificates ./internal/kernellab/ -seed $(SEED) -certificates $(COUNT)

rsa-lanes: ## sign with PAIRS random keys and digests of each size in lanes and by crypto/rsa; without lanes too
	@.ci/need openssl=openssl
	RSA_LANES_PAIRS=$(PAIRS) $(GO) test -v -timeout 0 -run 'TestAgainstCryptoRSA|TestGenerated' ./keys/rsalanes/
	$(GO) test -tags purego ./keys/rsalanes/

bench: ## time imaseal against evmctl, find and the floor side by side; BENCH=hash,sign a part, BENCH_OUT=FILE as JSON (root)
	@.ci/need $(NEED_KERNEL)
	IMASEAL_TEST=kernel BENCH="$(BENCH)" BENCH_OUT="$(abspath $(BENCH_OUT))" $(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./internal/bench/

clean: ## remove what build made
	rm -f imaseal

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
