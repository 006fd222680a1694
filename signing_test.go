package main

import (
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"imaseal/internal/inode"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

// signingCommands are the script commands about keys and signatures.
var signingCommands = map[string]func(*testscript.TestScript, bool, []string){
	// key NAME...: copy keys of testdata/vectors to NAME.key, of mode 0600,
	// and their certificates to NAME.der.
	"key": copyKeys,
	// copies FILE NAME OTHER: give a file the attribute of another one.
	"copies": func(ts *testscript.TestScript, neg bool, args []string) {
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(ts.MkAbs(args[2]), args[1], value)
		ts.Check(err)
		ts.Check(unix.Setxattr(ts.MkAbs(args[0]), args[1], value[:n], 0))
	},
	// bytes FILE HEX: make a file of these bytes, mode 0600.
	"bytes": func(ts *testscript.TestScript, neg bool, args []string) {
		b, err := hex.DecodeString(args[1])
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
	},
	// cut FILE NUMBER: leave so many bytes of a file.
	"cut": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(number(ts, args[1]))))
	},
	// mode FILE: print the mode of a file in octal digits.
	"mode": func(ts *testscript.TestScript, neg bool, args []string) {
		for _, name := range args {
			info, err := os.Lstat(ts.MkAbs(name))
			ts.Check(err)
			fmt.Fprintf(ts.Stdout(), "%s %o\n", name, info.Mode().Perm())
		}
	},
	// expired CERT KEY: make a certificate for the private key in a file that
	// was valid in 2020.
	"expired": func(ts *testscript.TestScript, neg bool, args []string) {
		private, err := keyfile.OpenPrivate(ts.MkAbs(args[1]), nil)
		ts.Check(err)
		begin := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		der, err := cert.SelfSigned(private.Key, cert.Profile{
			Name: pkix.Name{CommonName: "expired"}, NotBefore: begin, NotAfter: begin.AddDate(1, 0, 0),
		})
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), der, 0o600))
	},
	// examples DIR COMMAND...: run what the help of a command has as examples,
	// with DIR in place of /mnt/root. What others run is left out.
	"examples": examples,
	// typing TEXT STATUS PROGRAM ARG...: like exits, on a terminal where TEXT
	// is typed. What the terminal shows is the output.
	"typing": typing,
}

func init() { maps.Copy(scriptCommands, signingCommands) }

func copyKeys(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		for from, to := range map[string]string{name + ".key.pem": name + ".key", name + ".cert.der": name + ".der"} {
			b, err := os.ReadFile(filepath.Join(ts.Getenv("KEYS"), from))
			ts.Check(err)
			ts.Check(os.WriteFile(ts.MkAbs(to), b, 0o600))
		}
	}
}

func examples(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec("imaseal", append(args[1:], "--help")...))
	text := strings.ReplaceAll(ts.ReadFile("stdout"), "\\\n", "")
	_, text, _ = strings.Cut(text, "DESCRIPTION:\n")
	text, _, _ = strings.Cut(text, "\n\nOPTIONS:")
	text, _, _ = strings.Cut(text, "\n\nSELECTING FILES:")
	ran := 0
	for line := range strings.Lines(text) {
		example, ok := strings.CutPrefix(line, "      ")
		program, _, _ := strings.Cut(example, " ")
		if !ok || program != "imaseal" && program != "printf" {
			continue
		}
		example = strings.ReplaceAll(example, "/mnt/root", args[0])
		fmt.Fprintf(ts.Stdout(), "+ %s", example)
		if err := ts.Exec("sh", "-ec", example); err != nil {
			ts.Fatalf("%s: %v\n%s", example, err, ts.ReadFile("stderr"))
		}
		ran++
	}
	if ran == 0 {
		ts.Fatalf("no examples")
	}
}

// hasGenerations reports whether the file system of a directory numbers the
// generations of its inodes.
func hasGenerations(dir string) bool {
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	_, err = inode.Generation(f)
	return err == nil
}

// typing runs a program on a pseudo-terminal. A line of the text is typed when
// the program has switched the echo off, which it must leave switched on.
func typing(ts *testscript.TestScript, neg bool, args []string) {
	text, want := unquoted(ts, args[0]), number(ts, args[1])
	cmd, stdout, stderr := prepare(ts, args[2:])
	master, slave, err := openTerminal()
	ts.Check(err)
	defer master.Close()
	defer slave.Close()
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	var mu sync.Mutex
	var shown strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 1024)
		for {
			n, err := master.Read(b)
			mu.Lock()
			shown.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer limit.Stop()
	asked := func(times int) bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(shown.String(), ": ") >= times && !echoes(slave)
	}
	times := 0
	for line := range strings.Lines(text) {
		for times++; !asked(times) && len(ended) == 0; {
			time.Sleep(time.Millisecond)
		}
		_, err := io.WriteString(master, line)
		ts.Check(err)
	}
	err = <-ended
	if !echoes(slave) {
		ts.Fatalf("the terminal shows no more what is typed")
	}
	slave.Close() // the last one: master ends
	<-read
	printTimeless(ts, strings.ReplaceAll(shown.String(), "\r\n", "\n")+stdout.String(), stderr.String())
	checkStatus(ts, err, want)
}

// openTerminal returns both ends of a new pseudo-terminal.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

func echoes(tty *os.File) bool {
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}
