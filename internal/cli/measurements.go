package cli

import urfave "github.com/urfave/cli/v2"

func (p Program) measurementsCommand() *urfave.Command {
	return &urfave.Command{
		Name:        "measurements",
		Usage:       "work with what kernels measure",
		Description: `A kernel that measures keeps a list of what was used, and extends a TPM with it.`,
		Subcommands: []*urfave.Command{p.measurementsExportCommand()},
	}
}
