package signatures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imaseal/internal/treetest"
)

// serve starts a server on the loopback address.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// TestWeb: what a plain store of bytes takes and gives.
func TestWeb(t *testing.T) {
	treetest.Leaks(t)
	store := new(memory)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			sig, err := store.Get(r.Context(), r.URL.Path)
			if err != nil {
				http.Error(w, "no", http.StatusNotFound)
				return
			}
			w.Write(sig)
		case http.MethodPut:
			b, _ := io.ReadAll(r.Body)
			store.Put(r.Context(), r.URL.Path, b)
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer s.Close()
	w := OpenWeb(s.URL+"/x", "")
	defer w.Close()
	testStore(t, w)
}

// TestWebFaults: whatever a server does, a call ends soon, with an error that says
// what, and takes little memory.
func TestWebFaults(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for b := bytes.Repeat([]byte("x"), 1<<20); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, c := range []struct {
		name  string
		h     http.HandlerFunc
		err   string // of Get; "" for none
		tries int64
	}{
		{"forbidden", status(403), "GET: 403 Forbidden", 1},
		{"broken", status(500), "GET: 500 Internal Server Error", 3},
		{"overloaded", status(503), "GET: 503 Service Unavailable", 3},
		{"too many", status(429), "GET: 429 Too Many Requests", 3},
		{"full", status(507), "GET: 507 Insufficient Storage", 1},
		{"gone", status(410), ErrNone.Error(), 1},
		{"nothing", status(204), "GET: 204 No Content", 1},
		{"endless", endless, "", 1},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
		}, "unexpected EOF", 3},
		{"closed", func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}, "EOF", 3},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "SSH-2.0-x\r\n")
			c.Close()
		}, "malformed HTTP", 3},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("something compressed is asked for")
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("\x1f\x8b"))
		}, "", 1},
		{"many headers", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 100))
			}
		}, "server response headers exceeded", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tries atomic.Int64
			s := serve(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); c.h(w, r) })
			begin := time.Now()
			web := newWeb(t, s.URL, "")
			web.waits = []time.Duration{time.Millisecond, 10 * time.Millisecond}
			sig, err := web.Get(t.Context(), aName)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || len(sig) > maxSize || tries.Load() != c.tries {
				t.Errorf("%d bytes, %v, %d tries", len(sig), err, tries.Load())
			}
			if took := time.Since(begin); took > webTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestWebHangs: a server that never answers is given up in time, and at once when a
// run ends.
func TestWebHangs(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	begin := time.Now()
	w := newWeb(t, s.URL, "")
	w.timeout = 200 * time.Millisecond
	_, err := w.Get(t.Context(), aName)
	if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "no answer in 200ms") || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin = time.Now()
	if err := newWeb(t, s.URL, "").Put(ctx, aName, []byte("x")); err == nil || time.Since(begin) > time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestSecretsStay: a token goes to no other host, not to another port, and not to the
// same one without encryption; nobody is told of it.
func TestSecretsStay(t *testing.T) {
	var leaked atomic.Bool
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { leaked.Store(true) })
	var to atomic.Value
	here := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("asked with %q", r.Header)
		}
		if target := to.Load().(string); r.URL.Path != "/found" {
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			return
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s found with %q", r.Method, b)
	})
	w := newWeb(t, here.URL, "Bearer sesame")
	for _, target := range []string{other.URL + "/x", strings.Replace(here.URL, "http:", "https:", 1), strings.Replace(other.URL, "127.0.0.1", "localhost", 1), "/again"} {
		to.Store(target)
		_, err := w.Get(t.Context(), aName)
		putErr := w.Put(t.Context(), aName, []byte("x"))
		if err == nil || putErr == nil || leaked.Load() || strings.Contains(err.Error()+putErr.Error(), "sesame") {
			t.Errorf("to %s: %v, %v, leaked %v", target, err, putErr, leaked.Load())
		}
	}
	to.Store("/found")
	if sig, err := w.Get(t.Context(), aName); string(sig) != `GET found with ""` {
		t.Errorf("%q, %v", sig, err)
	}
	if err := w.Put(t.Context(), aName, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for name, ok := range map[string]bool{
		"http://h": true, "https://h:81/a/b/": true, "http://[::1]:80": true,
		"ftp://h": false, "file:///x": false, "http://": false, "http:///x": false, "http://h?x": false, "http://h/?": false, "http://h/#x": false,
		"http://user@h": false, "http://user:sesame@h": false, "://h": false, "http://h:sesame": false, "http://h/\x7f": false,
	} {
		err := CheckURL(name)
		if !IsURL(name) || (err == nil) != ok || err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"dir", "/a/b", "./http:", "c:d"} {
		if IsURL(name) {
			t.Errorf("%q is a URL", name)
		}
	}
}
