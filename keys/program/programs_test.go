package program

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
)

// The test program stands in for programs of both kinds: it does what its key
// reference says when it runs under such a name.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	switch {
	case strings.HasPrefix(name, "imaseal-key-"):
		os.Exit(staysAs(os.Args[1:]))
	case strings.HasPrefix(name, "sigstore-kms-"):
		os.Exit(sigstoreAs(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// install puts the test program into PATH under the names.
func install(t *testing.T, names ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// testKey is the private key of the programs: always the same, and one of a
// test run only.
func testKey() *ecdsa.PrivateKey {
	seed := bytes.Repeat([]byte{7}, 32)
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
	if err != nil {
		panic(err)
	}
	return k
}

func publicDER(k crypto.Signer) []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic(err)
	}
	return der
}

// staysAs is a program of the kind that stays. Where the behaviour ends with
// "-once" it is that of the first run only, which makes the file that the
// reference names.
func staysAs([]string) int {
	in := bufio.NewReader(os.Stdin)
	var first hello
	if line, err := in.ReadBytes('\n'); err != nil || json.Unmarshal(line, &first) != nil {
		return 9
	}
	_, rest, _ := strings.Cut(first.Key, "://")
	behaviour, parameter, _ := strings.Cut(rest, "/")
	if once, ok := strings.CutSuffix(behaviour, "-once"); ok {
		behaviour = once
		if _, err := os.Stat("/" + parameter); err == nil {
			behaviour = "well"
		} else if err := os.WriteFile("/"+parameter, nil, 0o600); err != nil {
			return 9
		}
	}
	if behaviour == "mldsa" {
		return staysAsMLDSA(in)
	}
	h := hello{Protocol: protocolName, Version: protocolVersion, Public: publicDER(testKey()), Parallel: 4}
	switch behaviour {
	case "mute":
		time.Sleep(time.Hour)
	case "dies-first":
		fmt.Fprintln(os.Stderr, "no configuration")
		return 3
	case "no-json":
		fmt.Println("Welcome to the key program!")
	case "other-protocol":
		h.Protocol = "age-plugin"
	case "other-version":
		h.Version = 2
	case "no-key":
		h.Public = nil
	case "says-no":
		h = hello{Error: "the token has\x1b[31m expired"}
	case "long-line":
		h.Error = strings.Repeat("x", maxAnswer)
	case "http":
		h.Parallel = 8
	}
	write(h)
	switch behaviour {
	case "closes-output":
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "deaf", "hangs-for-ever":
		time.Sleep(time.Hour)
	}
	served := serve(in, behaviour, parameter)
	if behaviour == "stays" {
		time.Sleep(time.Hour)
	}
	return served
}

// mldsaKey is an ML-DSA key of the programs.
func mldsaKey() *mldsa.PrivateKey {
	k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

// staysAsMLDSA has a key that signs messages.
func staysAsMLDSA(in *bufio.Reader) int {
	der, err := mldsax509.MarshalPKIXPublicKey(mldsaKey().PublicKey())
	if err != nil {
		return 9
	}
	write(hello{Protocol: protocolName, Version: protocolVersion, Public: der})
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return 0
		}
		var r request
		if json.Unmarshal(line, &r) != nil || r.Hash != "" || r.Digest != nil {
			return 9
		}
		sig, err := mldsaKey().SignDeterministic(r.Message, nil)
		if err != nil {
			return 9
		}
		write(answer{ID: r.ID, Signature: sig})
	}
}

var output sync.Mutex

func write(line any) {
	b, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(b, '\n'))
}

// serve answers requests.
func serve(in *bufio.Reader, behaviour, parameter string) int {
	var held []answer
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return 0
		}
		var r request
		if err != nil || json.Unmarshal(line, &r) != nil {
			return 9
		}
		switch behaviour {
		case "dies":
			fmt.Fprintln(os.Stderr, "panic: out of luck")
			return 3
		case "killed":
			exec.Command("kill", "-9", fmt.Sprint(os.Getpid())).Run()
		case "hangs":
			continue
		case "child-hangs":
			exec.Command("sleep", "3600").Run()
		case "nonsense":
			fmt.Println("signed, I promise")
			continue
		case "unasked":
			write(answer{ID: r.ID + 5, Signature: sign(r)})
			continue
		case "empty":
			write(answer{ID: r.ID})
			continue
		case "another":
			r.Digest[0] ^= 1
		case "temporary", "permanent":
			write(answer{ID: r.ID, Error: "quota exceeded", Temporary: behaviour == "temporary"})
			continue
		case "twice":
			write(answer{ID: r.ID, Signature: sign(r)})
		case "late":
			time.Sleep(300 * time.Millisecond)
		case "backwards":
			// Answers come four at a time, the last request's first.
			if held = append(held, answer{ID: r.ID, Signature: sign(r)}); len(held) == 4 {
				for i := range held {
					write(held[3-i])
				}
				held = nil
			}
			continue
		case "http":
			go func() { write(remote(parameter, r)) }()
			continue
		}
		write(answer{ID: r.ID, Signature: sign(r)})
	}
}

func sign(r request) []byte {
	sig, err := testKey().Sign(nil, r.Digest, crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return sig
}

// remote has a service at the address sign the digest.
func remote(address string, r request) answer {
	response, err := http.Post("http://"+address, "application/octet-stream", bytes.NewReader(r.Digest))
	if err != nil {
		return answer{ID: r.ID, Error: err.Error(), Temporary: true}
	}
	defer response.Body.Close()
	sig, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return answer{ID: r.ID, Error: response.Status, Temporary: true}
	}
	return answer{ID: r.ID, Signature: sig}
}

// sigstoreAs is a program of sigstore's.
func sigstoreAs(args []string) int {
	if len(args) != 2 || args[0] != "v1" {
		return 9
	}
	var call map[string]json.RawMessage
	var init struct{ ProtocolVersion, KeyResourceID string }
	if json.Unmarshal([]byte(args[1]), &call) != nil || json.Unmarshal(call["initOptions"], &init) != nil {
		return 9
	}
	answer := make(map[string]any)
	switch method := string(call["methodName"]); {
	case init.ProtocolVersion != "v1":
		return 9
	case init.KeyResourceID == "hangs":
		exec.Command("sleep", "3600").Run()
	case init.KeyResourceID == "dies":
		fmt.Fprintln(os.Stderr, "no credentials")
		return 3
	case init.KeyResourceID == "nonsense":
		fmt.Println("{")
		return 0
	case init.KeyResourceID == "error":
		answer["errorMessage"] = "access denied"
	case init.KeyResourceID == "empty":
	case method == `"publicKey"`:
		pem := pemOf(publicDER(testKey()))
		if init.KeyResourceID == "mldsa" {
			der, err := mldsax509.MarshalPKIXPublicKey(mldsaKey().PublicKey())
			if err != nil {
				return 9
			}
			pem = pemOf(der)
		}
		answer["publicKey"] = map[string]any{"publicKeyPEM": pem}
	case method == `"signMessage"`:
		var s struct {
			SignOptions struct {
				MessageOptions struct {
					Digest   []byte
					HashFunc crypto.Hash
				}
			}
		}
		if json.Unmarshal(call["signMessage"], &s) != nil || s.SignOptions.MessageOptions.HashFunc != crypto.SHA256 {
			return 9
		}
		answer["signMessage"] = map[string]any{"signature": sign(request{Digest: s.SignOptions.MessageOptions.Digest})}
	}
	write(answer)
	return 1 // which the protocol ignores
}
