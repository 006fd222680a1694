package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"imaseal/hash"
	"imaseal/internal/answer"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/sign"
)

// An answering is the work on a file of requests.
type answering struct {
	program  Program
	request  answerRequest
	answerer answer.Answerer
	requests *os.File
	keys     []*countedSigner
	stats    answer.Stats

	report report.Handler
	bar    *report.Bar
	sum    report.Summary
}

// openAnswering opens what is needed besides the output.
func (p Program) openAnswering(ctx context.Context, r answerRequest) (*answering, error) {
	j := &answering{program: p, request: r}
	j.answerer = answer.Answerer{Partial: r.partial, Workers: r.output.jobs}
	err := j.open(ctx)
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *answering) open(ctx context.Context) error {
	p, r := j.program, j.request
	if r.allow != "" {
		allow, err := readFrom(ctx, p, r.allow, answer.ParseAllow)
		if err != nil {
			return err
		}
		j.answerer.Allow = *allow
	}
	var err error
	if j.requests, err = p.openAgain(ctx, r.requests, r.tempDir); err != nil || r.dryRun {
		return err
	}
	if j.answerer.IMA, err = j.openKey(ctx, r.key); err != nil {
		return err
	}
	j.answerer.EVM = j.answerer.IMA
	if r.evmKey != nil {
		j.answerer.EVM, err = j.openKey(ctx, r.evmKey)
	}
	return err
}

func (j *answering) close() {
	if j.requests != nil {
		j.requests.Close()
	}
	for _, k := range j.keys {
		k.Close()
	}
}

// openKey opens a key, which close closes.
func (j *answering) openKey(ctx context.Context, r *keyRequest) (*answer.Key, error) {
	key, err := j.program.openStoredKey(ctx, r, false)
	if err != nil {
		return nil, err
	}
	counted := &countedSigner{signer: key}
	j.keys = append(j.keys, counted)
	version, err := r.versionFor(key.key.Scheme(), 0)
	if err != nil {
		return nil, err
	}
	if !j.request.output.inOrder {
		j.answerer.Workers = max(j.answerer.Workers, key.parallel())
	}
	return &answer.Key{Key: label.Key{Signer: sign.NewCache(counted), Own: key.key, Version: version}, Scheme: key.key.Scheme()}, nil
}

// A countedSigner counts the signatures that it gives.
type countedSigner struct {
	*signer
	given atomic.Uint64
}

// SignDigest implements sign.Signer.
func (k *countedSigner) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	sig, err := k.signer.SignDigest(ctx, d)
	if err == nil {
		k.given.Add(1)
	}
	return sig, err
}

// SignMessage implements sign.MessageSigner.
func (k *countedSigner) SignMessage(ctx context.Context, message []byte) ([]byte, error) {
	sig, err := k.signer.SignMessage(ctx, message)
	if err == nil {
		k.given.Add(1)
	}
	return sig, err
}

// count adds to the summary what the keys have made, and what a store had.
func (j *answering) count() {
	for _, k := range j.keys {
		j.sum.Signatures += k.given.Load()
		statistic := k.statistic()
		if statistic == nil {
			continue
		}
		if j.sum.Store == nil {
			j.sum.Store = new(report.Store)
		}
		of := statistic()
		j.sum.Store.Add(of)
		j.sum.Signatures -= uint64(of.Found)
	}
}

// reader reads the requests from their beginning.
func (j *answering) reader() io.Reader { return io.NewSectionReader(j.requests, 0, 1<<62) }

// refusedError says that some requests are not answered, and so none is.
type refusedError struct{ refused, requests uint64 }

func (e *refusedError) Error() string {
	return fmt.Sprintf("%d of %d requests are refused, and nothing was signed", e.refused, e.requests)
}

// check looks at all requests.
func (j *answering) check(ctx context.Context) error {
	p := j.program
	var refused uint64
	hinted := make(map[string]bool)
	var err error
	j.stats, err = j.answerer.Check(ctx, j.reader(), func(line int, path string, err error) {
		if refused++; refused <= report.FirstFew || j.request.output.verbose {
			p.complain(&labelsError{name: j.request.requests, err: fmt.Errorf("line %d: %s: %w", line, report.Quote(path), err)}, hinted)
		}
	})
	switch {
	case err != nil && ctx.Err() == nil:
		return &labelsError{name: j.request.requests, err: err}
	case err != nil:
		return err
	case refused > 0:
		return &refusedError{refused, j.stats.Requests}
	case j.request.dryRun && !j.request.output.quiet:
		return p.print(fmt.Sprintf("imaseal: %d requests: %d labels to sign for IMA, %d for EVM\nimaseal: dry run: nothing was signed\n", j.stats.Requests, j.stats.IMA, j.stats.EVM))
	}
	return nil
}

// run answers all requests, and says what came of it.
func (j *answering) run(ctx context.Context, begin time.Time) error {
	p := j.program
	j.bar = p.bar(sessionOptions{output: j.request.output, countFiles: true})
	if j.request.to == "-" {
		p.Stdout = p.Stderr // that is where the labels go
	}
	if j.bar != nil {
		for range j.stats.Requests {
			j.bar.Expect(0)
		}
		j.bar.Counted()
	}
	j.report = p.reporter(j.request.output, j.bar)
	j.sum = report.NewSummary(report.Header{Command: "answer", Jobs: j.answerer.Workers})
	if err := j.report.Start(j.sum.Header); err != nil {
		return err
	}
	err := j.write(ctx)
	j.sum.Interrupted = err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
	j.count()
	j.sum.Notes = p.notes()
	j.sum.Said, j.sum.Elapsed = len(j.sum.Notes), time.Since(begin)
	if finishErr := j.report.Finish(j.sum); err == nil {
		err = finishErr
	}
	return err
}

// tell reports an answer.
func (j *answering) tell(r labelfile.Record) error {
	res := report.Result{Path: r.Path, Outcome: report.Answered, Class: r.Class, Digest: r.Digest, IMA: r.IMA, EVM: r.EVMLabel}
	if s, err := imaevm.ParseSignature(r.IMA); err == nil {
		res.KeyID, res.HasKeyID = s.KeyID, true
	}
	j.sum.Add(res)
	return j.report.Result(res)
}

// write answers all requests to where the answers go.
func (j *answering) write(ctx context.Context) error {
	if isResumable(j.request.to) {
		return j.writePart(ctx)
	}
	out, err := j.program.openOutput(ctx, j.request.to)
	if err != nil {
		return err
	}
	if err := j.answers(ctx, labelfile.NewReader(j.reader(), labelfile.Requests), out, nil); err != nil {
		out.Abort()
		return err
	}
	return out.Commit()
}

// isResumable reports whether an output is a file that can be written in parts.
func isResumable(name string) bool {
	info, err := os.Stat(name)
	return name != "-" && (err != nil || !(info.Mode()&(os.ModeNamedPipe|os.ModeDevice|os.ModeSocket) != 0))
}

// writePart goes on with what an earlier run has left, if it has.
func (j *answering) writePart(ctx context.Context) error {
	part, err := stream.OpenPart(j.request.to)
	if err != nil {
		return err
	}
	defer part.Close()
	in := labelfile.NewReader(j.reader(), labelfile.Requests)
	var had labelfile.Total
	end, err := j.answerer.Resume(in, part.Content(), func(r labelfile.Record) {
		had.Add(r.Sum)
		j.tell(r)
	})
	if errors.Is(err, answer.ErrOtherAnswers) {
		return &labelsError{name: j.request.to + stream.PartSuffix, err: err}
	}
	if err == nil {
		err = part.Continue(end)
	}
	if err != nil {
		return err
	}
	if had.Files > 0 {
		j.program.warn(reason.Resumed, "%s has %d answers of an earlier run, and this one goes on behind them", report.Quote(j.request.to+stream.PartSuffix), had.Files)
	}
	if err := j.answers(ctx, in, part, &had); err != nil {
		return err
	}
	return part.Commit()
}

// flushEvery is how long an answer may wait to be written, so that little is lost
// when a run is killed.
const flushEvery = 200 * time.Millisecond

// answers writes the answers to the rest of the requests, behind those of had.
func (j *answering) answers(ctx context.Context, in *labelfile.Reader, out io.Writer, had *labelfile.Total) error {
	buf := bufio.NewWriterSize(out, 64<<10)
	w := labelfile.NewWriter(buf, labelfile.Labels)
	if had != nil {
		w.Add(*had)
	}
	flushed := time.Now()
	err := j.answerer.Answer(ctx, in, func(r labelfile.Record) error {
		err := w.Write(r)
		if err == nil {
			err = j.tell(r)
		}
		if err == nil && time.Since(flushed) > flushEvery {
			err, flushed = buf.Flush(), time.Now()
		}
		return err
	})
	if err != nil {
		buf.Flush()
		return err
	}
	requested := in.Requested()
	if err := w.End(&requested); err != nil {
		return err
	}
	return buf.Flush()
}
