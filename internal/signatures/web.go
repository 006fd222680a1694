package signatures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Web is a Store behind HTTP: GET gives a signature, or 404, and PUT stores one.
// That is what nginx does with its module dav, and how caches of build tools are
// asked.
type Web struct {
	base   string // with a slash at its end
	auth   string // the header Authorization, "" for none
	client *http.Client

	timeout time.Duration   // but in tests, webTimeout
	waits   []time.Duration // but in tests, webWaits
}

const (
	// connections is how many there are at once: so many files wait for a store
	// that is far away.
	connections = 32
	// webTimeout is for one try of one request, and dialTimeout for finding out
	// that nobody is there.
	webTimeout = 5 * time.Second
	// maxDrained is how much of an answer that is of no interest is read, so
	// that the connection can be used again.
	maxDrained = 64 << 10
)

// webWaits are those before another try.
var webWaits = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond}

// IsURL reports whether a name is that of a Web, and not of a directory.
func IsURL(name string) bool { return strings.Contains(name, "://") }

// CheckURL says what is wrong with a URL, without what may be secret in it.
func CheckURL(name string) error {
	u, err := url.Parse(name)
	switch {
	case err != nil:
		return errors.New("it is no URL") // the error of url.Parse has all of it
	case u.User != nil:
		return errors.New("a URL on the command line is seen by others, and holds no user or password")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q is not http or https", u.Scheme)
	case u.Host == "":
		return errors.New("the URL has no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("the URL has more than a path: ? and # are none")
	}
	return nil
}

// OpenWeb returns the store below a URL that CheckURL takes. auth is the header
// Authorization, empty for none. Nothing is asked yet.
func OpenWeb(name, auth string) *Web {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = connections, connections, connections
	transport.DisableCompression = true // nothing can grow here
	transport.MaxResponseHeaderBytes = 64 << 10
	return &Web{
		base: strings.TrimRight(name, "/") + "/", auth: auth,
		client: &http.Client{Transport: transport, CheckRedirect: sameHost}, timeout: webTimeout, waits: webWaits,
	}
}

// maxRedirects is how often a store may send elsewhere.
const maxRedirects = 3

// sameHost refuses to be sent to another host, or to the same one without
// encryption: what is sent there is for this one.
func sameHost(to *http.Request, via []*http.Request) error {
	switch from := via[0].URL; {
	case len(via) > maxRedirects:
		return &redirectError{"too often"}
	case to.URL.Host != from.Host || to.URL.Scheme != from.Scheme:
		return &redirectError{fmt.Sprintf("to another place, %s://%s, where nothing is asked", to.URL.Scheme, to.URL.Host)}
	}
	return nil
}

// A redirectError says that a store sends elsewhere.
type redirectError struct{ where string }

func (e *redirectError) Error() string { return "it redirects " + e.where }

// IsEncrypted reports whether nobody on the way sees what is sent.
func (w *Web) IsEncrypted() bool { return strings.HasPrefix(w.base, "https:") }

// Parallel implements Store.
func (w *Web) Parallel() int { return connections }

// Close implements Store.
func (w *Web) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// A statusError is an answer that is not the one that was asked for.
type statusError struct {
	method string
	code   int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.method, e.code, http.StatusText(e.code))
}

// Get implements Store.
func (w *Web) Get(ctx context.Context, name string) ([]byte, error) {
	var sig []byte
	err := w.do(ctx, http.MethodGet, name, nil, func(r *http.Response) error {
		switch r.StatusCode {
		case http.StatusOK:
			var err error
			sig, err = readSmall(r.Body)
			return err
		case http.StatusNotFound, http.StatusGone:
			return ErrNone
		}
		return &statusError{http.MethodGet, r.StatusCode}
	})
	return sig, err
}

// Put implements Store.
func (w *Web) Put(ctx context.Context, name string, sig []byte) error {
	return w.do(ctx, http.MethodPut, name, sig, func(r *http.Response) error {
		if r.StatusCode/100 != 2 {
			return &statusError{http.MethodPut, r.StatusCode}
		}
		return nil
	})
}

// do makes a request, and makes it again if that may help.
func (w *Web) do(ctx context.Context, method, name string, body []byte, answer func(*http.Response) error) error {
	for try := 0; ; try++ {
		err := w.try(ctx, method, name, body, answer)
		if err == nil || errors.Is(err, ErrNone) || ctx.Err() != nil || try == len(w.waits) || !mayHelp(err) {
			return err
		}
		select {
		case <-time.After(w.waits[try]):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mayHelp reports whether another try may end otherwise: a server was overloaded, or
// a connection was cut. One that does not answer has had its time.
func mayHelp(err error) bool {
	if s, ok := errors.AsType[*statusError](err); ok {
		switch s.code {
		case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
			return false
		case http.StatusTooManyRequests, http.StatusRequestTimeout:
			return true
		}
		return s.code >= 500
	}
	_, elsewhere := errors.AsType[*redirectError](err)
	return !elsewhere && !errors.Is(err, context.DeadlineExceeded)
}

func (w *Web) try(ctx context.Context, method, name string, body []byte, answer func(*http.Response) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, fmt.Errorf("no answer in %s: %w", w.timeout, context.DeadlineExceeded))
	defer cancel()
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.base+name, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if w.auth != "" {
		req.Header.Set("Authorization", w.auth)
	}
	r, err := w.client.Do(req)
	if err != nil {
		return w.shorten(ctx, err)
	}
	defer r.Body.Close()
	err = answer(r)
	io.CopyN(io.Discard, r.Body, maxDrained) // what is longer costs the connection
	if err != nil && ctx.Err() != nil {
		return w.shorten(ctx, err)
	}
	return err
}

// shorten says of an error what is not known anyway.
func (w *Web) shorten(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err // without the URL, which is long
	}
	return err
}
