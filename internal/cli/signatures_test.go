package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"imaseal/internal/treetest"
)

// TestSignatureStoreSecrets: what a store is asked with comes from the environment,
// reaches the store, and is never printed.
func TestSignatureStoreSecrets(t *testing.T) {
	key, err := os.ReadFile("../../testdata/vectors/keys/p256.key.pem")
	if err != nil {
		t.Fatal(err)
	}
	root := treetest.Make(t, "file tree/a content=x\nfile tree/b content=y")
	treetest.UserAttrs(t, root)
	keyFile := filepath.Join(root, "key")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		env    map[string]string
		header string // that the store wants
		status int
		says   string
	}{
		{"token", map[string]string{tokenVariable: "sesame"}, "Bearer sesame", exitOK, "2 made, 2 stored"},
		{"password", map[string]string{userVariable: "me", passwordVariable: "sesame"}, "Basic bWU6c2VzYW1l", exitOK, "2 made, 2 stored"},
		{"none", nil, "", exitOK, "2 made, 2 stored"},
		{"wrong token", map[string]string{tokenVariable: "sesame2"}, "Bearer other", exitOK, "2 times out of reach, 2 not stored"},
		{"both", map[string]string{tokenVariable: "sesame", userVariable: "me", passwordVariable: "x"}, "", exitUsage, "are both set"},
		{"no password", map[string]string{userVariable: "me"}, "", exitUsage, "belong together"},
		{"end of a line", map[string]string{tokenVariable: "sesame\n"}, "", exitUsage, "holds what no token has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			kept := make(map[string][]byte)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				b, _ := io.ReadAll(r.Body)
				sig, ok := kept[r.URL.Path]
				switch {
				case r.Header.Get("Authorization") != c.header:
					w.WriteHeader(http.StatusForbidden)
				case r.Method == http.MethodPut:
					kept[r.URL.Path] = b
				case ok:
					w.Write(sig)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			defer s.Close()
			var out, errs bytes.Buffer
			status := Main(context.Background(), Program{
				Args:  []string{"sign", "--key", keyFile, "--namespace", "user", "--owner", "any", "--force", "--signatures", s.URL, filepath.Join(root, "tree")},
				Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
				Getenv: func(name string) string { return c.env[name] },
			})
			all := out.String() + errs.String()
			if status != c.status || !strings.Contains(all, c.says) || strings.Contains(all, "sesame") || strings.Contains(all, "bWU6") {
				t.Errorf("status %d: %s", status, all)
			}
		})
	}
}
