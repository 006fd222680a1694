package cli

import (
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/target"
	"imaseal/keys"
	"imaseal/sign"
)

// useKey makes signatures those of a key, if that goes together with what is asked for.
func (p Program) useKey(l *label.Labeller, r *labelRequest, s *signer, t *target.Target) error {
	scheme := s.key.Scheme()
	if err := scheme.Check(r.Algo); err != nil {
		return conflict(err.Error(), "")
	}
	version, err := r.key.versionFor(scheme, r.Algo)
	if err != nil {
		return err
	}
	if scheme == sign.MLDSA && !t.IsSigV3() {
		p.warn(reason.Key, "%s signatures are verified by Linux 7.2 and later, and the target's kernel is %s", scheme, t.Kernel)
	}
	if !r.output.inOrder {
		r.inFlight = s.parallel()
	}
	r.signatures = s.statistic()
	l.Key = &label.Key{Signer: sign.NewCache(s), Own: s.key, Version: version, V1: s.key}
	return nil
}

// readRate is how many bytes a worker reads and hashes in a second, or so.
const readRate = 500 << 20

// signingCost is how many bytes so many workers could read in the time that the
// key takes for the signatures of a file.
func signingCost(key *keys.Key, jobs int, kinds map[plan.Class]imaevm.Type) int64 {
	signatures := 1
	if t := kinds[plan.Sign]; t != 0 && t != imaevm.TypeHMAC {
		signatures++
	}
	each := key.SignatureTime().Seconds() / float64(key.Parallel())
	return int64(each * float64(signatures*jobs) * readRate)
}
