package queen

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/sse"
)

// beatLimit bounds what hives and workers send of themselves, in bytes.
const beatLimit = 64 << 10

// postHive is POST /v1/hive/ready: a hive has started.
func (q *Queen) postHive(w http.ResponseWriter, r *http.Request) {
	body, ok := q.readJSON(w, r, beatLimit)
	if !ok {
		return
	}
	var ready hiveReady
	if err := json.Unmarshal(body, &ready); err != nil {
		http.Error(w, "Failed to parse the request body as JSON: "+err.Error(), http.StatusBadRequest)
		return
	}
	switch err := q.welcome(ready.HiveID, ready.HiveURL, callerOf(r)); {
	case err != nil && job.KindOf(err) == job.InvalidInput:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		unavailable(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, noted{Status: "ok", Message: "Subscribed to hive " + ready.HiveID + " SSE stream"})
}

// hiveAddress reads a hive's URL. Hives call themselves by a loopback address:
// it means the machine that the call came from.
func hiveAddress(text, caller string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("hive_url must be like http://127.0.0.1:7835")
	}
	if loopback(u.Hostname()) && !loopback(caller) {
		u.Host = net.JoinHostPort(caller, portOf(u))
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// callerOf is the address that a request came from, in digits.
func callerOf(r *http.Request) string {
	address := door.AddressOf(r)
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// postHeartbeat is POST /v1/worker-heartbeat: a worker tells of itself.
func (q *Queen) postHeartbeat(w http.ResponseWriter, r *http.Request) {
	body, ok := q.readJSON(w, r, beatLimit)
	if !ok {
		return
	}
	b, err := parseBeat(body, callerOf(r))
	if err != nil {
		http.Error(w, "Invalid input: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := q.fleet.beat(b); err != nil {
		unavailable(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, noted{Status: "ok", Message: "Heartbeat received from worker " + b.Worker.ID})
}

// streamHeartbeats is GET /v1/heartbeats/stream: the fleet as it lives.
func (q *Queen) streamHeartbeats(w http.ResponseWriter, r *http.Request) {
	leave, ok := q.readers.Take(w, q.door.ClientOf(r))
	if !ok {
		return
	}
	defer leave()
	beats, stop := q.hub.watch()
	defer stop()
	out := sse.NewWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	err := out.Event(q.heartbeat(time.Now()).event(0))
	for err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-q.ctx.Done():
			return
		case e := <-beats:
			err = out.Event(e.event(0))
		}
	}
}

// getInfo is GET /v1/info.
func (q *Queen) getInfo(w http.ResponseWriter, r *http.Request) {
	port := 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = a.Port
	}
	door.WriteJSON(w, http.StatusOK, about{BaseURL: door.BaseURL(r), Port: port, Version: q.Version, Features: []string{}, Built: q.Built})
}

// postShutdown is POST /v1/shutdown: the queen ends soon after her answer.
func (q *Queen) postShutdown(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusOK)
	time.AfterFunc(shutdownDelay, q.quit)
}

// unavailable answers that there is no room now.
func unavailable(w http.ResponseWriter, err error) {
	door.Problemf(http.StatusServiceUnavailable, "Try again later: %v", err).Answer(w)
}

// readJSON reads a whole body of at most limit bytes, or answers why not. The
// body is valid JSON.
func (q *Queen) readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	body, release, ok := q.door.ReadJSON(w, r, limit)
	release() // what is kept is counted by the shelf
	if !ok || json.Valid(body) {
		return body, ok
	}
	var v any
	door.Problemf(http.StatusBadRequest, "Failed to parse the request body as JSON: %v", json.Unmarshal(body, &v)).Answer(w)
	return nil, false
}
