package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"imaseal/internal/treetest"
)

// scaleDir makes a directory for the examples of doc/scale.md, with a tree and, in
// PATH, imaseal, which labels as a user without privilege can.
func scaleDir(t *testing.T) string {
	t.Helper()
	p := newProgram(t)
	var spec strings.Builder
	for i := range 40 {
		fmt.Fprintf(&spec, "file tree/d%d/f%d content=%d\n", i%3, i, i)
	}
	spec.WriteString("hard tree/d0/second tree/d0/f0\nhard tree/d1/third tree/d0/f0\n")
	treetest.Add(t, p.dir, spec.String())
	bin := t.TempDir()
	wrapper := "#!/bin/sh\ncase \"$1 $*\" in *--labels-to*|*tar:*) ;; sign*|verify*) set -- \"$@\" --namespace user --owner any ;; esac\nexec " + p.path + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "imaseal"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return p.dir
}

// sh runs a script in a directory, and returns what it prints on standard output.
func sh(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("sh", "-eux")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &errs
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &errs)
	}
	return out.String()
}

// TestScaleDocument runs the commands of doc/scale.md, in their order, those for Slurm
// with one of the test's own.
func TestScaleDocument(t *testing.T) {
	dir := scaleDir(t)
	var script strings.Builder
	hasSlurm := os.Getenv("CI") == "true"
	if _, err := exec.LookPath("sbatch"); err == nil {
		hasSlurm = true
	}
	if hasSlurm {
		startSlurm(t)
	}
	for _, b := range docBlocks(t, "doc/scale.md", 4) {
		if b.has("slurm") && !hasSlurm {
			t.Log("a block is not run: there is no sbatch")
			continue
		}
		// Each begins with an unlabelled tree.
		fmt.Fprintf(&script, "imaseal clear -q --namespace user --owner any tree\n%s\n", b.text)
	}
	out := sh(t, dir, script.String())
	want := map[string]int{
		"imaseal: 40 labelled (sha256), 0 unchanged, 2 hard links, 0 failed\n": 1, "2 runs took": 1,
		"signatures: 40 found in the store, 1 made, 1 stored\n": 1,
	}
	if hasSlurm {
		want["imaseal: 40 labelled (sha256), 0 unchanged, 2 hard links, 0 failed\n"] = 2
		want["4 runs took"] = 2
	}
	for text, n := range want {
		if strings.Count(out, text) < n {
			t.Errorf("%q is there less than %d times:\n%s", text, n, out)
		}
	}
}

// yamlBlock returns the block of YAML of doc/scale.md that begins with a text, read
// into v, which has to have all that is in it.
func yamlBlock(t *testing.T, begin string, v any) {
	t.Helper()
	_, text, ok := strings.Cut(string(read(t, "doc/scale.md")), "\n```yaml\n"+begin)
	text, _, closed := strings.Cut(begin+text, "\n```\n")
	if !ok || !closed {
		t.Fatalf("there is no block that begins with %q", begin)
	}
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(v); err != nil {
		t.Fatal(err)
	}
}

// A kubernetesJob is as much of batch/v1 Job as the example has.
type kubernetesJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		CompletionMode       string `yaml:"completionMode"`
		Completions          int
		Parallelism          int
		BackoffLimitPerIndex int `yaml:"backoffLimitPerIndex"`
		MaxFailedIndexes     int `yaml:"maxFailedIndexes"`
		Template             struct{ Spec kubernetesPod }
	}
}

type kubernetesPod struct {
	RestartPolicy string `yaml:"restartPolicy"`
	Containers    []struct {
		Name, Image     string
		Command, Args   []string
		Env             []struct{ Name, Value string }
		SecurityContext struct{ Capabilities struct{ Add []string } } `yaml:"securityContext"`
		VolumeMounts    []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	Volumes []kubernetesVolume
}

type kubernetesVolume struct {
	Name                  string
	PersistentVolumeClaim struct {
		ClaimName string `yaml:"claimName"`
	} `yaml:"persistentVolumeClaim"`
	Secret struct {
		SecretName  string `yaml:"secretName"`
		DefaultMode int    `yaml:"defaultMode"`
	}
}

// TestScaleKubernetes runs what the Indexed Job of doc/scale.md runs, for each index,
// with the variables that Kubernetes sets and those that the template does.
func TestScaleKubernetes(t *testing.T) {
	var job kubernetesJob
	yamlBlock(t, "apiVersion:", &job)
	spec, pod := job.Spec, job.Spec.Template.Spec
	if job.APIVersion != "batch/v1" || job.Kind != "Job" || spec.CompletionMode != "Indexed" || pod.RestartPolicy != "Never" || pod.Volumes[1].Secret.DefaultMode != 0o400 {
		t.Errorf("%+v", job)
	}
	dir := scaleDir(t)
	sh(t, dir, "imaseal keys generate --out signing\nmkdir data keys\nmv tree data\nmv signing.* keys")
	c := pod.Containers[0]
	var env []string
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	var places []string
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v kubernetesVolume) bool { return v.Name == m.Name }) {
			t.Errorf("there is no volume %s", m.Name)
		}
		places = append(places, m.MountPath+"/", dir+m.MountPath+"/")
	}
	script := strings.NewReplacer(places...).Replace(c.Args[0])
	for i := range spec.Completions {
		sh(t, dir, script, append(env, fmt.Sprint("JOB_COMPLETION_INDEX=", i))...)
	}
	out := sh(t, dir, "imaseal report merge data/reports/*.json")
	if !strings.HasPrefix(out, "imaseal: 40 labelled (sha256), 0 unchanged, 2 hard links, 0 failed\n") || !strings.Contains(out, fmt.Sprintf("; %d runs took", spec.Completions)) {
		t.Error(out)
	}
}

// A gitlabJob is as much of a job in .gitlab-ci.yml as the example has.
type gitlabJob struct {
	Stage     string
	Parallel  int
	Needs     []string
	Script    []string
	Artifacts struct {
		When  string
		Paths []string
	}
}

// TestScaleGitLab runs the jobs of doc/scale.md, the parallel ones on copies of the
// tree, and gives the last one what they hand on.
func TestScaleGitLab(t *testing.T) {
	var jobs struct{ Sign, Image gitlabJob }
	yamlBlock(t, "sign:", &jobs)
	treetest.Tool(t, "tar")
	dir := scaleDir(t)
	sh(t, dir, "imaseal keys generate --out signing")
	key := "SIGNING_KEY=" + string(read(t, filepath.Join(dir, "signing.key")))
	for i := range jobs.Sign.Parallel {
		name := fmt.Sprint("job", i+1)
		sh(t, dir, "mkdir "+name+"\ncp -R tree "+name)
		sh(t, filepath.Join(dir, name), strings.Join(jobs.Sign.Script, "\n"), key, fmt.Sprint("CI_NODE_INDEX=", i+1), fmt.Sprint("CI_NODE_TOTAL=", jobs.Sign.Parallel))
		for _, path := range jobs.Sign.Artifacts.Paths {
			sh(t, dir, "cp "+name+"/"+path+" .")
		}
	}
	out := sh(t, dir, strings.Join(jobs.Image.Script, "\n"), "CI_NODE_TOTAL=1")
	if !strings.Contains(out, "imaseal: 40 valid, 0 invalid, 0 unlabelled, 2 hard links, 0 failed\n") {
		t.Error(out)
	}
}
