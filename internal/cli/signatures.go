package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/signatures"
	"imaseal/keys"
	"imaseal/sign"
)

// Variables of the environment that hold what a store of signatures is asked with:
// a token, or a user and a password.
const (
	tokenVariable    = "IMASEAL_SIGNATURES_TOKEN"
	userVariable     = "IMASEAL_SIGNATURES_USER"
	passwordVariable = "IMASEAL_SIGNATURES_PASSWORD"
)

// checkStore refuses what can name no store. What it says does not hold the name,
// which may have a password in it.
func checkStore(name string) error {
	if !signatures.IsURL(name) {
		return nil
	}
	if err := signatures.CheckURL(name); err != nil {
		return &cmdline.UsageError{
			Err:    fmt.Errorf("--signatures: %w", err),
			Advice: "https://HOST/PATH, or a directory; " + tokenVariable + " holds a token, " + userVariable + " and " + passwordVariable + " the rest",
		}
	}
	return nil
}

// A signer is a private key, with a store of signatures around it if there is one.
type signer struct {
	sign.MessageSigner
	key   *keys.Key
	kept  *signatures.Signer // nil for no store
	store signatures.Store
}

// openStoredKey opens the private key that a request names, and the store of signatures.
// With readOnly nothing is stored. The caller closes the signer.
func (p Program) openStoredKey(ctx context.Context, r *keyRequest, readOnly bool) (*signer, error) {
	key, err := p.openKey(ctx, r)
	if err != nil {
		return nil, err
	}
	s := &signer{MessageSigner: key, key: key}
	if r.signatures == "" {
		return s, nil
	}
	if s.store, err = p.openStore(r.signatures); err == nil {
		s.kept, err = signatures.New(ctx, key, s.store, signatures.Options{ReadOnly: readOnly, Notice: p.storeNotice(r.signatures)})
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.MessageSigner = s.kept
	return s, nil
}

// storeNotice says once of each kind of trouble with a store that there is some.
func (p Program) storeNotice(name string) func(signatures.Trouble, error) {
	return func(t signatures.Trouble, err error) {
		name, why := report.Quote(name), printable(err)
		switch t {
		case signatures.Away:
			p.warn(reason.StoreAway, "signature store %s: %s: the key makes what the store does not give, and the summary counts it", name, why)
		case signatures.Lies:
			p.warn(reason.StoreLies, "signature store %s: %s: such signatures are not used but made, and the summary counts them", name, why)
		case signatures.Unkept:
			p.warn(reason.StoreFull, "signature store %s takes no signature: %s: the run goes on, and the summary counts them", name, why)
		}
	}
}

// openStore opens a store. One that is away is none of the errors.
func (p Program) openStore(name string) (signatures.Store, error) {
	if signatures.IsURL(name) {
		auth, err := p.storeAuth()
		if err != nil {
			return nil, err
		}
		web := signatures.OpenWeb(name, auth)
		if auth != "" && !web.IsEncrypted() && !isLoopback(name) {
			p.warn(reason.StorePlain, "signature store %s: the token or password is sent without encryption; https:// hides it", report.Quote(name))
		}
		return web, nil
	}
	dir, err := signatures.OpenDir(name)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return nil, &advisedError{err: fmt.Errorf("--signatures %s: is no directory", report.Quote(name)), code: reason.StoreAway, advice: "name a directory, which is made if it is not there, or a URL"}
	case err != nil:
		return signatures.Gone(pathless(err)), nil
	}
	return dir, nil
}

// storeAuth returns the header by which a store knows who asks, "" for none.
func (p Program) storeAuth() (string, error) {
	token, user, password := p.getenv(tokenVariable), p.getenv(userVariable), p.getenv(passwordVariable)
	switch {
	case token != "" && (user != "" || password != ""):
		return "", conflict(tokenVariable+" and "+userVariable+" or "+passwordVariable+" are both set", "unset one of them")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", conflict(tokenVariable+" holds what no token has: blanks, or what is not ASCII", "the end of a line, perhaps")
	case token != "":
		return "Bearer " + token, nil
	case user != "" && password == "", user == "" && password != "", strings.Contains(user, ":"):
		return "", conflict(userVariable+" and "+passwordVariable+" belong together, and the user has no colon", "set both, or none")
	case user != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	}
	return "", nil
}

// isLoopback reports whether a URL is of this machine.
func isLoopback(name string) bool {
	u, err := url.Parse(name)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// parallel is how many signatures at once keep key and store busy.
func (s *signer) parallel() int {
	if s.store == nil {
		return s.key.Parallel()
	}
	return max(s.key.Parallel(), s.store.Parallel())
}

// statistic returns what tells, when all is signed, what came of the store; nil where
// there is none.
func (s *signer) statistic() func() *report.Store {
	if s.kept == nil {
		return nil
	}
	return func() *report.Store {
		statistic := report.Store(s.kept.Settle())
		return &statistic
	}
}

// Close waits until what was made is stored, and closes the store and the key.
func (s *signer) Close() {
	if s.kept != nil {
		s.kept.Settle()
	}
	if s.store != nil {
		s.store.Close()
	}
	s.key.Close()
}
