package compress

import (
	"io"
	"sync"
)

// A source remembers an error of what is read, which decompressors wrap, or take
// for one of the data.
type source struct {
	in io.Reader

	mu  sync.Mutex // other goroutines read than ask
	err error
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
