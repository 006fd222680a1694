package label_test

import (
	"testing"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/target"
	"imaseal/keys"
	"imaseal/sign"
)

// covers is what EVM covers in kernels of distributions, or what the options say.
func covers(t testing.TB, o target.Options) target.EVM {
	t.Helper()
	o.Version = "6.12"
	to, err := target.Open(o, host.Host{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	e, err := to.EVM()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// signer returns a Labeller that signs everything, with portable EVM signatures
// too, and its counted key.
func signer(t testing.TB, key *keys.Key) (*label.Labeller, *countedKey) {
	t.Helper()
	counted := &countedKey{Signer: key}
	return &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: &label.Key{Signer: sign.NewCache(counted), Own: key, Version: 2},
		EVM: &label.EVM{Covers: covers(t, target.Options{}), Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}},
	}, counted
}

func one(t testing.TB, job run.Job, path string) report.Result {
	t.Helper()
	return runtest.Run{Job: job}.One(t, path)
}

// evmOf returns a file's EVM label.
func evmOf(t testing.TB, path string) []byte {
	t.Helper()
	return runtest.Label(t, path, imaevm.AttrEVM)
}
