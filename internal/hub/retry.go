package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	usualTries   = 6
	firstPause   = time.Second
	longestPause = 30 * time.Second
	longestAsked = 10 * time.Minute // that a hub may ask to wait
)

// busyError is an answer that asks to come again.
type busyError struct {
	status int
	after  time.Duration // 0: not said
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.status, http.StatusText(e.status))
}

// patience decides whether and when something is tried again.
type patience struct {
	*Client
	failures int // in a row
}

// again waits after a failure, if it is worth another try; else it returns the error.
func (p *patience) again(ctx context.Context, file string, err error) error {
	var known permanentError
	if p.failures++; ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.As(err, &known) || p.failures >= cmp.Or(p.Tries, usualTries) {
		return err
	}
	pause := min(firstPause<<min(p.failures-1, 10), longestPause)
	pause += rand.N(pause / 2)
	var busy *busyError
	if errors.As(err, &busy) && busy.after > 0 {
		if pause = busy.after; pause > longestAsked {
			return fmt.Errorf("%w and asks to come again in %s", err, pause.Round(time.Second))
		}
	}
	p.tell(Progress{File: file, Note: fmt.Sprintf("%v; again in %s", err, pause.Round(100*time.Millisecond))})
	return p.pause(ctx, pause)
}

func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) tell(p Progress) {
	if c.Progress != nil {
		c.Progress(p)
	}
}

// fault is what an answer says that is not the wanted one. It reads a little of the body.
func (c *Client) fault(answer *http.Response) error {
	said := answer.Header.Get("X-Error-Message")
	if text, err := io.ReadAll(io.LimitReader(answer.Body, messageLimit)); said == "" && err == nil && answer.Header.Get("Content-Type") == "text/plain" {
		said = string(text)
	}
	if said = clip(said); said != "" {
		said = ": " + said
	}
	switch status := answer.StatusCode; {
	case status == http.StatusUnauthorized && c.Token == "":
		return permanent(fmt.Errorf("%w without a token: set HF_TOKEN if you have one, and look at the name%s", ErrRefused, said))
	case status == http.StatusUnauthorized:
		return permanent(fmt.Errorf("%w with this token: look at HF_TOKEN and at the name%s", ErrRefused, said))
	case status == http.StatusForbidden:
		return permanent(fmt.Errorf("%w: its owner may want terms accepted on its page, or another token%s", ErrRefused, said))
	case status == http.StatusNotFound:
		return permanent(fmt.Errorf("%w%s", ErrNotFound, said))
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return &busyError{status, after(answer.Header.Get("Retry-After"))}
	default:
		return permanent(fmt.Errorf("the server answers %d %s%s", status, http.StatusText(status), said))
	}
}

// after reads a Retry-After: seconds, or a time.
func after(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
