package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/treetest"
	"imaseal/keys"
)

// A program runs imaseal as processes of their own.
type program struct{ path, dir string }

// newProgram returns the program, which works in a new directory whose files hold
// attributes of users.
func newProgram(t *testing.T) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{filepath.Join(t.TempDir(), "imaseal"), xattrDir(t)}
	if err := os.Symlink(self, p.path); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.dir
	return cmd
}

// TestSignatureStoreProcesses: of several processes at once that share a store, many
// are killed, wherever they are. Whatever is in the store then are whole signatures,
// and what is left of those that were killed is in the way of nobody.
func TestSignatureStoreProcesses(t *testing.T) {
	p := newProgram(t)
	var spec strings.Builder
	const files = 120
	for i := range files {
		fmt.Fprintf(&spec, "file tree/%d/%d content=%d\n", i%5, i, i)
	}
	treetest.Add(t, p.dir, spec.String())
	b := read(t, "testdata/vectors/keys/rsa2048.key.pem")
	if err := os.WriteFile(filepath.Join(p.dir, "key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"sign", "--key", "key", "--keyid", "11223344", "--namespace", "user", "--owner", "any", "--force", "--signatures"}
	sign := func(store, tree string) *exec.Cmd { return p.command(append(args, store, tree)...) }
	random := rand.New(rand.NewPCG(1, 2))
	var killed atomic.Int64
	for round := range 6 {
		store := fmt.Sprint("store-", round)
		// Each works on a tree of its own: only the store is shared.
		var work sync.WaitGroup
		for i := range 4 {
			tree := fmt.Sprintf("copy-%d-%d", round, i)
			if err := os.CopyFS(filepath.Join(p.dir, tree), os.DirFS(filepath.Join(p.dir, "tree"))); err != nil {
				t.Fatal(err)
			}
			cmd := sign(store, tree)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wait := time.Duration(20+random.IntN(150)) * time.Millisecond
			work.Go(func() {
				defer time.AfterFunc(wait, func() { cmd.Process.Signal(unix.SIGKILL) }).Stop()
				if err := cmd.Wait(); err != nil {
					killed.Add(1)
				}
			})
		}
		work.Wait()
		had := checkStore(t, filepath.Join(p.dir, store), filepath.Join(p.dir, "key"))
		for _, want := range []string{
			fmt.Sprintf("signatures: %d found in the store, %d made, %d stored\n", had, files-had, files-had),
			fmt.Sprintf("signatures: %d found in the store, 0 made, 0 stored\n", files),
		} {
			if out, err := sign(store, "tree").CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
				t.Errorf("round %d: %v: %s", round, err, out)
			}
		}
	}
	if killed.Load() == 0 {
		t.Error("none was killed before its end")
	}
}

// checkStore verifies each signature in a store over the digest that its name says,
// and returns how many there are.
func checkStore(t *testing.T, store, keyFile string) int {
	t.Helper()
	n := 0
	key, err := keys.Open(t.Context(), keyFile, nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	err = filepath.WalkDir(filepath.Join(store, "v1"), func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		sum, err := hex.DecodeString(filepath.Base(name))
		if err != nil {
			return err
		}
		digest, err := hash.NewDigest(hash.SHA256, sum)
		if err != nil {
			return err
		}
		sig, err := os.ReadFile(name)
		if err == nil && !key.IsOwn(digest, sig) {
			t.Errorf("%s holds %d bytes that are no signature", name, len(sig))
		}
		n++
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return n
}
