package signatures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

const aName = "v1/00ff/sha256/abc/abcdef"

// testStore is what every store does.
func testStore(t *testing.T, s Store) {
	t.Helper()
	ctx := t.Context()
	if sig, err := s.Get(ctx, aName); !errors.Is(err, ErrNone) {
		t.Errorf("what is not there: %q, %v", sig, err)
	}
	for _, sig := range []string{"one", "another, which is longer", "", strings.Repeat("x", maxSize/2)} {
		if err := s.Put(ctx, aName, []byte(sig)); err != nil {
			t.Fatalf("%q: %v", sig, err)
		}
		if got, err := s.Get(ctx, aName); err != nil || string(got) != sig {
			t.Errorf("%q, %v, want %q", got, err, sig)
		}
	}
	// Many at once, some of them of one name: what is there is always whole.
	var work sync.WaitGroup
	for i := range 2 * s.Parallel() {
		work.Go(func() {
			for j := range 20 {
				name := fmt.Sprintf("v1/00ff/sha256/%03d/%d", j%3, j)
				if err := s.Put(ctx, name, bytes.Repeat([]byte{byte(i)}, 100+i)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				got, err := s.Get(ctx, name)
				if err != nil || len(got) < 100 || len(got) != 100+int(got[0]) || bytes.Count(got, got[:1]) != len(got) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
		})
	}
	work.Wait()
}

func newDir(t *testing.T, name string) *Dir {
	t.Helper()
	d, err := OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDir(t *testing.T) {
	treetest.Leaks(t)
	name := filepath.Join(t.TempDir(), "made", "here")
	testStore(t, newDir(t, name))
	left, err := os.ReadDir(filepath.Join(name, tmpDir))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if _, err := OpenDir(treetest.Make(t, "file f") + "/f"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

// TestHostileDir: what is in the place of a signature is neither followed, nor waited
// for, nor read to its end.
func TestHostileDir(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `file outside/secret content=secret
dir store/v1/k/sha256/abc
dir store/v1/k/sha256/abc/dir
fifo store/v1/k/sha256/abc/fifo
link store/v1/k/sha256/abc/link ../../../../../outside/secret
link store/v1/k/sha256/abc/null /dev/zero
file store/v1/k/sha256/abc/large size=1073741824
link store/v1/k/sha256/out ../../../../outside
link store/v1/k/sha256/root /
file store/v1/k/sha256/file`)
	d := newDir(t, root+"/store")
	for _, name := range []string{"abc/dir", "abc/fifo", "abc/link", "abc/null", "out/secret", "root/etc/passwd", "file/x"} {
		if sig, err := d.Get(t.Context(), "v1/k/sha256/"+name); err == nil {
			t.Errorf("%s: %q", name, sig)
		}
	}
	if sig, err := d.Get(t.Context(), "v1/k/sha256/abc/large"); err != nil || len(sig) > maxSize {
		t.Errorf("large: %d bytes, %v", len(sig), err)
	}
	for _, name := range []string{"out/new", "root/tmp/imaseal-new", "file/x"} {
		if err := d.Put(t.Context(), "v1/k/sha256/"+name, []byte("x")); err == nil {
			t.Errorf("%s: is written", name)
		}
	}
	for _, name := range []string{"abc/link", "abc/fifo", "abc/null", "abc/large"} { // what is a name in the store is replaced
		if err := d.Put(t.Context(), "v1/k/sha256/"+name, []byte("mine")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if sig, err := d.Get(t.Context(), "v1/k/sha256/"+name); string(sig) != "mine" {
			t.Errorf("%s: %q, %v", name, sig, err)
		}
	}
	if b, err := os.ReadFile(root + "/outside/secret"); string(b) != "secret" {
		t.Errorf("%q, %v", b, err)
	}
	if left, _ := os.ReadDir(root + "/store/tmp"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestSweep: what killed processes have left is removed when it is old.
func TestSweep(t *testing.T) {
	root := treetest.Make(t, "file tmp/old content=x\nfile tmp/new content=x\nfile v1/k/sha256/abc/abc content=x\nlink tmp/link ../v1")
	past := time.Now().Add(-2 * tmpAge)
	for _, name := range []string{"tmp/old", "v1/k/sha256/abc/abc"} {
		if err := os.Chtimes(filepath.Join(root, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	newDir(t, root)
	for name, want := range map[string]bool{"tmp/old": false, "tmp/new": true, "tmp/link": true, "v1/k/sha256/abc/abc": true} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnwritable: a directory that one may only read gives what it has, and says that
// it takes nothing.
func TestUnwritable(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	root := treetest.Make(t, "file v1/k/sha256/abc/abc content=x\ndir v1/k/sha256/abc mode=0555\ndir v1 mode=0555\ndir v1/closed mode=0\ndir tmp mode=0555")
	d := newDir(t, root)
	if sig, err := d.Get(t.Context(), "v1/k/sha256/abc/abc"); string(sig) != "x" {
		t.Errorf("%q, %v", sig, err)
	}
	if _, err := d.Get(t.Context(), "v1/closed/x"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a closed directory: %v", err)
	}
	if err := d.Put(t.Context(), aName, nil); !errors.Is(err, unix.EACCES) {
		t.Errorf("%v", err)
	}
}

// TestFull: a directory on a file system without room says so, and keeps no part.
func TestFull(t *testing.T) {
	treetest.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k,nr_inodes=200"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	d := newDir(t, dir)
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		err = d.Put(t.Context(), fmt.Sprintf("v1/k/sha256/abc/%d", i), bytes.Repeat([]byte("x"), 4000))
	}
	if left, _ := os.ReadDir(dir + "/tmp"); !errors.Is(err, unix.ENOSPC) || len(left) > 0 {
		t.Errorf("%v, %v is left", err, left)
	}
	if sig, err := d.Get(t.Context(), "v1/k/sha256/abc/0"); len(sig) != 4000 {
		t.Errorf("%d bytes, %v", len(sig), err)
	}
}

// nginx starts the web server with its module dav, with more in the place that takes
// requests, and returns its URL and directory.
func nginx(t *testing.T, more string) (at, dir string) {
	t.Helper()
	program := treetest.Tool(t, "nginx")
	dir, err := os.MkdirTemp("", "imaseal-nginx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	port := freePort(t)
	config := fmt.Sprintf(`%s
worker_processes 1;
daemon off;
pid %[2]s/pid;
error_log stderr error;
events {}
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi; uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	server {
		listen 127.0.0.1:%[3]d;
		root %[2]s/root;
		location / {
			dav_methods PUT;
			create_full_put_path on;
			client_max_body_size 8k;
			%[4]s
		}
	}
}
`, user, dir, port, more)
	for _, d := range []string{"root", "body"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", "stderr")
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", &stderr)
		}
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return "http://" + address, filepath.Join(dir, "root")
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx does not listen: %v\n%s", err, &stderr)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newWeb(t *testing.T, at, auth string) *Web {
	t.Helper()
	w := OpenWeb(at, auth)
	t.Cleanup(func() { w.Close() })
	return w
}

// TestNginx: a real web server is a store, with a password too; what it gives out can
// be a directory that others write to.
func TestNginx(t *testing.T) {
	at, dir := nginx(t, "")
	testStore(t, newWeb(t, at+"/some/where/", ""))
	testStore(t, newDir(t, dir))
	if err := newDir(t, dir).Put(t.Context(), "v1/k/sha256/abc/abc", []byte("by a directory")); err != nil {
		t.Fatal(err)
	}
	if sig, err := newWeb(t, at, "").Get(t.Context(), "v1/k/sha256/abc/abc"); string(sig) != "by a directory" {
		t.Errorf("%q, %v", sig, err)
	}

	at, dir = nginx(t, `if ($http_authorization != "Bearer sesame") { return 401; }`)
	if err := newWeb(t, at, "Bearer wrong").Put(t.Context(), aName, nil); fmt.Sprint(err) != "PUT: 401 Unauthorized" {
		t.Errorf("%v", err)
	}
	if _, err := newWeb(t, at, "").Get(t.Context(), aName); fmt.Sprint(err) != "GET: 401 Unauthorized" {
		t.Errorf("%v", err)
	}
	testStore(t, newWeb(t, at, "Bearer sesame"))

	// Where the server may not write, it says so.
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(dir, 0o700)
		if err := newWeb(t, at, "Bearer sesame").Put(t.Context(), "v2/x", nil); err == nil {
			t.Error("what cannot be stored is")
		}
	}
	if err := newWeb(t, at, "Bearer sesame").Put(context.Background(), aName, make([]byte, 9<<10)); fmt.Sprint(err) != "PUT: 413 Request Entity Too Large" {
		t.Errorf("%v", err)
	}
}
