package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/keys/keyfile"
)

// Nothing secret comes out of the program but the files that are to hold it:
// not on its streams, in JSON, in undo logs, nor in errors.
func TestSecretsStaySecret(t *testing.T) {
	const passphrase = "correct horse battery staple"
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	treetest.Add(t, dir, "file tree/a content=a\nfile tree/b content=b")
	in := func(name string) string { return filepath.Join(dir, name) }
	var said bytes.Buffer
	run := func(want int, args ...string) {
		t.Helper()
		for i, arg := range args {
			args[i] = strings.ReplaceAll(arg, "@", dir+"/")
		}
		var out bytes.Buffer
		status := Main(context.Background(), Program{
			Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Getenv: func(name string) string { return map[string]string{"IMASEAL_KEY_PASSPHRASE": passphrase}[name] },
		})
		if status != want {
			t.Errorf("%q: status %d\n%s", args, status, &out)
		}
		said.Write(out.Bytes())
	}
	user := []string{"--namespace=user", "--owner=any"}
	with := func(args ...string) []string { return append(args, user...) }
	run(0, "keys", "generate", "--encrypt", "--type", "p256", "--out", "@p256", "--new-ca", "@ca")
	run(0, "keys", "generate", "--encrypt", "--out", "@rsa")
	run(0, "keys", "id", "@rsa.key", "@p256.der")
	run(0, "keys", "cert", "--key", "@rsa.key", "--ca", "@ca.pem", "--ca-key", "@ca.key", "--out", "@again")
	run(0, "keys", "evm-key", "--out", "@evm.key", "--new-master", "@kmk", "--blob", "@evm.blob")
	run(0, "keys", "evm-key", "--open", "@evm.blob", "--master", "@kmk", "--out", "@copy.key")
	run(1, "keys", "evm-key", "--open", "@evm.key", "--master", "@kmk", "--out", "@none")
	run(1, "keys", "evm-key", "--open", "@evm.blob", "--master", "@evm.key", "--out", "@none")
	run(0, with("sign", "-v", "--json", "--key", "@p256.key", "--cert", "@p256.der", "--evm", "portable", "--undo-log", "@log", "@tree")...)
	run(0, with("sign", "-v", "--evm", "none", "--key", "@rsa.key", "--cert", "@rsa.der", "--undo-log", "@log2", "@tree")...)
	run(0, with("hash", "-n", "-v", "--evm", "hmac", "--evm-key", "@evm.key", "--evm-no-uuid", "@tree/a")...)
	run(2, with("sign", "--key", "@rsa.key", "--algo", "sm3", "@tree")...)
	run(1, with("sign", "--key", "@rsa.key", "--cert", "@p256.der", "@tree")...)
	run(1, with("sign", "--key", "@evm.key", "@tree")...)
	run(1, with("verify", "--key", "@evm.blob", "@tree")...)
	run(1, with("verify", "--evm-key", "@p256.key", "@tree")...)

	secrets := map[string][]byte{"passphrase": []byte(passphrase)}
	for _, name := range []string{"evm.key", "kmk"} {
		secrets[name] = readFile(t, in(name))
	}
	for _, name := range []string{"p256.key", "rsa.key", "ca.key"} {
		private, err := keyfile.OpenPrivate(in(name), func(string) ([]byte, error) { return []byte(passphrase), nil })
		if err != nil {
			t.Fatal(err)
		}
		switch k := private.Key.(type) {
		case *ecdsa.PrivateKey:
			if secrets[name], err = k.Bytes(); err != nil {
				t.Fatal(err)
			}
		case *rsa.PrivateKey:
			secrets[name] = k.D.Bytes()
			secrets[name+" p"], secrets[name+" q"] = k.Primes[0].Bytes(), k.Primes[1].Bytes()
		}
	}
	said.Write(readFile(t, in("log")))
	said.Write(readFile(t, in("log2")))
	for _, public := range []string{"p256.pem", "p256.der", "ca.pem", "again.der", "evm.blob"} {
		said.Write(readFile(t, in(public)))
	}
	for _, encrypted := range []string{"p256.key", "rsa.key", "ca.key"} {
		said.Write(readFile(t, in(encrypted)))
	}
	for name, secret := range secrets {
		part := secret[max(0, len(secret)-18):]
		for form, needle := range map[string]string{
			"as it is":       string(part),
			"in hexadecimal": hex.EncodeToString(part),
			"in HEXADECIMAL": strings.ToUpper(hex.EncodeToString(part)),
			"in base64":      base64.StdEncoding.EncodeToString(part),
			"in decimal":     strings.Trim(fmt.Sprint(part), "[]"),
		} {
			if strings.Contains(said.String(), needle) {
				t.Errorf("%s came out %s", name, form)
			}
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
