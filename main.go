// Imaseal prepares Linux file systems for IMA appraisal and EVM.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"imaseal/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	// A closed report pipe is an error like any other, not the end.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup(1)
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		s := <-signals
		stop(&cli.InterruptedError{Signal: s})
		time.Sleep(time.Second) // timeout(1) sends its signal twice in a row
		signal.Stop(signals)    // the next one ends the process at once
	}()
	args := os.Args[1:]
	if cli.IsEvmctl(os.Args[0]) {
		args = append([]string{"evmctl"}, args...)
	}
	return cli.Main(ctx, cli.Program{
		Args:   args,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Getenv: os.Getenv,
	})
}
