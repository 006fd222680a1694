package kernellab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// keyrings are the Debian archive keys, under the names releases gave them.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// command runs a program and returns its standard output. The error ends with
// what the program said.
func command(dir, name string, args ...string) (string, error) {
	path := lookPath(name)
	if path == "" {
		return "", fmt.Errorf("running %s: %w", name, exec.ErrNotFound)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH="+searchPath())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := tail(strings.TrimSpace(stderr.String()+"\n"+stdout.String()), 2000)
		return stdout.String(), fmt.Errorf("running %s: %w: %s", name, err, said)
	}
	return stdout.String(), nil
}

// searchPath is PATH with the directories of the system programs, which an
// ordinary environment may lack.
func searchPath() string {
	return os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
}

// codename is the name of the Debian release this machine runs.
func codename() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("reading release: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"'`), nil
		}
	}
	return "", fmt.Errorf("no VERSION_CODENAME in /etc/os-release")
}

// sourceLine is a line for apt's sources list: another suite from the mirror
// that this machine gets its own release from.
func sourceLine(suite string) (string, error) {
	own, err := codename()
	if err != nil {
		return "", err
	}
	targets, err := command("", "apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(CODENAME)")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || f[1] != own && f[2] != own {
			continue
		}
		for _, k := range keyrings {
			if exists(k) {
				return fmt.Sprintf("deb [signed-by=%s] %s %s main\n", k, f[0], suite), nil
			}
		}
		return "", fmt.Errorf("no Debian archive keyring: %s", strings.Join(keyrings, ", "))
	}
	return "", fmt.Errorf("apt has no source for %s", own)
}

// An archive is apt looking at one suite, with lists and cache of its own.
type archive struct {
	dir  string
	opts []string
}

// openArchive sets apt up in dir and gets the package list.
func openArchive(dir, suite string) (*archive, error) {
	line, err := sourceLine(suite)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("making apt directory: %w", err)
		}
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return nil, fmt.Errorf("writing sources list: %w", err)
	}
	a := &archive{dir: dir, opts: []string{
		"-qq", "-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "Dir::State::status=/dev/null",
		"-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=20",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		// The directories may lie in a home that apt's own user cannot enter.
		"-o", "APT::Sandbox::User=root",
	}}
	_, err = a.run("apt-get", "update")
	return a, err
}

func (a *archive) run(name string, args ...string) (string, error) {
	return command(a.dir, name, append(a.opts[:len(a.opts):len(a.opts)], args...)...)
}
