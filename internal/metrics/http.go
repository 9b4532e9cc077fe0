package metrics

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (p *Process) http() {
	p.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waggle_http_requests_total",
		Help: "Requests that were answered, streams and sockets when they ended."}, []string{"route", "code"})
	p.answered = p.measureBy("waggle_http_request_seconds", "Requests from their headers to the end of the answer.", forRequests, "route")
	p.open = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "waggle_http_requests_open",
		Help: "Requests being answered now: of event streams and WebSockets, those that are open."}, []string{"route"})
	p.registry.MustRegister(p.requests, p.open)
}

// noRoute is the label of requests that no route takes.
const noRoute = "none"

// Came implements door.Witness.
func (p *Process) Came(route string) { p.open.WithLabelValues(cmp.Or(route, noRoute)).Inc() }

// Went implements door.Witness.
func (p *Process) Went(route string, status int, took time.Duration) {
	route = cmp.Or(route, noRoute)
	p.open.WithLabelValues(route).Dec()
	p.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	seconds(p.answered.WithLabelValues(route), took)
}
