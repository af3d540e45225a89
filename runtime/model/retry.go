package model

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// How often something is tried again without any progress in between. With
	// the pauses below a download bears about a minute without a network.
	askRetries      = 4
	transferRetries = 7

	firstPause = 500 * time.Millisecond
	pauseCap   = 30 * time.Second
	// maxServerWait is the longest that a server may ask for; the Hub's rate
	// limits have windows of five minutes.
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
		backoff.WithMaxElapsedTime(0), // tries are counted, since a big file's time is no measure
	)}
}

func (p *pacer) NextBackOff() time.Duration {
	d := p.ExponentialBackOff.NextBackOff()
	if p.asked > 0 {
		d, p.asked = p.asked, 0
	}
	return d
}

// retry calls op until it succeeds, fails for good, or has failed retries+1
// times in a row without progress.
func (f *Fetcher) retry(ctx context.Context, retries uint64, task Task, op func() (progress bool, err error)) error {
	pace := newPacer()
	limited := backoff.WithMaxRetries(pace, retries)
	var timer backoff.Timer
	if f.newTimer != nil {
		timer = f.newTimer()
	}
	return backoff.RetryNotifyWithTimer(func() error {
		progress, err := op()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return backoff.Permanent(context.Cause(ctx))
		}
		if !transient(err) {
			return backoff.Permanent(err)
		}
		if progress {
			limited.Reset()
		}
		var s *statusError
		if errors.As(err, &s) {
			if s.wait > maxServerWait {
				return backoff.Permanent(fmt.Errorf("%w, and asks to wait for %v", err, s.wait))
			}
			pace.asked = s.wait
		}
		return err
	}, backoff.WithContext(limited, ctx), func(err error, d time.Duration) {
		task.Note(fmt.Sprintf("%v; trying again in %v", err, d.Round(100*time.Millisecond)))
	}, timer)
}

// transient says whether trying again may help.
func transient(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		switch {
		case s.code == http.StatusRequestTimeout, s.code == http.StatusTooManyRequests, s.code >= 500:
			return true
		case s.code == http.StatusForbidden || s.code == http.StatusUnauthorized || s.code == http.StatusGone:
			// A host behind a redirect refuses a signed URL that has expired;
			// the next try gets a new one.
			return s.redirected
		}
		return false
	}
	var n *networkError
	return errors.As(err, &n) || errors.Is(err, errBadRange)
}

var resetIn = regexp.MustCompile(`(?:^|[;,\s])t=(\d{1,9})(?:$|[;,\s])`)

// serverWait is how long a server asks to be left alone: the Hub's RateLimit
// field, whose t is the seconds until the window ends, else Retry-After.
func serverWait(h http.Header, now time.Time) time.Duration {
	if m := resetIn.FindStringSubmatch(h.Get("RateLimit")); m != nil {
		n, _ := strconv.Atoi(m[1])
		return time.Duration(n+1) * time.Second
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second //nolint:gosec // 31 bits of seconds fit
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
