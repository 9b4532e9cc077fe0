package natstest

import "go.uber.org/goleak"

// Leaks are the goroutines that nats.go 1.55.0 may leave behind, for goleak to overlook: after an object that was put faster
// than a goroutine of the library came to run, and after a question for an object that had no answer in time.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*obs).Get.func2"),
	}
}
