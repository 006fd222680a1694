package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A row says what the non-test files of a package may import: packages of this
// module, by their path in it, and modules from outside.
type row struct {
	own, outside string
}

// importTable is the shape of the program. An import that it does not have
// needs a change here, in the same commit.
var importTable = map[string]row{
	"":                 {own: "internal/cli"},
	"internal/cmdline": {outside: "github.com/urfave/cli/v2"},
	"internal/config":  {outside: "github.com/pelletier/go-toml/v2"},
	"internal/cli":     {own: "*", outside: "github.com/urfave/cli/v2 golang.org/x/sys golang.org/x/term"},

	// The engine.
	"internal/shard":  {},
	"internal/plan":   {own: "hash internal/imaevm internal/shard", outside: "github.com/bmatcuk/doublestar/v4"},
	"walk":            {own: "internal/reason internal/shard", outside: "golang.org/x/sys"},
	"internal/reason": {},
	"internal/tree":   {own: "internal/reason internal/shard"},
	"internal/tree/mounted": {
		own:     "walk internal/attr internal/imaevm internal/inode internal/reason internal/shard internal/stream internal/tree",
		outside: "golang.org/x/sys github.com/moby/sys",
	},
	"internal/tree/rpms": {
		own: "internal/compress internal/imaevm internal/line internal/reason internal/rpmfile internal/stream internal/tree",
	},
	"internal/rpmfile": {own: "hash"},
	"internal/rpmdb":   {own: "hash internal/rpmfile", outside: "golang.org/x/sys"},
	"internal/tree/tarball": {
		own:     "internal/compress internal/line internal/reason internal/stream internal/tarfile internal/tarfile/pax internal/tree",
		outside: "golang.org/x/sys",
	},
	"internal/tree/dump": {own: "internal/imaevm internal/labelfile internal/reason internal/stream internal/tree"},
	"internal/tree/ext4": {
		own:     "internal/extfs internal/line internal/partition internal/reason internal/stream internal/tree",
		outside: "golang.org/x/sys",
	},
	"internal/tree/oci": {
		own: "internal/compress internal/reason internal/stream internal/tarfile internal/tree internal/tree/oci/document internal/tree/oci/flat" +
			" internal/tree/tarball",
		outside: "github.com/google/go-containerregistry golang.org/x/sys",
	},
	"internal/tree/oci/document": {},
	"internal/tree/oci/flat":     {outside: "golang.org/x/sys"},
	"internal/line":              {},
	"internal/stream":            {outside: "golang.org/x/sys"},
	"internal/compress":          {outside: "github.com/klauspost/compress github.com/klauspost/pgzip github.com/mikelolasagasti/xz"},
	"internal/run":               {own: "hash internal/imaevm internal/reason internal/report internal/tree"},
	"internal/sigfile":           {own: "internal/imaevm internal/tree"},
	"internal/extfs":             {},
	"internal/partition":         {},
	"internal/label": {
		own: "hash sign internal/imaevm internal/labelfile internal/plan internal/policy internal/policy/inspect internal/policy/match" +
			" internal/reason internal/report internal/run internal/sigfile internal/target internal/tree",
	},
	"internal/answer": {own: "hash sign internal/imaevm internal/label internal/labelfile internal/line internal/plan"},
	"internal/apply": {
		own: "hash sign internal/imaevm internal/label internal/labelfile internal/plan internal/policy/inspect internal/reason internal/report" +
			" internal/run internal/target internal/tree",
	},
	"internal/verify": {
		own: "hash sign internal/imaevm internal/plan internal/policy/inspect internal/reason internal/report internal/run" +
			" internal/sigfile internal/target internal/tree",
	},
	"internal/judge": {
		own: "hash sign internal/appraise internal/imaevm internal/plan internal/policy internal/policy/inspect internal/policy/match" +
			" internal/reason internal/report internal/run internal/target internal/tree",
	},
	"internal/attr":         {outside: "github.com/pkg/xattr golang.org/x/sys"},
	"internal/inode":        {outside: "golang.org/x/sys"},
	"internal/report":       {own: "hash internal/imaevm internal/reason internal/shard", outside: "github.com/schollz/progressbar/v3"},
	"internal/page":         {own: "internal/imaevm internal/page/treemap internal/page/words internal/reason internal/report"},
	"internal/page/treemap": {own: "internal/page/words internal/report"},
	"internal/page/words":   {own: "internal/report"},
	"internal/signatures":   {own: "hash sign internal/imaevm", outside: "golang.org/x/sys"},
	"internal/merge":        {own: "internal/reason internal/report internal/shard"},
	"internal/undo":         {own: "hash internal/imaevm internal/reason internal/report internal/run internal/tree", outside: "golang.org/x/sys"},

	"internal/evmctl": {own: "hash internal/imaevm internal/measure internal/pcr internal/reason internal/report internal/tree sign"},

	"internal/advice": {
		own: "walk internal/answer internal/apply internal/appraise internal/attest internal/compress internal/host internal/inode internal/integrate internal/keyring internal/label internal/labelfile internal/measure internal/pcr internal/plan internal/policy" +
			" internal/keylime internal/reason internal/report internal/rpmdb internal/rpmfile internal/run internal/selinux internal/stream internal/tarfile internal/target internal/tree internal/tree/dump internal/tree/mounted" +
			" internal/extfs internal/partition internal/tree/ext4 internal/tree/oci internal/tree/oci/document internal/tree/oci/flat internal/tree/rpms internal/tree/tarball internal/undo keys keys/evmkey keys/keyfile keys/pkcs11 keys/program",
		outside: "golang.org/x/sys",
	},

	// The formats, and what they are made of.
	"hash":                    {outside: "golang.org/x/crypto github.com/emmansun/gmsm"},
	"internal/imaevm":         {own: "hash"},
	"internal/labelfile":      {own: "hash internal/imaevm"},
	"sign":                    {own: "hash internal/imaevm"},
	"internal/tarfile":        {own: "internal/tarfile/pax internal/tarfile/sparse"},
	"internal/tarfile/pax":    {},
	"internal/tarfile/sparse": {own: "internal/tarfile/pax"},

	// Keys. A backend with a library gets a package that fences that off.
	"keys":               {own: "hash sign internal/imaevm internal/stream keys/kernelcert keys/kernelkey keys/keyfile keys/pkcs11 keys/program keys/rsalanes keys/tpm", outside: "filippo.io/mldsa"},
	"keys/program":       {own: "hash keys/child keys/keyfile", outside: "filippo.io/mldsa"},
	"keys/tpm":           {own: "internal/pcr keys/child keys/keyfile", outside: "github.com/foxboron/go-tpm-keyfiles github.com/google/go-tpm"},
	"keys/pkcs11":        {own: "keys/child keys/keyfile keys/pkcs11/p11kit"},
	"keys/pkcs11/p11kit": {own: "keys/child"},
	"keys/child":         {},
	"keys/cert":          {own: "keys"},
	"keys/evmkey":        {own: "keys/keyfile"},
	"keys/ber":           {},
	"keys/p256":          {outside: "filippo.io/nistec"},
	"keys/kernelkey":     {own: "keys/ber keys/p256", outside: "filippo.io/mldsa"},
	"keys/kernelcert":    {own: "hash keys/ber keys/kernelkey"},
	"keys/keyfile":       {own: "keys/kernelcert keys/kernelkey keys/pbes2 keys/pkcs12", outside: "filippo.io/mldsa golang.org/x/sys"},
	"keys/pbes2":         {outside: "golang.org/x/crypto"},
	"keys/pkcs12":        {outside: "software.sslmate.com/src/go-pkcs12"},
	"keys/rsalanes":      {outside: "filippo.io/bigmod golang.org/x/sys"},
	"keys/keytest":       {own: "internal/treetest internal/vectors"}, // for tests
	"keys/certtest":      {own: "hash keys/ber keys/kernelkey"},
	"internal/host":      {own: "hash internal/pcr internal/policy", outside: "golang.org/x/sys"},
	"internal/bootset":   {own: "internal/stream keys/evmkey"},
	"internal/keyring": {
		own: "internal/imaevm", outside: "golang.org/x/sys",
	},

	// What a kernel would say.
	"internal/policy":         {own: "hash"},
	"internal/policy/builtin": {own: "internal/policy"},
	"internal/policy/explain": {own: "internal/policy internal/policy/match"},
	"internal/policy/inspect": {own: "hash internal/plan internal/policy internal/policy/match internal/tree"},
	"internal/policy/lint":    {own: "internal/policy internal/reason"},
	"internal/policy/match":   {own: "internal/policy"},
	"internal/appraise":       {own: "hash sign internal/imaevm internal/policy internal/policy/match internal/reason"},

	"internal/target": {own: "hash sign internal/host internal/imaevm internal/keyring internal/policy internal/policy/builtin internal/reason internal/tree" +
		" keys/kernelcert keys/kernelkey"},

	"internal/finding": {},
	"internal/active":  {own: "internal/finding internal/host internal/keyring internal/policy internal/policy/builtin"},
	"internal/readiness": {
		own:     "internal/active internal/finding internal/host internal/imaevm internal/policy internal/policy/match",
		outside: "golang.org/x/sys",
	},
	"internal/upgrade": {own: "internal/host internal/imaevm internal/policy internal/policy/builtin"},
	"internal/selinux": {own: "internal/selinux/pcre internal/tree"},

	"internal/selinux/pcre": {},

	// What a kernel has said.
	"internal/keylime":  {},
	"internal/measured": {own: "hash internal/imaevm internal/label internal/measure internal/policy internal/reason internal/report internal/run internal/tree", outside: "golang.org/x/sys"},
	"internal/audit":    {outside: "github.com/klauspost/compress github.com/ulikunitz/xz"},
	"internal/denials":  {own: "internal/audit"},
	"internal/locate":   {outside: "golang.org/x/sys"},
	"internal/logs":     {own: "internal/audit internal/stream", outside: "golang.org/x/sys"},

	// What a kernel has measured.
	"internal/attest":       {own: "hash sign internal/imaevm internal/measure internal/pcr internal/reason keys/keyfile"},
	"internal/measure":      {own: "hash internal/pcr"},
	"internal/pcr":          {own: "hash"},
	"internal/pcr/eventlog": {own: "hash internal/pcr"},
	"internal/pcr/quote":    {own: "hash internal/pcr keys/keyfile", outside: "github.com/google/go-tpm"},
	// What has others call the program.
	"internal/integrate": {own: "walk", outside: "golang.org/x/sys"},

	// For tests and benchmarks.
	"internal/bench":           {},
	"internal/bench/floor":     {outside: "golang.org/x/sys"},
	"internal/kernellab":       {own: "internal/kernellab/wire", outside: "golang.org/x/sys"},
	"internal/kernellab/probe": {own: "internal/kernellab/wire", outside: "golang.org/x/sys"},
	"internal/kernellab/wire":  {},
	"internal/rpmfile/rpmtest": {},
	"internal/runtest": {
		own: "hash keys walk internal/attr internal/imaevm internal/report internal/run internal/tree internal/tree/mounted internal/treetest internal/undo",
	},
	"internal/tree/carriertest": {
		own: "hash internal/imaevm internal/label internal/plan internal/reason internal/report internal/run internal/runtest internal/shard internal/tree" +
			" internal/treetest internal/verify",
	},
	"internal/treetest": {outside: "golang.org/x/sys"},
	"internal/vectors":  {own: "hash internal/imaevm"},
}

// forTests are the packages that only tests, and one another, may import.
var forTests = []string{
	"internal/bench", "internal/kernellab", "internal/rpmfile/rpmtest", "internal/runtest", "internal/tree/carriertest", "internal/treetest", "internal/vectors", "keys/certtest",
	"keys/keytest",
}

func isForTests(path string) bool {
	return slices.ContainsFunc(forTests, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func TestImports(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range packages(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "imaseal"), "/")
		seen[path] = true
		allowed, ok := importTable[path]
		if !ok {
			t.Errorf("package %s is not in the table of imports_test.go", path)
			continue
		}
		for _, imported := range p.Imports {
			if !allowed.allows(path, imported) {
				t.Errorf("package %q imports %s, which is not in its row of the table", path, imported)
			}
		}
	}
	for path := range importTable {
		if !seen[path] {
			t.Errorf("the table has a row for %s, and there is no such package", path)
		}
	}
}

func (r row) allows(from, imported string) bool {
	if own, ok := strings.CutPrefix(imported, "imaseal/"); ok {
		if r.own == "*" {
			return !isForTests(own) || isForTests(from)
		}
		return slices.Contains(strings.Fields(r.own), own)
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(strings.Fields(r.outside), func(module string) bool {
		return imported == module || strings.HasPrefix(imported, module+"/")
	})
}

// A goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var found []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
}
