//go:build amd64

// Command probe is the first process of a kernel lab guest. It prepares the
// kernel as the job in its initramfs says, tries the probes on the root
// filesystem, writes a report to a raw disk and switches the machine off.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "probe: %v\n", err)
	}
	unix.Sync()
	// Without -no-shutdown the machine ends here; the console tells if it did not.
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintf(os.Stderr, "probe: switching off: %v\n", err)
}

func run() error {
	if err := mountSystem(); err != nil {
		return err
	}
	job, err := readJob()
	if err != nil {
		return err
	}
	if err := loadModules(job.Modules); err != nil {
		return err
	}
	out, err := openReport()
	if err != nil {
		return err
	}
	defer out.close()
	if err := serve(job, out); err != nil {
		out.fail(err)
		return err
	}
	return nil
}

func readJob() (wire.Job, error) {
	f, err := os.Open(wire.JobPath)
	if err != nil {
		return wire.Job{}, fmt.Errorf("opening job: %w", err)
	}
	defer f.Close()
	return wire.ReadJob(f)
}

// serve does the job, from the keys to the last probe.
func serve(job wire.Job, out *report) error {
	if err := prepare(job); err != nil {
		return err
	}
	log, err := openAudit()
	if err != nil {
		return err
	}
	defer log.close()
	offerShell()
	var verdicts []wire.Verdict
	for i := range job.Probes {
		if err := log.begin(); err != nil {
			return err
		}
		verdicts = append(verdicts, try(job, job.Probes[i]))
		if len(verdicts) < batch && i+1 < len(job.Probes) {
			continue
		}
		if err := log.attribute(verdicts); err != nil {
			return fmt.Errorf("before probe %d: %w", i+1, err)
		}
		if err := out.verdicts(verdicts); err != nil {
			return err
		}
		verdicts = verdicts[:0]
	}
	if job.Init != "" {
		if err := out.done(); err != nil {
			return err
		}
		return handOver(job.Init)
	}
	if err := unmountRoot(job); err != nil {
		return err
	}
	return out.done()
}
