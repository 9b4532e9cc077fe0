package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// tell gives one value with those of its labels.
type tell func(value float64, labels ...string)

// asked is a metric whose values are asked for when they are read.
type asked struct {
	about *prometheus.Desc
	kind  prometheus.ValueType
	ask   func(tell)
}

func (p *Process) asked(name, help string, kind prometheus.ValueType, labels []string, ask func(tell)) {
	p.registry.MustRegister(&asked{prometheus.NewDesc(name, help, labels, nil), kind, ask})
}

// gauge is asked without labels.
func (p *Process) gauge(name, help string, ask func() float64) {
	p.asked(name, help, prometheus.GaugeValue, nil, func(tell tell) { tell(ask()) })
}

// Describe implements prometheus.Collector.
func (a *asked) Describe(to chan<- *prometheus.Desc) { to <- a.about }

// Collect implements prometheus.Collector.
func (a *asked) Collect(to chan<- prometheus.Metric) {
	a.ask(func(value float64, labels ...string) {
		for i, label := range labels {
			labels[i] = readable(label)
		}
		to <- prometheus.MustNewConstMetric(a.about, a.kind, value, labels...)
	})
}

// readable makes a label's value of a text: of a bounded length, and in UTF-8, as a file's name need not be.
func readable(text string) string {
	const limit = 100
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "�")
}
