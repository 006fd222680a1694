package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imaseal/internal/measure"
	"imaseal/keys/keytest"
)

// expectOf runs the program, and compares status and texts.
func expectOf(t *testing.T, args string, want int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	status := Main(context.Background(), Program{Args: strings.Fields(args), Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e})
	if status != want || !regexp.MustCompile(out).MatchString(o.String()) || !regexp.MustCompile(errs).MatchString(e.String()) {
		t.Errorf("%s: status %d, want %d\n%s%s", args, status, want, &o, &e)
	}
}

// TestQuotes has a TPM quote what a kernel has measured, in the middle of it.
func TestQuotes(t *testing.T) {
	tpm := keytest.NewTPM(t)
	list := "../measure/testdata/linux-6.12.sha256.bin"
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := measure.Open(f, measure.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	const quoted = 12
	extend := []string{}
	for range quoted {
		rec, err := r.Next()
		if err != nil || rec.IsViolation() {
			t.Fatal(rec, err)
		}
		extend = append(extend, fmt.Sprintf("%d:sha256=%x", rec.PCR, rec.Digest))
	}
	if _, err := r.Next(); err == io.EOF {
		t.Fatal("the list is too short")
	}
	tpm.Tool("tpm2_pcrextend", extend...)
	tpm.Make("0x81000010", "-G", "ecc256:ecdsa-sha256:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
	file := func(name string) string { return filepath.Join(tpm.Files, name) }
	tpm.Tool("tpm2_readpublic", "-c", "0x81000010", "-f", "pem", "-o", file("pem"))
	quote := func(name, pcrs string) string {
		tpm.Tool("tpm2_quote", "-c", "0x81000010", "-l", pcrs, "-q", "c0ffee", "-g", "sha256", "-m", file(name+".msg"), "-s", file(name+".sig"), "-o", file(name+".pcrs"))
		return fmt.Sprintf("measurements verify --quote %s --quote-signature %s --quote-key %s ", file(name+".msg"), file(name+".sig"), file("pem"))
	}
	moment := fmt.Sprintf("imaseal: the PCRs were quoted after record %d; [0-9]+ records came after\n", quoted)
	two, all := quote("two", "sha256:10,11"), quote("all", "sha256:0,1,2,3,4,5,6,7,8,9,10,11")
	good := " --quote-nonce c0ffee " + list
	expectOf(t, two+good, 0, moment, "^$")
	expectOf(t, two+"--quote-pcrs "+file("two.pcrs")+good, 0, moment, "^$")
	expectOf(t, two+"--quote-nonce none "+list, 0, moment, "^$")
	expectOf(t, two+"--json"+good, 0, fmt.Sprintf(`"quoted":%d,`, quoted), "^$")
	expectOf(t, quote("none", "sha256:16")+good, 3, "^imaseal: 23 records of bank sha256, 2 problems\n", "records of PCR 10 cannot be checked, 20 in the list: its value is not among those that are known")
	expectOf(t, quote("none", "sha256:16")+"--quote-pcrs "+file("none.pcrs")+good, 3, "2 problems\n", "records of PCR 10 cannot be checked")
	expectOf(t, quote("zero", "sha1:10,11")+good, 4, "1 problem\n", "the PCRs that were quoted are zero: nothing of the list was extended into them")
	expectOf(t, quote("zero", "sha1:10,11")+"--quote-pcrs "+file("zero.pcrs")+good, 4, "1 problem\n", "PCR 10 of bank sha1 is zero: nothing of the list was extended into it")
	expectOf(t, two+"--quote-nonce c0ffef "+list, 4, "1 problem", "error: .*: the quote has another nonce: .*\\(it has c0ffee\\)")
	expectOf(t, two+"--quote-nonce xyz "+list, 2, "^$", "is not in hexadecimal")
	expectOf(t, all+good, 1, "^$", "PCR 0 of bank sha256 was quoted, which IMA does not extend, and its value is not known\n.*hint: --quote-pcrs FILE")
	// This TPM has not booted the machine of the list.
	expectOf(t, all+"--quote-pcrs "+file("all.pcrs")+good, 4, moment, "boot_aggregate is sha256:.*, and the PCRs give sha256:")
	expectOf(t, strings.Replace(two, "two.sig", "all.sig", 1)+good, 4, "1 problem", "the signature is not one of this key over this quote")
	expectOf(t, strings.Replace(two, "two.msg", "two.sig", 1)+good, 1, "^$", "two.sig: no quote of a TPM")
	expectOf(t, strings.Replace(two, "/pem ", "/two.msg ", 1)+good, 1, "^$", "two.msg: no public key")
	expectOf(t, strings.Replace(two, "two.msg", "nothing", 1)+good, 1, "^$", "nothing: no such file")
	tpm.Tool("tpm2_pcrextend", "10:sha256="+strings.Repeat("ab", 32))
	expectOf(t, quote("later", "sha256:10,11")+good, 4, "1 problem", "after no record of the list the PCRs are as they were quoted\n.*hint: --quote-pcrs FILE")
	expectOf(t, two+"--quote-pcrs "+file("later.pcrs")+good, 4, "1 problem", "later.pcrs: the values of the PCRs are not those that were quoted")
	expectOf(t, quote("later", "sha256:10")+"--quote-pcrs "+file("later.pcrs")+good, 4, "PCR 10 of bank sha256 differs\nimaseal: boot_aggregate", "PCR 10 of bank sha256 is [0-9a-f]{64}, and the list gives")
}
