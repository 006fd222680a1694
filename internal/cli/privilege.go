package cli

import (
	"imaseal/internal/plan"
	"imaseal/internal/reason"
)

// privileged refuses a run that the kernel will refuse file by file.
func (p Program) privileged(request plan.Plan) error {
	if _, ok := request.Carrier(); ok || !request.Writes() || request.Namespace != "security" {
		return nil
	}
	if err := p.Host.MayWriteSecurity(); err != nil {
		return err
	}
	if state, ok := p.Host.EVM(); ok && state.Active() {
		p.warn(reason.EVMActive, "EVM is active on this kernel (state %d): it refuses to change labels of files whose security.evm it does not find right", state)
	}
	return nil
}
