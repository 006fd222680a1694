package advice

import (
	"errors"

	"imaseal/internal/keylime"
	"imaseal/internal/reason"
)

// ofKeylime is about policies of Keylime.
func ofKeylime(err error) (reason.Code, string) {
	switch {
	case is[*keylime.NameError](err):
		return "not-utf8", "rename the file, or have its path accepted as it is with --policy-exclude"
	case is[*keylime.DigestError](err):
		return "digest-size", "give the file a label of another algorithm (imaseal hash FILE), by which kernels then measure it"
	case errors.Is(err, keylime.ErrSigned):
		return "signed-policy", "name the policy that was signed, and sign what is made of it: keylime-policy sign runtime"
	case errors.Is(err, keylime.ErrAllowlist):
		return "old-allowlist", "keylime_convert_runtime_policy makes a runtime policy of it"
	case is[*keylime.FormatError](err):
		return "bad-runtime-policy", "keylime-policy writes what can be read here, and so does imaseal measurements export PATH"
	}
	return "", ""
}
