package target

import (
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/sign"
)

func TestListedKeys(t *testing.T) {
	l := listedKeys{1: true}
	for id, known := range map[uint32]bool{1: true, 2: false} {
		_, err := l.Verifier(imaevm.KeyID(id))
		if _, unknown := err.(*sign.UnknownKeyError); unknown == known {
			t.Errorf("%d: %v", id, err)
		}
	}
}
