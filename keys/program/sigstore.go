package program

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"imaseal/keys/child"
	"imaseal/keys/keyfile"
)

// sigstoreParallel is how many programs of sigstore run at once: each waits for
// a service most of the time.
const sigstoreParallel = 8

// sigstore starts a program of sigstore's for each request.
type sigstore struct {
	path, name, key string
	o               Options
}

// A sigstoreCall is the second argument of the program: PluginArgs in
// cliplugin/common/interface.go. Hash functions are numbers of package crypto.
type sigstoreCall struct {
	Init struct {
		Deadline *time.Time  `json:"ctxDeadline,omitempty"`
		Version  string      `json:"protocolVersion"`
		Key      string      `json:"keyResourceID"` // what follows SCHEME://
		Hash     crypto.Hash `json:"hashFunc"`
		RPC      sigstoreRPC `json:"rpcOptions"`
	} `json:"initOptions"`
	Method    string             `json:"methodName"`
	PublicKey *sigstorePublicKey `json:"publicKey,omitempty"`
	Sign      *sigstoreSign      `json:"signMessage,omitempty"`
}

type sigstoreRPC struct {
	Deadline           *time.Time `json:"ctxDeadline,omitempty"`
	KeyVersion         string     `json:"keyVersion"`
	RemoteVerification bool       `json:"remoteVerification"`
}

type sigstorePublicKey struct {
	Options struct {
		RPC sigstoreRPC `json:"rpcOptions"`
	} `json:"publicKeyOptions"`
}

type sigstoreSign struct {
	Options struct {
		RPC     sigstoreRPC `json:"rpcOptions"`
		Message struct {
			Digest []byte      `json:"digest"`
			Hash   crypto.Hash `json:"hashFunc"`
		} `json:"messageOptions"`
	} `json:"signOptions"`
}

// A sigstoreAnswer is PluginResp there.
type sigstoreAnswer struct {
	Error     string `json:"errorMessage"`
	PublicKey *struct {
		PEM []byte `json:"publicKeyPEM"`
	} `json:"publicKey"`
	Sign *struct {
		Signature []byte `json:"signature"`
	} `json:"signMessage"`
}

func openSigstore(ctx context.Context, path, name, ref string, o Options) (*Key, error) {
	_, key, _ := strings.Cut(ref, "://")
	s := &sigstore{path: path, name: name, key: key, o: o}
	call := sigstoreCall{Method: "publicKey", PublicKey: &sigstorePublicKey{}}
	answer, err := s.call(ctx, call, crypto.SHA256)
	if err == nil && answer.PublicKey == nil {
		err = &ProtocolError{"no public key in the answer"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: asking for the public key: %w", name, err)
	}
	k := newKey(name, sigstoreParallel, o, s)
	if k.public, err = keyfile.ParsePublic(answer.PublicKey.PEM); err != nil {
		return nil, fmt.Errorf("%s: the public key: %w", name, err)
	}
	return k, nil
}

func (s *sigstore) sign(ctx context.Context, r request, h crypto.Hash) ([]byte, error) {
	if r.Message != nil {
		return nil, errors.New("its protocol has no signatures over messages, which ML-DSA keys make")
	}
	call := sigstoreCall{Method: "signMessage", Sign: &sigstoreSign{}}
	call.Sign.Options.Message.Digest = r.Digest
	call.Sign.Options.Message.Hash = h
	answer, err := s.call(ctx, call, h)
	switch {
	case err != nil:
		return nil, err
	case answer.Sign == nil || len(answer.Sign.Signature) == 0:
		return nil, &ProtocolError{"no signature in the answer"}
	}
	return answer.Sign.Signature, nil
}

func (*sigstore) close() error { return nil }

// call runs the program. Its exit status says nothing, as the protocol has it.
func (s *sigstore) call(parent context.Context, c sigstoreCall, h crypto.Hash) (*sigstoreAnswer, error) {
	ctx, cancel := child.WithTimeout(parent, s.o.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	c.Init.Deadline, c.Init.Version, c.Init.Key, c.Init.Hash = &deadline, "v1", s.key, h
	arguments, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.path, "v1", string(arguments))
	words := child.Prepare(cmd, s.name, s.o.stderr)
	var out limited
	cmd.Stdout = &out
	err = cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case out.Len() == 0 && exited:
		return nil, &child.EndedError{How: exit.ProcessState.String(), Stderr: words.String()}
	case err != nil && !(exited && exit.Exited()):
		return nil, &child.EndedError{How: child.How(cmd, err), Stderr: words.String()}
	}
	answer := &sigstoreAnswer{}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return nil, &ProtocolError{fmt.Sprintf("%.80q is not an answer in JSON: %v", out.Bytes(), err)}
	}
	if answer.Error != "" {
		return nil, &AnswerError{Text: answer.Error, Again: true}
	}
	return answer, nil
}

// limited is a buffer that takes no more than a megabyte.
type limited struct{ bytes.Buffer }

const maxAnswer = 1 << 20

// Write refuses what is too much, which ends the program that writes it.
func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxAnswer {
		return 0, io.ErrShortBuffer
	}
	return l.Buffer.Write(b)
}
