// Package client speaks to a server's HTTP API: submit a job, follow it, cancel
// it, fetch its picture. The command line and the tests use it.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waggle/internal/certs"
	"waggle/internal/job"
)

const (
	connectTimeout = 10 * time.Second
	answerTimeout  = 30 * time.Second
	submitTimeout  = 10 * time.Minute // a picture over a slow line
	answerLimit    = 64 << 20         // bytes of a JSON answer or a picture
	messageLimit   = 4 << 10          // bytes of an error's text
)

// Client calls one server.
type Client struct {
	base  string // without a slash at its end
	token string
	http  *http.Client
}

// New returns a client for the server at address, as http://host:port or
// https://host:port. token may be empty, and trust nil for the authorities of
// this machine. Close it.
func New(address, token string, trust *tls.Config) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("server address %q: want http://host:port or https://host:port", Shown(address))
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSClientConfig: trust, TLSHandshakeTimeout: connectTimeout, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}
	base := u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/")
	return &Client{base: base, token: token, http: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// stay follows no redirect: the token is for the server that was named.
func stay(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("it sends callers to %s: name that address, if you trust it", Shown(r.URL.String()))
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is an answer that is not a success.
type Error struct {
	Status  int // of HTTP
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("server answered %d: %s", e.Status, e.Message)
}

// Submit queues a job and returns its id.
func (c *Client) Submit(ctx context.Context, r job.Request) (job.ID, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	return c.post(ctx, body)
}

// post submits an operation.
func (c *Client) post(ctx context.Context, body []byte) (job.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	var answer struct {
		JobID job.ID `json:"job_id"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/jobs", body, &answer); err != nil {
		return "", err
	}
	if answer.JobID == "" {
		return "", errors.New("the server's answer names no job")
	}
	return answer.JobID, nil
}

// report is a job as servers tell of it; queens tell its model outside of the
// request, which they do not show.
type report struct {
	job.Report
	Model string `json:"model"`
}

func (r report) whole() job.Report {
	if r.Request.Model == "" {
		r.Request.Model = r.Model
	}
	return r.Report
}

// Job returns what is known of a job.
func (c *Client) Job(ctx context.Context, id job.ID) (job.Report, error) {
	var r report
	err := c.quick(ctx, http.MethodGet, jobPath(id), &r)
	return r.whole(), err
}

// Jobs returns the newest jobs, at most limit; only those in one state unless
// state is empty, and only those older than before unless that is empty.
func (c *Client) Jobs(ctx context.Context, state job.State, before job.ID, limit int) ([]job.Report, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if state != "" {
		q.Set("state", string(state))
	}
	if before != "" {
		q.Set("before", string(before))
	}
	var answer struct{ Jobs []report }
	err := c.quick(ctx, http.MethodGet, "/v1/jobs?"+q.Encode(), &answer)
	list := []job.Report{}
	for _, r := range answer.Jobs {
		list = append(list, r.whole())
	}
	return list, err
}

// Models returns the models the server's nodes have.
func (c *Client) Models(ctx context.Context) ([]job.ModelInfo, error) {
	var answer struct{ Models []job.ModelInfo }
	err := c.quick(ctx, http.MethodGet, "/v1/models", &answer)
	return answer.Models, err
}

// Samplers returns the samplers and schedules there are.
func (c *Client) Samplers(ctx context.Context) (samplers, schedules []job.Choice, err error) {
	var answer struct{ Samplers, Schedules []job.Choice }
	err = c.quick(ctx, http.MethodGet, "/v1/samplers", &answer)
	return answer.Samplers, answer.Schedules, err
}

// Node returns what the server says of itself.
func (c *Client) Node(ctx context.Context) (n job.Node, err error) {
	err = c.quick(ctx, http.MethodGet, "/info", &n)
	return n, err
}

// Ready returns nil when the server can make pictures, otherwise an error that
// says why not.
func (c *Client) Ready(ctx context.Context) error {
	return c.quick(ctx, http.MethodGet, "/ready", nil)
}

// Image returns picture number index (from 0) of a finished job as a PNG.
func (c *Client) Image(ctx context.Context, id job.ID, index int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	response, err := c.do(ctx, http.MethodGet, jobPath(id)+"/image/"+strconv.Itoa(index), nil, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return readLimited(response.Body)
}

func jobPath(id job.ID) string { return "/v1/jobs/" + url.PathEscape(string(id)) }

// quick is a call whose answer should not take long.
func (c *Client) quick(ctx context.Context, method, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.call(ctx, method, path, nil, into)
}

// call sends a JSON body, if any, and decodes a JSON answer, if wanted.
func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	header := http.Header{"Accept": {"application/json"}}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	response, err := c.do(ctx, method, path, body, header)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := readLimited(response.Body)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode the answer of %s %s: %w", method, path, err)
	}
	return nil
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, answerLimit+1))
	if err == nil && len(data) > answerLimit {
		err = fmt.Errorf("the answer has more than %d bytes", answerLimit)
	}
	return data, err
}

// do sends a request and returns a response of status 2xx; close its body.
func (c *Client) do(ctx context.Context, method, path string, body []byte, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %w", c.base, plain(err))
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, problem(response)
	}
	return response, nil
}

// plain drops what repeats the address, and says what is wrong with a certificate.
func plain(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var network *net.OpError
	if errors.As(err, &network) {
		err = network.Err
	}
	return certs.Explain(err)
}

// problem reads the text of an error: plain, or one of the JSON forms.
func problem(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, messageLimit))
	message := strings.TrimSpace(string(text))
	var form struct {
		Reason string
		Error  struct{ Message string }
	}
	switch {
	case strings.HasPrefix(message, certs.PlainHTTP):
		message += " Use https://"
	case err != nil || message == "":
		message = http.StatusText(response.StatusCode)
	case json.Unmarshal(text, &form) == nil && form.Error.Message != "":
		message = form.Error.Message
	case form.Reason != "":
		message = form.Reason
	}
	return &Error{Status: response.StatusCode, Message: message}
}
