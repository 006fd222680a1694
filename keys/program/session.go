package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"imaseal/keys/child"
)

// A session is one run of a program that stays. Three goroutines belong to it,
// which end with the program: one writes to it, one reads from it, one waits
// for its end.
type session struct {
	cmd      *exec.Cmd
	words    *child.LastWords
	hello    hello         // set when greeted is closed
	greeted  chan struct{} // closed when the first line has come
	requests chan []byte   // lines to write
	ending   chan struct{} // closed to end the program
	ended    chan struct{} // closed when the program is gone and err is set
	err      error         // why it is gone

	end     sync.Once // closes ending
	mu      sync.Mutex
	last    uint64                   // number of the last request
	waiting map[uint64]chan<- answer // each takes one without waiting; nil where nobody waits any more
	why     error                    // it was killed
}

// startSession starts the program and waits for its first line.
func startSession(ctx context.Context, path, name, ref string, notice func(string)) (*session, error) {
	s := &session{
		cmd:      exec.Command(path),
		greeted:  make(chan struct{}),
		requests: make(chan []byte),
		ending:   make(chan struct{}),
		ended:    make(chan struct{}),
		waiting:  make(map[uint64]chan<- answer),
	}
	s.words = child.Prepare(s.cmd, name, notice)
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout = theirs
	err = s.cmd.Start()
	theirs.Close()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	go s.feed(stdin)
	go s.live(stdout)
	first := hello{Protocol: protocolName, Version: protocolVersion, Key: ref}
	err = s.write(ctx, first)
	if err == nil {
		err = s.wait(ctx, s.greeted)
	}
	if err != nil {
		s.kill(err)
		<-s.ended
		return nil, err
	}
	return s, nil
}

// feed writes requests until the program shall end or is gone. One that does
// not read them any more is found out by its silence.
func (s *session) feed(stdin io.WriteCloser) {
	defer stdin.Close()
	for {
		select {
		case line := <-s.requests:
			if _, err := stdin.Write(line); err != nil {
				return
			}
		case <-s.ending:
			return
		case <-s.ended:
			return
		}
	}
}

// write hands over a line. Each of its errors ends the wait for an answer.
func (s *session) write(ctx context.Context, line any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as a shell reads it more easily
	if err := e.Encode(line); err != nil {
		return err
	}
	select {
	case s.requests <- b.Bytes():
		return nil
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait waits until done is closed.
func (s *session) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// live reads what the program says until it is gone.
func (s *session) live(stdout *os.File) {
	exited := make(chan error, 1)
	go func() {
		err := s.cmd.Wait()
		// What it has started may hold the pipe open for ever.
		stdout.SetReadDeadline(time.Now().Add(child.Grace / 10))
		exited <- err
	}()
	if err := s.read(stdout); err != nil {
		s.kill(err)
	}
	stdout.Close()
	patience := child.Grace / 10
	if s.isEnding() {
		patience = child.Grace
	}
	var err error
	select {
	case err = <-exited:
	case <-time.After(patience):
		s.kill(&ProtocolError{"it closed its output and did not end"})
		err = <-exited
	}
	s.mu.Lock()
	if s.err = s.why; s.err == nil {
		s.err = &child.EndedError{How: child.How(s.cmd, err), Stderr: s.words.String()}
	}
	s.mu.Unlock()
	close(s.ended)
}

// read takes lines until the end of the output. An error is what the program
// does wrong.
func (s *session) read(stdout *os.File) error {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, maxAnswer)
	for first := true; lines.Scan(); first = false {
		take := s.take
		if first {
			take = s.greet
		}
		if err := take(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err == bufio.ErrTooLong {
		return &ProtocolError{fmt.Sprintf("a line of more than %d bytes", maxAnswer)}
	}
	return nil // also where reading failed: the end says more
}

// greet takes the first line.
func (s *session) greet(line []byte) error {
	var h hello
	err := json.Unmarshal(line, &h)
	switch {
	case err != nil:
		return &ProtocolError{fmt.Sprintf("%.80q is not a first line in JSON: %v", line, err)}
	case h.Error != "":
		return &AnswerError{Text: h.Error}
	case h.Protocol != protocolName:
		return &ProtocolError{fmt.Sprintf("the first line says %.80q instead of %q", h.Protocol, protocolName)}
	case h.Version != protocolVersion:
		return &ProtocolError{fmt.Sprintf("the first line says version %d, and only %d is known", h.Version, protocolVersion)}
	}
	s.hello = h
	close(s.greeted)
	return nil
}

// take takes an answer. One that nobody waits for any more is dropped.
func (s *session) take(line []byte) error {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return &ProtocolError{fmt.Sprintf("%.80q is not an answer in JSON: %v", line, err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch waiter, ok := s.waiting[a.ID]; {
	case a.ID == 0 || a.ID > s.last:
		return &ProtocolError{fmt.Sprintf("an answer to request %d, which there was not", a.ID)}
	case a.Error == "" && len(a.Signature) == 0:
		return &ProtocolError{fmt.Sprintf("the answer to request %d has neither a signature nor an error", a.ID)}
	case ok:
		delete(s.waiting, a.ID)
		if waiter != nil {
			waiter <- a
		}
	}
	return nil
}

// sign asks for a signature. A program that does not answer in time is killed.
func (s *session) sign(ctx context.Context, r request, limit time.Duration) ([]byte, error) {
	ctx, cancel := child.WithTimeout(ctx, limit)
	defer cancel()
	answers := make(chan answer, 1)
	s.mu.Lock()
	s.last++
	r.ID = s.last
	s.waiting[r.ID] = answers
	s.mu.Unlock()
	err := s.write(ctx, r)
	if err == nil {
		select {
		case a := <-answers:
			if a.Error != "" {
				return nil, &AnswerError{Text: a.Error, Again: a.Temporary}
			}
			return a.Signature, nil
		case <-s.ended:
			err = s.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	s.mu.Lock()
	if s.waiting[r.ID] != nil {
		s.waiting[r.ID] = nil
	}
	s.mu.Unlock()
	if _, slow := err.(*child.TimeoutError); slow {
		s.kill(err)
	}
	return nil, err
}

// kill ends the program and what it has started at once.
func (s *session) kill(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = why
	}
	if !isClosed(s.ended) {
		child.Kill(s.cmd)
	}
}

// isOver reports whether the program is gone or about to be.
func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why != nil || isClosed(s.ended)
}

// isEnding reports whether close was called.
func (s *session) isEnding() bool { return isClosed(s.ending) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// close ends the program by the end of its input, and waits, not long for one that
// has left something unanswered.
func (s *session) close() {
	s.end.Do(func() { close(s.ending) })
	patience := child.Grace
	s.mu.Lock()
	if len(s.waiting) > 0 {
		patience /= 10
	}
	s.mu.Unlock()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.kill(&child.TimeoutError{After: child.Grace})
		<-s.ended
	}
}
