package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// AskRetries is how often a question is asked again without progress in between.
	AskRetries = 4
	// transferRetries is the same for a file's bytes. With the pauses below a transfer
	// survives about a minute without a network.
	transferRetries = 7

	firstPause = 500 * time.Millisecond
	pauseCap   = 30 * time.Second
	// maxServerWait is the longest wait that a server may ask for. The Hub's rate limits
	// have windows of five minutes.
	maxServerWait = 15 * time.Minute
)

// pacer is exponential backoff that obeys a server which says how long to wait.
type pacer struct {
	*backoff.ExponentialBackOff
	asked time.Duration
}

func newPacer() *pacer {
	return &pacer{ExponentialBackOff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMultiplier(2), backoff.WithMaxInterval(pauseCap),
		backoff.WithMaxElapsedTime(0), // tries are counted: the time depends on the file's size
	)}
}

// NextBackOff is the next pause.
func (p *pacer) NextBackOff() time.Duration {
	d := p.ExponentialBackOff.NextBackOff()
	if p.asked > 0 {
		d, p.asked = p.asked, 0
	}
	return d
}

// Retry calls op until it succeeds, fails for good, or has failed retries+1 times in a
// row without progress. Note gets a line for each new try.
func (c *Client) Retry(ctx context.Context, retries uint64, note func(string), op func() (progress bool, err error)) error {
	pace := newPacer()
	limited := backoff.WithMaxRetries(pace, retries)
	var timer backoff.Timer
	if c.Timer != nil {
		timer = c.Timer()
	}
	return backoff.RetryNotifyWithTimer(func() error {
		progress, err := op()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return backoff.Permanent(context.Cause(ctx))
		}
		if !IsTransient(err) {
			return backoff.Permanent(err)
		}
		if progress {
			limited.Reset()
		}
		var s *StatusError
		if errors.As(err, &s) {
			if s.Wait > maxServerWait {
				return backoff.Permanent(fmt.Errorf("%w, and asks to wait for %v", err, s.Wait))
			}
			pace.asked = s.Wait
		}
		return err
	}, backoff.WithContext(limited, ctx), func(err error, d time.Duration) {
		note(fmt.Sprintf("%v; trying again in %v", err, d.Round(100*time.Millisecond)))
	}, timer)
}
