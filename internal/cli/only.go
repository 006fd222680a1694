package cli

import (
	urfave "github.com/urfave/cli/v2"
)

// An onlyOption says which labels are written. The zero value is all.
type onlyOption struct{ label string }

func (o *onlyOption) flag() urfave.Flag {
	return &urfave.StringFlag{Name: "label", Destination: &o.label, Category: labels, Value: "all", Usage: "write security.ima and what --evm says, or evm: security.evm alone, and leave security.ima as it is"}
}

func (o *onlyOption) isEVM() bool { return o.label == "evm" }

// checkOnly refuses what does not go together with the labels that are written.
func (o *labelOptions) checkOnly(r labelRequest) error {
	switch {
	case o.only.label == "ima" && !r.evm.isNone():
		return conflict("--label ima and --evm "+r.evm.word+" contradict each other", "leave out one of them")
	case o.only.label != "" && checkWord("label", o.only.label) != nil:
		return checkWord("label", o.only.label)
	case r.onlyEVM && r.evm.isNone():
		return conflict("--label evm writes labels of EVM, and nothing says of which kind", "add --evm portable, signature or hmac")
	case r.onlyEVM:
		return refuseWith("label evm", given{"sigfile", o.sigFile}, given{"replace-signatures", o.rewrite.signatures}, given{"labels-to", o.export.to != ""})
	case r.Itself:
		return conflict("--itself is for labels of EVM, since only regular files have others", "add --label evm")
	}
	return nil
}
