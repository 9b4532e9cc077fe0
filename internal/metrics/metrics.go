// Package metrics is what a process counts and measures of itself, for Prometheus to read. It is told by those who do the work
// (their meters are satisfied by its types) and asks at each reading for what can be asked for; nothing else of the program knows
// Prometheus. docs/metrics.md lists all of it.
//
// Every label's values are bounded in number, whatever others name their models.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Process is what every process has: its version, what it takes of the machine, and what others ask of it over HTTP.
type Process struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	answered *prometheus.HistogramVec
	open     *prometheus.GaugeVec
}

// readersLimit is how many may read at a time; others are told to come again.
const readersLimit = 4

func newProcess(version string) Process {
	p := Process{registry: prometheus.NewRegistry()}
	p.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	p.http()
	p.asked("waggle_build_info", "What runs here; the value is always 1.", prometheus.GaugeValue, []string{"version", "goversion"},
		func(tell tell) { tell(1, version, runtime.Version()) })
	return p
}

// Connected tells whether the servers that keep jobs can be reached.
func (p *Process) Connected(ask func() error) {
	p.gauge("waggle_nats_connected", "1 while the servers that keep jobs can be reached, else 0.", func() float64 { return truth(ask() == nil) })
}

// Handler answers readers.
func (p *Process) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: readersLimit,
	})
}

// count makes a counter of what happens here.
func (p *Process) count(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	p.registry.MustRegister(c)
	return c
}

// countBy makes counters by a label. Values that are known beforehand are there from the start, at 0.
func (p *Process) countBy(name, help, label string, values ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	p.registry.MustRegister(c)
	for _, v := range values {
		c.WithLabelValues(v)
	}
	return c
}

// measure makes a histogram of seconds, or of what else its name says.
func (p *Process) measure(name, help string, buckets []float64) prometheus.Observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	p.registry.MustRegister(h)
	return h
}

// measureBy makes histograms by a label.
func (p *Process) measureBy(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{label})
	p.registry.MustRegister(h)
	return h
}

// Buckets, in seconds.
var (
	forSteps    = prometheus.ExponentialBuckets(0.01, 2, 15)  // to 164 s
	forPictures = prometheus.ExponentialBuckets(0.1, 2.5, 12) // to 2,384 s
	forWaiting  = prometheus.ExponentialBuckets(0.01, 4, 11)  // to 10,486 s
	forRequests = prometheus.ExponentialBuckets(0.001, 4, 9)  // to 66 s
	forWrites   = prometheus.ExponentialBuckets(0.001, 4, 8)  // to 16 s
)

// seconds observes a time; clocks of two machines may make it negative.
func seconds(h prometheus.Observer, d time.Duration) { h.Observe(max(0, d.Seconds())) }
