package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// SignatureHeader carries the time and the signature: "t=SECONDS,v1=HEX".
const SignatureHeader = "Waggle-Signature"

// SecretMin is the fewest bytes that a secret may have.
const SecretMin = 16

// answerHeaderLimit bounds an answer's headers; its body is not read at all.
const answerHeaderLimit = 16 << 10

// errGone: the receiver wants to hear no more (status 410).
var errGone = errors.New("the receiver answered 410 Gone")

// newClient follows no redirects, asks no proxy and keeps no connection open.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: timeout}).DialContext,
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: answerHeaderLimit,
		},
	}
}

// post makes one request. Its error names no URL, which may hold secrets.
func (s *Sender) post(ctx context.Context, u *url.URL, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the address cannot be used")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "waggle/"+cmp.Or(s.options.Version, "0"))
	r.Header.Set(SignatureHeader, sign(s.options.Secret, time.Now(), body))
	answer, err := s.client.Do(r)
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if err != nil {
		return fmt.Errorf("ask %s: %w", u.Host, err)
	}
	answer.Body.Close()
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusGone:
		return errGone
	}
	return fmt.Errorf("%s answered %d", u.Host, answer.StatusCode)
}

// sign is the signature of a body sent at a time: HMAC-SHA256 over "SECONDS.BODY".
func sign(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
