package cli

import (
	"context"
	"errors"
	"fmt"

	"imaseal/internal/evmctl"
)

// evmctlSignHash signs digests of standard input.
func (p Program) evmctlSignHash(ctx context.Context, r evmctl.Request) error {
	key, version, err := p.evmctlKey(ctx, r)
	if err != nil {
		return err
	}
	defer key.Close()
	in, err := p.openInput(ctx, "-")
	if err != nil {
		return err
	}
	defer in.Close()
	s := digestSigner{key: key, version: version, algo: r.Digest, verity: r.Verity, plain: !r.Verity}
	var wrong error
	n, err := s.run(ctx, in, writerTo{p}, func(err error) {
		fmt.Fprintf(p.Stderr, "%s: %s\n", evmctlName, printable(err))
		wrong = errors.New("not all lines could be signed")
	})
	if n == 0 && err == nil {
		return evmctl.Missing(r.Command)
	}
	return firstError(err, wrong)
}
