package natstest

import "go.uber.org/goleak"

// Leaks are the goroutines that nats.go 1.55.0 may leave behind, for goleak to overlook: after a question for an object that
// had no answer in time.
func Leaks() []goleak.Option {
	return []goleak.Option{goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*obs).Get.func2")}
}
