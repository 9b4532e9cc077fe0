package door

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"time"
)

// Witness is told of every request, of many at the same time. route is the pattern of what takes it, and empty where nothing does:
// there are only so many.
type Witness interface {
	Came(route string)
	Went(route string, status int, took time.Duration)
}

// nobody is a Witness that does not look.
type nobody struct{}

func (nobody) Came(string)                     {}
func (nobody) Went(string, int, time.Duration) {}

// idHeader names a request, in its answer and in the log: as a proxy named it, or as we do.
const idHeader = "X-Request-Id"

var validID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// visit is a request while it is answered: it notes what goes out.
type visit struct {
	http.ResponseWriter
	door      *Door
	request   *http.Request
	route, id string
	began     time.Time
	status    int   // 0 until it is sent
	bytes     int64 // of the body
}

// visited begins to look at a request; call leave when it has been answered.
func (d *Door) visited(w http.ResponseWriter, r *http.Request, routes *http.ServeMux) *visit {
	v := &visit{ResponseWriter: w, door: d, request: r, id: r.Header.Get(idHeader), began: time.Now()}
	if !validID.MatchString(v.id) {
		v.id = rand.Text()
	}
	w.Header().Set(idHeader, v.id)
	_, v.route = routes.Handler(r)
	d.Witness.Came(v.route)
	return v
}

// leave tells of a request that has been answered.
func (v *visit) leave() {
	took, status := time.Since(v.began), cmp.Or(v.status, http.StatusOK) // which net/http sends for a handler that sent nothing
	if v.door.Log.Enabled(v.request.Context(), slog.LevelDebug) {        // whose it was is not found out for nothing
		v.log(status, took)
	}
	v.door.Witness.Went(v.route, status, took)
}

// log writes neither the path nor what was asked for behind it: secrets may be there.
func (v *visit) log(status int, took time.Duration) {
	v.door.Log.Debug("request", "method", v.request.Method, "route", v.route, "status", status, "seconds", took.Seconds(),
		"bytes", v.bytes, "client", v.door.ClientOf(v.request), "request", v.id)
}

// WriteHeader implements http.ResponseWriter.
func (v *visit) WriteHeader(status int) {
	if v.status == 0 && status >= http.StatusOK {
		v.status = status
	}
	v.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (v *visit) Write(p []byte) (int, error) {
	v.status = cmp.Or(v.status, http.StatusOK)
	n, err := v.ResponseWriter.Write(p)
	v.bytes += int64(n)
	return n, err
}

// Unwrap lets an http.ResponseController reach the connection.
func (v *visit) Unwrap() http.ResponseWriter { return v.ResponseWriter }

// Hijack implements http.Hijacker, for WebSockets.
func (v *visit) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(v.ResponseWriter).Hijack()
	if err == nil {
		v.status = http.StatusSwitchingProtocols
	}
	return conn, buffer, err
}
