package run

// For the tests of this package, which see it from outside.
const (
	Batch      = batch
	TickEvery  = tickEvery
	Most       = most
	WriterWait = writerWait
)
