package shard

import (
	"fmt"
	"slices"
	"strings"
)

// A queue is what starts the runs, and tells each of them in variables which one it
// is.
type queue struct {
	name         string
	index, count string // variables
	from         int    // that the index counts from
	advice       string // what to do about an index without a count
}

// queues are known by their variables. Sources: kubernetes.io, Jobs, completion
// mode; docs.gitlab.com, predefined variables; buildkite.com, parallel builds;
// docs.aws.amazon.com, AWS Batch job environment variables. Kubernetes tells no
// number of completions: JOB_COMPLETIONS is what the pod's template sets.
var queues = []queue{
	{"a Kubernetes Indexed Job", "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", 0, "set it to the number of completions in the pod's template, or say --shard auto/N"},
	{"a GitLab job", "CI_NODE_INDEX", "CI_NODE_TOTAL", 1, "parallel: N in the job sets it"},
	{"a Buildkite job", "BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0, "parallelism: N in the step sets it"},
	{"an AWS Batch array job", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", 0, "or say --shard auto/N"},
}

// A found is the shard that one queue gives.
type found struct {
	queue string
	shard Shard
}

// auto returns the shard that the environment names; count is 0 if that has to say
// it.
func auto(count int, getenv func(string) string) (Shard, error) {
	var all []found
	for _, q := range queues {
		index, total := getenv(q.index), getenv(q.count)
		if index == "" {
			continue // a GitLab job that is not parallel has a count of 1
		}
		f, err := q.shard(index, total, count)
		if err != nil {
			return Shard{}, err
		}
		all = append(all, f)
	}
	if getenv("SLURM_ARRAY_TASK_ID") != "" {
		f, err := slurm(count, getenv)
		if err != nil {
			return Shard{}, err
		}
		all = append(all, f)
	}
	switch {
	case len(all) == 0 && getenv("CI_NODE_TOTAL") == "1" && count <= 1:
		return Shard{1, 1}, nil
	case len(all) == 0:
		return Shard{}, &Error{"auto: the environment has none of " + strings.Join(variables(), ", "), "--shard I/N says it"}
	}
	for _, f := range all[1:] {
		if f.shard != all[0].shard {
			return Shard{}, &Error{fmt.Sprintf("auto: by its variables this is part %s of %s, and part %s of %s", all[0].shard, all[0].queue, f.shard, f.queue), "--shard I/N says which counts"}
		}
	}
	return all[0].shard, nil
}

// shard reads the variables of a queue.
func (q queue) shard(index, total string, count int) (found, error) {
	i, ok := number(index)
	if !ok {
		return found{}, notNumber(q.index, index)
	}
	switch n, ok := number(total); {
	case total == "" && count == 0:
		return found{}, &Error{fmt.Sprintf("auto: %s is set and %s is not", q.index, q.count), q.advice}
	case total == "":
	case !ok:
		return found{}, notNumber(q.count, total)
	case count != 0 && n != count:
		return found{}, &Error{fmt.Sprintf("auto/%d: %s is %s", count, q.count, total), "leave out the number, or set it right"}
	default:
		count = n
	}
	s := Shard{i - q.from + 1, count}
	if s.Index < 1 || s.Index > count || count > Max {
		return found{}, &Error{fmt.Sprintf("auto: there is no %s %d where %s is %d", q.index, i, q.count, count), fmt.Sprintf("it counts from %d; --shard I/N says it otherwise", q.from)}
	}
	return found{q.name, s}, nil
}

// slurm reads the variables of a Slurm array, whose tasks may have any numbers in
// equal steps (sbatch(1), --array).
func slurm(count int, getenv func(string) string) (found, error) {
	values := make(map[string]int)
	for _, name := range slurmVariables {
		text := getenv(name)
		n, ok := number(text)
		switch {
		case text == "" && name == "SLURM_ARRAY_TASK_STEP":
			n = 1
		case text == "":
			return found{}, &Error{"auto: SLURM_ARRAY_TASK_ID is set and " + name + " is not", "--shard I/N says it"}
		case !ok:
			return found{}, notNumber(name, text)
		}
		values[strings.TrimPrefix(name, "SLURM_ARRAY_TASK_")] = n
	}
	id, first, last, n, step := values["ID"], values["MIN"], values["MAX"], values["COUNT"], values["STEP"]
	switch {
	case step < 1 || n < 1 || n > Max || last < first || (last-first)/step+1 != n || (last-first)%step != 0:
		return found{}, &Error{fmt.Sprintf("auto: the tasks of this Slurm array have numbers that are not in equal steps: %d of them from %d to %d", n, first, last), "--array=0-7, or --shard I/N"}
	case id < first || id > last || (id-first)%step != 0:
		return found{}, &Error{fmt.Sprintf("auto: a Slurm array from %d to %d has no task %d", first, last, id), "--shard I/N says it"}
	case n == 1 && count != 1: // which may be one of another array, run once more
		return found{}, &Error{fmt.Sprintf("auto: this Slurm array has one task, %d: it may be that of another array once more", id), "--shard I/N says which part it is, --shard 1/1 that it is the whole"}
	case count != 0 && n != count:
		return found{}, &Error{fmt.Sprintf("auto/%d: SLURM_ARRAY_TASK_COUNT is %d", count, n), "for some tasks of an array once more, --shard I/N says which"}
	}
	return found{"a Slurm array", Shard{(id-first)/step + 1, n}}, nil
}

var slurmVariables = []string{"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_STEP"}

func notNumber(name, value string) *Error {
	return &Error{fmt.Sprintf("auto: %s is %q, which is no number", name, value), "--shard I/N says it"}
}

// variables are those that name a shard.
func variables() []string {
	names := []string{slurmVariables[0]}
	for _, q := range queues {
		names = append(names, q.index)
	}
	slices.Sort(names)
	return names
}
