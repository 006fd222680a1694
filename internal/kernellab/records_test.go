package kernellab

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/audit"
	refusals "imaseal/internal/denials"
	"imaseal/internal/vectors"
)

var keepRecords = flag.String("keep-records", "", "a directory for some records of each kind, as package audit's tests have them")

// oddNames are names that the kernel writes in hexadecimal.
var oddNames = []string{"a b", "quote\"", "\xff\xfe", "new\nline", "tab\t", "é", strings.Repeat("long ", 50)}

// TestRecords has package audit read what kernels record about files of a world
// of which everything is known.
func TestRecords(t *testing.T) {
	l := Open(t)
	w := newWorld(t, l, 1, Ext4)
	inodes := make(map[string]uint64)
	for _, f := range w.files {
		for _, name := range f.names() {
			inodes[name] = inodeOf(t, filepath.Join(w.dir, name))
		}
	}
	check(t, os.MkdirAll(filepath.Join(w.dir, "odd"), 0o755))
	for _, name := range oddNames {
		path := filepath.Join(w.dir, "odd", name)
		check(t, errors.Join(os.WriteFile(path, []byte("x"), 0o644), unix.Chown(path, 0, 0)))
		inodes["odd/"+name] = inodeOf(t, path)
	}
	causes := w.plantCauses(t)
	for _, name := range causes {
		inodes[name] = inodeOf(t, filepath.Join(w.dir, name))
	}
	w.img.Unmount(t)
	if out, err := exec.Command(lookPath("tune2fs"), "-O", "verity", w.img.Path).CombinedOutput(); err != nil {
		t.Fatalf("tune2fs: %v: %s", err, out)
	}
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			c := recordingCase(t, l, w, series)
			useCauses(t, &c, causes)
			c.Probes = append(c.Probes, Probe{Name: "dmesg", Op: Sh, Script: "dmesg"})
			res := l.Boot(t, c)
			seen := make(map[string]bool)
			for i, p := range c.Probes {
				checkRecords(t, p, res.Verdicts[i], inodes, seen)
			}
			seen[early] = strings.Contains(res.Verdict(t, "dmesg").Output, early)
			for _, cause := range []string{"missing-hash", "invalid-hash", "invalid-signature", "missing-HMAC", "invalid-HMAC", "invalid-fail-immutable",
				"IMA-signature-required", "invalid-signature-version", "failed(directio)", "no-verity-digest", "denied-hash-algorithm", "no_label", "fail",
				"unknown-ima-data", "failed", "verity-signature-required", "invalid-verity-signature", "failed-mprotect", "mmapped_writers",
				early, "IMA-sigv3-required"} {
				if cause == "IMA-sigv3-required" && !hasSigV3(series) {
					continue
				}
				if !seen[cause] {
					t.Errorf("no record has the cause %s", cause)
				}
			}
			checkDenials(t, c.Probes, res.Verdicts)
			if *keepRecords != "" {
				keep(t, filepath.Join(*keepRecords, "kernel-"+series+".log"), res)
			}
		})
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Stat(path, &st))
	return st.Ino
}

// recordingCase has rules of many kinds, and uses of all files.
func recordingCase(t *testing.T, l *Lab, w *world, series string) Case {
	t.Helper()
	c := Case{
		Kernel: l.Kernel(t, series), Image: l.Copy(t, w.img), EVM: []string{"2"},
		// What is recorded before the log is opened goes through printk, which would
		// print ten in five seconds, and keep what has room.
		Append: "ima_appraise=enforce sysctl.kernel.printk_ratelimit=0 log_buf_len=4M",
		Setup:  "echo bogus >/sys/kernel/security/ima/policy || true\n",
		Policy: slices.Concat(unjudged, []string{
			"audit func=FILE_CHECK fowner=0 mask=MAY_READ",
			"measure func=FILE_CHECK mask=MAY_READ",
			"appraise func=MMAP_CHECK",
			"appraise func=FILE_CHECK fowner=0",
			"appraise func=FILE_CHECK fowner=1 appraise_type=imasig",
			"appraise func=FILE_CHECK fowner=1000 appraise_algos=sha512",
			"appraise func=FILE_CHECK fowner=65534 digest_type=verity appraise_type=sigv3",
			"appraise func=SETXATTR_CHECK appraise_algos=sha256,sha512",
		}),
		Files: make(map[string][]byte),
	}
	if hasSigV3(series) {
		c.Policy = append(c.Policy, fmt.Sprintf("appraise func=FILE_CHECK fowner=%d appraise_type=sigv3", sigV3User))
	}
	for _, name := range knownKeys {
		if hasECDSA(series) || !strings.HasPrefix(name, "p") {
			cert := "keys/" + name + ".cert.der"
			c.Keys = append(c.Keys, IMAKey(vectors.Read(t, cert)), EVMKey(vectors.Read(t, cert)))
		}
	}
	for _, op := range []Op{Read, Direct, MapExec, Write} {
		for i := range w.files {
			c.Probes = append(c.Probes, Probe{Op: op, Path: w.files[i].name})
		}
	}
	for _, name := range oddNames {
		c.Probes = append(c.Probes, Probe{Op: Read, Path: "odd/" + name})
	}
	c.Probes = append(c.Probes,
		Probe{Name: "metadata", Op: Sh, Script: "cd /newroot/d1; chmod 600 *; chown 5 *"},
		Probe{Name: "writers", Op: Sh, Script: "cd /newroot/d2; for f in *; do (exec 3>>$f; read x <$f; exec 4<$f; exec 5>>$f); done"},
	)
	return c
}

// checkRecords compares what package audit reads with what is known, and notes
// which causes there are.
func checkRecords(t *testing.T, p Probe, v Verdict, inodes map[string]uint64, seen map[string]bool) {
	t.Helper()
	log := audit.NewReader(strings.NewReader("audit: " + strings.Join(v.Records, "\naudit: ") + "\n"))
	cause := ""
	for _, raw := range v.Records {
		e, err := log.Next()
		if err != nil || e.Record == nil {
			t.Errorf("%s: %v", raw, err)
			return
		}
		r := e.Record
		seen[r.Cause] = true
		switch r.Type {
		case audit.Data, audit.Userspace:
			cause = r.Cause
		case audit.Rule:
			if !strings.Contains(r.Digest, ":") {
				t.Errorf("%s: the digest is %q", raw, r.Digest)
			}
		}
		if r.Cut || r.Time.IsZero() || r.Serial == 0 || r.UID != 0 || r.AUID != audit.NoID || r.Session != audit.NoID {
			t.Errorf("%s: %+v", raw, r)
		}
		if p.Path == "" {
			continue
		}
		// Only some records have the whole path, and records of rules no inode.
		path := "/newroot/" + p.Path
		hasInode := r.Type != audit.Rule
		if r.PID <= 0 || r.Comm != "init" || r.Name != path && r.Name != filepath.Base(path) || hasInode && (r.Dev != "vda" || r.Inode != inodes[p.Path]) {
			t.Errorf("%s: %+v, of %q, inode %d", raw, r, path, inodes[p.Path])
		}
	}
	if e, err := log.Next(); err != io.EOF || log.Damaged() != 0 {
		t.Errorf("%+v, %v behind the records, %d are damaged", e, err, log.Damaged())
	}
	if !v.Allowed() && v.Cause != cause && p.Path != "" {
		t.Errorf("%s: the cause is %q, want %q", p.Path, cause, v.Cause)
	}
}

// checkDenials has package denials count what was refused, each file by its cause.
func checkDenials(t *testing.T, probes []Probe, verdicts []Verdict) {
	t.Helper()
	c := refusals.New(refusals.Options{})
	l, want := c.Log(""), make(map[string]uint64)
	for i, v := range verdicts {
		log := audit.NewReader(strings.NewReader("audit: " + strings.Join(v.Records, "\naudit: ") + "\n"))
		for e, err := log.Next(); err != io.EOF; e, err = log.Next() {
			check(t, err)
			l.Add(e)
		}
		if probes[i].Path != "" && !v.Allowed() && v.Cause != "" {
			want[v.Cause]++
		}
	}
	got := make(map[string]uint64)
	for _, g := range c.Report().Groups {
		if g.Kind == refusals.Refused && g.Program == "init" {
			got[g.Cause] += g.Count
		}
	}
	// A use of a file can be refused by several records, of which one is the cause.
	for cause, n := range want {
		if got[cause] < n {
			t.Errorf("%d were refused because of %s, want %d", got[cause], cause, n)
		}
	}
	if len(want) < 10 {
		t.Errorf("only %d causes", len(want))
	}
}

// early is a cause of a record from before the log is opened.
const early = "unavailable-hash-algorithm"

// ofBoot are messages about audit, and records from before the log is opened.
var ofBoot = regexp.MustCompile(`\] (Linux version|Command line|kauditd_printk_skb|audit: (type=(2000|1400|1802|1807|1800 .*cause=` + early + `) |[^t]))`)

// keep writes a record of each kind, as dmesg prints them, and what dmesg has of
// the boot.
func keep(t *testing.T, name string, res Result) {
	t.Helper()
	var kept strings.Builder
	for line := range strings.Lines(res.Verdict(t, "dmesg").Output) {
		if ofBoot.MatchString(line) {
			kept.WriteString(line)
		}
	}
	seen := make(map[string]bool)
	for i, v := range res.Verdicts {
		for _, raw := range v.Records {
			log := audit.NewReader(strings.NewReader("audit: " + raw))
			e, err := log.Next()
			check(t, err)
			kind := fmt.Sprint(e.Record.Type, e.Record.Op, e.Record.Cause)
			if strings.HasPrefix(res.probes[i].Path, "odd/") {
				kind += e.Record.Name
			}
			if !seen[kind] {
				seen[kind] = true
				fmt.Fprintf(&kept, "[%12.6f] audit: %s\n", float64(10+i)/10, raw)
			}
		}
	}
	check(t, os.WriteFile(name, []byte(kept.String()), 0o644))
}
