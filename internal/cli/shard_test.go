package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
)

// TestShardAuto: every command that takes --shard knows the environment.
func TestShardAuto(t *testing.T) {
	commands := 0
	leaves(Program{}.grammar().App, func(path string, inv cmdline.Invocation) {
		if !slices.ContainsFunc(inv.Command.Flags, func(f urfave.Flag) bool { return f.Names()[0] == "shard" }) {
			return
		}
		commands++
		var out, errs bytes.Buffer
		status := Main(context.Background(), Program{
			Args: append(strings.Fields(path), "--shard", "auto", "/nonexistent"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
			Getenv: func(name string) string {
				return map[string]string{"CI_NODE_INDEX": "9", "CI_NODE_TOTAL": "8"}[name]
			},
		})
		if want := "imaseal: error: --shard: auto: there is no CI_NODE_INDEX 9 where CI_NODE_TOTAL is 8\n"; status != exitUsage || !strings.HasPrefix(errs.String(), want) {
			t.Errorf("%s: status %d: %s", path, status, &errs)
		}
	})
	if commands < 6 {
		t.Errorf("%d commands take --shard", commands)
	}
}
