package advice

import (
	"errors"

	"imaseal/internal/answer"
	"imaseal/internal/apply"
	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
)

// ofLabels is about labels, and requests for them, that are in files.
func ofLabels(err error) (reason.Code, string) {
	kind, isKind := errors.AsType[*labelfile.KindError](err)
	switch {
	case is[*apply.ContentError](err):
		return "other-content", "the file was changed since the label was made: make the label anew"
	case is[*apply.MetaError](err):
		return "other-metadata", "give the file what the label was made for (chown, chmod, setcap), or make the label anew"
	case errors.Is(err, apply.ErrMissing):
		return "missing-file", "name the PATH that the labels were made for; --partial, --include and --files-from take labels of more files"
	case errors.Is(err, apply.ErrSeveral):
		return "several-labels", "labels that were made with other keys, or in other runs: leave out those that are not meant"
	case errors.Is(err, apply.ErrWrongLabel):
		return "wrong-label", "somebody changed the file of labels: make it anew"
	case is[*apply.SignatureError](err):
		return "unverified-signature", "--key names the certificates of who made the labels; imaseal keys id FILE tells which ids they have"
	case is[*answer.DeniedError](err):
		return "not-allowed", "--allow names what is signed: leave such files out when requests are made, or ask the owner of the key"
	case errors.Is(err, answer.ErrKind):
		return "hmac-request", "imaseal hash --evm hmac --evm-key FILE PATH makes HMACs, where that key is"
	case errors.Is(err, answer.ErrOtherAnswers):
		return "other-answers", "remove it, or name another --output"
	case is[*answer.AllowError](err):
		return "bad-allow", "a line is algorithm, class, evm, path or files, and what of it is allowed"
	case is[*labelfile.PartError](err):
		return "not-whole", "join all parts (cat), each once; --partial takes what is there"
	case isKind && kind.Is == labelfile.Requests:
		return "requests", "imaseal answer --key KEY REQUESTS makes labels of them"
	case isKind:
		return "labels", "imaseal apply LABELS PATH writes labels, which need no answer"
	case errors.Is(err, labelfile.ErrForeign):
		return "foreign-lines", "--labels-to FILE writes labels, with --labels-format json"
	case is[*labelfile.LineError](err):
		return "damaged-lines", "copy or make the file again"
	}
	return "", ""
}
