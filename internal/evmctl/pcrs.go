package evmctl

import (
	"cmp"
	"fmt"
	"strings"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// A PCRFile is what --pcrs names: a file with the values of one bank.
type PCRFile struct {
	Bank hash.Algorithm
	Path string
}

// PCRFiles returns what --pcrs names. A file without an algorithm is of SHA-1.
func (r Request) PCRFiles() ([]PCRFile, error) {
	var files []PCRFile
	for _, text := range r.PCRs {
		name, path, ok := strings.Cut(text, ",")
		if !ok {
			name, path = hash.SHA1.String(), text
		}
		bank, err := hash.Parse(name)
		if err != nil || !pcr.IsBank(bank) {
			return nil, fmt.Errorf("unknown algorithm '%s'", name)
		}
		files = append(files, PCRFile{bank, path})
	}
	return files, nil
}

// TPMDevice returns the TCTI of the TPM that the environment names, "" for none: as
// tpm2-tools name it, or as IBM's TSS does, whose tsspcrread evmctl runs: a socket
// (TPM_INTERFACE_TYPE=socsim) of a server that takes commands as they are
// (TPM_SERVER_TYPE=raw), or a device. Source: tssproperties.c of IBM's TSS.
func TPMDevice(getenv func(string) string) (string, error) {
	if tcti := getenv("TPM2TOOLS_TCTI"); tcti != "" {
		return tcti, nil
	}
	switch kind := getenv("TPM_INTERFACE_TYPE"); kind {
	case "":
		return "", nil
	case "dev":
		return getenv("TPM_DEVICE"), nil
	case "socsim":
		if server := getenv("TPM_SERVER_TYPE"); server != "raw" {
			return "", fmt.Errorf("TPM_SERVER_TYPE=%s: a TPM behind a socket is reached if it is raw, which swtpm is", server)
		}
		return fmt.Sprintf("swtpm:host=%s,port=%s", cmp.Or(getenv("TPM_SERVER_NAME"), "localhost"), cmp.Or(getenv("TPM_COMMAND_PORT"), "2321")), nil
	default:
		return "", fmt.Errorf("TPM_INTERFACE_TYPE=%s is neither dev nor socsim", kind)
	}
}
