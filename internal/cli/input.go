package cli

import (
	"context"
	"io"

	"imaseal/internal/stream"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// awaitFile is stream.Await for what reads a file by its name.
func awaitFile[T any](ctx context.Context, name string, read func(string) (T, error)) (T, error) {
	return stream.Await(ctx, func() (T, error) { return read(name) })
}

// awaitKeys reads the public keys in files until ctx ends.
func awaitKeys(ctx context.Context, paths ...string) (*keys.Verifiers, error) {
	return stream.Await(ctx, func() (*keys.Verifiers, error) { return keys.OpenVerifiers(paths...) })
}

// readKey reads a small file.
func readKey(path string) ([]byte, error) {
	key, _, err := keyfile.Read(path)
	return key, err
}

// openInput opens a file, or takes standard input for "-", until ctx ends.
func (p Program) openInput(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return p.stdinUntil(ctx), nil
	}
	return stream.Open(ctx, name)
}
