package shard

import (
	"errors"
	"fmt"
	"testing"
)

// TestNumber: as sha256sum(1) says, which machines agree on for ever.
func TestNumber(t *testing.T) {
	for rel, want := range map[string]uint64{
		"usr/bin/env": 0xceaf544b50be1fce, // printf %s usr/bin/env | sha256sum | cut -c1-16
		"":            0xe3b0c44298fc1c14,
	} {
		if got := Number(rel); got != want {
			t.Errorf("%q has number %#x, want %#x", rel, got, want)
		}
	}
}

// TestEach: every number is in one shard, and they are of about one size.
func TestEach(t *testing.T) {
	for _, count := range []int{1, 2, 3, 7, 64} {
		const files = 20_000
		sizes := make([]int, count)
		for f := range files {
			rel, in := fmt.Sprintf("usr/share/doc/%d/copyright", f), 0
			for i := range count {
				if (Shard{i + 1, count}).HasPath(rel) {
					in++
					sizes[i]++
				}
			}
			if in != 1 {
				t.Fatalf("%s is in %d shards of %d", rel, in, count)
			}
		}
		for i, n := range sizes {
			if mean := files / count; n < mean*3/4 || n > mean*4/3 {
				t.Errorf("shard %d of %d has %d files of %d", i+1, count, n, files)
			}
		}
	}
	if whole := (Shard{}); whole.IsGiven() || whole.Divides() || !whole.HasPath("x") {
		t.Error("the zero value is no whole")
	}
}

// An environment is what variables hold, in words of the form NAME=VALUE.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

var (
	kubernetes = environment{"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "8"}
	gitlab     = environment{"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "8"}
	slurmTask  = environment{"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "2"}
)

// lone is what --array=3 gives.
var lone = environment{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_STEP": "1"}

// with returns the environment with other values; an empty one is none.
func (e environment) with(pairs ...string) environment {
	all := make(environment)
	for name, value := range e {
		all[name] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

func TestParse(t *testing.T) {
	none := environment{}
	for _, c := range []struct {
		text string
		env  environment
		want string // "" for an error
	}{
		{"1/1", none, "1/1"}, {"1/8", none, "1/8"}, {"8/8", none, "8/8"}, {"08/8", none, "8/8"}, {"10000000/10000000", none, "10000000/10000000"},
		{"0/8", none, ""}, {"9/8", none, ""}, {"1/0", none, ""}, {"-1/8", none, ""}, {"+1/8", none, ""}, {"1/-8", none, ""},
		{"1", none, ""}, {"", none, ""}, {"/", none, ""}, {"1/", none, ""}, {"/8", none, ""}, {"1/2/3", none, ""}, {"1 /2", none, ""}, {"0x1/2", none, ""}, {"1.5/2", none, ""},
		{"1/10000001", none, ""}, {"1/99999999999999999999", none, ""}, {"99999999999999999999/2", none, ""}, {"4294967297/8", none, ""}, {"Auto", none, ""},

		{"auto", none, ""}, {"auto/8", none, ""}, {"auto/", kubernetes, ""}, {"auto/0", kubernetes, ""},
		{"auto", kubernetes, "1/8"},
		{"auto/8", kubernetes, "1/8"}, {"auto/9", kubernetes, ""},
		{"auto/9", kubernetes.with("JOB_COMPLETIONS", ""), "1/9"},
		{"auto", kubernetes.with("JOB_COMPLETIONS", ""), ""},
		{"auto", kubernetes.with("JOB_COMPLETION_INDEX", "7"), "8/8"},
		{"auto", kubernetes.with("JOB_COMPLETION_INDEX", "8"), ""},
		{"auto", kubernetes.with("JOB_COMPLETION_INDEX", "-1"), ""},
		{"auto", kubernetes.with("JOB_COMPLETION_INDEX", "x"), ""},
		{"auto", kubernetes.with("JOB_COMPLETIONS", "many"), ""},
		{"auto", kubernetes.with("JOB_COMPLETIONS", "0"), ""},
		{"auto", kubernetes.with("JOB_COMPLETIONS", "10000001"), ""},
		{"auto", environment{"JOB_COMPLETIONS": "8"}, ""},

		{"auto", gitlab, "1/8"},
		{"auto", gitlab.with("CI_NODE_INDEX", "8"), "8/8"},
		{"auto", gitlab.with("CI_NODE_INDEX", "0"), ""},
		{"auto", gitlab.with("CI_NODE_INDEX", "9"), ""},
		{"auto", environment{"CI_NODE_TOTAL": "1"}, "1/1"}, // a job that is not parallel
		{"auto/8", environment{"CI_NODE_TOTAL": "1"}, ""},
		{"auto", environment{"CI_NODE_TOTAL": "8"}, ""},

		{"auto", environment{"BUILDKITE_PARALLEL_JOB": "2", "BUILDKITE_PARALLEL_JOB_COUNT": "3"}, "3/3"},
		{"auto", environment{"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, "3/10"},
		{"auto", environment{"AWS_BATCH_JOB_ARRAY_INDEX": "2"}, ""},

		{"auto", slurmTask, "3/4"}, {"auto/4", slurmTask, "3/4"}, {"auto/5", slurmTask, ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_STEP", ""), ""}, // 3, 5, 7, 9 without steps
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_ID", "4"), ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_ID", "1"), ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_ID", "11"), ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_STEP", "0"), ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_COUNT", "3"), ""}, // --array=3,5,9
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_MAX", ""), ""},
		{"auto", slurmTask.with("SLURM_ARRAY_TASK_MAX", "1"), ""},
		{"auto", environment{"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "8"}, "1/8"},

		{"auto", lone, ""}, {"auto/4", lone, ""}, {"auto/1", lone, "1/1"}, {"auto", lone.with("SLURM_ARRAY_TASK_ID", "0", "SLURM_ARRAY_TASK_MIN", "0", "SLURM_ARRAY_TASK_MAX", "0"), ""},

		{"auto", kubernetes.with("CI_NODE_INDEX", "1", "CI_NODE_TOTAL", "8"), "1/8"}, // both say the same
		{"auto", kubernetes.with("CI_NODE_INDEX", "2", "CI_NODE_TOTAL", "8"), ""},
		{"auto", kubernetes.with("CI_NODE_TOTAL", "1"), "1/8"},
	} {
		got, err := Parse(c.text, c.env.get)
		wrong, isError := errors.AsType[*Error](err)
		switch {
		case c.want == "" && (!isError || wrong.Advice == "" || got.IsGiven()):
			t.Errorf("%q with %v: %v, %v", c.text, c.env, got, err)
		case c.want != "" && (err != nil || got.String() != c.want):
			t.Errorf("%q with %v: %v, %v, want %s", c.text, c.env, got, err, c.want)
		}
	}
}

// FuzzParse: what is taken is a shard that there is.
func FuzzParse(f *testing.F) {
	f.Add("auto/8", "7", "8")
	f.Add("3/4", "", "")
	f.Fuzz(func(t *testing.T, text, index, count string) {
		s, err := Parse(text, environment{"JOB_COMPLETION_INDEX": index, "JOB_COMPLETIONS": count}.get)
		if err != nil {
			if s.IsGiven() {
				t.Errorf("%v with an error", s)
			}
			return
		}
		again, err := Parse(s.String(), nil)
		if err != nil || again != s || s.Index < 1 || s.Index > s.Count {
			t.Errorf("%v is read as %v, %v", s, again, err)
		}
	})
}
