//go:build amd64

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

// A report is the JSON lines on the report disk.
type report struct {
	f    *os.File
	buf  *bufio.Writer
	next int // index of the next verdict
}

func openReport() (*report, error) {
	if err := waitFor(wire.ReportDisk); err != nil {
		return nil, err
	}
	// No O_CREATE: see the package comment of kernellab on kernel 6.1.
	f, err := os.OpenFile(wire.ReportDisk, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening report disk: %w", err)
	}
	return &report{f: f, buf: bufio.NewWriterSize(f, 1<<16)}, nil
}

// waitFor waits until the driver has made its device node.
func waitFor(dev string) error {
	for range 100 {
		if _, err := os.Stat(dev); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("no device %s after ten seconds", dev)
}

// verdicts writes those of the next probes and makes them safe from a crash.
func (r *report) verdicts(vs []wire.Verdict) error {
	for _, v := range vs {
		if err := r.line(wire.Report{Index: &r.next, Verdict: &v}); err != nil {
			return err
		}
		r.next++
	}
	return r.flush()
}

func (r *report) done() error {
	if err := r.line(wire.Report{Done: true}); err != nil {
		return err
	}
	return r.flush()
}

func (r *report) fail(err error) {
	if err := r.line(wire.Report{Error: err.Error()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := r.flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (r *report) line(rep wire.Report) error {
	b, err := json.Marshal(rep)
	if err != nil {
		return fmt.Errorf("encoding report: %w", err)
	}
	if _, err := r.buf.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

func (r *report) flush() error {
	if err := r.buf.Flush(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	if err := unix.Fdatasync(int(r.f.Fd())); err != nil {
		return fmt.Errorf("flushing report disk: %w", err)
	}
	return nil
}

func (r *report) close() { r.f.Close() }
