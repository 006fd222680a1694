package report

// Several is a Handler of which each one is told the same, in this order, until one
// fails.
type Several []Handler

// Start implements Handler.
func (s Several) Start(h Header) error {
	return s.each(func(to Handler) error { return to.Start(h) })
}

// Result implements Handler.
func (s Several) Result(r Result) error {
	for _, to := range s { // without a function: this is called for each file
		if err := to.Result(r); err != nil {
			return err
		}
	}
	return nil
}

// Finish implements Handler.
func (s Several) Finish(sum Summary) error {
	return s.each(func(to Handler) error { return to.Finish(sum) })
}

func (s Several) each(do func(Handler) error) error {
	for _, to := range s {
		if err := do(to); err != nil {
			return err
		}
	}
	return nil
}
