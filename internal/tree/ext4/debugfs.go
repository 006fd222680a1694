package ext4

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many values are written at a time, before debugfs is asked what
	// it has to say.
	batch = 64
	// firstFile is the number that the first file has in the child, behind standard
	// error.
	firstFile = 3
)

// A ToolError says that debugfs cannot be used, or what it has said.
type ToolError struct {
	// Missing says that it is not installed, Old that its version is too old.
	Missing, Old bool
	Says         string
	// Err is what the system has told it, nil where that is not known.
	Err error
}

func (e *ToolError) Error() string {
	switch {
	case e.Missing:
		return "the program debugfs is not installed, which changes file systems in images"
	case e.Old:
		return "debugfs is too old to be trusted with labels: " + e.Says
	}
	return "debugfs: " + e.Says
}

// findDebugfs returns the path of debugfs 1.47.0 or later. Users often do not have
// the directory that it is in among theirs.
func findDebugfs(ctx context.Context) (string, error) {
	path, err := exec.LookPath("debugfs")
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, "debugfs"))
		}
	}
	if err != nil {
		return "", &ToolError{Missing: true}
	}
	cmd := exec.CommandContext(ctx, path, "-V")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	if err != nil {
		return "", &ToolError{Says: err.Error()}
	}
	if !isRecent(string(first)) {
		return "", &ToolError{Old: true, Says: printable(string(first))}
	}
	return path, nil
}

// isRecent reports whether a line such as "debugfs 1.47.0 (5-Feb-2023)" is of a
// version that writes values as they are given.
func isRecent(line string) bool {
	words := strings.Fields(line)
	if len(words) < 2 {
		return false
	}
	major, rest, _ := strings.Cut(words[1], ".")
	minor := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, errMajor := strconv.Atoi(major)
	y, errMinor := strconv.Atoi(minor)
	return errMajor == nil && errMinor == nil && (x > 1 || x == 1 && y >= 47)
}

// A debugfs is a running process that changes an image. Commands name files by
// inode, never by a name, and values come in files without a name: nothing has to be
// quoted.
type debugfs struct {
	cmd    *exec.Cmd
	in     *os.File
	out    *bufio.Reader
	reads  *os.File // what out reads
	values []*os.File
	sent   []string // commands that it has not confirmed
	syncs  int
}

// errNoProc says that debugfs cannot be given what it works on.
var errNoProc = errors.New("/proc is not mounted, through which debugfs gets its files")

// startDebugfs starts it on the file system at an offset of a file that is open for
// writing. now is what it takes for the time, so that each run writes the same.
func startDebugfs(ctx context.Context, program string, image *os.File, offset int64, now uint32) (*debugfs, error) {
	d := new(debugfs)
	target := fmt.Sprintf("/proc/self/fd/%d", firstFile)
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return nil, errNoProc
	}
	if offset > 0 {
		target += fmt.Sprintf("?offset=%d", offset)
	}
	files := []*os.File{image}
	for range batch {
		fd, err := unix.MemfdCreate("label", unix.MFD_CLOEXEC)
		if err != nil {
			d.kill()
			return nil, fmt.Errorf("making room for labels: %w", err)
		}
		d.values = append(d.values, os.NewFile(uintptr(fd), "label"))
	}
	d.cmd = exec.CommandContext(ctx, program, "-w", "-f", "-", target)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.cmd.Env = []string{"LC_ALL=C", "E2FSPROGS_FAKE_TIME=" + strconv.FormatUint(uint64(max(now, 1)), 10)}
	d.cmd.ExtraFiles = append(files, d.values...)
	if err := d.start(); err != nil {
		d.kill()
		return nil, fmt.Errorf("starting debugfs: %w", err)
	}
	return d, d.sync()
}

func (d *debugfs) start() error {
	in, toIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	d.in = toIn
	fromOut, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	d.reads, d.out = fromOut, bufio.NewReader(fromOut)
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = in, out, out
	return d.cmd.Start()
}

// change gives an attribute of an inode a value; nil removes it.
func (d *debugfs) change(inode uint32, attr string, value []byte) error {
	if value == nil {
		return d.send(fmt.Sprintf("ea_rm <%d> %s", inode, attr))
	}
	i := len(d.sent)
	f := d.values[i]
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(value, 0); err != nil {
		return err
	}
	return d.send(fmt.Sprintf("ea_set -f /proc/self/fd/%d <%d> %s", firstFile+1+i, inode, attr))
}

func (d *debugfs) send(command string) error {
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		return d.ended(err)
	}
	if d.sent = append(d.sent, command); len(d.sent) == batch {
		return d.sync()
	}
	return nil
}

// sync waits until debugfs has done all that it was told to. What it prints besides
// the commands is an error: its exit status tells of none.
func (d *debugfs) sync() error {
	d.syncs++
	mark := fmt.Sprintf("#%d", d.syncs)
	if _, err := io.WriteString(d.in, mark+"\n"); err != nil {
		return d.ended(err)
	}
	return d.expect(mark)
}

// expect reads up to a mark, or to the end if that is empty.
func (d *debugfs) expect(mark string) error {
	sent := d.sent
	d.sent = d.sent[:0]
	said := ""
	for {
		line, err := d.out.ReadString('\n')
		line = strings.TrimSuffix(line, "\n")
		switch {
		case err == nil && line == mark && mark != "":
			if said == "" && len(sent) > 0 {
				said = "it does not say that it has done " + sent[0]
			}
			if said != "" {
				return &ToolError{Says: printable(said), Err: systemError(said)}
			}
			return nil
		case len(sent) > 0 && line == "debugfs: "+sent[0]:
			sent = sent[1:]
		case strings.HasPrefix(line, "debugfs 1.") || line == "":
		case said == "":
			said = strings.TrimPrefix(line, "debugfs: ")
		}
		if err == io.EOF && mark == "" && said == "" {
			return nil
		}
		if err != nil {
			if said != "" {
				err = errors.New(said)
			} else if err == io.EOF {
				err = errEnded
			}
			return d.ended(err)
		}
	}
}

// ended says why debugfs takes no more commands.
func (d *debugfs) ended(err error) error {
	if errors.Is(err, unix.EPIPE) {
		err = errEnded
	}
	return &ToolError{Says: printable(err.Error()), Err: systemError(err.Error())}
}

// systemError finds what the system has told debugfs, which is all that it says of
// it: it speaks English, and not the user's language.
func systemError(said string) error {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.EIO} {
		if strings.Contains(strings.ToLower(said), errno.Error()) {
			return errno
		}
	}
	return nil
}

var errEnded = errors.New("it has ended")

// close ends debugfs, which then writes what it holds.
func (d *debugfs) close() error {
	err := d.sync()
	if err != nil {
		d.kill()
		return err
	}
	d.in.Close()
	d.in = nil
	err = d.expect("")
	if waitErr := d.cmd.Wait(); err == nil && waitErr != nil {
		err = d.ended(waitErr)
	}
	d.closeFiles()
	return err
}

// kill ends debugfs at once.
func (d *debugfs) kill() {
	if d.cmd != nil && d.cmd.Process != nil && d.cmd.ProcessState == nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
	}
	d.closeFiles()
}

func (d *debugfs) closeFiles() {
	for _, f := range append([]*os.File{d.in, d.reads}, d.values...) {
		if f != nil {
			f.Close()
		}
	}
	d.in, d.reads, d.values = nil, nil, nil
}

// printable makes one line of what a program says.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
