package kernellab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imaseal/internal/kernellab/wire"
)

// TestTroubledBoots shows that no guest fails without a word.
func TestTroubledBoots(t *testing.T) {
	l := Open(t)
	k := l.Kernel(t, "6.12")
	for name, test := range map[string]struct {
		c    Case
		want string
	}{
		"setup fails": {Case{Setup: "echo reason; false"}, "guest: setup script: exit status 1: reason"},
		"bad rule":    {Case{Policy: []string{"appraise func=NONSENSE"}}, "func=NONSENSE"},
		"no evm key":  {Case{EVM: []string{"1"}}, "no such file"},
		"kernel crash": {
			Case{Probes: []Probe{{Op: Sh, Script: "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger"}}},
			"sysrq triggered crash",
		},
		"hangs": {Case{Timeout: 20 * time.Second, Probes: []Probe{{Op: Sh, Script: "sleep 1000"}}}, "still running after 20s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.c.Kernel = k
			_, err := l.boot(t.Context(), test.c)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestCancelledBoot shows that qemu goes with the test.
func TestCancelledBoot(t *testing.T) {
	l := Open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	time.AfterFunc(time.Second, func() { cancel(reason) })
	_, err := l.boot(ctx, Case{Kernel: l.Kernel(t, "6.12"), Probes: []Probe{{Op: Sh, Script: "sleep 1000"}}})
	if !errors.Is(err, reason) {
		t.Errorf("error %v, want %v", err, reason)
	}
}

// TestKeep changes a file in the guest and finds it in the image afterwards. A
// program of the host looks at the file in the guest.
func TestKeep(t *testing.T) {
	l := Open(t)
	k := l.Kernel(t, "6.12")
	imaseal, err := os.ReadFile(l.Imaseal(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, fs := range Filesystems {
		t.Run(string(fs), func(t *testing.T) {
			t.Parallel()
			img := l.NewImage(t, fs, 0, "")
			img.SetUUID(t, vectorUUID)
			for _, keep := range []bool{false, true} {
				res := l.Boot(t, Case{
					Kernel: k, Image: img, Keep: keep, Append: EnforceTCB,
					Files: map[string][]byte{"/bin/imaseal": imaseal},
					Probes: []Probe{
						{Name: "create", Op: Create, Path: "new", Script: "content"},
						{Name: "write", Op: Write, Path: "new"},
						{Name: "verify", Op: Sh, Script: "imaseal verify /newroot/new"},
					},
				})
				for _, p := range res.probes {
					expectAllowed(t, res, p.Name)
				}
				dir := l.Copy(t, img).Mount(t)
				got, err := os.ReadFile(filepath.Join(dir, "new"))
				if keep && (err != nil || string(got) != "content") || !keep && err == nil {
					t.Errorf("keep %v: %q, %v", keep, got, err)
				}
			}
		})
	}
}

// TestLogMode pins that records are found also where nothing is denied, and
// that each goes to the probe that caused it.
func TestLogMode(t *testing.T) {
	l := Open(t)
	img := l.NewImage(t, Ext4, 0, vectorUUID)
	fixtures(t, img, []fixture{{name: "bare", mode: 0o644}, {name: "hashed", attrs: "ima=hello.txt.sha512.imahash", mode: 0o644}})
	var probes []Probe
	for range 500 {
		probes = append(probes, Probe{Op: Read, Path: "bare"}, Probe{Op: Read, Path: "hashed"})
	}
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Append: "ima_appraise=log", Probes: probes,
				Policy: []string{"appraise func=FILE_CHECK fsuuid=" + vectorUUID},
			})
			for i, v := range res.Verdicts {
				want := ""
				if probes[i].Path == "bare" {
					want = "missing-hash"
				}
				if !v.Allowed() || v.Cause != want {
					t.Fatalf("%d, %s: %+v, want it allowed and %q recorded", i, probes[i].Path, v, want)
				}
			}
		})
	}
}

// TestSweep leaves a mounted image behind, as a killed test does.
func TestSweep(t *testing.T) {
	l := Open(t)
	runs := t.TempDir()
	dir := filepath.Join(runs, "lab-killed")
	img := Image{FS: Ext4, Path: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mnt")}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(copySparse(l.NewImage(t, Ext4, 0, "").Path, img.Path), img.mount()); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sweep(runs); err != nil || !exists(img.Path) {
		t.Fatalf("sweeping while it is locked: %v, image exists: %v", err, exists(img.Path))
	}
	unlock()
	if err := sweep(runs); err != nil || exists(dir) {
		t.Errorf("sweeping: %v, directory exists: %v", err, exists(dir))
	}
}

func TestCached(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub", "entry")
	fail := errors.New("no network")
	if err := cached(dir, func(string) error { return fail }); !errors.Is(err, fail) || exists(dir) {
		t.Errorf("failed build: %v, entry exists: %v", err, exists(dir))
	}
	var builds atomic.Int32
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			err := cached(dir, func(dir string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
			})
			if err != nil || !exists(filepath.Join(dir, "file")) {
				t.Errorf("cached: %v", err)
			}
		})
	}
	users.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".new-*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("IMASEAL_CACHE", "")
	expect := func(want string) {
		t.Helper()
		if got, err := cacheDir(); got != want || (err != nil) != (want == "") {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	expect("/home/u/.cache/imaseal")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	expect("/cache/imaseal")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if os.Geteuid() == 0 {
		expect("/var/cache/imaseal")
	} else {
		expect("")
	}
	t.Setenv("IMASEAL_CACHE", "/elsewhere")
	expect("/elsewhere")
}

// TestStaleKernel has no archive to ask: the kernel of the last look serves, and
// the archive is left alone for a while.
func TestStaleKernel(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	l := &Lab{cache: t.TempDir()}
	dir := filepath.Join(l.cache, "kernels", "7.x")
	k := Kernel{dir: filepath.Join(dir, "7.0-old")}
	current := filepath.Join(dir, "current")
	old := time.Now().Add(-2 * checkEvery)
	if err := errors.Join(os.MkdirAll(k.dir, 0o755), os.WriteFile(k.Image(), nil, 0o600),
		os.WriteFile(current, []byte("7.0-old"), 0o600), os.Chtimes(current, old, old)); err != nil {
		t.Fatal(err)
	}
	for _, wantStale := range []bool{true, false} {
		got, stale, err := l.kernel("7.x")
		if err != nil || got.Version != "7.0-old" || (stale != nil) != wantStale {
			t.Errorf("%v, stale: %v, %v", got, stale, err)
		}
	}
	if got, _, err := l.kernel("6.1"); err == nil {
		t.Errorf("a kernel from nowhere: %v", got)
	}
}

func TestKernelPackages(t *testing.T) {
	tree := `linux-image-cloud-amd64
  Depends: linux-image-7.2.13+deb14-cloud-amd64
linux-base-cloud-amd64
linux-image-7.2.13+deb14-cloud-amd64
linux-base
linux-binary-7.2.13+deb14-cloud-amd64
linux-modules-7.2.13+deb14-cloud-amd64
linux-headers-7.2.13+deb14-cloud-amd64
`
	got := kernelPackages.FindAllString(tree, -1)
	want := []string{"linux-image-7.2.13+deb14-cloud-amd64", "linux-binary-7.2.13+deb14-cloud-amd64",
		"linux-modules-7.2.13+deb14-cloud-amd64"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCpio(t *testing.T) {
	var b bytes.Buffer
	w := newCpioWriter(&b)
	w.file("/a/b/file", 0o755, []byte("hello"))
	w.file("a/empty", 0o644, nil)
	w.symlink("link", "a/b")
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	cpio := lookPath("busybox")
	if cpio == "" {
		t.Skip("no busybox to read the archive")
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "zcat | "+cpio+" cpio -i")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpacking: %v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "link/file"))
	if err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a/empty")); err != nil || info.Size() != 0 || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestReadReports(t *testing.T) {
	const first = `{"index":0,"verdict":{"errno":"EACCES"}}` + "\n"
	for name, test := range map[string]struct {
		disk string
		n    int
		want error
	}{
		"whole":       {first + `{"done":true}`, 1, nil},
		"none wanted": {`{"done":true}`, 0, nil},
		"cut short":   {first, 1, wire.ErrUnfinished},
		"cut in half": {first[:20], 1, wire.ErrUnfinished},
		"empty":       {"", 0, wire.ErrUnfinished},
	} {
		got, err := wire.ReadReports(strings.NewReader(test.disk), test.n)
		if !errors.Is(err, test.want) || err == nil && len(got) != test.n {
			t.Errorf("%s: %v, %v, want %v", name, got, err, test.want)
		}
	}
	for _, disk := range []string{first + first, `{"done":true}`, `{"error":"x"}`, `{"index":1,"verdict":{}}`, `{}`} {
		if got, err := wire.ReadReports(strings.NewReader(disk), 1); err == nil {
			t.Errorf("%s: %v, want an error", disk, got)
		}
	}
}
