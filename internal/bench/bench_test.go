// Package bench measures imaseal side by side with its peers: the same tree, one
// run, commands in turn, medians and ratios. It judges nothing: a row has the bar
// that the project set itself beside what was measured.
//
// BENCH names the groups that are run, such as hash or sign,verify; without it all
// are. BENCH_OUT names a file for the table as JSON.
package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var rounds = flag.Int("rounds", 7, "how often each command is run, after one warm-up")

// A command is one that is timed.
type command struct {
	argv []string
	// before is run untimed, before each run.
	before []string
	// every lets slow commands have fewer turns: one in so many rounds.
	every int
	// files is how many files it works on, where those are fewer than of the
	// others: its time counts for as many.
	files, of int
}

// A row is a job of the table.
type row struct {
	group, job  string
	ours        command
	peerName    string
	peer, floor *command
	// bar is the ratio to reach: how many times as fast as the peer, or, with
	// most, how many times as long as it at most.
	bar  float64
	most bool
	mib  float64 // the most memory that ours may take, 0 for no bar
	cold bool
}

// A figure is what several runs of a command took, in seconds.
type figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	CPU    float64 `json:"cpu"`      // median of user and system time
	Peak   float64 `json:"peak_mib"` // the largest
	Runs   int     `json:"runs"`
}

// A measured row, as JSON has it.
type measured struct {
	Group string  `json:"group"`
	Job   string  `json:"job"`
	Ours  figure  `json:"ours"`
	Peer  *figure `json:"peer,omitempty"`
	Name  string  `json:"peer_name,omitempty"`
	Floor *figure `json:"floor,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Bar   float64 `json:"bar,omitempty"`
	Most  bool    `json:"at_most,omitempty"` // the ratio is ours to the peer's
	MiB   float64 `json:"peak_bar,omitempty"`
}

// table has the rows in the order in which they were measured.
var table []measured

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if len(table) > 0 {
		printTable()
		if err := writeTable(os.Getenv("BENCH_OUT")); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// wanted skips a group that BENCH does not name.
func wanted(b *testing.B, group string) {
	b.Helper()
	if names := os.Getenv("BENCH"); names != "" && !slices.Contains(strings.Split(names, ","), group) {
		b.Skipf("BENCH=%s", names)
	}
}

// A sample is what one run took.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // KiB
}

func run(b *testing.B, argv []string) sample {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	if argv[0] == "evmctl" || argv[0] == "sh" { // evmctl prints every digest on stderr
		cmd.Stderr = nil
	}
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		b.Fatalf("%q: %v", argv, err)
	}
	s := cmd.ProcessState
	return sample{wall: wall, cpu: s.UserTime() + s.SystemTime(), peak: int64(s.SysUsage().(*syscall.Rusage).Maxrss)}
}

// measure runs the row's commands in turn.
func measure(b *testing.B, r row) {
	b.Helper()
	commands := []*command{&r.ours, r.peer, r.floor}
	samples := make([][]sample, len(commands))
	for round := range *rounds + 1 {
		for i, c := range commands {
			if c == nil || c.every > 1 && round%c.every != 1 {
				continue
			}
			if c.before != nil {
				run(b, c.before)
			}
			syscall.Sync()
			if r.cold {
				dropCaches(b)
			}
			s := run(b, c.argv)
			if round > 0 { // the first is a warm-up
				samples[i] = append(samples[i], s)
			}
		}
	}
	m := measured{Group: r.group, Job: r.job, Name: r.peerName, Bar: r.bar, Most: r.most, MiB: r.mib, Ours: *figures(&r.ours, samples[0])}
	m.Peer, m.Floor = figures(r.peer, samples[1]), figures(r.floor, samples[2])
	if m.Peer != nil {
		m.Ratio = m.Peer.Median / m.Ours.Median
		if r.most {
			m.Ratio = 1 / m.Ratio
		}
	}
	table = append(table, m)
	fmt.Println(m.line())
}

func figures(c *command, samples []sample) *figure {
	if c == nil || len(samples) == 0 {
		return nil
	}
	scale := 1.0
	if c.files > 0 {
		scale = float64(c.of) / float64(c.files)
	}
	var wall, cpu []float64
	f := &figure{Runs: len(samples)}
	for _, s := range samples {
		wall, cpu = append(wall, s.wall.Seconds()*scale), append(cpu, s.cpu.Seconds()*scale)
		f.Peak = max(f.Peak, float64(s.peak)/1024)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	f.Median, f.Min, f.Max, f.CPU = wall[len(wall)/2], wall[0], wall[len(wall)-1], cpu[len(cpu)/2]
	return f
}

const rowFormat = "%-40s %9s %15s %9s %9s %8s %9s %6s  %s"

func (m measured) line() string {
	number := func(f *figure) string {
		if f == nil {
			return "-"
		}
		return fmt.Sprintf("%.3f", f.Median)
	}
	ratio, bar := "-", "-"
	if m.MiB > 0 {
		bar = fmt.Sprintf("<= %g MiB", m.MiB)
	}
	if m.Ratio != 0 {
		ratio = fmt.Sprintf("%.2f", m.Ratio)
	}
	if m.Bar != 0 {
		bar = fmt.Sprintf(">= %g", m.Bar)
		if m.Most {
			bar = fmt.Sprintf("<= %g", m.Bar)
		}
	}
	return fmt.Sprintf(rowFormat, m.Job, number(&m.Ours), fmt.Sprintf("%.3f-%.3f", m.Ours.Min, m.Ours.Max),
		number(m.Peer), number(m.Floor), ratio, bar, fmt.Sprintf("%.0f", m.Ours.Peak), m.Name)
}

// machine says on what was measured.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return model
	}
	return fmt.Sprintf("%s, %d processors, Linux %s", model, runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]))
}

func printTable() {
	fmt.Printf("\n%s; %d rounds\n", machine(), *rounds)
	fmt.Printf(rowFormat+"\n", "job", "ours s", "min-max", "peer s", "floor s", "ratio", "bar", "MiB", "peer")
	for _, m := range table {
		fmt.Println(m.line())
	}
}

func writeTable(name string) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(struct {
		Machine string     `json:"machine"`
		Rounds  int        `json:"rounds"`
		Rows    []measured `json:"rows"`
	}{machine(), *rounds, table}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

func dropCaches(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0); err != nil {
		b.Fatal(err)
	}
}

// build builds a program of this module.
func build(b *testing.B, pkg, name string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), name)
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go build %s: %v\n%s", pkg, err, msg)
	}
	return out
}
