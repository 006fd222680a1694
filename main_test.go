package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"imaseal/internal/rpmfile/rpmtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imaseal": main})
}

// TestScripts runs testdata/script, each file with the real main. The scripts
// may use, besides testscript's own commands and those of scriptCommands:
//
//	$u, $any   the options --namespace=user and --owner=any
//	$KEYS      the directory of the keys of testdata/vectors
//	$LISTS     the directory of measurement lists
//	[root]     IMASEAL_TEST has the word root, and the test runs as root
//	[need:PROGRAM]  the program is there; in CI it must be
//	[generations]  the file system numbers the generations of its inodes
func TestScripts(t *testing.T) {
	t.Setenv("GOTMPDIR", xattrDir(t))
	keysDir, err := filepath.Abs("testdata/vectors/keys")
	if err != nil {
		t.Fatal(err)
	}
	listsDir, err := filepath.Abs("internal/measure/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("u", "--namespace=user")
			env.Setenv("any", "--owner=any")
			env.Setenv("LANG", "C.UTF-8")
			env.Setenv("KEYS", keysDir)
			env.Setenv("LISTS", listsDir)
			// An unprivileged program must be able to come here.
			return errors.Join(os.Chmod(filepath.Dir(env.WorkDir), 0o711), awaitWriters(env.WorkDir))
		},
		Condition: func(cond string) (bool, error) {
			if program, ok := strings.CutPrefix(cond, "need:"); ok {
				return needed(program)
			}
			switch cond {
			case "generations":
				return hasGenerations(os.Getenv("GOTMPDIR")), nil
			case "root":
			default:
				return false, fmt.Errorf("no condition %q", cond)
			}
			return slices.Contains(strings.Fields(os.Getenv("IMASEAL_TEST")), "root") && os.Geteuid() == 0, nil
		},
	})
}

// awaitWriters waits until nobody has the files below dir open for writing. They
// were just written, and while another script starts a program, that has copies
// of this process's descriptors until it is the program.
func awaitWriters(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		// A lease for reading is refused while there is a writer.
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != unix.EAGAIN {
				break
			}
		}
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return err
	})
}

// xattrDir returns a directory for temporary files on a file system that holds
// attributes of users and is on a disk.
func xattrDir(t *testing.T) string {
	for _, parent := range []string{os.TempDir(), "/var/tmp", "."} {
		dir, err := os.MkdirTemp(parent, "imaseal-test")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		var st unix.Statfs_t
		err = errors.Join(os.Chmod(dir, 0o711), unix.Statfs(dir, &st), unix.Setxattr(dir, "user.test", nil, 0))
		if err == nil && st.Type != unix.TMPFS_MAGIC {
			dir, err = filepath.Abs(dir)
		}
		if err == nil {
			return dir
		}
	}
	t.Skip("no file system on a disk that holds user.* attributes")
	return ""
}

// scriptCommands are the commands that only these scripts have.
// needed reports whether a program is there. It must be where CI is true.
func needed(program string) (bool, error) {
	_, err := exec.LookPath(program)
	if os.Getenv("CI") != "true" {
		return err == nil, nil
	}
	return true, err
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	// exits STATUS PROGRAM ARG...: like exec, and the exit status is exact. In
	// the output, times are zero and the script's directory is $WORK.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		want := number(ts, args[0])
		checkStatus(ts, ts.Exec(args[1], args[2:]...), want)
		printTimeless(ts, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	},
	// interrupt SIGNAL FILE STATUS PROGRAM ARG...: like exits, and the signal
	// is sent when the program has opened the file.
	"interrupt": interrupt,
	// unprivileged STATUS PROGRAM ARG...: like exits, as a user who may do
	// nothing special, if the script itself runs as root.
	"unprivileged": unprivileged,
	// piped STATUS PROGRAM ARG...: like exits, with standard output a pipe that
	// nobody reads any more.
	"piped": piped,
	// labels PATH...: print the labels of all files below, in both namespaces.
	"labels": labels,
	// xattr FILE NAME HEX: set an attribute; without HEX remove it.
	"xattr": func(ts *testscript.TestScript, neg bool, args []string) {
		name := ts.MkAbs(unquoted(ts, args[0]))
		if len(args) == 2 {
			ts.Check(unix.Removexattr(name, args[1]))
			return
		}
		value, err := hex.DecodeString(args[2])
		ts.Check(err)
		ts.Check(unix.Setxattr(name, args[1], value, 0))
	},
	// make KIND NAME [ARG]: make a file of content ARG, a fifo, a socket, a
	// hard link to ARG, or a sparse file of ARG bytes. A name in double quotes
	// is quoted as in Go.
	"make": makeFile,
	// package FILE FORMAT DIR: make an RPM package of the files below DIR.
	"package": makePackage,
	// flag NAME +i|+a: make a file immutable or append-only until the end.
	"flag": func(ts *testscript.TestScript, neg bool, args []string) {
		name := ts.MkAbs(args[0])
		ts.Check(ts.Exec("chattr", args[1], name))
		ts.Defer(func() { exec.Command("chattr", "-ia", name).Run() })
	},
	// image FSTYPE DIR [OPTIONS]: mount a new file system on a new directory.
	"image": image,
	// mount OPTIONS DIR: mount again with other options.
	"mount": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(ts.Exec("mount", "-o", "remount,"+args[0], ts.MkAbs(args[1])))
	},
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

func checkStatus(ts *testscript.TestScript, err error, want int) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status is %d, not %d", got, want)
	}
}

var times = regexp.MustCompile(`(in )[0-9.]+( s, )|("seconds":)[0-9.e-]+`)

func printTimeless(ts *testscript.TestScript, stdout, stderr string) {
	work := strings.NewReplacer(ts.Getenv("WORK"), "$WORK")
	fmt.Fprint(ts.Stdout(), work.Replace(times.ReplaceAllString(stdout, "${1}${3}0$2")))
	fmt.Fprint(ts.Stderr(), work.Replace(stderr))
}

// prepare finds a program as exec would run it.
func prepare(ts *testscript.TestScript, args []string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, args[0])); err == nil {
			path = filepath.Join(dir, args[0])
			break
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"HOME=/no-home", "LANG=C.UTF-8", "PATH=" + ts.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	file, want := ts.MkAbs(args[1]), number(ts, args[2])
	cmd, stdout, stderr := prepare(ts, args[3:])
	ts.Check(cmd.Start())
	ended := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer ended.Stop()
	for deadline := time.Now().Add(10 * time.Second); !hasOpen(cmd.Process.Pid, file); {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			ts.Fatalf("%s was not opened\n%s%s", file, stdout, stderr)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // files are opened some ahead
	ts.Check(cmd.Process.Signal(unix.SignalNum("SIG" + args[0])))
	err := cmd.Wait()
	printTimeless(ts, stdout.String(), stderr.String())
	checkStatus(ts, err, want)
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, file string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		name, _ := os.Readlink(fd)
		return name == file
	})
}

func unprivileged(ts *testscript.TestScript, neg bool, args []string) {
	want := number(ts, args[0])
	cmd, stdout, stderr := prepare(ts, args[1:])
	if os.Geteuid() == 0 {
		program, err := os.ReadFile(cmd.Path) // which is where only root may go
		ts.Check(err)
		cmd.Path = filepath.Join(filepath.Dir(ts.Getenv("WORK")), "imaseal")
		syscall.ForkLock.RLock() // a child of another script would hold the file open for writing
		err = os.WriteFile(cmd.Path, program, 0o755)
		syscall.ForkLock.RUnlock()
		ts.Check(err)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	err := cmd.Run()
	printTimeless(ts, stdout.String(), stderr.String())
	checkStatus(ts, err, want)
}

func piped(ts *testscript.TestScript, neg bool, args []string) {
	want := number(ts, args[0])
	cmd, _, stderr := prepare(ts, args[1:])
	r, w, err := os.Pipe()
	ts.Check(err)
	ts.Check(r.Close())
	cmd.Stdout = w
	err = cmd.Run()
	w.Close()
	printTimeless(ts, "", stderr.String())
	checkStatus(ts, err, want)
}

func labels(ts *testscript.TestScript, neg bool, args []string) {
	out := ts.Stdout()
	for _, root := range args {
		dir := ts.MkAbs(root)
		ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			for _, attr := range []string{"security.ima", "security.evm", "user.ima", "user.evm"} {
				value := make([]byte, 4096)
				if n, err := unix.Lgetxattr(path, attr, value); err == nil {
					fmt.Fprintf(out, "%s %s %x\n", filepath.Join(root, rel), attr, value[:n])
				}
			}
			return err
		}))
	}
}

func makeFile(ts *testscript.TestScript, neg bool, args []string) {
	kind, name, arg := args[0], ts.MkAbs(unquoted(ts, args[1])), ""
	if len(args) > 2 {
		arg = args[2]
	}
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o755))
	switch kind {
	case "file":
		ts.Check(os.WriteFile(name, []byte(unquoted(ts, arg)), 0o644))
	case "fifo":
		ts.Check(unix.Mkfifo(name, 0o644))
	case "socket":
		l, err := net.Listen("unix", name)
		ts.Check(err)
		ts.Defer(func() { l.Close() })
	case "hard":
		ts.Check(os.Link(ts.MkAbs(arg), name))
	case "sparse":
		ts.Check(os.WriteFile(name, nil, 0o644))
		ts.Check(os.Truncate(name, int64(number(ts, arg))))
	default:
		ts.Fatalf("make: no kind %s", kind)
	}
}

func unquoted(ts *testscript.TestScript, s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	s, err := strconv.Unquote(s)
	ts.Check(err)
	return s
}

func image(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[1])
	file := dir + ".img"
	ts.Check(os.Mkdir(dir, 0o755))
	ts.Check(os.WriteFile(file, nil, 0o600))
	ts.Check(os.Truncate(file, 320<<20)) // xfs wants 300 MiB
	mkfs := "mkfs." + args[0]
	if _, err := exec.LookPath(mkfs); err != nil {
		mkfs = "/usr/sbin/" + mkfs
	}
	if out, err := exec.Command(mkfs, file).CombinedOutput(); err != nil {
		ts.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	options := "loop"
	if len(args) > 2 {
		options += "," + args[2]
	}
	if out, err := exec.Command("mount", "-o", options, file, dir).CombinedOutput(); err != nil {
		ts.Fatalf("mount: %v\n%s", err, out)
	}
	ts.Defer(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			ts.Logf("umount: %v\n%s", err, out)
		}
	})
}

// makePackage is the command package.
func makePackage(ts *testscript.TestScript, _ bool, args []string) {
	p := rpmtest.Package{Format: number(ts, args[1]), Algorithm: 8}
	dir := ts.MkAbs(args[2])
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		ts.Check(err)
		p.Files = append(p.Files, rpmtest.File{Path: strings.TrimPrefix(path, dir), Content: ts.ReadFile(path), Mode: 0o100000 | uint16(info.Mode().Perm())})
		return nil
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), p.Bytes(), 0o666))
}
