package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/keys"
	"imaseal/sign"
)

// maxDigestLine bounds a line with a digest and a name.
const maxDigestLine = 1 << 16

// A digestSigner signs digests that lines begin with, as sha256sum(1) prints them, and
// fsverity(1), which has the algorithm and a colon before them.
type digestSigner struct {
	key     *keys.Key
	version uint8
	algo    hash.Algorithm // of lines that name none
	// verity and plain say which kinds of lines there can be.
	verity, plain bool
}

// A lineError says that a line has no digest that can be signed.
type lineError struct {
	number int
	err    error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.number, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// signed is a line, and the label over its digest or what is wrong with it.
type signed struct {
	line  []byte
	label []byte
	err   error
}

// run copies lines from in to out, each with a blank and its label in hexadecimal
// behind it, and returns how many there were. As many are signed at once as keep the
// key busy. Lines that have no digest are told to wrong and left out; other errors end
// it.
func (s digestSigner) run(ctx context.Context, in io.Reader, out io.Writer, wrong func(error)) (n int, err error) {
	lines := make(chan chan signed, s.key.Parallel())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readErr error
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxDigestLine)
		for number := 1; scanner.Scan(); number++ { // a new variable each time
			to := make(chan signed, 1)
			line := bytes.Clone(scanner.Bytes())
			select {
			case lines <- to:
			case <-ctx.Done():
				return
			}
			go func() { to <- s.line(ctx, line, number) }()
		}
		readErr = scanner.Err()
	}()
	w := bufio.NewWriter(out)
	for to := range lines {
		done := <-to
		n++
		if is[*lineError](done.err) {
			wrong(done.err)
			continue
		}
		if done.err != nil {
			cancel(done.err)
			return n, done.err
		}
		fmt.Fprintf(w, "%s %x\n", done.line, done.label)
	}
	if ctx.Err() != nil {
		return n, context.Cause(ctx)
	}
	if readErr != nil {
		return n, fmt.Errorf("reading digests: %w", pathless(readErr))
	}
	return n, w.Flush()
}

// line signs what a line begins with.
func (s digestSigner) line(ctx context.Context, line []byte, number int) signed {
	d, isVerity, err := s.parse(line)
	if err == nil {
		err = s.key.Scheme().Check(d.Algorithm())
	}
	if err != nil {
		return signed{err: &lineError{number, err}}
	}
	label, err := s.label(ctx, d, isVerity)
	return signed{line, label, err}
}

func (s digestSigner) label(ctx context.Context, d hash.Digest, isVerity bool) ([]byte, error) {
	if s.version == 1 && !isVerity {
		l, err := sign.LabelV1(ctx, s.key, d)
		if err != nil {
			return nil, err
		}
		return l.AppendBinary(nil)
	}
	kind, version := imaevm.TypeSignature, s.version
	if isVerity {
		kind, version = imaevm.TypeVerity, 3
	}
	l, err := sign.Label(ctx, s.key, kind, version, d)
	if err != nil {
		return nil, err
	}
	return l.AppendBinary(nil)
}

// Errors about lines.
var (
	errNoDigest  = errors.New("there is no digest")
	errNotVerity = errors.New("there is no algorithm with a colon, as fsverity digest prints it")
)

// parse returns the digest that a line begins with, and whether it is one of fs-verity.
func (s digestSigner) parse(line []byte) (d hash.Digest, isVerity bool, err error) {
	word := line
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		word = line[:i]
	}
	word = bytes.TrimPrefix(word, []byte(`\`)) // before a name that is quoted
	isVerity = s.verity && bytes.IndexByte(word, ':') >= 0
	switch {
	case len(word) == 0:
		return d, false, errNoDigest
	case isVerity:
		if d, err = hash.ParseDigest(string(word)); err == nil && d.Algorithm() != hash.SHA256 && d.Algorithm() != hash.SHA512 {
			err = fmt.Errorf("fs-verity has sha256 and sha512 digests, not %s", d.Algorithm())
		}
		return d, true, err
	case !s.plain:
		return d, false, errNotVerity
	}
	sum, err := hex.DecodeString(string(word))
	if err != nil {
		return d, false, errNoDigest
	}
	d, err = hash.NewDigest(s.algo, sum)
	return d, false, err
}
